"""Re-ranking without matrices equals the published algorithm with them; query expansion equals its sum."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from kerasdl.metrics import query_expansion, reid_evaluate, rerank
from kerasdl.metrics.reranking import Sparse, mean_of_rows, reciprocal, rerank_blocks


def people(identities=30, each=8, size=8, noise=0.9, seed=0) -> Any:
    """(Q, D), (G, D), pids and cameras: two queries of each person, the rest in the gallery."""
    random = np.random.default_rng(seed)
    pids = np.repeat(np.arange(1, identities + 1), each)
    embeddings = (random.normal(size=(identities + 1, size))[pids] + noise * random.normal(size=(len(pids), size))).astype("float32")
    camids = np.tile(np.arange(each), identities)
    query = camids < 2
    return embeddings[query], embeddings[~query], pids[query], pids[~query], camids[query], camids[~query]


def published(query, gallery, k1, k2, weight, metric):
    """Zhong et al. 2017 step by step in float64, every matrix whole."""
    everyone = np.concatenate([query, gallery]).astype("float64")
    if metric == "cosine":
        everyone /= np.linalg.norm(everyone, axis=1, keepdims=True)
    d = ((everyone[:, None] - everyone[None]) ** 2).sum(axis=2)
    d = (d / d.max(axis=0)).T
    ranks = d.argsort(axis=1)

    def mutual(i, k):
        forward = ranks[i, : k + 1]
        return {int(j) for j in forward if i in ranks[j, : k + 1]}

    v = np.zeros_like(d)
    for i in range(len(d)):
        near = mutual(i, k1)
        grown = set(near)
        for j in near:
            theirs = mutual(j, int(np.around(k1 / 2)))
            if len(theirs & near) > 2 / 3 * len(theirs):
                grown |= theirs
        members = sorted(grown)
        v[i, members] = np.exp(-d[i, members]) / np.exp(-d[i, members]).sum()
    v = np.stack([v[ranks[i, :k2]].mean(axis=0) for i in range(len(d))])
    smaller = np.minimum(v[: len(query), None], v[None, len(query) :]).sum(axis=2)
    return (1 - weight) * (1 - smaller / (2 - smaller)) + weight * d[: len(query), len(query) :]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(("k1", "k2", "weight"), [(20, 6, 0.3), (5, 1, 0.0), (7, 8, 0.5), (1, 2, 1.0)])
def test_sparse_re_ranking_equals_the_published_algorithm(metric, k1, k2, weight):
    query, gallery = people()[:2]
    found = rerank(query, gallery, k1, k2, weight, metric)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, published(query, gallery, k1, k2, weight, metric), atol=2e-5)


def test_more_pictures_than_are_treated_at_a_time():
    query, gallery = people(identities=60, each=10)[:2]
    np.testing.assert_allclose(rerank(query, gallery), published(query, gallery, 20, 6, 0.3, "cosine"), atol=2e-5)


def test_a_neighbour_who_has_nearer_friends_of_its_own_falls_behind():
    """On the circle, k1 = 2: the stranger at -14 degrees is the query's nearest, but the query is not among its two nearest."""
    angles = np.radians([0, 15, 25, -14, -17, -19])
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    query, gallery = points[:1], points[1:]
    friend, _, stranger, *_ = 1 - (query @ gallery.T)[0]
    assert stranger < friend
    friend, _, stranger, *_ = rerank(query, gallery, k1=2, k2=1, weight=0.0)[0]
    assert friend < stranger == 1, "no reciprocal neighbour in common"


def test_the_evaluation_re_ranks_and_gains():
    arguments = people(noise=0.8)
    plain, again = reid_evaluate(*arguments), reid_evaluate(*arguments, rerank=True)
    assert again["rerank"] and again["mAP"] > plain["mAP"] + 0.05


