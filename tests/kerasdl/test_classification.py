"""The task: scaling, smoothing, scores, intervals and decisions, worked by hand."""

import dataclasses

import keras
import numpy as np
import pytest

from kerasdl.data.fake import fake
from kerasdl.data.spec import Spec
from kerasdl.metrics import confusion_matrix, wilson_interval
from kerasdl.models import find_model
from kerasdl.tasks.classification import Classification, SmoothedCrossEntropy
from tests.zoo import FAMILIES

SPEC = Spec((32, 32, 3), tuple("abcdef"), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), (), "a set")


def test_scaling_is_the_statistics_formula():
    model = Classification().build(find_model("softmax_regression")((32, 32, 3)), SPEC)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    scaled = keras.Model(model.inputs, model.get_layer("scaling").output)([pictures])
    expected = (pictures / 255 - np.array(SPEC.mean)) / np.array(SPEC.std)
    np.testing.assert_allclose(scaled, expected, atol=1e-5)


@pytest.mark.parametrize("cheap", FAMILIES, ids=str)
def test_serving_takes_bytes_and_gives_probabilities(cheap):
    task = Classification(dropout=0.5)
    spec = dataclasses.replace(SPEC, image_shape=(*cheap.image_shape[:2], 3))
    model = task.build(find_model(cheap.name)(image_shape=spec.image_shape, **cheap.options), spec)
    serving = task.serving(model, spec)["model"]
    pictures = np.random.default_rng(0).integers(0, 256, (3, *spec.image_shape), dtype=np.uint8)
    probabilities = serving.predict_on_batch({"image": pictures})["probabilities"]
    logits = model.predict_on_batch({"image": pictures.astype("float32")})["logits"]
    np.testing.assert_allclose(probabilities, keras.ops.softmax(logits), atol=1e-6)
    assert serving.inputs[0].dtype == "uint8" and serving.inputs[0].name == "image"


def test_smoothed_cross_entropy_is_the_formula():
    logits = np.array([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]], np.float32)
    labels = np.array([0, 2])
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    target = 0.9 * np.eye(3)[labels] + 0.1 / 3
    expected = -(target * log_p).sum(1).mean()
    assert float(SmoothedCrossEntropy(0.1)(labels, logits)) == pytest.approx(expected, abs=1e-6)
    assert float(SmoothedCrossEntropy(0.0)(labels, logits)) == pytest.approx(
        float(keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)), abs=1e-6
    )
    with pytest.raises(ValueError, match=r"must be in \[0, 1\)"):
        SmoothedCrossEntropy(1.0)


def test_evaluate_counts_the_short_last_batch():
    splits = fake(SPEC, test=10)

    def constant(inputs):
        return {"probabilities": np.tile([0.4, 0.2, 0.15, 0.1, 0.1, 0.05], (len(inputs["image"]), 1))}

    scores = Classification().evaluate(constant, splits, "test")
    labels = splits.test.arrays()["label"]
    assert scores == {"accuracy": float((labels == 0).mean()), "top5": float((labels < 5).mean())}
    assert Classification().evaluate(constant, splits, "test", batch_size=4) == scores


def test_evaluate_of_an_empty_or_unknown_split_gets_a_sentence():
    splits = fake(SPEC, test=0)
    with pytest.raises(ValueError, match="the split to score is empty. Received: 'test'"):
        Classification().evaluate(lambda x: x, splits, "test")
    with pytest.raises(ValueError, match="a split is one of train, valid, test, .*Received: 'dev'"):
        Classification().evaluate(lambda x: x, splits, "dev")


def test_decide_gives_choice_and_margin():
    choice, margin = Classification().decide({"probabilities": np.array([[0.1, 0.7, 0.2], [0.5, 0.0, 0.5]])})
    assert choice.tolist() == [1, 0]
    np.testing.assert_allclose(margin, [0.5, 0.0])


def test_wilson_interval_against_published_values():
    # Newcombe 1998, table I, score method without continuity correction: 81/263 and 0/20
    np.testing.assert_allclose(wilson_interval(81 / 263, 263), (0.2553, 0.3662), atol=5e-5)
    np.testing.assert_allclose(wilson_interval(0.0, 20), (0.0, 0.1611), atol=5e-5)
    with pytest.raises(ValueError, match="at least one trial"):
        wilson_interval(0.5, 0)


def test_confusion_matrix_has_truth_in_rows():
    matrix = confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
