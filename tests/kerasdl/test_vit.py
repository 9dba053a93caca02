"""Vision Transformers: the published counts, the forward pass against NumPy written a second time, every form at small sizes."""

import inspect
import math
import subprocess
import sys
from collections.abc import Iterator

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.models import vit as zoo
from kerasdl.models.vit import stage_names, vit

FORMS = [(pool, positions) for pool in ("token", "mean") for positions in ("learnt", "sinusoidal")]

# trainable parameters with a head of that many classes: torchvision (B, L, H), timm and DeiT (Ti, S)
COUNTS = {
    "vit_ti16": (5_717_416, 1000),
    "vit_s16": (22_050_664, 1000),
    "vit_s32": (22_878_952, 1000),
    "vit_b16": (86_567_656, 1000),
    "vit_b32": (88_224_232, 1000),
    "vit_l16": (304_326_632, 1000),
    "vit_l32": (306_535_400, 1000),
    "vit_h14": (632_045_800, 1000),
    "vit_ti4": (5_362_762, 10),
}


def tiny(pool: str = "token", positions: str = "learnt", **options) -> keras.Model:
    """8x12 pixels, patch 4: a grid of 2 x 3, 16 numbers a token, two heads."""
    return vit((8, 12, 3), 4, 16, options.pop("depth", 2), 2, pool=pool, positions=positions, **options)


def pictures(batch: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(batch, 8, 12, 3)).astype("float32")


def randomise(model: keras.Model) -> keras.Model:
    """Every weight away from its initial zero or one."""
    rng = np.random.default_rng(1)
    model.set_weights([w + rng.normal(0, 0.2, w.shape).astype(w.dtype) for w in model.get_weights()])
    return model


# --- counts ---


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_the_published_ones(name):
    builder, (expected, classes) = getattr(zoo, name), COUNTS[name]
    depth = inspect.signature(builder).parameters["depth"].default
    one, two = builder(depth=1), builder(depth=2)  # all blocks are alike, and 632 million numbers need not be drawn
    backbone = one.count_params() + (depth - 1) * (two.count_params() - one.count_params())
    assert backbone + (two.output.shape[-1] + 1) * classes == expected
    assert two.name == name


def test_the_count_of_a_whole_net_is_that_of_its_blocks():
    model = zoo.vit_ti4()
    assert model.count_params() + 193 * 10 == COUNTS["vit_ti4"][0]
    assert sum(layer.name.endswith("_qkv") for layer in model.layers) == 12


def test_attention_adds_its_products_to_the_multiply_adds():
    layer = zoo.vit_ti16(depth=1).get_layer("block1_attention")
    assert layer.multiply_adds() == 2 * 197 * 197 * 192


# --- the forward pass, by NumPy ---


def by_numpy(model: keras.Model, pool: str, heads: int, patch: int, x: np.ndarray) -> np.ndarray:
    """(B,H,W,C) to the output of `model`, in float64, token by token and head by head."""

    def weights(name: str) -> list[np.ndarray]:
        return [w.astype("float64") for w in model.get_layer(name).get_weights()]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        gamma, beta = weights(name)
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * gamma + beta

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        kernel, bias = weights(name)
        return x @ kernel + bias

    def attend(fused: np.ndarray) -> np.ndarray:
        q, k, v = np.split(fused, 3, axis=-1)
        outputs = []
        for part in np.split(np.arange(q.shape[-1]), heads):
            scores = np.exp(q[:, part] @ k[:, part].T / math.sqrt(len(part)))
            outputs.append(scores / scores.sum(1, keepdims=True) @ v[:, part])
        return np.concatenate(outputs, axis=1)

    def one(picture: np.ndarray) -> np.ndarray:
        kernel, bias = weights("patch_conv")
        rows, columns = picture.shape[0] // patch, picture.shape[1] // patch
        cut = [picture[r * patch : (r + 1) * patch, c * patch : (c + 1) * patch] for r in range(rows) for c in range(columns)]
        tokens = np.array([np.tensordot(piece, kernel, 3) + bias for piece in cut])
        if pool == "token":
            tokens = np.concatenate([weights("class_token")[0][0], tokens])
        layer = model.get_layer("positions")
        tokens = tokens + (layer.get_weights()[0][0] if layer.weights else layer.table)
        for block in range(1, 1 + sum(layer.name.endswith("_qkv") for layer in model.layers)):
            branch = attend(dense(norm(tokens, f"block{block}_norm1"), f"block{block}_qkv"))
            tokens = tokens + dense(branch, f"block{block}_proj")
            hidden = dense(norm(tokens, f"block{block}_norm2"), f"block{block}_fc1")
            exact_gelu = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
            tokens = tokens + dense(exact_gelu, f"block{block}_fc2")
        tokens = norm(tokens, "final_norm")
        return tokens[0] if pool == "token" else tokens

    return np.array([one(picture) for picture in x.astype("float64")])


