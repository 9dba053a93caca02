"""Losses on embeddings: by hand, against plain loops and their numerical slopes, at ties, and with labels that pair with nobody."""

import json
import math
from typing import Any

import keras
import numpy as np
import pytest

from kerasdl.losses import CircleLoss, ContrastiveLoss, InstanceLoss, TripletLoss, VerificationLoss, WeightedSum

RAGGED = np.array([0, 0, 0, 1, 1, 2, 7, -1, -1, 2])  # 3, 2, 2 and 1 pictures of four identities, two unlabelled


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def line(*points: float) -> np.ndarray:
    """Embeddings of one dimension, so that distances are read off."""
    return np.array(points, "float32")[:, None]


def value(loss: keras.losses.Loss, labels: Any, x: Any) -> float:
    return float(loss(np.asarray(labels), np.asarray(x, "float32")))


def gradient(loss: keras.losses.Loss, labels: Any, x: Any) -> np.ndarray:
    return value_and_gradient(loss, labels, x)[1]


def value_and_gradient(loss: keras.losses.Loss, labels: Any, x: Any) -> tuple[float, np.ndarray]:
    import tensorflow as tf

    point = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(point)
        y = loss(np.asarray(labels), point)
    return float(y), np.asarray(tape.gradient(y, point))


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0)


# --- the same losses as loops ---


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def positives(labels: np.ndarray, i: int) -> list[int]:
    return [j for j in range(len(labels)) if j != i and labels[j] == labels[i] >= 0]


def negatives(labels: np.ndarray, i: int) -> list[int]:
    return [j for j in range(len(labels)) if labels[j] >= 0 and labels[i] >= 0 and labels[j] != labels[i]]


def both(labels: np.ndarray) -> list[tuple[int, list[int], list[int]]]:
    found = [(i, positives(labels, i), negatives(labels, i)) for i in range(len(labels))]
    return [(i, p, n) for i, p, n in found if p and n]


def triplet_loop(labels: np.ndarray, x: np.ndarray, margin: float | None, mining: str, squared=False, normalise=False) -> float:
    x = unit(x) if normalise else x

    def d(i: int, j: int) -> float:
        return float(np.linalg.norm(x[i] - x[j])) ** (2 if squared else 1)

    def weighted(i: int, others: list[int], sign: int) -> float:
        weights = [math.exp(sign * d(i, j)) for j in others]
        return sum(w * d(i, j) for w, j in zip(weights, others, strict=True)) / sum(weights)

    gaps = []
    for i, p, n in both(labels):
        if mining == "batch-hard":
            gaps.append(max(d(i, j) for j in p) - min(d(i, j) for j in n))
        elif mining == "weighted":
            gaps.append(weighted(i, p, 1) - weighted(i, n, -1))
        else:
            for j in p:
                farther = [d(i, k) for k in n if d(i, k) > d(i, j)]
                gaps.append(d(i, j) - (min(farther) if farther else max(d(i, k) for k in n)))
    return float(np.mean([softplus(gap) if margin is None else max(0, gap + margin) for gap in gaps]))


def contrastive_loop(labels: np.ndarray, x: np.ndarray, form: str, margin: float, normalise: bool, balanced: bool) -> float:
    x = unit(x) if normalise else x
    near, far = [], []
    for i in range(len(x)):
        for j in range(i):
            d = float(np.linalg.norm(x[i] - x[j]))
            if labels[i] < 0 or labels[j] < 0:
                continue
            if labels[i] == labels[j]:
                near.append(0.5 * d**2 if form == "squared" else d)
            else:
                far.append(0.5 * max(0, margin - d) ** 2 if form == "squared" else max(0, margin - d))
    return float(np.mean(near) + np.mean(far)) if balanced else float(np.mean(near + far))


def verification_loop(labels: np.ndarray, logits: np.ndarray, balanced: bool) -> float:
    near, far = [], []
    for i in range(len(labels)):
        near += [-math.log(1 / (1 + math.exp(-logits[i, j]))) for j in positives(labels, i)]
        far += [-math.log(1 - 1 / (1 + math.exp(-logits[i, j]))) for j in negatives(labels, i)]
    return float(np.mean(near) + np.mean(far)) if balanced else float(np.mean(near + far))


