"""The chapter on captions of the course (docs/course.md): its cells, attention and recipe on numbers worked by hand."""

import math
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from kerasdl import decoding
from kerasdl.layers.captioning import DecoderBlock, RecurrentDecoder, SoftAttention, TransformerDecoder
from kerasdl.schedules import inverse_sqrt


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def assign(layer: Any, values: dict[str, Any]) -> None:
    """Every weight whose path ends so; a number stands for an array of it."""
    for end, value in values.items():
        (weight,) = (w for w in layer.weights if w.path.endswith(end))
        weight.assign(np.broadcast_to(np.asarray(value, "float32"), weight.shape))


def recurrent(cell: str, units: int = 1) -> Any:
    """A decoder of words of one number that sees the mean over the places, pictures of one number too."""
    decoder: Any = RecurrentDecoder(5, units=units, width=1, cell=cell, attention=False)
    decoder.build([(None, 3), (None, 1, 1)])
    return decoder


def transformer() -> Any:
    """Its weights are random and large, as small ones hide mistakes."""
    decoder: Any = TransformerDecoder(7, width=8, blocks=2, heads=2)
    decoder.build([(None, 4), (None, 6, 3)])
    decoder.set_weights([0.5 * normal(*w.shape, seed=n) for n, w in enumerate(decoder.get_weights())])
    return decoder


def step_from(decoder: Any, state: Any, word: float = 0.6, picture: float = 0.4) -> np.ndarray:
    """The state behind one word; the word and the picture are the two numbers that the cell reads."""
    assign(decoder, {"embed/embeddings": word})
    out = decoder.step(np.array([1]), np.array([state], "float32"), {"features": np.array([[[picture]]], "float32")})
    return np.asarray(out["next_state"])[0]


# --- E8, E9: course vector T42 ---


def test_the_lstm_step_of_the_course_vector():
    """All weights 0.5, no bias, 0.6 of the word and 0.4 of the picture: x = 1, with h = 0.2 and c = 0.1 before it."""
    decoder = recurrent("lstm")
    assign(decoder, {"cell/kernel": 0.5, "cell/recurrent_kernel": 0.5, "cell/bias": 0})
    np.testing.assert_allclose(step_from(decoder, [[0.2], [0.1]]), [[0.251540], [0.411315]], atol=1e-6)


def test_the_gru_step_of_the_course_vector():
    decoder = recurrent("gru")
    assign(decoder, {"cell/kernel": 0.5, "cell/recurrent_kernel": 0.5, "cell/bias": 0})
    np.testing.assert_allclose(step_from(decoder, [[0.2]]), [[0.310327]], atol=1e-6)


def test_a_fresh_lstm_is_told_to_remember():
    """Keras' bias of the forget gate is one, so that a state is not halved at every step before anything is learnt."""
    np.testing.assert_array_equal(recurrent("lstm").cell.bias, [0, 1, 0, 0])


def test_a_gru_resets_before_the_product_and_its_candidate_has_a_bias_of_its_own():
    decoder, (x, h) = recurrent("gru", units=2), (np.array([0.6, 0.4], "float32"), np.array([0.3, -0.8], "float32"))
    w, u, b = normal(2, 6, seed=1), normal(2, 6, seed=2), normal(6, seed=3)
    assign(decoder, {"cell/kernel": w, "cell/recurrent_kernel": u, "cell/bias": b})
    (w_z, w_r, w_h), (u_z, u_r, u_h), (b_z, b_r, b_h) = (np.split(a, 3, axis=-1) for a in (w, u, b))  # Keras' order
    z, r = sigmoid(x @ w_z + h @ u_z + b_z), sigmoid(x @ w_r + h @ u_r + b_r)
    candidates = [np.tanh(x @ w_h + (r * h) @ u_h + b_h), np.tanh(x @ w_h + r * (h @ u_h) + b_h), np.tanh(x @ w_h + (r * h) @ u_h + b_r)]
    ours, after_the_product, as_printed = (z * h + (1 - z) * candidate for candidate in candidates)
    found = step_from(decoder, [h])[0]
    np.testing.assert_allclose(found, ours, atol=1e-6)
    assert min(np.abs(found - after_the_product).max(), np.abs(found - as_printed).max()) > 0.01


# --- E3, F1: the plain cell ---


def test_a_picture_beside_the_word_has_a_matrix_of_its_own():
    """h' = tanh(W_xh x + W_hh h + W_ih v): one matrix for [x; v] is W_xh above W_ih."""
    cell, x, v, h = keras.layers.SimpleRNNCell(4, use_bias=False), normal(1, 3, seed=1), normal(1, 5, seed=2), normal(1, 4, seed=3)
    cell.build((None, 8))
    w_xh, w_ih, w_hh = normal(3, 4, seed=4), normal(5, 4, seed=5), normal(4, 4, seed=6)
    cell.set_weights([np.concatenate([w_xh, w_ih]), w_hh])
    out, _ = cell(np.concatenate([x, v], axis=1), [h])
    np.testing.assert_allclose(out, np.tanh(x @ w_xh + h @ w_hh + v @ w_ih), atol=1e-5)


