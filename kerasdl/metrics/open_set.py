"""Same person or not, and who, or nobody: what a threshold on the distance lets through (course row M5).

Verification asks about pairs: FAR is the share of pairs of different people whose distance is within the threshold, TPR that of pairs
of one person. Identification asks about a person who may be unknown: FAR is the share of queries that find somebody within the
threshold though their own person was taken out of the gallery, which grows with the gallery; DIR is the share of queries whose nearest
picture is their own person, within the threshold (Phillips et al. 2011, Handbook of Face Recognition, chapter 21).

Pairs of one person's pictures are alike, so that a million pairs of a hundred people know less than their number says. Intervals count
people: Wilson's, for the trials left after the design effect (Kish 1965, Survey Sampling).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kerasdl.metrics.distance import distance_blocks
from kerasdl.metrics.intervals import wilson_interval
from kerasdl.metrics.protocol import Identities, identities

PAIRS = 2_000_000  # kept of each kind: 2,000 are within a FAR of 1e-3


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Distances, float32 and ascending, of pairs of one person and of two, with the query's pid of each; `seen` pairs of two in all."""

    genuine: np.ndarray
    impostor: np.ndarray
    genuine_pids: np.ndarray
    impostor_pids: np.ndarray
    seen: int


@dataclasses.dataclass(frozen=True)
class Roc:
    """FAR and TPR, float64, of every threshold, the distances that occur, ascending; the point (0, 0) comes first, at -inf."""

    threshold: np.ndarray
    far: np.ndarray
    tpr: np.ndarray

    @property
    def auc(self) -> float:
        """Probability that a pair of one person is nearer than a pair of two; a tie counts half."""
        return float(np.trapezoid(self.tpr, self.far))


def verification_pairs(
    query_embeddings: Any,
    gallery_embeddings: Any,
    query_pids: Any,
    gallery_pids: Any,
    query_camids: Any = None,
    gallery_camids: Any = None,
    protocol: str = "cross-camera",
    metric: str = "cosine",
    most: int = PAIRS,
    seed: int = 0,
) -> Pairs:
    """Distances of the pairs (query, gallery picture) that the protocol does not ignore, read in blocks.

    Args:
        query_embeddings: (Q, D) numbers.
        gallery_embeddings: (G, D).
        query_pids: (Q,) integers from 1.
        gallery_pids: (G,) integers; -1 is junk, 0 a distractor, another person to everybody.
        query_camids: (Q,) integers; only "cross-camera" reads them.
        gallery_camids: (G,) integers.
        protocol: as in `reid_ranking`.
        metric: "cosine" or "euclidean".
        most: about how many pairs of each kind are kept; where there are more, each is kept by chance.
        seed: of that chance.

    Raises:
        ValueError: arguments that do not fit, or no pair of one of the two kinds.
    """
    people = identities(query_pids, gallery_pids, query_camids, gallery_camids, protocol)
    counts = np.sum([_count(people, query) for query in range(people.shape[0])], axis=0)
    if not counts[0]:
        raise ValueError(people.without_a_match())
    if not counts[1]:
        raise ValueError(f"there is no pair of two people. Received: query and gallery pids of {people.query_pids[0]} only")
    random, shares = np.random.default_rng(seed), np.minimum(most / counts, 1.0)
    kinds: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    pids: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    for query, row in _rows(query_embeddings, gallery_embeddings, people, metric):
        right, ignored = people.right_and_ignored(query)
        for kind, wanted in enumerate((right, ~(right | ignored))):
            kept = row[wanted]
            if shares[kind] < 1:
                kept = kept[random.random(len(kept), np.float32) < shares[kind]]
            kinds[kind].append(kept)
            pids[kind].append(np.full(len(kept), people.query_pids[query]))
    (genuine, genuine_pids), (impostor, impostor_pids) = (_ascending(*map(np.concatenate, pair)) for pair in zip(kinds, pids, strict=True))
    return Pairs(genuine, impostor, genuine_pids, impostor_pids, int(counts[1]))


def _count(people: Identities, query: int) -> tuple[int, int]:
    right, ignored = people.right_and_ignored(query)
    return int(right.sum()), len(right) - int((right | ignored).sum())


def _rows(query: Any, gallery: Any, people: Identities, metric: str) -> Iterator[tuple[int, np.ndarray]]:
    found = len(query), len(gallery)
    if found != people.shape:
        raise ValueError(f"there must be an embedding for each pid, {people.shape}. Received: {found}")
    for start, block in distance_blocks(query, gallery, metric):
        yield from enumerate(block, start)