@pytest.mark.parametrize(("pool", "positions"), FORMS)
def test_the_forward_pass_is_the_papers(pool, positions):
    model = randomise(tiny(pool, positions))
    expected = by_numpy(model, pool, heads=2, patch=4, x=pictures())
    assert expected.shape == ((2, 16) if pool == "token" else (2, 6, 16))
    np.testing.assert_allclose(model(pictures(), training=False), expected, atol=5e-6)


def test_positions_are_what_tells_the_patches_apart():
    model, x = randomise(tiny("mean")), pictures()
    mirrored = np.concatenate([x[:, 4:], x[:, :4]], axis=1)  # the two rows of patches change places
    order = [3, 4, 5, 0, 1, 2]
    moved, still = np.asarray(model(mirrored)), np.asarray(model(x))
    assert np.abs(moved - still[:, order]).max() > 0.05
    model.get_layer("positions").set_weights([np.zeros((1, 6, 16), "float32")])
    np.testing.assert_allclose(model(mirrored), np.asarray(model(x))[:, order], atol=1e-5)


# --- every form trains, saves and loads ---


@pytest.mark.parametrize(("pool", "positions"), FORMS)
def test_every_weight_gets_a_gradient(pool, positions):
    import tensorflow as tf

    model = randomise(tiny(pool, positions, dropout=0.1, attention_dropout=0.1))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(pictures(), training=True) ** 3)
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    for variable, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None and np.abs(np.asarray(gradient)).max() > 0, variable.path


@pytest.mark.parametrize(("pool", "positions"), FORMS)
def test_a_saved_vit_is_the_same_function(pool, positions, tmp_path):
    model = randomise(tiny(pool, positions, dropout=0.1, attention_dropout=0.1, drop_path=0.1))
    model.save(tmp_path / "model.keras")
    again = kerasdl.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model.predict_on_batch(pictures()), again.predict_on_batch(pictures()))


def test_a_vit_learns_which_half_is_bright():
    keras.utils.set_random_seed(0)
    x, y = pictures(192), np.arange(192) % 2
    x[y == 0, :, :6] += 2
    x[y == 1, :, 6:] += 2
    features = tiny()
    model = keras.Model(features.input, keras.layers.Dense(2)(features.output))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    options = {"jit_compile": False}
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"], **options)
    model.fit(x[:128], y[:128], batch_size=16, epochs=5, verbose=0)
    assert model.evaluate(x[128:], y[128:], verbose=0, return_dict=True)["accuracy"] > 0.95


@pytest.fixture(params=["mixed_bfloat16", "mixed_float16"])
def policy(request) -> Iterator[str]:
    keras.mixed_precision.set_global_policy(request.param)
    yield request.param
    keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize(("pool", "positions"), [("token", "learnt"), ("mean", "sinusoidal")])
def test_mixed_precision_follows_float32(policy, pool, positions):
    model = randomise(tiny(pool, positions, attention_dropout=0.1))
    assert model.output.dtype == policy.removeprefix("mixed_")
    assert {str(w.dtype) for w in model.trainable_weights} == {"float32"}
    expected = by_numpy(model, pool, heads=2, patch=4, x=pictures())
    got = np.asarray(keras.ops.cast(model(pictures(), training=False), "float32"))
    np.testing.assert_allclose(got, expected, atol=0.15 if policy == "mixed_bfloat16" else 0.02)  # 8 and 11 bits of mantissa

    head = keras.Model(model.input, keras.layers.Dense(1, dtype="float32")(model.output))
    head.compile(keras.optimizers.SGD(1e-3), "mse", run_eagerly=True)
    target = np.ones((2, 1) if pool == "token" else (2, 6, 1))
    losses = [head.train_on_batch(pictures(), target) for _ in range(4)]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


# --- stages, options, refusals ---