def circle_loop(labels: np.ndarray, x: np.ndarray, margin: float, scale: float, fixed: np.ndarray | None = None) -> float:
    """`fixed`: the embeddings that the weights are taken from, which get no gradient."""
    s, t = unit(x) @ unit(x).T, unit(x if fixed is None else fixed) @ unit(x if fixed is None else fixed).T
    values = []
    for i, p, n in both(labels):
        far = sum(math.exp(-scale * max(0, 1 + margin - t[i, j]) * (s[i, j] - (1 - margin))) for j in p)
        near = sum(math.exp(scale * max(0, t[i, j] + margin) * (s[i, j] - margin)) for j in n)
        values.append(math.log(1 + far * near))
    return float(np.mean(values))


def instance_loop(labels: np.ndarray, x: np.ndarray, scale: float) -> float:
    names = [int(label) if label >= 0 else -1 - i for i, label in enumerate(labels)]
    means = unit(np.stack([np.mean([v for v, n in zip(x, names, strict=True) if n == name], axis=0) for name in sorted(set(names))]))
    logits = scale * means @ means.T
    return float(np.mean([math.log(np.exp(row).sum()) - row[i] for i, row in enumerate(logits)]))


TRIPLETS = [
    {"margin": margin, "mining": mining, "squared": squared, "normalise": normalise}
    for mining in ("batch-hard", "semi-hard", "weighted")
    for margin, squared, normalise in [(0.3, False, False), (None, False, False), (0.2, True, True)]
]
CONTRASTIVES = [
    {"form": form, "margin": margin, "normalise": normalise, "balanced": balanced}
    for form, margin in [("squared", 1.3), ("linear", 1.1)]
    for normalise, balanced in [(True, False), (False, True)]
]
CASES = [
    *((TripletLoss(**options), triplet_loop, options) for options in TRIPLETS),
    *((ContrastiveLoss(**options), contrastive_loop, options) for options in CONTRASTIVES),
    *((VerificationLoss(balanced), verification_loop, {"balanced": balanced}) for balanced in (False, True)),
    *((CircleLoss(m, s), circle_loop, {"margin": m, "scale": s}) for m, s in [(0.25, 16.0), (0.4, 4.0)]),
    (InstanceLoss(8.0), instance_loop, {"scale": 8.0}),
]
NAMES = [f"{loss.name}-{'-'.join(map(str, options.values()))}" for loss, _, options in CASES]


def batch_for(loss: keras.losses.Loss, seed: int = 0) -> np.ndarray:
    return numbers(10, 10 if isinstance(loss, VerificationLoss) else 4, seed=seed)


