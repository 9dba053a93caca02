"""Which gallery pictures a re-identification query may find, must not, and is not asked about.

Market-1501's rules (Zheng et al. 2015, Scalable Person Re-identification: A Benchmark): pid -1 is junk, a bad box that counts for
nobody; pid 0 is a distractor, a wrong answer for everybody; and pictures of the queried person from the query's own camera are left
out, since finding those is easy and useless.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

PROTOCOLS = ("cross-camera", "exclude-self", "all")
JUNK, DISTRACTOR = -1, 0


@dataclasses.dataclass(frozen=True)
class Identities:
    """Who is on the pictures and which camera took them: integer arrays (Q,) and (G,).

    Protocols: "cross-camera" ignores the queried person's pictures from the query's camera; "exclude-self" is for a set searched in
    itself and ignores the query's own picture; "all" ignores junk only.
    """

    query_pids: np.ndarray
    gallery_pids: np.ndarray
    query_camids: np.ndarray | None
    gallery_camids: np.ndarray | None
    protocol: str

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.query_pids), len(self.gallery_pids)

    def ignored(self, query: int) -> np.ndarray:
        """(G,) True where a picture counts neither as right nor as wrong for this query."""
        ignored = self.gallery_pids == JUNK
        if self.protocol == "exclude-self":
            ignored[query] = True
        if self.query_camids is not None and self.gallery_camids is not None and self.protocol == "cross-camera":
            ignored |= (self.gallery_pids == self.query_pids[query]) & (self.gallery_camids == self.query_camids[query])
        return ignored

    def right_and_ignored(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """(G,) True where the picture is a right answer, and (G,) True where it is ignored; the rest is wrong."""
        ignored = self.ignored(query)
        return (self.gallery_pids == self.query_pids[query]) & ~ignored, ignored

    def without_a_match(self) -> str:
        """The sentence for users of whose queries none has a right answer in the gallery."""
        start = f"no query has a match in the gallery under the protocol {self.protocol!r}. "
        if not np.isin(self.query_pids, self.gallery_pids).any():
            return start + f"No query pid is among the gallery pids. Received: {_some(self.query_pids)} and {_some(self.gallery_pids)}"
        if self.protocol == "exclude-self":
            return start + "Every pid has one picture only, and a picture is no match of itself."
        return start + (
            "All pictures of the queried people come from the camera of their query, and those are ignored; usually one camera id was "
            "given to every picture. Give the real cameras, or use protocol='exclude-self' (a set searched in itself) or 'all'. "
            f"Received: query camids {_some(self.query_camids)}, gallery camids {_some(self.gallery_camids)}"
        )


def identities(
    query_pids: Any, gallery_pids: Any, query_camids: Any = None, gallery_camids: Any = None, protocol: str = "all"
) -> Identities:
    """Checked `Identities` from anything array-like.

    Raises:
        ValueError: unknown protocol, arrays that do not fit each other, cameras missing for "cross-camera", a query of pid 0 or less.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}. Received: {protocol!r}")
    query_pids, gallery_pids = _whole(query_pids, "query_pids"), _whole(gallery_pids, "gallery_pids")
    if protocol == "cross-camera":
        if query_camids is None or gallery_camids is None:
            raise ValueError("protocol 'cross-camera' needs query_camids and gallery_camids; without cameras use 'exclude-self' or 'all'.")
        query_camids = _whole(query_camids, "query_camids", len(query_pids))
        gallery_camids = _whole(gallery_camids, "gallery_camids", len(gallery_pids))
    else:
        query_camids = gallery_camids = None
    if query_pids.min() <= DISTRACTOR:
        raise ValueError(f"a query's pid must be 1 or more: 0 is for distractors, -1 for junk. Received: query_pids {_some(query_pids)}")
    if protocol == "exclude-self" and not np.array_equal(query_pids, gallery_pids):
        raise ValueError(
            "protocol 'exclude-self' searches a set in itself: the gallery must be the queries in the same order. "
            f"Received: {len(query_pids)} query pids {_some(query_pids)} and {len(gallery_pids)} gallery pids {_some(gallery_pids)}"
        )
    return Identities(query_pids, gallery_pids, query_camids, gallery_camids, protocol)


def _whole(values: Any, name: str, count: int | None = None) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iu" or not len(array) or count not in (None, len(array)):
        size = "" if count is None else f" of length {count}"
        raise ValueError(f"{name} must be a row of integers{size}, at least one. Received: {array.dtype} of shape {array.shape}")
    return array.astype(np.int64, copy=False)


def _some(values: Any) -> str:
    """The first few different values."""
    different = np.unique(values)
    return f"[{', '.join(map(str, different[:5]))}{', ...' if len(different) > 5 else ''}]"
