"""Better rankings from the neighbours of neighbours: k-reciprocal re-ranking (Zhong et al. 2017, arXiv:1701.08398) and query expansion.

The published programs hold several (Q + G)^2 matrices, 1.5 GB each for Market-1501. Here a picture keeps its K nearest and the few
weights that are not zero, with equal results. Both methods are transductive: a query's answer depends on the other queries, so their
figures belong beside the plain ones, never in their place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from kerasdl.metrics.distance import as_embeddings, distance_blocks, first, nearest, unit

ROWS = 256  # pictures at a time, where neighbours of neighbours of each are compared


class Sparse(NamedTuple):
    """Rows of a matrix without its zeros: row i has `columns` and `values` from starts[i] to starts[i + 1]."""

    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray


def rerank(
    query_embeddings: Any, gallery_embeddings: Any, k1: int = 20, k2: int = 6, weight: float = 0.3, metric: str = "cosine"
) -> np.ndarray:
    """Re-ranked distances (Q, G), float32 from 0 to 1: (1 - weight) Jaccard distance + weight * squared distance over its row's maximum.

    The Jaccard distance compares the sets of k-reciprocal neighbours (those who are among each other's k1 nearest), grown by those of
    their members and averaged over the k2 nearest. Squared Euclidean distance of vectors of length 1 is twice the cosine distance, so
    that "cosine" here is what BoT calls re-ranking with normalised features.

    Raises:
        ValueError: k1 or k2 that the number of pictures cannot serve, a weight outside [0, 1], or what `distance_blocks` refuses.
    """
    blocks = rerank_blocks(query_embeddings, gallery_embeddings, k1, k2, weight, metric)
    return np.concatenate([block for _, block in blocks])


def rerank_blocks(
    query_embeddings: Any, gallery_embeddings: Any, k1: int = 20, k2: int = 6, weight: float = 0.3, metric: str = "cosine"
) -> Iterator[tuple[int, np.ndarray]]:
    """`rerank` in blocks (number of the first query, (rows, G)), for galleries whose matrix is too large."""
    query, gallery = as_embeddings(query_embeddings, gallery_embeddings)
    total = len(query) + len(gallery)
    if not 1 <= k1 < total or not 1 <= k2 <= k1 + 1 or not 0 <= weight <= 1:
        raise ValueError(
            "re-ranking needs 1 <= k1 < pictures, 1 <= k2 <= k1 + 1 and a weight in [0, 1]. "
            f"Received: k1={k1}, k2={k2}, weight={weight}, {total} pictures"
        )
    if metric == "cosine":
        query, gallery = unit(query), unit(gallery)
    everyone = np.concatenate([query, gallery])
    ranks, farthest = neighbours(everyone, k1 + 1, metric)
    encoded = mean_of_rows(encode(everyone, ranks, farthest, k1, metric), ranks[:, :k2])
    by_column = _gallery_by_column(encoded, len(query))
    for start, block in distance_blocks(query, gallery, metric):
        block = squared(block, metric) / farthest[start : start + len(block), None]
        yield start, (1 - weight) * _jaccard(encoded, by_column, start, *block.shape) + weight * block


def squared(distance: np.ndarray, metric: str) -> np.ndarray:
    """Squared Euclidean distance up to a factor: of unit vectors that is the cosine distance."""
    return np.maximum(distance, 0) if metric == "cosine" else distance**2


def neighbours(embeddings: np.ndarray, count: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The nearest to each picture, itself among them, (N, count), and its largest squared distance (N,), never 0."""
    ranks, farthest = np.empty((len(embeddings), count), np.int32), np.empty(len(embeddings), np.float32)
    for start, block in distance_blocks(embeddings, embeddings, metric):
        farthest[start : start + len(block)] = squared(block.max(axis=1), metric)
        for i, row in enumerate(block, start):
            row[i] = -1  # neither rounding nor a copy may come before the picture itself
            ranks[i] = first(row, count)[0]
    return ranks, np.maximum(farthest, np.finfo(np.float32).tiny)


def encode(embeddings: np.ndarray, ranks: np.ndarray, farthest: np.ndarray, k1: int, metric: str) -> Sparse:
    """Each picture as weights exp(-d) on its expanded k-reciprocal set, of sum 1."""
    half = int(np.around(k1 / 2)) + 1
    mutual, mutual_half = reciprocal(ranks), reciprocal(ranks[:, :half])
    parts = []
    for start in range(0, len(ranks), ROWS):
        rows, columns = _expanded(ranks, mutual, mutual_half, start)
        distance = _pair_distances(embeddings, rows, columns, metric) / farthest[rows]
        weights = np.exp(-distance)
        parts.append((rows, columns, weights / np.bincount(rows - start, weights)[rows - start]))
    rows, columns, values = map(np.concatenate, zip(*parts, strict=True))
    return _sparse(rows, columns, values, len(ranks))


def reciprocal(ranks: np.ndarray) -> np.ndarray:
    """(N, k) True where the picture is among the k nearest of its own neighbour."""
    mutual = np.empty(ranks.shape, bool)
    for start in range(0, len(ranks), ROWS):
        block = ranks[start : start + ROWS]
        mutual[start : start + ROWS] = (ranks[block] == np.arange(start, start + len(block))[:, None, None]).any(axis=2)  # (rows, k, k)
    return mutual


def _expanded(ranks: np.ndarray, mutual: np.ndarray, mutual_half: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each member of R*(p, k1): sets of k1 / 2 join that lie by more than two thirds in R(p, k1)."""
    block = slice(start, start + ROWS)
    members = np.where(mutual[block], ranks[block], -1)  # (rows, k), -1 where it is no member
    half = mutual_half.shape[1]
    candidates = np.where(mutual_half[ranks[block]] & mutual[block][:, :, None], ranks[ranks[block]][:, :, :half], -1)  # (rows, k, half)
    inside = (candidates[..., None] == members[:, None, None]).any(axis=3) & (candidates >= 0)
    joins = 3 * inside.sum(axis=2) > 2 * (candidates >= 0).sum(axis=2)
    candidates = np.where(joins[:, :, None], candidates, -1).reshape(len(members), -1)
    all_of_them = np.sort(np.concatenate([members, candidates], axis=1), axis=1)
    new = (all_of_them >= 0) & (np.diff(all_of_them, axis=1, prepend=-1) != 0)
    rows, places = np.nonzero(new)
    return rows + start, all_of_them[rows, places]


def _pair_distances(embeddings: np.ndarray, left: np.ndarray, right: np.ndarray, metric: str) -> np.ndarray:
    """Squared distances of the pairs (P,), as `squared` of `distance_blocks` has them; cosine takes unit vectors."""
    if metric == "cosine":
        return np.maximum(1 - np.einsum("pd,pd->p", embeddings[left], embeddings[right]), 0)
    difference = embeddings[left] - embeddings[right]
    return np.einsum("pd,pd->p", difference, difference)


def _sparse(rows: np.ndarray, columns: np.ndarray, values: np.ndarray, count: int) -> Sparse:
    """From entries in the order of their rows."""
    return Sparse(np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=count))]), columns, values)


def _entries(matrix: Sparse, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places in `columns` and `values` of the wanted rows, one after the other, and which of the wanted each belongs to."""
    counts = matrix.starts[rows + 1] - matrix.starts[rows]
    owner = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    return matrix.starts[rows][owner] + within, owner


def mean_of_rows(matrix: Sparse, ranks: np.ndarray) -> Sparse:
    """Row i becomes the mean of the rows that ranks[i] (k2,) names: the paper's local query expansion."""
    count, k2 = ranks.shape
    places, owner = _entries(matrix, ranks.ravel())
    keys, which = np.unique(owner // k2 * count + matrix.columns[places], return_inverse=True)
    values = np.bincount(which, matrix.values[places]) / k2
    return _sparse(keys // count, keys % count, values, count)


def _jaccard(matrix: Sparse, gallery: Sparse, start: int, count: int, size: int) -> np.ndarray:
    """(count, size) from query `start`: 1 - s / (2 - s), s the sum of the smaller of two rows' weights, both of sum 1."""
    overlap = np.empty((count, size), np.float32)
    for row in range(count):
        mine = slice(*matrix.starts[start + row : start + row + 2])
        places, owner = _entries(gallery, matrix.columns[mine])
        smaller = np.minimum(matrix.values[mine][owner], gallery.values[places])
        overlap[row] = np.bincount(gallery.columns[places], smaller, minlength=size)
    return 1 - overlap / (2 - overlap)


def _gallery_by_column(matrix: Sparse, queries: int) -> Sparse:
    """For each picture, which gallery rows (from 0) have a weight on it."""
    begin = matrix.starts[queries]
    columns, values = matrix.columns[begin:], matrix.values[begin:]
    rows = np.repeat(np.arange(len(matrix.starts) - 1 - queries), np.diff(matrix.starts[queries:]))
    order = np.argsort(columns, kind="stable")
    return _sparse(columns[order], rows[order], values[order], len(matrix.starts) - 1)


def query_expansion(query_embeddings: Any, gallery_embeddings: Any, k: int = 5, alpha: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Queries (Q, D) and gallery (G, D) replaced by weighted means of their neighbours, float32 of length 1.

    Weighted average query expansion (Radenovic et al. 2017, arXiv:1711.02512; as fast-reid applies it): each vector becomes
    the sum of its k nearest among queries and gallery together, itself the first, weighted with max(cosine, 0) ** alpha. alpha 0 is the
    plain average of Chum et al. 2007.

    Raises:
        ValueError: k outside 1 .. Q + G, alpha below 0, or what `distance_blocks` refuses.
    """
    query, gallery = as_embeddings(query_embeddings, gallery_embeddings)
    everyone = unit(np.concatenate([query, gallery]))
    if not 1 <= k <= len(everyone) or alpha < 0:
        raise ValueError(f"query expansion needs k from 1 to {len(everyone)}, alpha of 0 or more. Received: k={k}, alpha={alpha}")
    ranks, distances = nearest(everyone, everyone, k)
    weights = np.maximum(1 - distances, 0) ** alpha
    expanded = np.zeros_like(everyone)
    for place in range(k):
        expanded += weights[:, place, None] * everyone[ranks[:, place]]
    expanded = unit(expanded)
    return expanded[: len(query)], expanded[len(query) :]