def test_copies_do_not_take_a_picture_from_its_own_neighbours():
    points = np.repeat(np.eye(3, dtype="float32"), 9, axis=0)
    found = rerank(points[::9], points, k1=3, k2=2)
    assert np.isfinite(found).all()
    assert all(row[9 * i : 9 * i + 9].max() < row[np.arange(27) // 9 != i].min() for i, row in enumerate(found))


def test_re_ranking_never_holds_a_matrix_of_all_pairs():
    """Of 10,000 pictures that is 400 MB; the published program has several."""
    query, gallery = people(identities=2500, each=4)[:2]
    tracemalloc.start()
    try:
        for _, block in rerank_blocks(query[:100], np.concatenate([query[100:], gallery])):
            assert block.shape == (100, 9900)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200e6


@pytest.mark.parametrize("method", [rerank, query_expansion])
def test_embeddings_of_two_sizes_are_refused(method):
    with pytest.raises(ValueError, match=r"must have one size. Received: \(30, 4\) and \(30, 5\)"):
        method(np.ones((30, 4)), np.ones((30, 5)))


def test_neighbours_are_reciprocal_where_each_names_the_other():
    ranks = np.array([[0, 1], [1, 2], [2, 1], [3, 0]])
    np.testing.assert_array_equal(reciprocal(ranks), [[True, False], [True, True], [True, True], [True, False]])


def test_the_mean_of_sparse_rows_is_that_of_the_dense_ones():
    """Rows [1 0 2], [0 0 0], [0 4 6]; the means of rows 0 and 2, 1 and 1, 2 and 0."""
    rows = Sparse(np.array([0, 2, 2, 4]), np.array([0, 2, 1, 2]), np.array([1.0, 2.0, 4.0, 6.0]))
    mean = mean_of_rows(rows, np.array([[0, 2], [1, 1], [2, 0]]))
    np.testing.assert_array_equal(mean.starts, [0, 3, 3, 6])
    np.testing.assert_array_equal(mean.columns, [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(mean.values, [0.5, 2, 4, 0.5, 2, 4])


@pytest.mark.parametrize("numbers", [{"k1": 0}, {"k1": 240}, {"k2": 0}, {"k1": 4, "k2": 6}, {"weight": 1.1}])
def test_numbers_that_cannot_be_served_are_refused(numbers):
    query, gallery = people()[:2]
    with pytest.raises(ValueError, match="re-ranking needs .* Received: k1=.*, 240 pictures"):
        rerank(query, gallery, **numbers)


def test_query_expansion_worked_by_hand():
    """Cosines of the query (1, 0): itself 1, (.8, .6) .8, (0, 1) 0. With k 2 and alpha 2: (1, 0) + .64 (.8, .6) = (1.512, .384)."""
    query, gallery = query_expansion([[2.0, 0.0]], [[0.8, 0.6], [0.0, 1.0]], k=2, alpha=2)
    np.testing.assert_allclose(query, [np.array([1.512, 0.384]) / np.hypot(1.512, 0.384)], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(gallery, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(("k", "alpha"), [(1, 3.0), (5, 3.0), (5, 0.0), (9, 0.5)])
def test_query_expansion_equals_its_sum(k, alpha):
    query, gallery = people()[:2]
    everyone = np.concatenate([query, gallery]).astype("float64")
    everyone /= np.linalg.norm(everyone, axis=1, keepdims=True)
    expanded = []
    for one in everyone:
        similar = everyone @ one
        expanded.append(sum(max(similar[j], 0) ** alpha * everyone[j] for j in np.argsort(-similar)[:k]))
    expanded /= np.linalg.norm(expanded, axis=1, keepdims=True)
    np.testing.assert_allclose(np.concatenate(query_expansion(query, gallery, k, alpha)), expanded, atol=1e-5)


@pytest.mark.parametrize("numbers", [{"k": 0}, {"k": 241}, {"alpha": -1}])
def test_query_expansion_refuses_what_it_cannot_do(numbers):
    query, gallery = people()[:2]
    with pytest.raises(ValueError, match="query expansion needs k from 1 to 240, alpha of 0 or more"):
        query_expansion(query, gallery, **numbers)
