"""The decoders against the papers' equations in NumPy, a step at a time against the whole caption, saved, and on JAX."""

from typing import Any

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.layers.captioning import DecoderStart, DecoderStep, PictureMemory, RecurrentDecoder, SoftAttention, TransformerDecoder
from kerasdl.layers.positions import sinusoidal_grid

V, T, N, D = 11, 6, 12, 8
DECODERS = {
    "lstm": lambda **o: RecurrentDecoder(V, units=10, width=6, attention_units=5, **o),
    "gru": lambda **o: RecurrentDecoder(V, units=10, width=6, cell="gru", **o),
    "no_attention": lambda **o: RecurrentDecoder(V, units=10, width=6, attention=False, **o),
    "sinusoidal": lambda **o: TransformerDecoder(V, width=8, blocks=2, heads=2, **o),
    "learnt": lambda **o: TransformerDecoder(V, width=8, blocks=2, heads=4, positions="learnt", **o),
}
TOKENS = np.array([[1, 4, 5, 6, 2, 0], [1, 7, 2, 0, 0, 0], [1, 8, 9, 10, 4, 5]], "int32")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


FEATURES = normal(3, N, D)


def built(name: str, **options: Any) -> Any:
    """A decoder whose every weight is random, biases included: what is zero hides mistakes."""
    decoder: Any = DECODERS[name](**options)
    decoder.build([(None, T), (None, N, D)])
    decoder.set_weights([0.5 * normal(*w.shape, seed=n) for n, w in enumerate(decoder.get_weights())])
    return decoder


def call(decoder: Any, tokens: np.ndarray = TOKENS, features: np.ndarray = FEATURES, **options: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(x) for name, x in decoder([tokens, features], **options).items()}


def stepped(decoder: Any, tokens: np.ndarray = TOKENS, features: np.ndarray = FEATURES) -> list[dict[str, np.ndarray]]:
    """What `step` gives for each token, from the beginning that a runtime makes."""
    memory = {name: np.asarray(x) for name, x in decoder.encode(features).items()}
    if "state" not in memory:
        batch, blocks, pair, heads, _, size = memory["cross"].shape
        memory["state"] = np.zeros((batch, blocks, pair, heads, 0, size), "float32")
    state, outs = memory.pop("state"), []
    for t in range(tokens.shape[1]):
        out = {name: np.asarray(x) for name, x in decoder.step(tokens[:, t], state, memory).items()}
        state = out["next_state"]
        outs.append(out)
    return outs


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# --- every decoder ---


@pytest.mark.parametrize("name", DECODERS)
def test_a_step_at_a_time_is_the_whole_caption(name):
    decoder = built(name)
    whole, steps = call(decoder)["logits"], stepped(decoder)
    assert whole.shape == (3, T, V)
    for t, out in enumerate(steps):
        np.testing.assert_allclose(out["logits"], whole[:, t], atol=1e-5)


@pytest.mark.parametrize("name", DECODERS)
def test_a_word_does_not_see_what_comes_later(name):
    decoder, later = built(name), TOKENS.copy()
    later[:, 3:] = 9
    before, after = call(decoder)["logits"], call(decoder, later)["logits"]
    np.testing.assert_allclose(before[:, :3], after[:, :3], atol=1e-6)
    assert np.abs(before[:, 3:] - after[:, 3:]).max() > 0.01


@pytest.mark.parametrize("name", DECODERS)
def test_attention_is_a_share_of_the_places(name):
    for out in stepped(built(name)):
        assert out["attention"].shape == (3, {"sinusoidal": 2, "learnt": 4}.get(name, 1), N) and out["attention"].dtype == np.float32
        assert (out["attention"] >= 0).all()
        np.testing.assert_allclose(out["attention"].sum(axis=2), 1, atol=1e-6)


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_knows_the_picture_and_pictures_do_not_mix(name):
    decoder, order = built(name), [2, 0, 1]
    plain = call(decoder)["logits"]
    np.testing.assert_allclose(call(decoder, TOKENS[order], FEATURES[order])["logits"], plain[order], atol=1e-6)
    assert np.abs(call(decoder, TOKENS, FEATURES[order])["logits"] - plain).max() > 0.01


@pytest.mark.parametrize("name", DECODERS)
def test_a_saved_decoder_is_the_same_function(name, tmp_path):
    inputs = [keras.Input((T,), dtype="int32"), keras.Input((N, D))]
    decoder = built(name)
    model = keras.Model(inputs, decoder(inputs))
    model.save(tmp_path / "model.keras")
    again: Any = kerasdl.load_model(tmp_path / "model.keras")
    assert again.layers[-1].get_config() == decoder.get_config()
    np.testing.assert_array_equal(call(again.layers[-1])["logits"], call(decoder)["logits"])


@pytest.mark.parametrize("name", ["lstm", "sinusoidal"])
def test_dropout_is_for_training_only(name):
    decoder, still = built(name, dropout=0.5, seed=3), built(name)
    np.testing.assert_array_equal(call(decoder)["logits"], call(still)["logits"])
    assert np.abs(call(decoder, training=True)["logits"] - call(still)["logits"]).max() > 0.01


