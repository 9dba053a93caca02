"""Layers of the linear models: what they keep when they are saved, and what they refuse."""

import keras
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from kerasdl.layers import NearestNeighbours, PredictionInterval, RandomFourierFeatures, TargetError
from kerasdl.linear import learn_perceptron, nearest_neighbours, perceptron
from kerasdl.models import load_model
from kerasdl.summary import multiply_adds
from kerasdl.tasks import Classification


@pytest.mark.parametrize(
    "layer",
    [
        RandomFourierFeatures(8, gamma=0.5, seed=3),
        NearestNeighbours(9, 3, k=2, metric="l1"),
        TargetError("huber", 0.5),
        PredictionInterval(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_survives_its_config(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


def test_saved_neighbours_remember(tmp_path):
    random = np.random.default_rng(0)
    examples, labels = random.normal(size=(40, 5)), random.integers(4, size=40)
    model = nearest_neighbours(examples, labels, k=7)
    model.save(tmp_path / "model.keras")
    asked = random.normal(size=(20, 5)).astype("float32")
    before, after = (m.predict_on_batch(asked) for m in (model, load_model(tmp_path / "model.keras")))
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


def test_votes_of_neighbours_are_those_of_scikit_learn():
    random = np.random.default_rng(1)
    examples, labels = random.normal(size=(60, 3)).astype("float32"), random.integers(3, size=60)
    asked = random.normal(size=(30, 3)).astype("float32")
    for metric, p in (("l1", 1), ("l2", 2)):
        peer = KNeighborsClassifier(5, p=p, algorithm="brute").fit(examples, labels)
        shares = nearest_neighbours(examples, labels, 5, metric).predict_on_batch(asked)["shares"]
        np.testing.assert_allclose(shares, peer.predict_proba(asked), atol=1e-6)


def test_random_features_multiply_by_half_as_many_frequencies():
    x = keras.Input((6,))
    layer = RandomFourierFeatures(10)
    layer(x)
    assert multiply_adds(layer) == 30 and layer.trainable_weights == []


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: NearestNeighbours(5, 2, k=6), "k must be from 1 to the number of stored examples. Received: k=6 of 5"),
        (lambda: NearestNeighbours(5, 2, metric="l3"), "metric is one of l1, l2. Received: 'l3'"),
        (lambda: nearest_neighbours(np.ones((6, 2)), np.arange(6), classes=3), "labels must be from 0 to 2. Received: 0 to 5"),
        (lambda: nearest_neighbours(np.ones((6, 2)), np.arange(5)), "there must be examples (6, 2) and a label for each"),
        (lambda: learn_perceptron(perceptron(1), [[1.0]], [2]), "a perceptron tells 0 from 1. Received: the labels [2]"),
        (lambda: Classification(scores="margin"), "scores are those of softmax or hinge. Received: 'margin'"),
        (lambda: Classification(scores="hinge", label_smoothing=0.1), "labels are smoothed under softmax, not hinge"),
    ],
)
def test_bad_arguments_get_a_sentence(call, sentence):
    with pytest.raises(ValueError) as problem:
        call()
    assert sentence in str(problem.value)


def test_a_support_vector_machine_leaves_a_margin_where_it_can():
    """Three clouds far apart: after training every own score is ahead of the others by one."""
    from kerasdl.models import create_model

    random = np.random.default_rng(0)
    labels = np.arange(90) % 3
    rows = (np.array([[0, 4], [4, -2], [-4, -2]])[labels] + 0.3 * random.normal(size=(90, 2))).astype("float32").reshape(-1, 1, 1, 2)
    model = create_model("softmax_regression", 3, (1, 1, 2))
    loss, _ = Classification(scores="hinge").loss()["logits"]
    model.compile(keras.optimizers.SGD(0.05), loss)
    model.fit(rows, labels, epochs=30, batch_size=90, verbose=0)  # pyright: ignore[reportArgumentType]
    scores = np.array(model(rows))
    own = scores[np.arange(90), labels]
    scores[np.arange(90), labels] = -np.inf
    assert (own - scores.max(axis=1) >= 0.99).all()
    assert float(np.asarray(loss(labels, np.asarray(model(rows))))) < 0.01
