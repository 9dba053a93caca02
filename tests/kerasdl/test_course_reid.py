"""The chapter on retrieval of the course (docs/course.md): its losses, curves and rankings on numbers worked by hand."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from kerasdl.explain import grad_cam
from kerasdl.layers import OnlineInstanceMatching
from kerasdl.losses import ContrastiveLoss, TripletLoss
from kerasdl.losses.pairs import pairwise_distance
from kerasdl.metrics import reid_ranking, roc


def points(*rows: Any) -> np.ndarray:
    return np.array(rows, "float32").reshape(len(rows), -1)


def value(loss: keras.losses.Loss, labels: Any, x: np.ndarray) -> float:
    return float(loss(np.asarray(labels), x))


# --- G10, G18, G20: course vector T40 ---


def test_the_ranking_loss_of_the_course_vector():
    """q = 0, d+ = (1, 0), d- = (0, 1.2), margin 0.5: (0.5 + 1 - 1.44) / 2 = 0.03. From d+ the negative is at 2.44, past the margin."""
    x, labels = points((0, 0), (1, 0), (0, 1.2)), [0, 0, 1]
    of_both_anchors = (2 * 0.03 + 0) / 2
    assert value(TripletLoss(0.5, squared=True), labels, x) == pytest.approx(of_both_anchors, rel=1e-5)


def test_the_margin_belongs_to_no_picture():
    """It is how much farther the wrong one must be, and so adds to every loss that is above zero alike."""
    x, labels = points((0, 0), (1, 0), (0.5, 0.2)), [0, 0, 1]
    losses = [value(TripletLoss(margin, squared=True), labels, x) for margin in (0.5, 0.8)]
    assert losses[1] - losses[0] == pytest.approx(0.3, rel=1e-5)


def test_the_contrastive_loss_of_the_course_vector():
    """Margin 0.3: a pair of two people at 0.1 costs (0.3 - 0.1)^2 = 0.04, one person's at 0.5 0.5^2 = 0.25; the paper halves both."""
    loss = ContrastiveLoss("squared", 0.3, normalise=False)
    assert 2 * value(loss, [0, 1], points(0, 0.1)) == pytest.approx(0.04, rel=1e-5)
    assert 2 * value(loss, [0, 1], points(0, 0.4)) == 0
    assert 2 * value(loss, [0, 0], points(0, 0.5)) == pytest.approx(0.25, rel=1e-5)


def test_the_triplet_loss_of_the_course_vector():
    """0.3 + 0.5 - 0.6 = 0.2 from both pictures of one person, which are 0.5 apart and 0.6 from the other one's."""
    x = points((0, 0), (0.5, 0), (0.25, (0.6**2 - 0.25**2) ** 0.5))
    assert value(TripletLoss(0.3), [0, 0, 1], x) == pytest.approx(0.2, rel=1e-5)


# --- G11: branches that share their weights ---


def test_the_branches_of_a_siamese_network_are_one_network():
    """The gradient of a batch through one layer is the sum of those through three copies of it, one for each picture of the triplet."""
    import tensorflow as tf

    shared, loss = np.array([[1.0, 0.5], [0.0, 2.0]], "float32"), TripletLoss(None)
    pictures, labels = points((0, 1), (1, 1), (1, 0)), np.array([0, 0, 1])
    whole, *copies = (tf.Variable(tf.constant(shared)) for _ in range(4))
    with tf.GradientTape(persistent=True) as tape:
        together = loss(labels, tf.matmul(pictures, whole))
        apart = loss(labels, tf.concat([tf.matmul(row[None], copy) for row, copy in zip(pictures, copies, strict=True)], axis=0))
    expected = sum(np.asarray(tape.gradient(apart, copy)) for copy in copies)
    assert float(together) == float(apart) and np.abs(expected).min() > 0.01
    np.testing.assert_allclose(np.asarray(tape.gradient(together, whole)), expected, rtol=1e-4)


# --- G13: what was learnt before networks ---


def test_a_mahalanobis_distance_is_the_euclidean_one_behind_a_linear_layer():
    """(x - y)^t M (x - y) with M = W W^t: what a metric learns is a projection, here a layer without a bias."""
    kernel, x = np.array([[2.0, 0.0, 1.0], [1.0, -1.0, 0.0]], "float32"), points((1, 2), (3, 1), (0, -1))
    layer = keras.layers.Dense(3, use_bias=False)
    layer.build((None, 2))
    layer.set_weights([kernel])
    away = x[:, None] - x[None]
    expected = np.sqrt(np.einsum("ijk,kl,ijl->ij", away, kernel @ kernel.T, away))
    np.testing.assert_allclose(pairwise_distance(layer(x)), expected, atol=2e-5)


# --- G22: course vector T41 ---


@pytest.mark.parametrize("person, loss", [(0, 2.126928), (1, 0.126928)])
def test_the_oim_loss_of_the_course_vector(person, loss):
    """Remembered (1, 0) and (0, 1), f = (0.6, 0.8), temperature 0.1: the numerator is that of the person shown."""
    layer = OnlineInstanceMatching(2, scale=1 / 0.1)
    layer([points((1, 0), (0, 1)), np.array([0, 1])], training=True)
    assert float(ops.mean(layer([points((0.6, 0.8)), np.array([person])], training=False))) == pytest.approx(loss, abs=1e-5)


def test_people_without_a_name_stand_in_the_denominator_of_oim():
    """The queue remembers f itself: e^10 joins e^6 and e^8 below, and the loss of person 1 rises from 0.126928 by far."""
    layer = OnlineInstanceMatching(2, queue=1, scale=10.0)
    layer([points((1, 0), (0, 1), (0.6, 0.8)), np.array([0, 1, -1])], training=True)
    found = float(ops.mean(layer([points((0.6, 0.8)), np.array([1])], training=False)))
    assert found == pytest.approx(np.log(np.exp(6.0) + np.exp(8.0) + np.exp(10.0)) - 8, rel=1e-5)


# --- M5, M6 ---


def test_the_area_under_a_roc_is_one_when_kinds_are_apart_and_half_when_they_are_the_same():
    assert roc([0.1, 0.2], [0.3, 0.4]).auc == 1
    assert roc([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]).auc == pytest.approx(0.5)
    assert roc([0.3, 0.4], [0.1, 0.2]).auc == 0


def test_cmc_asks_for_one_match_and_average_precision_for_all():
    """Two rankings with the first match on top: the one whose second match comes last has the same CMC and half of a hit's precision."""
    near, late = ([[1, 2, 3, 4]], [7, 7, 8, 9]), ([[1, 2, 3, 4]], [7, 8, 9, 7])
    found = [reid_ranking(distance, [7], pids, protocol="all", max_rank=4) for distance, pids in (near, late)]
    np.testing.assert_array_equal(found[0]["cmc"], found[1]["cmc"])
    assert [result["mAP"] for result in found] == [1, (1 + 2 / 4) / 2]


# --- N5 ---


def test_grad_cam_of_a_linear_score_is_its_weighted_map():
    """The score 2 mean(A_0) - 4 mean(A_1) of maps of 2 x 2: slopes 2/4 and -4/4 everywhere, so that the heat is max(0, A_0 / 2 - A_1)."""
    maps = np.stack([[[2.0, 4.0], [0.0, 8.0]], [[0.0, 1.0], [3.0, 5.0]]], axis=-1)
    slopes = np.broadcast_to([2 / 4, -4 / 4], maps.shape)
    np.testing.assert_allclose(grad_cam(maps, slopes), [[1, 1], [0, 0]])