@pytest.mark.parametrize("name", ["lstm", "learnt"])
def test_logits_are_float32_under_mixed_precision(name):
    decoder = built(name, dtype="mixed_bfloat16")
    assert {x.dtype.name for x in call(decoder).values()} == {"float32"}
    assert {keras.backend.standardize_dtype(w.dtype) for w in decoder.trainable_weights} == {"float32"}
    exact = call(built(name))["logits"]
    assert np.abs(call(decoder)["logits"] - exact).max() < 0.1 * np.abs(exact).max()


@pytest.mark.parametrize("name", ["lstm", "no_attention", "sinusoidal"])
def test_the_served_halves_are_the_decoder(name):
    decoder = built(name)
    picture = keras.Input((N, D))
    start = keras.Model(picture, DecoderStart(decoder)(picture))
    memory = {k: np.asarray(x) for k, x in start(FEATURES).items()}
    given = {k: keras.Input(x.shape[1:], name=k) for k, x in memory.items()} | {"token": keras.Input((), dtype="int32", name="token")}
    if "state" not in memory:
        given["state"] = keras.Input((2, 2, 2, None, 4), name="state")
        memory["state"] = np.zeros((3, 2, 2, 2, 0, 4), "float32")
    step = keras.Model(given, DecoderStep(decoder)(given))
    assert {w.path for w in step.weights} == {w.path for w in decoder.weights}
    found = step({"token": TOKENS[:, 0], **memory})
    np.testing.assert_allclose(found["logits"], call(decoder)["logits"][:, 0], atol=1e-5)
    again = keras.Model.from_config(step.get_config())
    again.set_weights(step.get_weights())
    np.testing.assert_allclose(again({"token": TOKENS[:, 0], **memory})["logits"], found["logits"], atol=1e-6)


# --- Show, Attend and Tell ---


def test_soft_attention_is_equations_4_to_6_and_13():
    layer = SoftAttention(5)
    h, keys_shape = normal(3, 10, seed=1), (None, N, 5)
    layer.build([(None, 10), (None, N, D), keys_shape])
    values = [normal(*w.shape, seed=n) for n, w in enumerate(layer.get_weights())]
    layer.set_weights(values)
    by_name = {w.path.split("/", 1)[1] if "/" in w.path else w.path: v for w, v in zip(layer.weights, values, strict=True)}
    w_a, b_a, w_h, v, w_b, b_b = (
        next(value for path, value in by_name.items() if path.endswith(end))
        for end in ("key/kernel", "key/bias", "query/kernel", "score/kernel", "gate/kernel", "gate/bias")
    )
    context, weights = (np.asarray(x) for x in layer([h, FEATURES, layer.keys(FEATURES)]))
    e = np.stack([np.tanh(FEATURES[b] @ w_a + b_a + h[b] @ w_h) @ v[:, 0] for b in range(3)])
    alpha = softmax(e)
    beta = sigmoid(h @ w_b + b_b)
    np.testing.assert_allclose(weights, alpha, atol=1e-5)
    np.testing.assert_allclose(context, beta * np.einsum("bn,bnd->bd", alpha, FEATURES), atol=1e-5)


def test_lstm_and_deep_output_are_equations_1_to_3_and_7():
    decoder = built("no_attention")
    named = {w.path.split("no_attention")[-1]: np.asarray(w) for w in decoder.weights}

    def weight(end: str) -> np.ndarray:
        return next(value for path, value in named.items() if path.endswith(end))

    mean = FEATURES.mean(axis=1)
    h, c = np.split(np.tanh(mean @ weight("begin/kernel") + weight("begin/bias")), 2, axis=1)
    whole = call(decoder)["logits"]
    for t in range(3):
        word = weight("embed/embeddings")[TOKENS[:, t]]
        gates = np.concatenate([word, mean], 1) @ weight("cell/kernel") + h @ weight("cell/recurrent_kernel") + weight("cell/bias")
        i, f, g, o = np.split(gates, 4, axis=1)  # Keras' order
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        deep = word + h @ weight("from_hidden/kernel") + weight("from_hidden/bias") + mean @ weight("from_context/kernel")
        np.testing.assert_allclose(whole[:, t], deep @ weight("logits/kernel") + weight("logits/bias"), atol=1e-4)


@pytest.mark.parametrize("name", ["lstm", "gru", "no_attention"])
def test_the_coverage_is_the_attention_of_the_words_that_are_there(name):
    decoder = built(name)
    looks = np.stack([out["attention"][:, 0] for out in stepped(decoder)], axis=1)  # (B, T, N)
    wanted = (looks * (TOKENS != 0)[:, :, None]).sum(axis=1)
    coverage = call(decoder)["coverage"]
    np.testing.assert_allclose(coverage, wanted, atol=1e-5)
    np.testing.assert_allclose(coverage.sum(axis=1), (TOKENS != 0).sum(axis=1), atol=1e-5)