# --- E6, E7: back through time ---


def test_the_gradient_through_time_is_the_sum_over_the_steps():
    """One matrix used three times gets the gradients of three matrices used once, added up."""
    import tensorflow as tf

    shared, words = normal(4, 4), normal(3, 1, 4, seed=1)
    whole, *copies = (tf.Variable(tf.constant(shared)) for _ in range(4))

    def last(*matrices: Any) -> Any:
        h = tf.zeros((1, 4))
        for x, matrix in zip(words, matrices, strict=True):
            h = tf.tanh(x + tf.matmul(h, matrix))
        return tf.reduce_sum(h)

    with tf.GradientTape(persistent=True) as tape:
        together, apart = last(whole, whole, whole), last(*copies)
    gradients = [np.asarray(tape.gradient(apart, copy)) for copy in copies]
    np.testing.assert_allclose(np.asarray(tape.gradient(together, whole)), sum(gradients), rtol=1e-5)
    assert not gradients[0].any() and np.abs(gradients[1]).max() > 0.01  # nothing was before the first word


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_last_word_is_learnt_from_back_to_the_first(cell):
    """The steps are unrolled whole: nothing is cut off after a few."""
    import tensorflow as tf

    decoder: Any = RecurrentDecoder(16, units=6, width=4, cell=cell)
    tokens, features = np.array([[1, *range(4, 14)]]), normal(1, 5, 3)
    decoder([tokens, features])
    with tf.GradientTape() as tape:
        last = tf.reduce_sum(decoder([tokens, features])["logits"][:, -1, 7])
    moved = np.abs(np.asarray(tf.convert_to_tensor(tape.gradient(last, decoder.embed.embeddings.value)))).max(axis=1)
    assert (moved[[1, *range(4, 14)]] > 0).all() and not moved[[0, 2, 3, 14, 15]].any()


@pytest.mark.parametrize(
    "matrix, singular, after_twenty",
    [([[0.5, 0], [0, 0.5]], 0.5, 0.5**20), ([[2, 0], [0, 0.5]], 2, 2**20), ([[0, 2], [0, 0]], 2, 0)],
    ids=["vanishes", "explodes", "vanishes_though_two"],
)
def test_a_singular_value_above_one_may_explode_and_need_not(matrix, singular, after_twenty):
    import tensorflow as tf

    cell = keras.layers.SimpleRNNCell(2, activation=None, use_bias=False)
    cell.build((None, 1))
    cell.set_weights([np.zeros((1, 2)), np.array(matrix)])
    start = tf.Variable(tf.ones((1, 2)))
    with tf.GradientTape() as tape:
        h: Any = start
        for _ in range(20):
            h, _ = cell(tf.zeros((1, 1)), [h])
        found = h[0, 0]
    assert np.linalg.norm(matrix, 2) == singular
    assert float(tf.norm(tape.gradient(found, start))) == pytest.approx(after_twenty, rel=1e-5)


def test_clipping_keeps_the_direction_of_the_course_vector():
    """(3, 4) has length 5; at most 1 is (0.6, 0.8). By all norms together: two variables of one gradient each are clipped as one."""
    variables = [keras.Variable([0.0]), keras.Variable([0.0])]
    keras.optimizers.SGD(1.0, global_clipnorm=1.0).apply([ops.array([3.0]), ops.array([4.0])], variables)
    np.testing.assert_allclose(np.concatenate([np.asarray(v) for v in variables]), [-0.6, -0.8], rtol=1e-6)


# --- E11, E13: words; course vector T48 ---


def test_sizes_of_the_word_model_of_the_course():
    """Vectors of 300, 500 hidden units, 10,000 words and END. An LSTM has four such cells."""
    plain, lstm = keras.layers.SimpleRNNCell(500, use_bias=False), keras.layers.LSTMCell(500, use_bias=False)
    scores = keras.layers.Dense(10_001, use_bias=False)
    for layer, width in ((plain, 300), (lstm, 300), (scores, 500)):
        layer.build((None, width))
    assert [math.prod(w.shape) for w in (*plain.weights, *scores.weights)] == [150_000, 250_000, 5_000_500]
    assert lstm.count_params() == 4 * plain.count_params()