@pytest.mark.parametrize("loss, loop, options", CASES, ids=NAMES)
@pytest.mark.parametrize("labels", [RAGGED, np.repeat(np.arange(5), 2)], ids=["ragged", "pairs"])
def test_a_loss_is_what_its_loop_says(loss, loop, options, labels):
    for seed in range(2):
        x = batch_for(loss, seed)
        assert value(loss, labels, x) == pytest.approx(loop(labels, x, **options), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("loss, loop, options", CASES, ids=NAMES)
def test_the_gradient_of_a_loss_is_the_slope_of_its_loop(loss, loop, options):
    x, h = batch_for(loss), 1e-6
    held = {"fixed": x} if loop is circle_loop else {}
    slopes = np.zeros_like(x)
    for place in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[place] = h
        slopes[place] = (loop(RAGGED, x + step, **options, **held) - loop(RAGGED, x - step, **options, **held)) / (2 * h)
    np.testing.assert_allclose(gradient(loss, RAGGED, x), slopes, atol=2e-4 * max(1, np.abs(slopes).max()))
    assert np.abs(slopes).max() > 1e-3


@pytest.mark.parametrize("loss", [loss for loss, _, _ in CASES], ids=NAMES)
@pytest.mark.parametrize(
    "x, labels",
    [
        (np.zeros((4, 4)), [0, 0, 1, 1]),  # also no direction
        (np.ones((4, 4)), [0, 0, 1, 1]),
        (np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0.0]]), [0, 0, 1, 1]),
        (np.full((4, 4), 1e4), [0, 0, 1, 1]),
        (numbers(4, 4), [3, 3, 3, 3]),  # nobody else
        (numbers(4, 4), [0, 1, 2, 3]),  # nobody twice
        (numbers(4, 4), [-1, -1, -1, -1]),
        (np.ones((1, 1)), [0]),
    ],
    ids=["zeros", "equal", "perfect", "large", "one identity", "all different", "unlabelled", "one picture"],
)
def test_value_and_gradient_are_finite_at_ties_and_without_partners(loss, x, labels):
    found, slope = value_and_gradient(loss, labels, x)
    assert math.isfinite(found) and found >= 0
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("loss", [TripletLoss(), TripletLoss(mining="semi-hard"), TripletLoss(None, "weighted"), CircleLoss()])
def test_without_positives_or_negatives_the_loss_is_zero(loss):
    assert value(loss, [3, 3, 3], numbers(3, 2)) == value(loss, [0, 1, 2], numbers(3, 2)) == value(loss, [-1, -1, -1], numbers(3, 2)) == 0


@pytest.mark.parametrize("loss, loop, options", [case for case in CASES if not isinstance(case[0], VerificationLoss | InstanceLoss)])
def test_unlabelled_pictures_change_nothing(loss, loop, options):
    x, labels = numbers(6, 3), np.array([0, 0, 1, 1, -1, -1])
    assert value(loss, labels, x) == pytest.approx(value(loss, labels[:4], x[:4]), rel=1e-4)


@pytest.mark.parametrize("loss", [loss for loss, _, _ in CASES], ids=NAMES)
def test_a_loss_gives_one_value_for_each_example(loss):
    each = type(loss).from_config({**loss.get_config(), "reduction": "none"})
    values = np.asarray(each(RAGGED, batch_for(loss).astype("float32")))
    assert values.shape == (10,)
    assert values.mean() == pytest.approx(value(loss, RAGGED, batch_for(loss)), rel=1e-5)


@pytest.mark.parametrize("loss", [loss for loss, _, _ in CASES], ids=NAMES)
def test_a_loss_survives_its_config(loss):
    again: Any = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss) and again.get_config() == loss.get_config()


# --- triplet ---


def test_batch_hard_takes_the_farthest_positive_and_the_nearest_negative():
    """0 and 1 against 3 and 7: gaps d(a,p) - d(a,n) are 1 - 3, 1 - 2, 4 - 2 and 4 - 6."""
    x, labels = line(0, 1, 3, 7), [0, 0, 1, 1]
    assert value(TripletLoss(0.3), labels, x) == pytest.approx((0 + 0 + 2.3 + 0) / 4)
    assert value(TripletLoss(2.5), labels, x) == pytest.approx((0.5 + 1.5 + 4.5 + 0.5) / 4)
    assert value(TripletLoss(None), labels, x) == pytest.approx((0.126928 + 0.313262 + 2.126928 + 0.126928) / 4, abs=1e-6)


def test_triplet_loss_is_zero_when_identities_are_far_apart():
    assert value(TripletLoss(0.3), [0, 0, 1, 1], line(0, 0.1, 5, 5.1)) == 0


def test_the_squared_ranking_loss_is_half_of_it_on_squared_distances():
    """Anchor 0, positive 1, negative 1.5, margin 2: (2 + 1 - 2.25) / 2; and from 1, where the negative is at 0.5: (2 + 1 - 0.25) / 2."""
    both_anchors = (0.375 + 1.375) / 2
    assert value(TripletLoss(2.0, squared=True), [0, 0, 1], line(0, 1, 1.5)) / 2 == pytest.approx(both_anchors)


