"""The heads that make embeddings: by hand, through a `.keras` file, in training, on JAX, and refused with a sentence."""

import json
import os
import subprocess
import sys
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.models import find_model
from kerasdl.models.embedding_head import activation_map, attribute_head, bn_neck, global_head, part_head, pooled

MAP = (7, 4, 6)
WORN = {"hat": 2, "trousers": 5}
HEADS = {
    "global": (partial(global_head, classes=5), {"feature": 6, "embedding": 6, "logits": 5}),
    "global_reduced_gem": (partial(global_head, classes=5, size=3, pool="gem"), {"feature": 3, "embedding": 3, "logits": 5}),
    "global_without_neck": (partial(global_head, classes=5, pool="gmp", neck=False), {"feature": 6, "embedding": 6, "logits": 5}),
    "global_without_classes": (partial(global_head, classes=None), {"feature": 6, "embedding": 6}),
    "parts": (partial(part_head, classes=5, parts=3, size=4), {"embedding": 18, "logits1": 5, "logits2": 5, "logits3": 5}),
    "attributes": (
        partial(attribute_head, classes=5, attributes=WORN),
        {"feature": 13, "embedding": 13, "logits": 5, "attribute_hat": 2, "attribute_trousers": 5, "attributes": (2, 5)},
    ),
}
each_head = pytest.mark.parametrize("head", HEADS)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def as_model(head: Any, shape: tuple[int, ...] = MAP) -> keras.Model:
    features = keras.Input(shape)
    return keras.Model(features, head(features))


def known(name: str) -> keras.Model:
    """The head with a random number for every weight; exponents, gammas and variances stay above zero."""
    model = as_model(HEADS[name][0])
    for n, weight in enumerate(model.weights):
        values = numbers(*weight.shape, seed=n)
        weight.assign(np.abs(values) + 0.5 if weight.name in ("exponent", "gamma", "moving_variance") else values)
    return model


def values_of(model: keras.Model) -> dict[str, np.ndarray]:
    return {weight.path: np.asarray(weight) for weight in model.weights}


# --- all heads ---


@each_head
def test_a_head_gives_the_outputs_it_announces(head):
    outputs = as_model(HEADS[head][0]).output
    assert {name: x.shape[1:] for name, x in outputs.items()} == {
        name: size if isinstance(size, tuple) else (size,) for name, size in HEADS[head][1].items()
    }
    assert {x.dtype for name, x in outputs.items() if name.startswith(("logits", "attribute"))} <= {"float32"}


@each_head
def test_a_saved_head_is_the_same_function(head, tmp_path):
    model = known(head)
    model.save(tmp_path / "head.keras")
    again = kerasdl.load_model(tmp_path / "head.keras")
    before, after = model(numbers(2, *MAP)), again(numbers(2, *MAP))
    assert list(before) == list(after)
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


@each_head
def test_every_weight_of_a_head_gets_a_gradient(head):
    import tensorflow as tf

    model = known(head)
    with tf.GradientTape() as tape:
        outputs = model(numbers(8, *MAP), training=True)
        sums = [keras.ops.sum(x * numbers(*x.shape, seed=n)) for n, x in enumerate(outputs.values())]
    gradients: Any = tape.gradient(sums, [w.value for w in model.trainable_weights])
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None and np.isfinite(gradient).all() and np.abs(gradient).max() > 0, weight.path


@pytest.mark.parametrize("backbone", [partial(find_model("resnet18"), last_stride=1), partial(find_model("osnet_x0_25"), hidden=0)])
def test_a_backbone_for_people_has_a_map_for_every_head(backbone):
    model = backbone(image_shape=(96, 32, 3))
    assert model.output.shape[1:3] == (6, 2)
    parts = keras.Model(model.input, part_head(model.output, 4))
    assert parts(numbers(1, 96, 32, 3))["embedding"].shape == (1, 6 * model.output.shape[-1])
    attributes = keras.Model(model.input, attribute_head(global_map := model.output, 4, WORN, size=8))
    assert attributes(numbers(1, 96, 32, 3))["embedding"].shape == (1, 8 + 7)
    assert keras.Model(model.input, activation_map(global_map))(numbers(1, 96, 32, 3)).shape == (1, 6, 2)