def test_a_word_vector_is_a_row_and_so_a_linear_layer_on_one_hot_words():
    layer = keras.layers.Embedding(5, 3)
    layer.build((None,))
    table = np.asarray(layer.embeddings)
    np.testing.assert_array_equal(layer(np.array([4, 1])), np.eye(5, dtype="float32")[[4, 1]] @ table)


def test_a_caption_is_fed_back_word_by_word_until_its_end():
    """What the decoder sees at each step is what it said at the one before; behind the end nothing is said."""
    after = {decoding.START: 6, 6: 4, 4: 5, 5: decoding.END, decoding.END: 4}  # "6 4 5", whatever the picture
    seen: list[int] = []

    def step(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        seen.extend(inputs["token"].tolist())
        logits = 9 * np.eye(7, dtype="float32")[[after[t] for t in inputs["token"].tolist()]]
        return {"logits": logits, "next_state": inputs["state"], "attention": np.ones((1, 1, 1), "float32")}

    found = decoding.greedy(step, {"state": np.zeros((1, 1, 1), "float32")}, length=8)
    assert found.tokens.tolist() == [[decoding.START, 6, 4, 5, decoding.END, 0, 0, 0]]
    assert seen == [decoding.START, 6, 4, 5]


# --- F2: where to look ---


def test_soft_attention_by_hand():
    """Two places, 0 and 1, with scores 0 and log 3: a quarter and three quarters of the weight, a mean of 0.75, half of it let through."""
    layer = SoftAttention(1)
    layer.build([(None, 1), (None, 2, 1), (None, 2, 1)])
    assign(layer, {"key/kernel": 1, "key/bias": 0, "query/kernel": 0, "score/kernel": math.log(3) / math.tanh(1)})
    assign(layer, {"gate/kernel": 0, "gate/bias": 0})
    places = np.array([[[0.0], [1.0]]], "float32")
    context, weights = layer([np.ones((1, 1), "float32"), places, layer.keys(places)])
    np.testing.assert_allclose(weights, [[0.25, 0.75]], atol=1e-6)
    np.testing.assert_allclose(context, [[0.375]], atol=1e-6)


# --- D5, D6, D8: the Transformer ---


def test_each_block_has_its_own_keys_and_values_of_one_picture():
    """K and V come of the encoder's last output in every block, by a matrix of the block's own."""
    decoder, picture = transformer(), normal(2, 6, 3)
    cross = np.asarray(decoder.encode(picture)["cross"])  # (B, L, 2, heads, N, d)
    assert cross.shape == (2, 2, 2, 2, 6, 4)
    for number, block in enumerate(decoder.blocks):
        pair = picture @ np.asarray(block.pair.kernel) + np.asarray(block.pair.bias)  # (B, N, 2*D)
        keys_and_values = np.moveaxis(cross[:, number], 3, 1).reshape(2, 6, 16)  # heads side by side, keys first
        np.testing.assert_allclose(keys_and_values, pair, atol=1e-5)


def test_to_the_decoder_the_places_of_a_picture_are_a_set():
    """So their positions have to be added to them before."""
    decoder, picture, order = transformer(), normal(1, 6, 3), [3, 0, 5, 1, 4, 2]
    tokens, state = np.array([[1, 4, 6, 5]]), np.zeros((1, 2, 2, 2, 0, 4), "float32")
    whole, mixed = (np.asarray(decoder([tokens, p])["logits"]) for p in (picture, picture[:, order]))
    np.testing.assert_allclose(mixed, whole, atol=1e-4)
    looks, mixed = (np.asarray(decoder.step(tokens[:, 0], state, decoder.encode(p))["attention"]) for p in (picture, picture[:, order]))
    np.testing.assert_allclose(mixed, looks[:, :, order], atol=1e-5)
    assert np.ptp(looks, axis=2).min() > 0.01


def test_dropout_comes_before_every_sum():
    """Where all is dropped, what is left of a block is the path around it."""
    block: Any = DecoderBlock(heads=2, dropout=1 - 1e-7, seed=0)
    x, picture = normal(1, 4, 8), normal(1, 6, 3, seed=1)
    block.build([x.shape, picture.shape])
    np.testing.assert_array_equal(block([x, picture], training=True), x)
    assert np.abs(np.asarray(block([x, picture], training=False)) - x).max() > 0.1


def test_the_rate_of_the_transformer_rises_in_a_line_and_falls_as_the_root():
    """d^-1/2 min(t^-1/2, t w^-3/2) of Vaswani et al. 2017, equation 3, for d = 512 and w = 40 steps."""
    width, warm, total = 512, 40, 400
    rate: Any = inverse_sqrt(total, peak=(width * warm) ** -0.5, warmup=warm / total)
    for t in (1, 20, 40, 41, 160, 399):
        assert float(rate(t)) == pytest.approx(width**-0.5 * min(t**-0.5, t * warm**-1.5), rel=1e-5)