def test_without_attention_every_place_counts_the_same():
    decoder, order = built("no_attention"), np.random.default_rng(0).permutation(N)
    np.testing.assert_allclose(stepped(decoder)[0]["attention"], 1 / N)
    np.testing.assert_allclose(call(decoder, TOKENS, FEATURES[:, order])["logits"], call(decoder)["logits"], atol=1e-5)


# --- Transformer ---


def test_the_state_grows_by_one_token_a_step_and_keeps_what_was():
    first, second = stepped(built("sinusoidal"))[:2]
    assert first["next_state"].shape == (3, 2, 2, 2, 1, 4) and second["next_state"].shape == (3, 2, 2, 2, 2, 4)
    np.testing.assert_array_equal(second["next_state"][:, :, :, :, :1], first["next_state"])


@pytest.mark.parametrize("name", ["sinusoidal", "learnt"])
def test_a_decoder_of_words_knows_their_order(name):
    swapped = TOKENS[:, [0, 2, 1, 3, 4, 5]]
    before, after = call(built(name))["logits"], call(built(name), swapped)["logits"]
    assert np.abs(before[0, 3] - after[0, 3]).max() > 1e-3


# --- the picture's memory ---


def test_the_memory_is_a_normalised_projection_and_the_code_of_the_place():
    layer = PictureMemory(16, (3, 4))
    layer.build((None, N, D))
    layer.set_weights([normal(*w.shape, seed=n) for n, w in enumerate(layer.get_weights())])
    kernel, bias, gamma, beta = layer.get_weights()
    x = FEATURES @ kernel + bias
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * gamma + beta
    np.testing.assert_allclose(layer(FEATURES), x + sinusoidal_grid(3, 4, 16), atol=1e-4)


# --- refused ---


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: RecurrentDecoder(V, 4, 4, cell="rnn"), "cell is one of lstm, gru. Received: 'rnn'"),
        (lambda: RecurrentDecoder(4, 4, 4), "a word besides the four signs.* Received: vocabulary=4"),
        (lambda: TransformerDecoder(V, 8, 1, 2, positions="none"), "positions are sinusoidal or learnt. Received: 'none'"),
        (lambda: TransformerDecoder(V, 8, 0, 2), "and a block. Received: vocabulary=11, blocks=0"),
        (lambda: SoftAttention(0), "at least one hidden unit. Received: units=0"),
        (lambda: PictureMemory(16, (12,)), r"a grid is \(height, width\). Received: grid=\(12,\)"),  # type: ignore[arg-type]
        (lambda: PictureMemory(16, (3, 3))(FEATURES), r"features must be \(B,9,C\) on the grid \(3, 3\). Received: \(3, 12, 8\)"),
        (lambda: TransformerDecoder(V, 8, 1, 3)([TOKENS, FEATURES]), "heads must divide the width. Received: heads=3, width=8"),
        (
            lambda: DECODERS["lstm"]()([keras.Input((None,), dtype="int32"), keras.Input((N, D))]),
            r"T, N and D fixed. Received: \(None, None\)",
        ),
    ],
)
def test_the_impossible_is_refused_with_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


# --- another backend ---

ON_JAX = """
import keras, numpy as np
from kerasdl.layers.captioning import RecurrentDecoder, TransformerDecoder
from kerasdl.losses import CaptionCrossEntropy, DoublyStochastic, word_is_right
tokens = np.array([[1, 4, 2], [1, 2, 0]] * 2, "int32")
features = np.random.default_rng(0).normal(size=(4, 6, 8)).astype("float32")
answer = []
for decoder in (RecurrentDecoder(7, 8, 8), TransformerDecoder(7, 8, 1, 2, positions="learnt")):
    inputs = [keras.Input((2,), dtype="int32"), keras.Input((6, 8))]
    outputs = {name: keras.layers.Identity(name=name)(x) for name, x in decoder(inputs).items()}
    model = keras.Model(inputs, outputs)
    losses = {"logits": CaptionCrossEntropy(0.1), "coverage": DoublyStochastic()}
    metric = {"logits": [keras.metrics.MeanMetricWrapper(word_is_right)]}
    model.compile(keras.optimizers.Adam(0.01), {name: losses[name] for name in outputs}, metrics=metric, jit_compile=True)
    before = model.get_weights()
    model.fit([tokens[:, :-1], features], {name: tokens[:, 1:] for name in outputs}, batch_size=4, epochs=2, verbose=0)
    moved = [bool((a != b).any()) for a, b in zip(before, model.get_weights())]
    whole = decoder([tokens[:, :-1], features])["logits"]
    memory = decoder.encode(features)
    state = memory.pop("state", None)
    if state is None:
        state = np.zeros((4, 1, 2, 2, 0, 4), "float32")
    apart = []
    for t in range(2):
        out = decoder.step(tokens[:, t], state, memory)
        state = out["next_state"]
        apart.append(float(np.abs(out["logits"] - whole[:, t]).max()))
    answer.append([moved, max(apart)])
"""


def test_the_decoders_train_and_step_on_jax(on_jax):
    answers = on_jax(ON_JAX)
    assert len(answers) == 2
    for moved, apart in answers:
        assert moved and all(moved) and apart < 1e-5