def _ascending(values: np.ndarray, pids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(values, kind="stable")
    return values[order], pids[order]


def roc(genuine: Any, impostor: Any) -> Roc:
    """Receiver operating characteristic of the distances of one person's pairs (P,) and of two people's (N,)."""
    genuine, impostor = np.sort(genuine), np.sort(impostor)
    if not len(genuine) or not len(impostor):
        raise ValueError(f"a ROC needs pairs of both kinds. Received: {len(genuine)} of one person, {len(impostor)} of two")
    threshold = np.unique(np.concatenate([genuine, impostor]))
    far, tpr = (np.searchsorted(values, threshold, side="right") / len(values) for values in (impostor, genuine))
    return Roc(np.concatenate([[-np.inf], threshold]), np.concatenate([[0.0], far]), np.concatenate([[0.0], tpr]))


def strictest(wrong: np.ndarray, far: float) -> float:
    """The largest threshold, midway between two ascending distances, that lets at most the share `far` of them through.

    Raises:
        ValueError: fewer than 1 / far distances: such a share cannot be seen in them.
    """
    if not 0 < far < 1:
        raise ValueError(f"a false accept rate lies between 0 and 1. Received: {far}")
    allowed = int(np.floor(far * len(wrong) * (1 + 1e-12)))  # 0.01 * 300 is 3, not a little less
    if allowed < 1:
        raise ValueError(f"a FAR of {far:g} is seen in {int(np.ceil(1 / far)):,} wrong answers at least. Received: {len(wrong):,}")
    above = np.float64(wrong[allowed])
    below = wrong[: np.searchsorted(wrong, above)]
    return float((below[-1] + above) / 2) if len(below) else float(np.nextafter(above, -np.inf))


def accept_rates(pairs: Pairs, threshold: float) -> dict[str, Any]:
    """Shares of both kinds of pairs within a threshold, which may come from other people's pairs: far, tpr, and `..._interval` of each."""
    found: dict[str, Any] = {"threshold": float(threshold)}
    for name, distances, pids in (("far", pairs.impostor, pairs.impostor_pids), ("tpr", pairs.genuine, pairs.genuine_pids)):
        accepted = distances <= np.float64(threshold)
        found[name] = float(accepted.mean())
        found[f"{name}_interval"] = clustered_interval(accepted, pids)
    return found


def calibrate(pairs: Pairs, far: float = 1e-3) -> dict[str, Any]:
    """The largest threshold whose FAR on these pairs is at most `far`, with `accept_rates` there.

    The FAR is met by construction: what to expect of new people is `accept_rates` of their pairs at this threshold. It holds for one
    model; another has other distances.

    Raises:
        ValueError: fewer than 1 / far pairs of two people.
    """
    return {"target_far": far, **accept_rates(pairs, strictest(pairs.impostor, far))}


def reid_open_set(*arguments: Any, fars: Sequence[float] = (1e-2, 1e-3), **options: Any) -> dict[str, Any]:
    """ROC of embeddings and its operating points; arguments are those of `verification_pairs`.

    Returns:
        `auc`; `tpr_at_far`, a dict by FAR; `operating_points`, `calibrate` for each FAR; `genuine_pairs` and `impostor_pairs`, how many
        were measured, and `impostor_pairs_seen`, how many there are.
    """
    pairs = verification_pairs(*arguments, **options)
    points = [calibrate(pairs, far) for far in fars]
    return {
        "auc": roc(pairs.genuine, pairs.impostor).auc,
        "tpr_at_far": {point["target_far"]: point["tpr"] for point in points},
        "operating_points": points,
        "genuine_pairs": len(pairs.genuine),
        "impostor_pairs": len(pairs.impostor),
        "impostor_pairs_seen": pairs.seen,
    }


def identification(
    query_embeddings: Any,
    gallery_embeddings: Any,
    query_pids: Any,
    gallery_pids: Any,
    query_camids: Any = None,
    gallery_camids: Any = None,
    protocol: str = "cross-camera",
    metric: str = "cosine",
    far: float = 0.01,
    threshold: float | None = None,
) -> dict[str, Any]:
    """DIR at a FAR: finding the right person, or nobody, in this gallery.

    Each query counts twice: as it is, and as an unknown person, with its own person's pictures taken out of the gallery.

    Args:
        far: the share of unknown queries that may find somebody; it sets the threshold where none is given.
        threshold: a distance calibrated on other people; `far` then is not used. Other arguments as in `verification_pairs`.

    Returns:
        `threshold`, `far` and `dir` with `far_interval` and `dir_interval`, and `valid_queries`, of which dir is a share.

    Raises:
        ValueError: no query with a match, fewer than 1 / far queries, a query to whom everybody in the gallery is the same person.
    """
    people = identities(query_pids, gallery_pids, query_camids, gallery_camids, protocol)
    right, wrong = np.full((2, people.shape[0]), np.inf)
    for query, row in _rows(query_embeddings, gallery_embeddings, people, metric):
        own, ignored = people.right_and_ignored(query)
        right[query] = row[own].min(initial=np.inf)
        wrong[query] = row[~(own | ignored)].min(initial=np.inf)
    valid = np.isfinite(right)
    if not valid.any():
        raise ValueError(people.without_a_match())
    if not np.isfinite(wrong).all():
        raise ValueError(f"the gallery must hold other people than the queried. Received: only pid {people.query_pids[np.argmax(wrong)]}")
    limit = strictest(np.sort(wrong), far) if threshold is None else float(threshold)
    false, found = wrong <= limit, ((right < wrong) & (right <= limit))[valid]
    return {
        "threshold": limit,
        "far": float(false.mean()),
        "far_interval": clustered_interval(false, people.query_pids),
        "dir": float(found.mean()),
        "dir_interval": clustered_interval(found, people.query_pids[valid]),
        "valid_queries": int(valid.sum()),
    }


def clustered_interval(accepted: np.ndarray, pids: np.ndarray) -> tuple[float, float]:
    """95 % interval of the share of True (N,) where those of one pid (N,) go together.

    The variance of a share between people over that of independent trials is the design effect; N over it is how many trials Wilson's
    interval may count, never more than N. Where all or none are True there is no variance, and only people are counted.
    """
    _, person, trials = np.unique(pids, return_inverse=True, return_counts=True)
    share, people = float(np.mean(accepted)), len(trials)
    independent = share * (1 - share) / len(accepted)
    if people < 2 or independent == 0:
        return wilson_interval(share, people)
    residuals = np.bincount(person, accepted, minlength=people) - share * trials
    between = people / (people - 1) * float(np.sum(residuals**2)) / len(accepted) ** 2  # of the ratio estimator
    return wilson_interval(share, max(int(len(accepted) * min(independent / between, 1.0)), 1) if between else len(accepted))
