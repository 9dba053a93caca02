"""CMC, mAP and mINP of re-identification, Market-1501's way (Zheng et al. 2015; mINP: Ye et al. 2021, arXiv:2001.04193; course row M6).

Two definitions of the average precision are in use, and about a point apart: "plain", the mean precision at the hits (torchreid,
fast-reid, BoT, TransReID), and "trapezoid" of the original MATLAB code, never higher. The result names the one it holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from kerasdl.metrics.protocol import Identities, identities

AVERAGE_PRECISIONS = ("plain", "trapezoid")


def reid_ranking(
    distance: Any,
    query_pids: Any,
    gallery_pids: Any,
    query_camids: Any = None,
    gallery_camids: Any = None,
    protocol: str = "cross-camera",
    max_rank: int = 50,
    average_precision: str = "plain",
) -> dict[str, Any]:
    """How well a distance matrix ranks the gallery for each query; equal distances keep the gallery's order.

    Args:
        distance: (Q, G) numbers, smaller is more alike.
        query_pids: (Q,) integers from 1.
        gallery_pids: (G,) integers; -1 is junk, which is ignored, 0 a distractor, which is wrong for everybody.
        query_camids: (Q,) integers; only "cross-camera" reads them.
        gallery_camids: (G,) integers.
        protocol: "cross-camera" ignores the queried person's pictures from the query's camera, "exclude-self" the query's own picture
            (the gallery is the queries), "all" nothing but junk.
        max_rank: length of `cmc`.
        average_precision: "plain" or "trapezoid".

    Returns:
        A dict. mAP and mINP, fractions, means over the queries that have a match; `valid_queries`, their number, of `queries`;
        `cmc`, float64 (max_rank,), the share of valid queries with a match within the first 1, 2, ... (cmc[0] is rank-1), padded with
        its last value where the gallery is smaller; `query_ap`, float64 (Q,), NaN for queries without a match; and the names
        `protocol` and `average_precision`.

    Raises:
        ValueError: arguments that do not fit each other, a distance that is no number, or no query with a match.
    """
    people = identities(query_pids, gallery_pids, query_camids, gallery_camids, protocol)
    distance = np.asarray(distance)
    if distance.shape != people.shape:
        raise ValueError(f"distance must be (queries, gallery) = {people.shape}. Received: shape {distance.shape}")
    return rank_blocks([(0, distance)], people, max_rank, average_precision)


def rank_blocks(
    blocks: Iterable[tuple[int, np.ndarray]], people: Identities, max_rank: int = 50, average_precision: str = "plain"
) -> dict[str, Any]:
    """`reid_ranking` of distances that come in blocks (number of the first query, (rows, G))."""
    if average_precision not in AVERAGE_PRECISIONS:
        raise ValueError(f"average_precision must be one of {', '.join(AVERAGE_PRECISIONS)}. Received: {average_precision!r}")
    if max_rank < 1:
        raise ValueError(f"max_rank must be at least 1. Received: {max_rank}")
    area = plain_ap if average_precision == "plain" else trapezoid_ap
    query_ap, first, inverse_penalty = np.full((3, people.shape[0]), np.nan)
    for start, rows in blocks:
        for query, row in enumerate(rows, start):
            if np.isnan(row).any():
                raise ValueError(f"distances must be numbers. Received: NaN in the row of query {query}")
            hits = hit_ranks(row, *people.right_and_ignored(query))
            if len(hits):
                query_ap[query], first[query], inverse_penalty[query] = area(hits), hits[0], len(hits) / (hits[-1] + 1)
    valid = np.isfinite(query_ap)
    if not valid.any():
        raise ValueError(people.without_a_match())
    return {
        "mAP": float(query_ap[valid].mean()),
        "mINP": float(inverse_penalty[valid].mean()),
        "cmc": (first[valid] <= np.arange(max_rank)[:, None]).mean(axis=1),
        "valid_queries": int(valid.sum()),
        "queries": len(valid),
        "query_ap": query_ap,
        "protocol": people.protocol,
        "average_precision": average_precision,
    }


def hit_ranks(row: np.ndarray, right: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Ranks from 0, ascending, of the right answers (G,) in a row of distances (G,), counted without the ignored."""
    if not right.any():
        return np.empty(0, np.int64)
    near = np.flatnonzero(~ignored & (row <= row[right].max()))  # what comes after the last match changes nothing
    return np.flatnonzero(right[near[np.argsort(row[near], kind="stable")]])


def plain_ap(hits: np.ndarray) -> float:
    """Mean over the hits of the precision there: the n-th hit at rank r from 0 has n / (r + 1)."""
    return float(np.mean(np.arange(1, len(hits) + 1) / (hits + 1)))


def trapezoid_ap(hits: np.ndarray) -> float:
    """Mean over the hits of the precision just before and at the hit, halved; before rank 0 it is 1."""
    before = np.where(hits == 0, 1.0, np.arange(len(hits)) / np.maximum(hits, 1))
    return float(np.mean((before + np.arange(1, len(hits) + 1) / (hits + 1)) / 2))
