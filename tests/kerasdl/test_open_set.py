"""Thresholds: ROC and operating points worked by hand, and equality with pairs counted one by one and with scikit-learn."""

from typing import Any

import numpy as np
import pytest

from kerasdl.metrics import accept_rates, calibrate, identification, reid_open_set, roc, verification_pairs, wilson_interval
from kerasdl.metrics.open_set import Pairs, clustered_interval, strictest


def pairs_of(genuine, impostor) -> Pairs:
    """Every pair of a person of its own."""
    genuine, impostor = (np.sort(np.array(kind, "float32")) for kind in (genuine, impostor))
    return Pairs(genuine, impostor, np.arange(len(genuine)), np.arange(len(impostor)), len(impostor))


def people(identities=40, each=6, noise=0.7, seed=0) -> Any:
    random = np.random.default_rng(seed)
    pids = np.repeat(np.arange(1, identities + 1), each)
    embeddings = (random.normal(size=(identities + 1, 8))[pids] + noise * random.normal(size=(len(pids), 8))).astype("float32")
    camids = np.tile(np.arange(each) % 3, identities)
    query = np.arange(len(pids)) % each < 2
    return embeddings[query], embeddings[~query], pids[query], pids[~query], camids[query], camids[~query]


def test_roc_worked_by_hand():
    """One person: .1 .3; two: .2 .3 .4 .5. A threshold of .3 takes all of the first and half of the second."""
    curve = roc([0.3, 0.1], [0.2, 0.3, 0.5, 0.4])
    np.testing.assert_allclose(curve.threshold, [-np.inf, 0.1, 0.2, 0.3, 0.4, 0.5])
    np.testing.assert_allclose(curve.tpr, [0, 0.5, 0.5, 1, 1, 1])
    np.testing.assert_allclose(curve.far, [0, 0, 0.25, 0.5, 0.75, 1])
    assert curve.auc == pytest.approx((4 + 2.5) / 8)  # .1 is below all four, .3 below two and beside one


def test_roc_equals_that_of_scikit_learn():
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(0)
    genuine, impostor = random.integers(0, 20, 200), random.integers(5, 40, 500)
    truth = np.repeat([1, 0], [200, 500])
    assert roc(genuine, impostor).auc == pytest.approx(roc_auc_score(truth, -np.concatenate([genuine, impostor])))


def test_the_threshold_lies_midway_below_the_first_impostor_too_many():
    assert strictest(np.arange(10.0), 0.3) == 2.5  # 0 1 2 are within it
    assert strictest(np.arange(300.0), 0.01) == 2.5  # 0.01 * 300 is 3 in spite of rounding
    assert strictest(np.array([1.0, 2, 2, 2, 5]), 0.4) == 1.5, "all three 2s would be three fifths"
    assert strictest(np.ones(5), 0.4) < 1


def test_calibration_meets_its_far_and_says_what_it_takes():
    point = calibrate(pairs_of([0.05, 0.15, 0.5, 0.9], np.arange(100) / 100), far=0.1)
    assert point["threshold"] == pytest.approx(0.095)
    assert (point["far"], point["tpr"], point["target_far"]) == (0.1, 0.25, 0.1)
    assert point["far_interval"] == pytest.approx(wilson_interval(0.1, 100), abs=0.01)


def test_a_threshold_is_checked_on_other_pairs():
    mild = pairs_of([0.1, 0.2], np.linspace(0.5, 1, 50))
    found = accept_rates(mild, calibrate(pairs_of([0.1], np.arange(100) / 100), 0.6)["threshold"])
    assert found["far"] == pytest.approx(10 / 50) and found["tpr"] == 1


def test_neighbouring_floats_are_told_apart():
    """The threshold between two distances one rounding step apart must not be rounded onto the upper."""
    low = np.float32(0.1)
    point = calibrate(pairs_of([0.0], [low, np.nextafter(low, np.float32(1)), 0.5, 0.6]), 0.25)
    assert point["far"] == 0.25


@pytest.mark.parametrize(
    ("far", "sentence"),
    [(1e-3, "FAR of 0.001 is seen in 1,000 wrong answers at least. Received: 100"), (0, "between 0 and 1"), (1, "between 0 and 1")],
)
def test_a_far_that_cannot_be_seen_is_refused(far, sentence):
    with pytest.raises(ValueError, match=sentence):
        calibrate(pairs_of([0.1], np.arange(100) / 100), far)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_pairs_equal_those_counted_one_by_one(metric):
    query, gallery, qp, gp, qc, gc = people(identities=6)
    gp[:3], gp[3:5] = -1, 0
    kinds: dict[bool, list[float]] = {True: [], False: []}
    for i, q in enumerate(query.astype("float64")):
        for j, g in enumerate(gallery.astype("float64")):
            if gp[j] != -1 and not (gp[j] == qp[i] and gc[j] == qc[i]):
                cosine = 1 - q @ g / np.linalg.norm(q) / np.linalg.norm(g)
                kinds[bool(gp[j] == qp[i])].append(cosine if metric == "cosine" else float(np.linalg.norm(q - g)))
    pairs = verification_pairs(query, gallery, qp, gp, qc, gc, metric=metric)
    np.testing.assert_allclose(pairs.genuine, np.sort(kinds[True]), atol=1e-5)
    np.testing.assert_allclose(pairs.impostor, np.sort(kinds[False]), atol=1e-5)
    assert pairs.seen == len(kinds[False])