def test_stages_end_after_equal_shares_of_the_blocks():
    assert stage_names(12) == {3: "stage1", 6: "stage2", 9: "stage3", 12: "stage4"}
    assert stage_names(2) == {1: "stage1", 2: "stage2"}
    assert stage_names(6) == {2: "stage1", 3: "stage2", 5: "stage3", 6: "stage4"}
    model = tiny(depth=6)
    assert kerasdl.features(model, "stage4").output.shape == (None, 7, 16)
    assert [layer.name for layer in model.layers if layer.name.startswith("stage")] == ["stage1", "stage2", "stage3", "stage4"]


def test_a_stage_is_the_sum_that_enters_the_next_block():
    model = randomise(tiny("mean"))
    cut = keras.Model(model.input, model.get_layer("stage2").output)
    normed = model.get_layer("final_norm")(cut(pictures(), training=False))
    np.testing.assert_allclose(normed, model(pictures(), training=False), atol=1e-6)


def test_stochastic_depth_grows_linearly_from_nothing():
    model = tiny(depth=3, drop_path=0.2)
    rates = {layer.name: layer.rate for layer in model.layers if layer.name.endswith("_drop_path")}
    assert rates == {f"block{b}_{part}_drop_path": rate for b, rate in ((2, 0.1), (3, 0.2)) for part in ("attention", "mlp")}
    assert not any("drop" in layer.name for layer in tiny().layers)


def test_dropout_sits_behind_every_dense_layer_but_qkv():
    names = {layer.name for layer in tiny(depth=1, dropout=0.1).layers if isinstance(layer, keras.layers.Dropout)}
    assert names == {"positions_drop", "block1_proj_drop", "block1_fc1_drop", "block1_fc2_drop"}


def test_a_layer_never_starts_as_the_copy_of_another():
    model = zoo.vit_ti4(depth=2)
    first, second = (model.get_layer(f"block{block}_fc1").get_weights()[0] for block in (1, 2))
    assert first.std() == pytest.approx(0.0176, abs=5e-4) and np.abs(first - second).max() > 0.01


def test_a_variant_shows_the_options_it_passes_on():
    options = inspect.signature(zoo.vit_s32).parameters
    assert [options[name].default for name in ("image_shape", "patch", "depth", "pool", "dropout")] == [(224, 224, 3), 32, 12, "token", 0.0]
    assert "name" not in options and "options" not in options
    assert zoo.vit_s32((64, 96, 1), depth=1, mlp_ratio=2.0, pool="mean").output.shape == (None, 6, 384)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"image_shape": (30, 32, 3)}, r"vit cuts .* patch must divide both sides. Received: patch=4, image_shape=\(30, 32, 3\)"),
        ({"image_shape": (0, 32, 3)}, r"patch must divide both sides. Received: patch=4, image_shape=\(0, 32, 3\)"),
        ({"patch": 0}, r"patch must divide both sides. Received: patch=0"),
        ({"depth": 0}, r"at least one block. Received: depth=0"),
        ({"heads": 3}, r"heads must divide it. Received: heads=3, width=16"),
        ({"heads": 0}, r"heads must divide it. Received: heads=0, width=16"),
        ({"pool": "max"}, r"pool must be 'token' or 'mean'. Received: 'max'"),
        ({"positions": "none"}, r"positions must be 'learnt' or 'sinusoidal'. Received: 'none'"),
        ({"positions": "sinusoidal", "width": 18}, r"that four divides, of at least 8. Received: width=18"),
        ({"drop_path": 1.0}, r"must be in \[0, 1\). Received: 1.0"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_wrong_option_is_refused_in_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        vit(**{"image_shape": (32, 32, 3), "patch": 4, "width": 16, "depth": 2, "heads": 2, **options})


# --- the other backend ---


def test_both_forms_train_on_jax():
    code = """
import os
os.environ["KERAS_BACKEND"] = "jax"
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # compiling is all there is
import keras, numpy as np
from kerasdl.models.vit import vit
nets = [
    vit((8, 12, 3), 4, 16, 2, 2, dropout=0.1, attention_dropout=0.1, drop_path=0.1),
    vit((8, 12, 3), 4, 16, 1, 2, pool="mean", positions="sinusoidal"),
]
for net in nets:
    model = keras.Model(net.input, keras.layers.Dense(1)(net.output))
    model.compile("adam", "mse")
    before = model.get_weights()
    model.train_on_batch(np.ones((4, 8, 12, 3)), np.ones((4, *model.output.shape[1:])))
    for old, weight in zip(before, model.weights):
        assert np.isfinite(weight).all() and np.abs(old - weight).max() > 0, weight.path
print(keras.backend.backend())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["jax"]
