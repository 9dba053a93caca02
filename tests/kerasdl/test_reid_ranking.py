"""CMC, mAP and mINP: rankings worked by hand, and the rules of Market-1501 written again as plain loops."""

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerasdl.metrics import distance_blocks, nearest, reid_evaluate, reid_ranking
from kerasdl.metrics.ranking import plain_ap, trapezoid_ap


def ranking(distance, query_pids, gallery_pids, query_camids=None, gallery_camids=None, **options):
    """Every gallery picture from camera 2, every query from camera 1, unless told."""
    query_camids = [1] * len(query_pids) if query_camids is None else query_camids
    gallery_camids = [2] * len(gallery_pids) if gallery_camids is None else gallery_camids
    return reid_ranking(np.array(distance, float), query_pids, gallery_pids, query_camids, gallery_camids, **options)


def test_a_ranking_worked_by_hand():
    """Hits at ranks 1, 3 and 6: AP is the .722222 of course vector T38, INP 3 / 6."""
    found = ranking([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]], [7], [7, 8, 7, 8, 9, 7], max_rank=7)
    assert found["mAP"] == pytest.approx((1 + 2 / 3 + 3 / 6) / 3) == pytest.approx(0.722222, abs=1e-6)
    assert found["mINP"] == pytest.approx(0.5)
    np.testing.assert_array_equal(found["cmc"], [1] * 7)
    assert (found["valid_queries"], found["protocol"], found["average_precision"]) == (1, "cross-camera", "plain")