def test_the_heads_train_on_jax():
    script = """
import json
import keras, numpy as np
from kerasdl.models.embedding_head import activation_map, attribute_head, global_head, part_head
heads = [lambda x: global_head(x, 4, size=5, pool="gem"), lambda x: part_head(x, 4, 3, 8), lambda x: attribute_head(x, 4, {"hat": 2})]
moved = []
for head in heads:
    keras.utils.set_random_seed(0)
    features = keras.Input((7, 4, 6))
    outputs = head(features)
    model = keras.Model(features, {name: x for name, x in outputs.items() if name.startswith(("logits", "attribute"))})
    model.compile(keras.optimizers.SGD(1.0), {name: keras.losses.SparseCategoricalCrossentropy(from_logits=True) for name in model.output})
    before = [np.array(w) for w in model.trainable_weights]
    pictures = np.random.default_rng(0).normal(size=(16, 7, 4, 6)).astype("float32")
    told = {name: np.arange(16) % 2 for name in model.output}
    if "attributes" in told:
        told["attributes"] = told["attributes"][:, None]
    model.fit(pictures, told, epochs=3, verbose=0)
    moved.append([w.path for old, w in zip(before, model.trainable_weights) if not np.any(old != np.array(w))])
shown = np.array(keras.Model(features, activation_map(features))(pictures))
print(json.dumps([keras.backend.backend(), moved, float(shown.max()), float(shown.min()) >= 0]))
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == ["jax", [[], [], []], 1.0, True]


# --- pooling ---


def test_pooling_of_maps_tokens_and_vectors():
    x = numbers(2, 3, 4, 5)
    for pool, expected in {"gap": x.mean(axis=(1, 2)), "gmp": x.max(axis=(1, 2))}.items():
        np.testing.assert_allclose(pooled(x, pool), expected, atol=1e-6)
        np.testing.assert_allclose(pooled(x.reshape(2, 12, 5), pool), expected, atol=1e-6)
    expected = np.mean(np.maximum(x, 1e-6) ** 3, axis=(1, 2)) ** (1 / 3)
    np.testing.assert_allclose(pooled(x, "gem"), expected, rtol=1e-5)
    vectors = numbers(2, 5)
    assert pooled(vectors, "gem") is vectors


# --- the global head and its neck ---


def test_the_neck_standardises_without_a_shift():
    """Mean 2 and variance 4 of 0, 4, 0, 4: -1, 1, -1, 1 but for epsilon; gamma is all there is to train."""
    image = keras.Input((1,))
    neck = keras.Model(image, bn_neck(image))
    found = neck(np.array([[0.0], [4.0], [0.0], [4.0]]), training=True)
    np.testing.assert_allclose(found, [[-1], [1], [-1], [1]], atol=1e-5)
    assert [weight.name for weight in neck.trainable_weights] == ["gamma"]


@pytest.mark.parametrize("neck", [True, False])
def test_the_global_head_by_hand(neck):
    model = as_model(partial(global_head, classes=3, size=4, neck=neck))
    for n, weight in enumerate(model.weights):
        weight.assign(np.abs(numbers(*weight.shape, seed=n)) + 0.5)
    weights = values_of(model)
    x = numbers(2, *MAP)
    feature = x.mean(axis=(1, 2)) @ weights["reduce/kernel"]
    embedding = feature
    if neck:
        scale = weights["neck/gamma"] / np.sqrt(weights["neck/moving_variance"] + 1e-5)
        embedding = (feature - weights["neck/moving_mean"]) * scale
    logits = embedding @ weights["logits/kernel"] + (0 if neck else weights["logits/bias"])
    assert ("logits/bias" in weights) != neck
    for name, expected in {"feature": feature, "embedding": embedding, "logits": logits}.items():
        np.testing.assert_allclose(model(x)[name], expected, atol=1e-4, err_msg=name)


def test_the_classifier_begins_without_an_opinion():
    keras.utils.set_random_seed(0)
    model = as_model(partial(global_head, classes=700), (4, 4, 512))
    assert values_of(model)["logits/kernel"].std() == pytest.approx(0.001, rel=0.01)
    probabilities = keras.ops.softmax(model(numbers(4, 4, 4, 512))["logits"])
    np.testing.assert_allclose(probabilities, 1 / 700, rtol=0.2)


# --- parts ---


def test_a_part_sees_its_strip_alone():
    """Six rows in three parts: a change in the bottom two rows changes the last logits and the last third of the embedding."""
    model = as_model(partial(part_head, classes=5, parts=3, size=4), (6, 4, 2))
    x = np.abs(numbers(1, 6, 4, 2)) + 0.1
    y = x.copy()
    y[:, 4:] *= numbers(1, 2, 4, 2, seed=1)
    before, after = model(x), model(y)
    for name, changes in {"logits1": False, "logits2": False, "logits3": True}.items():
        assert np.any(np.asarray(before[name]) != np.asarray(after[name])) == changes, name
    thirds = [np.any(np.asarray(before["embedding"])[0, i : i + 2] != np.asarray(after["embedding"])[0, i : i + 2]) for i in (0, 2, 4)]
    assert thirds == [False, False, True]


def test_the_embedding_of_parts_is_the_unit_strips_over_the_root_of_their_number():
    x = numbers(2, 6, 4, 5)
    strips = x.reshape(2, 3, 2 * 4, 5).mean(axis=2)  # (B, parts, C)
    unit = strips / np.linalg.norm(strips, axis=-1, keepdims=True) / np.sqrt(3)
    found = as_model(partial(part_head, classes=5, parts=3), (6, 4, 5))(x)["embedding"]
    np.testing.assert_allclose(found, unit.reshape(2, 15), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_parts_share_their_convolution_and_have_a_classifier_each():
    """2048 to 256 once with its BatchNormalization, then six classifiers of 751 people."""
    model = as_model(partial(part_head, classes=751), (24, 8, 2048))
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == 2048 * 256 + 2 * 256 + 6 * (256 * 751 + 751)


# --- attributes ---


def test_the_attribute_head_by_hand():
    model = known("attributes")
    weights, x = values_of(model), numbers(2, *MAP)
    feature = x.mean(axis=(1, 2))

    def softmax(logits: np.ndarray) -> np.ndarray:
        return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)

    logits = {name: feature @ weights[f"attribute_{name}/kernel"] + weights[f"attribute_{name}/bias"] for name in WORN}
    p = np.concatenate([softmax(logits[name]) for name in WORN], axis=-1)
    trust = 1 / (1 + np.exp(-(p @ weights["attribute_trust/kernel"] + weights["attribute_trust/bias"])))
    found = model(x)
    np.testing.assert_allclose(found["feature"], np.concatenate([feature, p * trust], axis=-1), atol=1e-5)
    for name in WORN:
        np.testing.assert_allclose(found[f"attribute_{name}"], logits[name], atol=1e-5)
    hat = np.pad(logits["hat"], ((0, 0), (0, 3)), constant_values=-1e9)
    np.testing.assert_allclose(found["attributes"], np.stack([hat, logits["trousers"]], axis=1), atol=1e-5)


# --- the activation map ---


def test_the_activation_is_the_length_of_a_places_vector_over_the_longest():
    features = np.zeros((2, 2, 2, 2), np.float32)
    features[0, 0, 0], features[0, 1, 1] = (3, 4), (0, -10)  # lengths 5 and 10; the second picture has none
    image = keras.Input((2, 2, 2))
    shown = keras.Model(image, activation_map(image))(features)
    np.testing.assert_allclose(shown, [[[0.5, 0], [0, 1]], [[0, 0], [0, 0]]])


# --- sentences ---


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: pooled(numbers(1, 2, 2, 3), "max"), "pool is one of gap, gmp, gem. Received: 'max'"),
        (lambda: as_model(partial(global_head, classes=2, size=-1)), "size of an embedding must be at least 0"),
        (lambda: as_model(partial(part_head, classes=2, parts=8)), "at most the rows of the map. Received: parts=8, rows=7"),
        (lambda: as_model(partial(part_head, classes=2, parts=0)), "parts must be at least 1"),
        (
            lambda: as_model(partial(part_head, classes=2), (5,)),
            "strips of a map, features of shape (B,H,W,C). Received: (None, 5)",
        ),
        (lambda: as_model(partial(attribute_head, classes=2, attributes={})), "attributes are at least one name"),
        (lambda: as_model(partial(attribute_head, classes=2, attributes={"hat": 1})), "at least 2 values. Received: {'hat': 1}"),
        (lambda: activation_map(keras.Input((9, 5))), "an activation is drawn of a map, features of shape (B,H,W,C)"),
    ],
)
def test_bad_arguments_get_a_sentence(call, sentence):
    with pytest.raises(ValueError) as problem:
        call()
    assert sentence in str(problem.value)