def test_semi_hard_takes_the_nearest_negative_behind_the_positive_or_else_the_farthest():
    """0 and 2 against 1 and 5, margin 1. From 0: 2 - 5 + 1; from 2: 2 - 3 + 1; from 1 no negative is farther than 4, the farthest is at 1:
    4 - 1 + 1; from 5: 4 - 5 + 1."""
    assert value(TripletLoss(1.0, "semi-hard"), [0, 0, 1, 1], line(0, 2, 1, 5)) == pytest.approx((0 + 0 + 4 + 0) / 4)


def test_weighted_triplets_weigh_far_positives_and_near_negatives_more():
    """0, 1, 2 are one person, 4 and 5 two others. Of two distances one apart the weights are 1/(1+e) and e/(1+e)."""
    less = 1 / (1 + math.e)
    gaps = [(2 - less) - (4 + less), 1 - (3 + less), (2 - less) - (2 + less)]
    expected = sum(softplus(gap) for gap in gaps) / 3
    assert value(TripletLoss(None, "weighted"), [0, 0, 0, 1, 2], line(0, 1, 2, 4, 5)) == pytest.approx(expected, abs=1e-6)


def test_of_equally_hard_triplets_each_gets_its_share_of_the_gradient():
    """From 0 both negatives are at 1: the gradient on them is shared, not given to the first."""
    slope = gradient(TripletLoss(5.0), [0, 0, 1, 2], [[0.0, 0.0], [0.0, 3.0], [1.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_allclose(slope[2, 0], -slope[3, 0], rtol=1e-5)
    assert slope[2, 0] != 0


def test_the_distance_of_near_pairs_far_from_the_origin_keeps_its_digits():
    """At 1000 the squares of float32 are 0.06 apart: without taking the mean away, 0.01 would be lost."""
    labels, x = [0, 0, 1, 1], 1000 + line(0, 0.01, 0.5, 0.52)
    exact = x.astype("float64")
    expected = triplet_loop(np.array(labels), exact, 1.0, "batch-hard")
    assert value(TripletLoss(1.0), labels, x) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: TripletLoss(-0.1), "the margin must not be negative; None is the soft margin. Received: -0.1"),
        (lambda: TripletLoss(mining="hard"), "mining is one of batch-hard, semi-hard, weighted. Received: 'hard'"),
        (lambda: ContrastiveLoss("square"), "the form of a contrastive loss is one of squared, linear. Received: 'square'"),
        (lambda: ContrastiveLoss(margin=0), "the margin of a contrastive loss must be positive. Received: 0"),
        (lambda: CircleLoss(margin=1.0), r"margin in \[0, 1\) and a positive scale. Received: margin=1.0, scale=128.0"),
        (lambda: InstanceLoss(0), "the scale of instance loss must be positive. Received: 0"),
        (lambda: WeightedSum([]), r"at least one \(loss, weight\). Received: \[\]"),
    ],
)
def test_the_impossible_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


# --- contrastive and verification ---


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"form": "squared"}, (0.5 * 0.6**2 + 0 + 0.5 * 0.3**2) / 3),
        ({"form": "linear"}, (0.6 + 0 + 0.6) / 3),
        ({"form": "linear", "balanced": True}, 0.6 + (0 + 0.6) / 2),
    ],
)
def test_contrastive_loss_in_both_forms(options, expected):
    """0 and 0.6 are one person, 1 another: distances 0.6, and 1 and 0.4; margins 0.7 and 1."""
    assert value(ContrastiveLoss(**options, normalise=False), [0, 0, 1], line(0, 0.6, 1)) == pytest.approx(expected, rel=1e-5)


def test_the_squared_form_is_half_of_the_form_without_the_half():
    """(1 - same) max(0, m - d)^2 + same d^2 of the two pairs at distances 0.5 (same) and 1.2 (different, and 0.7), margin 1.5."""
    x, labels = line(0, 0.5, 1.2), [0, 0, 1]
    full = (0.5**2 + (1.5 - 1.2) ** 2 + (1.5 - 0.7) ** 2) / 3
    assert 2 * value(ContrastiveLoss(margin=1.5, normalise=False), labels, x) == pytest.approx(full, rel=1e-5)