def test_cmc_is_the_share_of_queries_with_a_match_so_far():
    """First matches at ranks 1, 3 and 2, in the order of distance, not of the gallery."""
    found = ranking([[0.1, 0.2, 0.3], [0.9, 0.5, 0.1], [0.1, 0.3, 0.2]], [1, 1, 3], [1, 2, 3], max_rank=3)
    np.testing.assert_allclose(found["cmc"], [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(found["query_ap"], [1, 1 / 3, 1 / 2])
    assert found["mAP"] == pytest.approx(11 / 18) == found["mINP"]


def test_cmc_is_padded_with_its_last_value():
    found = ranking([[0.2, 0.1]], [1], [1, 2], max_rank=5)
    np.testing.assert_array_equal(found["cmc"], [0, 1, 1, 1, 1])
    assert len(ranking([[0.2, 0.1]], [1], [1, 2])["cmc"]) == 50


def test_same_person_same_camera_and_junk_are_as_if_they_were_not_there():
    """By distance: own camera, junk, distractor, another person in the own camera, match: the match is third of three."""
    found = ranking([[1, 2, 3, 4, 5]], [1], [1, -1, 0, 2, 1], [6], [6, 6, 6, 6, 2])
    assert found["mAP"] == pytest.approx(1 / 3)
    np.testing.assert_array_equal(found["cmc"][:3], [0, 0, 1])
    shorter = ranking([[3, 4, 5]], [1], [0, 2, 1], [6], [6, 6, 2])
    assert shorter["mAP"] == found["mAP"]


def test_equal_distances_keep_the_order_of_the_gallery():
    pids = [2] * 40 + [1] + [2] * 40
    assert ranking(np.zeros((1, 81)), [1], pids)["mAP"] == pytest.approx(1 / 41)


def test_a_query_without_a_match_is_not_counted():
    found = ranking([[0.1, 0.2], [0.1, 0.2]], [1, 9], [1, 2])
    assert (found["valid_queries"], found["queries"], found["mAP"]) == (1, 2, 1.0)
    np.testing.assert_array_equal(found["query_ap"], [1, np.nan])


def test_exclude_self_ignores_the_own_picture_and_no_other_of_the_own_camera():
    """A set of two people searched in itself: without the rule each finds itself first."""
    pids, distance = [1, 1, 2, 2], [[0, 2, 1, 3], [2, 0, 1, 3], [1, 3, 0, 2], [1, 3, 2, 0]]
    found = reid_ranking(distance, pids, pids, protocol="exclude-self")
    np.testing.assert_allclose(found["query_ap"], [1 / 2, 1 / 2, 1 / 2, 1 / 2])
    assert reid_ranking(distance, pids, pids, protocol="all")["cmc"][0] == 1


def test_trapezoid_counts_the_precision_before_a_hit_too():
    """Hits at ranks 1, 3 and 6: (1 + 1) / 2, (1/2 + 2/3) / 2, (2/5 + 3/6) / 2."""
    hits = np.array([0, 2, 5])
    assert trapezoid_ap(hits) == pytest.approx((1 + 7 / 12 + 9 / 20) / 3)
    assert trapezoid_ap(hits) < plain_ap(hits)
    assert trapezoid_ap(np.array([0, 1, 2])) == 1
    assert trapezoid_ap(np.array([1])) == pytest.approx((0 + 1 / 2) / 2)
    found = ranking([[1, 2, 3, 4, 5, 6]], [7], [7, 8, 7, 8, 9, 7], average_precision="trapezoid")
    assert found["mAP"] == pytest.approx(trapezoid_ap(hits)) and found["average_precision"] == "trapezoid"


def by_loops(distance, query_pids, gallery_pids, query_camids, gallery_camids, max_rank):
    """The rules as sentences: drop junk, sort, drop what the protocol ignores, walk down the list."""
    precisions, penalties, curves = [], [], []
    for q, row in enumerate(distance):
        answers = []
        for _, g in sorted((d, g) for g, d in enumerate(row) if gallery_pids[g] != -1):
            if gallery_pids[g] == query_pids[q] and gallery_camids[g] == query_camids[q]:
                continue
            answers.append(gallery_pids[g] == query_pids[q])
        if True in answers:
            hits = [rank for rank, answer in enumerate(answers, 1) if answer]
            precisions.append(sum(n / rank for n, rank in enumerate(hits, 1)) / len(hits))
            penalties.append(len(hits) / hits[-1])
            curves.append([hits[0] <= k for k in range(1, max_rank + 1)])
    return np.mean(precisions), np.mean(penalties), np.mean(curves, axis=0), len(curves)


@pytest.mark.parametrize("seed", range(5))
def test_ranking_equals_plain_loops(seed):
    random = np.random.default_rng(seed)
    query_pids, gallery_pids = random.integers(1, 8, 30), random.integers(-1, 8, 70)
    query_camids, gallery_camids = random.integers(1, 4, 30), random.integers(1, 4, 70)
    distance = random.integers(0, 12, (30, 70)) / 10  # many ties
    found = reid_ranking(distance, query_pids, gallery_pids, query_camids, gallery_camids, max_rank=20)
    mean, inverse, cmc, valid = by_loops(distance, query_pids, gallery_pids, query_camids, gallery_camids, 20)
    assert (found["mAP"], found["mINP"], found["valid_queries"]) == (pytest.approx(mean), pytest.approx(inverse), valid)
    np.testing.assert_allclose(found["cmc"], cmc)


# --- what is refused ---


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"protocol": "market"}, "protocol must be one of cross-camera, exclude-self, all. Received: 'market'"),
        ({"average_precision": "area"}, "average_precision must be one of plain, trapezoid"),
        ({"max_rank": 0}, "max_rank must be at least 1"),
        ({"query_pids": [0]}, "a query's pid must be 1 or more: 0 is for distractors, -1 for junk"),
        ({"query_pids": [1.0]}, "query_pids must be a row of integers"),
        ({"query_camids": [1, 2]}, "query_camids must be a row of integers of length 1"),
        ({"query_camids": None}, "needs query_camids and gallery_camids; without cameras use 'exclude-self' or 'all'"),
        ({"distance": np.zeros((2, 1))}, r"distance must be \(queries, gallery\) = \(1, 2\)"),
        ({"distance": [[0, np.nan]]}, "NaN in the row of query 0"),
        ({"protocol": "exclude-self"}, "the gallery must be the queries in the same order"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(change, sentence):
    arguments = {"distance": [[1, 2]], "query_pids": [1], "gallery_pids": [1, 2], "query_camids": [1], "gallery_camids": [2, 2]}
    assert reid_ranking(**arguments)["mAP"] == 1
    with pytest.raises(ValueError, match=sentence):
        reid_ranking(**{**arguments, **change})


def test_one_camera_for_everything_is_explained():
    with pytest.raises(
        ValueError, match="usually one camera id was given to every picture.*'exclude-self'.*or 'all'.*query camids \\[0\\]"
    ):
        ranking([[1, 2]], [1], [1, 2], [0], [0, 0])


def test_people_who_are_not_in_the_gallery_are_named():
    with pytest.raises(ValueError, match="No query pid is among the gallery pids. Received: \\[7\\] and \\[1, 2\\]"):
        ranking([[1, 2]], [7], [1, 2])


def test_a_person_with_one_picture_is_no_match_of_itself():
    with pytest.raises(ValueError, match="a picture is no match of itself"):
        reid_ranking(np.zeros((2, 2)), [1, 2], [1, 2], protocol="exclude-self")


# --- from embeddings ---


def people(queries, gallery, size=16, seed=0, identities=12) -> Any:
    """Embeddings around the centres of their people, pids with junk and distractors, and cameras, as arguments of reid_evaluate."""
    random = np.random.default_rng(seed)
    pids = random.integers(1, identities + 1, queries), random.integers(-1, identities + 1, gallery)
    centres = random.normal(size=(identities + 2, size))
    embeddings = [(centres[p] + random.normal(size=(len(p), size))).astype("float32") for p in pids]
    return *embeddings, *pids, random.integers(1, 4, queries), random.integers(1, 4, gallery)


def dense(query, gallery, metric):
    """(Q, G) in float64."""
    query, gallery = query.astype("float64"), gallery.astype("float64")
    if metric == "euclidean":
        return np.linalg.norm(query[:, None] - gallery[None], axis=2)
    return 1 - (query / np.linalg.norm(query, axis=1, keepdims=True)) @ (gallery / np.linalg.norm(gallery, axis=1, keepdims=True)).T


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_evaluation_in_blocks_equals_the_ranking_of_the_matrix(metric):
    query, gallery, *who = people(40, 90)
    found = reid_evaluate(query, gallery, *who, metric=metric)
    expected = reid_ranking(dense(query, gallery, metric), *who)
    np.testing.assert_allclose(found["query_ap"], expected["query_ap"])
    np.testing.assert_array_equal(found["cmc"], expected["cmc"])
    assert (found["mAP"], found["mINP"], found["metric"], found["rerank"]) == (expected["mAP"], expected["mINP"], metric, False)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_blocks_are_the_distances_in_order(metric):
    query, gallery = people(23, 10)[:2]
    blocks = list(distance_blocks(query, gallery, metric, block=45))
    assert [start for start, _ in blocks] == [0, 4, 8, 12, 16, 20]
    np.testing.assert_allclose(np.concatenate([rows for _, rows in blocks]), dense(query, gallery, metric), atol=2e-6)


def test_euclidean_distance_far_from_zero_keeps_its_digits():
    """Around 1000 the squares are 1e6 times the squared distances: without the move to the mean float32 would lose them all."""
    query, gallery = (points + 1000 for points in people(5, 50)[:2])
    (_, rows), *_ = distance_blocks(query, gallery, "euclidean")
    np.testing.assert_allclose(rows, dense(query, gallery, "euclidean"), rtol=1e-3)


def test_an_embedding_of_zeros_is_as_far_as_a_right_angle():
    (_, rows), *_ = distance_blocks(np.zeros((1, 2)), np.array([[1, 0], [-2, 3]]))
    np.testing.assert_array_equal(rows, [[1, 1]])


def test_nearest_are_sorted_and_copies_keep_their_order():
    gallery = np.array([[0, 1], [1, 0], [1, 0], [-1, 0], [1, 0], [1, 1]], "float32")
    indices, distances = nearest(np.array([[3, 0]], "float32"), gallery, 4)
    np.testing.assert_array_equal(indices, [[1, 2, 4, 5]])
    np.testing.assert_allclose(distances, [[0, 0, 0, 1 - np.sqrt(0.5)]], atol=1e-6)
    with pytest.raises(ValueError, match="count must be from 1 to the gallery's size. Received: count=7, gallery of 6"):
        nearest(gallery, gallery, 7)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        (np.zeros((2, 3, 1)), r"query embeddings must be numbers of shape \(N, D\), not empty. Received: float64 of shape \(2, 3, 1\)"),
        (np.full((2, 3), np.nan), "query embeddings must be finite. Received: 2 rows that are not"),
        (np.zeros((2, 4)), r"must have one size. Received: \(2, 4\) and \(5, 3\)"),
        (np.zeros((1, 3)), r"an embedding for each pid, \(2, 5\). Received: \(1, 5\)"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(query, sentence):
    with pytest.raises(ValueError, match=sentence):
        reid_evaluate(query, np.ones((5, 3)), [1, 2], [1, 2, 1, 2, 1], protocol="all")


def test_an_unknown_metric_is_refused_before_the_first_block():
    with pytest.raises(ValueError, match="metric must be one of cosine, euclidean. Received: 'dot'"):
        distance_blocks(np.ones((1, 2)), np.ones((1, 2)), "dot")


def test_evaluation_never_holds_the_matrix():
    """The distances of 1,500 x 20,000 are 120 MB; numpy tells tracemalloc what it takes."""
    arguments = people(1500, 20_000, size=8, identities=3000)
    tracemalloc.start()
    try:
        reid_evaluate(*arguments)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 80e6, "two blocks of 32 MB: the next is made while the last still is there"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of a process as Linux writes it")
def test_twenty_thousand_by_twenty_thousand_takes_at_most_300_mb_over_its_inputs():
    code = """
import re, numpy as np
from pathlib import Path
from kerasdl.metrics import reid_evaluate

def memory(line):  # the kernel's VmHWM is this program's own, while ru_maxrss begins with that of the program that started it
    return int(re.search(line + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

random = np.random.default_rng(0)
pids, camids = np.arange(20_000) // 4 + 1, np.arange(20_000) % 4
centres = random.standard_normal((5001, 512), np.float32)
embeddings = [random.standard_normal((20_000, 512), np.float32) + centres[pids] for _ in range(2)]
before = memory("VmRSS")
reid_evaluate(*embeddings, pids, pids, camids, camids)
print(memory("VmHWM") - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert 32e6 < int(done.stdout) < 300e6, "more than one block of distances, less than a fifth of the matrix"
