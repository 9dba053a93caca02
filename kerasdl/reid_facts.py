"""What a model card says of a re-identification: ranking, with re-ranking beside it, a threshold, and whether two runtimes rank alike.

Everything is plain Python, ready for JSON. What cannot be measured on the pictures at hand is a sentence under "problem".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasdl.metrics import accept_rates, calibrate, reid_evaluate, roc, verification_pairs
from kerasdl.metrics.distance import distance_blocks, first
from kerasdl.metrics.open_set import Pairs, Roc
from kerasdl.metrics.protocol import DISTRACTOR, JUNK

FARS = (1e-2, 1e-3)
RANKS = 50
POINTS = 60  # of the curve, besides the calibrated thresholds
LEAST_TO_RERANK = 20  # pictures: more than k1
RERANKING = "k-reciprocal (Zhong et al. 2017, arXiv:1701.08398), k1 20, k2 6, lambda 0.3"


@dataclasses.dataclass(frozen=True)
class Search:
    """Embeddings of queries (Q,D) and of a gallery (G,D), and who is on them: (query pids, gallery pids, query camids, gallery camids)."""

    queries: np.ndarray
    gallery: np.ndarray
    people: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    protocol: str

    def evaluate(self, **options: Any) -> dict[str, Any]:
        return reid_evaluate(self.queries, self.gallery, *self.people, protocol=self.protocol, max_rank=RANKS, **options)

    def pairs(self) -> Pairs:
        return verification_pairs(self.queries, self.gallery, *self.people, protocol=self.protocol)


def ranking_facts(search: Search) -> dict[str, Any]:
    """CMC of ranks 1 to 50, mAP and mINP, all without re-ranking, with the names of what was done and the counts it was done on."""
    result, gallery_pids = search.evaluate(), search.people[1]
    return {
        "protocol": result["protocol"],
        "distance": result["metric"],
        "average_precision": result["average_precision"],
        "cmc": [float(share) for share in result["cmc"]],
        "mAP": result["mAP"],
        "mINP": result["mINP"],
        "queries": {"valid": result["valid_queries"], "invalid": result["queries"] - result["valid_queries"]},
        "gallery": {
            "pictures": len(gallery_pids),
            "identities": len(np.unique(gallery_pids[gallery_pids > DISTRACTOR])),
            "distractors": int((gallery_pids == DISTRACTOR).sum()),
            "junk": int((gallery_pids == JUNK).sum()),
        },
    }


def reranking_facts(search: Search) -> dict[str, Any]:
    """The same queries after k-reciprocal re-ranking, which lets them help each other: to stand beside the plain figures."""
    try:
        result = search.evaluate(rerank=True)
    except ValueError as problem:
        return {"method": RERANKING, "problem": str(problem)}
    return {"method": RERANKING, "rank1": float(result["cmc"][0]), "mAP": result["mAP"], "mINP": result["mINP"]}


def verification_facts(calibration: Search, test: Pairs, others: dict[str, Pairs] | None = None) -> dict[str, Any]:
    """Thresholds of the cosine distance, calibrated on other people's pairs, and what they let through in the test.

    Args:
        calibration: queries and gallery of the validation.
        test: pairs that the thresholds were not made for.
        others: further pairs by name, such as those of another domain.

    Returns:
        `calibrated_on`, `pairs`, `auc` and `thresholds`, one for each false accept rate of `FARS`: `target_far`, `threshold`, `far` and
        `tpr` with `..._interval`; the same numbers of `others` below their names; or "problem" in place of the numbers. And `curve`,
        what other thresholds let through.
    """
    pairs = calibration.pairs()
    points = [_threshold(pairs, far, test, others or {}) for far in FARS]
    return {
        "calibrated_on": "validation roles",
        "distance": "cosine",
        "pairs": {"calibration": _pair_counts(pairs), "test": _pair_counts(test)},
        "auc": roc(test.genuine, test.impostor).auc,
        "thresholds": points,
        "curve": curve_facts(test, [point["threshold"] for point in points if "threshold" in point]),
    }


def curve_facts(pairs: Pairs, thresholds: Sequence[float]) -> dict[str, list[float]]:
    """`threshold`, rising from 0 until it holds all pairs of one person, `thresholds` among them, and `far` and `tpr` there."""
    chosen = np.unique([*np.linspace(0, float(pairs.genuine[-1]), POINTS), *thresholds])
    shares = {
        name: np.searchsorted(distances, chosen, side="right") / len(distances)
        for name, distances in (("far", pairs.impostor.astype(np.float64)), ("tpr", pairs.genuine.astype(np.float64)))
    }
    return {"threshold": chosen.tolist(), **{name: share.tolist() for name, share in shares.items()}}


def _threshold(calibration: Pairs, far: float, test: Pairs, others: dict[str, Pairs]) -> dict[str, Any]:
    try:
        threshold = calibrate(calibration, far)["threshold"]
    except ValueError as problem:
        return {"target_far": far, "problem": str(problem)}
    elsewhere = {name: _rates(pairs, threshold) for name, pairs in others.items()}
    return {"target_far": far, "threshold": threshold, **_rates(test, threshold), **elsewhere}


def _rates(pairs: Pairs, threshold: float) -> dict[str, Any]:
    found = accept_rates(pairs, threshold)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items() if name != "threshold"}


def _pair_counts(pairs: Pairs) -> dict[str, int]:
    return {"one_person": len(pairs.genuine), "two_people": len(pairs.impostor)}


def curve(pairs: Pairs) -> Roc:
    return roc(pairs.genuine, pairs.impostor)


def agreement(wanted: Search, found: Search, near: float) -> dict[str, Any]:
    """Whether two runtimes rank one gallery alike: the first 50 of every query, CMC and mAP.

    Where another picture stands in a place, the distances by `wanted` of the two may differ by less than `near`, which is a near tie;
    by more, the rankings are different.

    Returns:
        `first`, `near`, `queries`, `gallery`; `near_ties` and `different`, how many places hold another picture; `queries_with_near_ties`
        and `queries_different`; and the largest differences `cmc_difference` and `mAP_difference`.
    """
    if found.queries.shape != wanted.queries.shape or found.gallery.shape != wanted.gallery.shape:
        raise ValueError(f"both must embed the same pictures. Received: {found.queries.shape} and {wanted.queries.shape}")
    top, ties, different = min(RANKS, len(wanted.gallery)), [], []
    blocks = (distance_blocks(search.queries, search.gallery) for search in (wanted, found))
    for (_, mine), (_, theirs) in zip(*blocks, strict=True):
        for row, other in zip(mine, theirs, strict=True):
            here, there = first(row, top)[0], first(other, top)[0]
            gaps = np.abs(row[there] - row[here])
            ties.append(int(((here != there) & (gaps < near)).sum()))
            different.append(int(((here != there) & ~(gaps < near)).sum()))  # also where it is no number
    mine, theirs = wanted.evaluate(), found.evaluate()
    return {
        "first": top,
        "near": near,
        "queries": len(wanted.queries),
        "gallery": len(wanted.gallery),
        "near_ties": sum(ties),
        "queries_with_near_ties": int(np.count_nonzero(ties)),
        "different": sum(different),
        "queries_different": int(np.count_nonzero(different)),
        "cmc_difference": float(np.abs(mine["cmc"] - theirs["cmc"]).max()),
        "mAP_difference": abs(mine["mAP"] - theirs["mAP"]),
    }


def section(test: Search, split: str, calibration: Search | None, cross: Search | None) -> tuple[dict[str, Any], dict[str, Pairs]]:
    """The section `reid` of a card, without parity and pictures, and the pairs whose ROC may be drawn.

    Args:
        test: the scored split.
        split: its name.
        calibration: the validation, where it is another split and the data has its roles.
        cross: queries and gallery of another domain, where the data has them.
    """
    searches = {"test": test} if cross is None else {"test": test, "cross": cross}
    pairs = {name: search.pairs() for name, search in searches.items()}
    facts = {"split": split, **ranking_facts(test), "reranked": reranking_facts(test)}
    others = {name: some for name, some in pairs.items() if name != "test"}
    facts["verification"] = verification_facts(calibration, pairs["test"], others) if calibration else {"problem": _uncalibrated(split)}
    if cross is not None:
        facts["cross"] = {**ranking_facts(cross), "reranked": reranking_facts(cross)}
    return facts, pairs


def _uncalibrated(split: str) -> str:
    if split == "valid":
        return "the threshold is calibrated on the validation roles, and is worth nothing when it is judged by them too"
    return "a threshold needs validation roles to be calibrated on, and the data has none"