def test_verification_loss_of_probabilities_known_by_hand():
    """p(same) = 0.75 of the pair that is, 0.5 of the two that are not."""
    logits = np.log([[1.0, 3.0, 1.0], [3.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    assert value(VerificationLoss(), [4, 4, 9], logits) == pytest.approx((-math.log(0.75) + 2 * math.log(2)) / 3)
    assert value(VerificationLoss(balanced=True), [4, 4, 9], logits) == pytest.approx(-math.log(0.75) + math.log(2))


# --- circle, instance, sum ---


def test_circle_loss_by_hand():
    """(1,0) and (0.6,0.8) are one person, (0,1) another: s_p = 0.6 for both anchors, s_n = 0 and 0.8; margin 0.25, scale 1."""
    far = -0.65 * (0.6 - 0.75)
    expected = (softplus(far + 0.25 * (0 - 0.25)) + softplus(far + 1.05 * (0.8 - 0.25))) / 2
    assert value(CircleLoss(0.25, 1.0), [0, 0, 1], [[2, 0], [0.6, 0.8], [0, 3]]) == pytest.approx(expected, rel=1e-5)


def test_instance_loss_by_hand():
    """Two people at a right angle, one of them twice: each finds itself with e / (e + 1)."""
    assert value(InstanceLoss(1.0), [5, 5, 8], [[1, 1], [1, -1], [0, 4]]) == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-5)


def test_unlabelled_instances_are_each_a_class():
    x = numbers(4, 3)
    assert value(InstanceLoss(), [-1, -1, -1, -1], x) == pytest.approx(value(InstanceLoss(), [0, 1, 2, 3], x))


def test_a_weighted_sum_adds_up_and_survives_its_config():
    loss = WeightedSum([(TripletLoss(None), 1), (CircleLoss(scale=16.0), 0.25)])
    x = numbers(10, 4)
    expected = value(TripletLoss(None), RAGGED, x) + 0.25 * value(CircleLoss(scale=16.0), RAGGED, x)
    assert value(loss, RAGGED, x) == pytest.approx(expected, rel=1e-5)
    again: Any = keras.losses.deserialize(json.loads(json.dumps(keras.losses.serialize(loss))))
    assert value(again, RAGGED, x) == value(loss, RAGGED, x)


def test_labels_of_a_column_are_labels():
    assert value(TripletLoss(), RAGGED[:, None], numbers(10, 4)) == value(TripletLoss(), RAGGED, numbers(10, 4))


def test_triplet_loss_separates_people_in_training():
    """Two clouds that overlap: after training every picture has its own kind as the nearest neighbour."""
    keras.utils.set_random_seed(0)
    labels = np.arange(40) % 2
    x = (numbers(40, 8) + 0.7 * np.where(labels, 1, -1)[:, None] * np.eye(8)[0]).astype("float32")
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(4)])
    model.compile(keras.optimizers.Adam(0.03), TripletLoss())
    losses = model.fit(x, labels, batch_size=40, epochs=60, verbose=0).history["loss"]
    assert losses[-1] < 0.1 * losses[0]
    found = np.asarray(model(x))
    distance = np.linalg.norm(found[:, None] - found[None], axis=2) + 1e9 * np.eye(40)
    assert (labels[distance.argmin(axis=1)] == labels).all()


ON_JAX = """
import keras, numpy as np
import kerasdl.losses
configs, labels, batches = question
losses = [keras.losses.deserialize(config) for config in configs]
answer = [float(f(np.array(labels), np.array(x, "float32"))) for f, x in zip(losses, batches)]
"""


def test_the_losses_on_jax_are_those_on_tensorflow(on_jax):
    losses = [loss for loss, _, _ in CASES]
    batches = [batch_for(loss) for loss in losses]
    values = on_jax(ON_JAX, [[keras.losses.serialize(loss) for loss in losses], RAGGED.tolist(), [x.tolist() for x in batches]])
    np.testing.assert_allclose(values, [value(f, RAGGED, x) for f, x in zip(losses, batches, strict=True)], rtol=1e-4)
