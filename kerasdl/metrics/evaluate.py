"""Re-identification from embeddings to figures, in blocks of queries: 20,000 x 20,000 without its 1.6 GB matrix."""

from __future__ import annotations

from typing import Any

from kerasdl.metrics.distance import distance_blocks
from kerasdl.metrics.protocol import identities
from kerasdl.metrics.ranking import rank_blocks
from kerasdl.metrics.reranking import rerank_blocks


def reid_evaluate(
    query_embeddings: Any,
    gallery_embeddings: Any,
    query_pids: Any,
    gallery_pids: Any,
    query_camids: Any = None,
    gallery_camids: Any = None,
    protocol: str = "cross-camera",
    max_rank: int = 50,
    metric: str = "cosine",
    average_precision: str = "plain",
    rerank: bool = False,
) -> dict[str, Any]:
    """What `reid_ranking` says of the distances between embeddings (Q, D) and (G, D).

    Args:
        query_embeddings: (Q, D) numbers, of any length; float32 inside.
        gallery_embeddings: (G, D).
        query_pids: (Q,) integers from 1.
        gallery_pids: (G,) integers; -1 is junk, 0 a distractor.
        query_camids: (Q,) integers; only "cross-camera" reads them.
        gallery_camids: (G,) integers.
        protocol: as in `reid_ranking`.
        max_rank: length of `cmc`.
        metric: "cosine" (default) or "euclidean".
        average_precision: "plain" or "trapezoid".
        rerank: k-reciprocal re-ranking with its published numbers. It lets the other queries help: no headline figure.

    Returns:
        The dict of `reid_ranking`, and `metric` and `rerank`.

    Raises:
        ValueError: as `reid_ranking`, and for embeddings that are not finite or do not fit the pids.
    """
    people = identities(query_pids, gallery_pids, query_camids, gallery_camids, protocol)
    found = len(query_embeddings), len(gallery_embeddings)
    if found != people.shape:
        raise ValueError(f"there must be an embedding for each pid, {people.shape}. Received: {found}")
    blocks = (rerank_blocks if rerank else distance_blocks)(query_embeddings, gallery_embeddings, metric=metric)
    return {**rank_blocks(blocks, people, max_rank, average_precision), "metric": metric, "rerank": rerank}
