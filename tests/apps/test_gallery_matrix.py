"""The search in memory against the definition, row by row, while the matrix grows, loses rows and is packed."""

from __future__ import annotations

import numpy as np
import pytest

from apps.gallery import matrix as module
from apps.gallery.matrix import Filter, Found, Matrix, View, best_rows

SIZE = 8


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Every limit is met a few times by a few hundred rows."""
    monkeypatch.setattr(module, "FIRST_ROWS", 4)
    monkeypatch.setattr(module, "CHUNK", 7)
    monkeypatch.setattr(module, "MANY_GONE", 10)


def rows(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, SIZE))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def definition(kept: dict[int, tuple[int, np.ndarray, int]], query: np.ndarray, top: int, by: str) -> list[tuple[int, float]]:
    """(person, similarity), from pictures {number: (person, vector, time)}."""
    people: dict[int, list[np.ndarray]] = {}
    for _, (person, vector, _) in sorted(kept.items()):
        people.setdefault(person, []).append(vector.astype(np.float64))
    if by == "best":
        scored = [(person, max(float(vector @ query) for vector in own)) for person, own in people.items()]
    else:
        means = {person: np.mean(own, axis=0) for person, own in people.items()}
        scored = [(person, float(mean @ query / np.linalg.norm(mean))) for person, mean in means.items()]
    return sorted(scored, key=lambda one: -one[1])[:top]


def same(found: list[Found], expected: list[tuple[int, float]]) -> bool:
    people = [one.person for one in found] == [person for person, _ in expected]
    return people and np.allclose([one.similarity for one in found], [similarity for _, similarity in expected], atol=1e-5)


@pytest.mark.parametrize("by", ["best", "mean"])
def test_search_is_the_definition_through_growth_removal_and_packing(by):
    random, matrix, kept = np.random.default_rng(0), Matrix(SIZE), {}
    vectors, queries = rows(600, 1), rows(12, 2)
    for step in range(12):
        new = range(50 * step + 1, 50 * step + 51)
        people = random.integers(0, 40, 50).tolist()
        matrix.append(vectors[new.start - 1 : new.stop - 1], list(new), people, [None] * 50, list(new))
        kept |= {number: (person, vectors[number - 1], number) for number, person in zip(new, people, strict=True)}
        gone = random.choice(list(kept), 20, replace=False).tolist()
        matrix.remove([*gone, 10**9])
        for number in gone:
            del kept[number]
        assert len(matrix) == len(kept)
        for top in (1, 5, 100):
            assert same(matrix.view().search(queries[step], top, by, Filter()), definition(kept, queries[step], top, by))
        late = {number: row for number, row in kept.items() if number >= 25 * step}
        assert same(matrix.view().search(queries[step], 9, by, Filter(since=25 * step)), definition(late, queries[step], 9, by))


@pytest.mark.parametrize("by", ["best", "mean"])
def test_a_view_sees_what_was_there_when_it_was_taken(by):
    matrix = Matrix(SIZE)
    matrix.append(rows(3, 0), [1, 2, 3], [1, 1, 2], [None] * 3, [None] * 3)
    view = matrix.view()
    matrix.append(rows(50, 1), list(range(4, 54)), [1] * 50, [None] * 50, [None] * 50)
    query = rows(1, 5)[0]
    kept = {number + 1: ((1, 1, 2)[number], vector, 0) for number, vector in enumerate(rows(3, 0))}
    assert same(view.search(query, 5, by, Filter()), definition(kept, query, 5, by))


def test_removed_vectors_are_wiped_from_memory():
    matrix = Matrix(SIZE)
    matrix.append(rows(3, 0), [1, 2, 3], [1, 2, 3], [None] * 3, [None] * 3)
    matrix.remove([2])
    view = matrix.view()
    assert not view.vectors[1].any() and view.vectors[[0, 2]].any(axis=1).all()


def test_of_equal_scores_the_earlier_rows_are_taken():
    scores = np.array([0.5, 1, 0.5, 1, 0.5, -np.inf, 0.2], np.float32)
    for wanted, expected in ((1, [1]), (2, [1, 3]), (3, [1, 3, 0]), (4, [1, 3, 0, 2]), (7, [1, 3, 0, 2, 4, 6]), (99, [1, 3, 0, 2, 4, 6])):
        assert best_rows(scores, wanted).tolist() == expected


def test_many_pictures_of_one_person_do_not_hide_the_others():
    matrix = Matrix(SIZE)
    near = np.tile(np.eye(SIZE, dtype=np.float32)[0], (500, 1))
    matrix.append(near, list(range(1, 501)), [1] * 500, [None] * 500, [None] * 500)
    matrix.append(np.eye(SIZE, dtype=np.float32)[1:4], [501, 502, 503], [2, 3, 4], [None] * 3, [None] * 3)
    view: View = matrix.view()
    assert [one.person for one in view.search(near[0], 3, "best", Filter())] == [1, 2, 3]