def test_a_sample_of_pairs_has_the_rates_of_all():
    arguments = people(identities=100)
    everything, sample = verification_pairs(*arguments), verification_pairs(*arguments, most=20_000)
    assert everything.seen == len(everything.impostor) == sample.seen > 70_000
    assert 19_000 < len(sample.impostor) < 21_000 and len(sample.genuine) == len(everything.genuine)
    point = calibrate(sample, 0.01)
    assert accept_rates(everything, point["threshold"])["far"] == pytest.approx(0.01, abs=0.002)
    again = verification_pairs(*arguments, most=20_000)
    np.testing.assert_array_equal(again.impostor, sample.impostor)


def test_open_set_names_its_operating_points():
    found = reid_open_set(*people(), fars=(0.01, 0.1))
    strict, mild = found["operating_points"]
    assert found["tpr_at_far"] == {0.01: strict["tpr"], 0.1: mild["tpr"]}
    assert 0.5 < found["auc"] < 1 and strict["threshold"] < mild["threshold"] and strict["tpr"] < mild["tpr"]
    assert strict["far"] <= 0.01 and found["impostor_pairs"] == found["impostor_pairs_seen"]


def test_pairs_of_one_kind_only_are_refused():
    with pytest.raises(ValueError, match="there is no pair of two people. Received: query and gallery pids of 3 only"):
        verification_pairs(np.eye(2), np.eye(2), [3, 3], [3, -1], protocol="all")
    with pytest.raises(ValueError, match="no query has a match"):
        verification_pairs(np.eye(2), np.eye(2), [3, 3], [4, 4], protocol="all")
    with pytest.raises(ValueError, match="a ROC needs pairs of both kinds"):
        roc([], [0.1])


def test_identification_worked_by_hand():
    """On the circle: query 1 finds its own at 10 degrees, query 2 a stranger first, query 3 nobody near."""
    degrees = {"query": [0, 100, 200], "gallery": [10, 95, 120, 260, 300]}
    query, gallery = (np.stack([np.cos(np.radians(d)), np.sin(np.radians(d))], axis=1) for d in degrees.values())
    found = identification(query, gallery, [1, 2, 3], [1, 0, 2, 3, 0], protocol="all", threshold=1 - np.cos(np.radians(30)))
    assert (found["dir"], found["far"], found["valid_queries"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3), 3)
    wider = identification(query, gallery, [1, 2, 3], [1, 0, 2, 3, 0], protocol="all", threshold=1 - np.cos(np.radians(61)))
    assert (wider["dir"], wider["far"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_identification_is_harder_than_verification_at_the_same_far():
    """Among many strangers somebody is near: the threshold for unknown people must be stricter."""
    arguments = people()
    assert identification(*arguments, far=0.05)["threshold"] < reid_open_set(*arguments, fars=(0.05,))["operating_points"][0]["threshold"]
    assert identification(*arguments, far=0.05)["far"] <= 0.05


def test_identification_needs_other_people():
    with pytest.raises(ValueError, match="the gallery must hold other people than the queried. Received: only pid 5"):
        identification(np.eye(2), np.eye(2), [5, 5], [5, 5], protocol="all", threshold=0.5)


def test_intervals_count_people_where_pairs_of_one_person_go_together():
    """100 people of 50 pairs, all or none of a person's accepted: 100 trials, however many pairs."""
    accepted, pids = np.repeat(np.arange(100) < 20, 50), np.repeat(np.arange(100), 50)
    assert clustered_interval(accepted, pids) == pytest.approx(wilson_interval(0.2, 99))
    spread = np.tile(np.arange(50) < 10, 100)
    assert clustered_interval(spread, pids) == wilson_interval(0.2, 5000)
    assert clustered_interval(np.zeros(5000, bool), pids) == wilson_interval(0.0, 100)


def test_independent_pairs_have_wilsons_interval():
    random = np.random.default_rng(0)
    accepted, pids = random.random(20_000) < 0.1, np.repeat(np.arange(2000), 10)
    low, high = clustered_interval(accepted, pids)
    share = float(accepted.mean())
    assert high - low == pytest.approx(np.diff(wilson_interval(share, 20_000))[0], rel=0.1)
