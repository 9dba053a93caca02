"""Distances between embeddings in blocks of queries: the matrix of all pairs never exists.

Cosine distance is 1 - cos of the angle, 0 to 2; Euclidean is the square root, of the embeddings as they are. Toolkits differ here
(torchreid squares, layumi adds flipped pictures), so the name of the metric goes into every result. Equal vectors get equal
distances up to rounding, which in float32 is about 1e-7 for cosine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

METRICS = ("cosine", "euclidean")
BLOCK = 8_000_000  # distances in a block, 32 MB: large enough for the matrix product, small beside the embeddings


def distance_blocks(
    query_embeddings: Any, gallery_embeddings: Any, metric: str = "cosine", block: int = BLOCK
) -> Iterator[tuple[int, np.ndarray]]:
    """Pairs (number of the first query, float32 distances (rows, G)) that go through all queries in order.

    Args:
        query_embeddings: (Q, D) numbers, of any length.
        gallery_embeddings: (G, D).
        metric: "cosine" or "euclidean".
        block: distances held at a time.

    Raises:
        ValueError: unknown metric, shapes that do not fit, embeddings that are not finite.
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}. Received: {metric!r}")
    query, gallery = as_embeddings(query_embeddings, gallery_embeddings)
    distances = _cosine(gallery) if metric == "cosine" else _euclidean(gallery)
    rows = max(block // len(gallery), 1)
    return ((start, distances(query[start : start + rows])) for start in range(0, len(query), rows))


def nearest(query_embeddings: Any, gallery_embeddings: Any, count: int, metric: str = "cosine") -> tuple[np.ndarray, np.ndarray]:
    """Indices (Q, count), int64, of the gallery pictures nearest to each query, and float32 distances; equal ones in gallery order."""
    size = len(gallery_embeddings)
    if not 1 <= count <= size:
        raise ValueError(f"count must be from 1 to the gallery's size. Received: count={count}, gallery of {size}")
    found = [first(row, count) for _, rows in distance_blocks(query_embeddings, gallery_embeddings, metric) for row in rows]
    return np.stack([indices for indices, _ in found]), np.stack([distances for _, distances in found])


def first(row: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and values of the `count` smallest of a row (G,), sorted; equal values in their order."""
    near = np.flatnonzero(row <= np.partition(row, count - 1)[count - 1])
    near = near[np.argsort(row[near], kind="stable")][:count]
    return near, row[near]


def unit(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings (N, D) brought to length 1; zeros stay zeros."""
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)


def as_embeddings(query_embeddings: Any, gallery_embeddings: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as finite float32 (N, D) of one D, at least one row each, or a sentence."""
    query, gallery = _numbers(query_embeddings, "query"), _numbers(gallery_embeddings, "gallery")
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(f"query and gallery embeddings must have one size. Received: {query.shape} and {gallery.shape}")
    return query, gallery


def _numbers(values: Any, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiu":
        raise ValueError(f"{name} embeddings must be numbers of shape (N, D), not empty. Received: {array.dtype} of shape {array.shape}")
    array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} embeddings must be finite. Received: {int((~np.isfinite(array).all(axis=1)).sum())} rows that are not")
    return array


def _cosine(gallery: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    gallery = unit(gallery)

    def distances(query: np.ndarray) -> np.ndarray:
        product = unit(query) @ gallery.T
        return np.subtract(1, product, out=product)

    return distances


def _euclidean(gallery: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """|q|^2 + |g|^2 - 2 qg cancels where embeddings lie far from zero; distances are the same after a move to the gallery's mean."""
    centre = gallery.mean(axis=0, dtype=np.float64).astype(np.float32)
    gallery = gallery - centre
    squares = np.einsum("nd,nd->n", gallery, gallery)

    def distances(query: np.ndarray) -> np.ndarray:
        query = query - centre
        product = query @ gallery.T
        product *= -2
        product += squares
        product += np.einsum("nd,nd->n", query, query)[:, None]
        return np.sqrt(np.maximum(product, 0, out=product), out=product)

    return distances
