"""All vectors of a gallery in memory and the exact search among them: one product of a matrix with a vector.

The arrays grow in place, twice as large when they are full, so that an enrolment costs its own rows. A search works on a `View` of
the rows that were there when it began; rows that leave while it runs are found out by the store, which looks its hits up.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

NO_TIME = np.iinfo(np.int64).min
NO_CAMERA = -1
CHUNK = 8192  # people whose vectors are summed at once: 8 MB of 256 numbers
FIRST_ROWS = 256
MANY_GONE = 1000  # rows that may lie dead before the arrays are packed


@dataclass(frozen=True)
class Filter:
    """Which pictures count; cameras are codes, times microseconds, since <= time < until."""

    cameras: frozenset[int] | None = None
    without: int | None = None
    since: int | None = None
    until: int | None = None

    @property
    def empty(self) -> bool:
        return self == Filter()


@dataclass(frozen=True)
class Found:
    """A person by the store's numbers, the picture that stands for it and the cosine."""

    person: int
    picture: int
    similarity: float


class Matrix:
    """Rows in the order of enrolment: vector, picture, person, camera, time. Safe to use from several threads."""

    def __init__(self, dimensions: int):
        self._lock = threading.Lock()
        self._count = 0
        self._gone = 0
        self.version = 0  # grows with every change
        self._cameras: dict[str, int] = {}
        self._people: dict[int, int] = {}  # a person's number -> its place in _lengths
        self._lengths = np.full(FIRST_ROWS, np.nan)  # of the sum of each person's vectors; nan is to be reckoned
        self._columns = {
            "vectors": np.zeros((FIRST_ROWS, dimensions), np.float32),
            "pictures": np.zeros(FIRST_ROWS, np.int64),
            "people": np.zeros(FIRST_ROWS, np.int64),
            "places": np.zeros(FIRST_ROWS, np.int64),
            "cameras": np.full(FIRST_ROWS, NO_CAMERA, np.int32),
            "times": np.full(FIRST_ROWS, NO_TIME, np.int64),
            "alive": np.zeros(FIRST_ROWS, bool),
        }

    def __len__(self) -> int:
        return self._count - self._gone

    def append(
        self,
        vectors: np.ndarray,
        pictures: Sequence[int],
        people: Sequence[int],
        cameras: Sequence[str | None],
        times: Sequence[int | None],
    ) -> None:
        """float32 [B, D] and what belongs to each row; pictures must come in growing order."""
        new = slice(self._count, self._count + len(vectors))
        with self._lock:
            self._make_room(new.stop)
            places = [self._people.setdefault(person, len(self._people)) for person in people]
            self._make_room_for_people()
            self._lengths[places] = np.nan
            rows = {
                "vectors": vectors,
                "pictures": pictures,
                "people": people,
                "places": places,
                "cameras": [NO_CAMERA if camera is None else self.camera(camera, add=True) for camera in cameras],
                "times": [NO_TIME if time is None else time for time in times],
                "alive": True,
            }
            for name, values in rows.items():
                self._columns[name][new] = values
            self._count = new.stop
            self.version += 1

    def remove(self, pictures: Collection[int]) -> None:
        """Their vectors are wiped; unknown ones are passed over."""
        with self._lock:
            columns = self._columns
            rows = np.flatnonzero(np.isin(columns["pictures"][: self._count], list(pictures)) & columns["alive"][: self._count])
            columns["alive"][rows] = False
            columns["vectors"][rows] = 0
            self._lengths[columns["places"][rows]] = np.nan
            self._gone += len(rows)
            self.version += 1
            if self._gone > max(MANY_GONE, self._count // 4):
                self._pack()

    def camera(self, name: str, add: bool = False) -> int:
        """The code of a camera; that of one nobody was seen by is given to no row."""
        if add:
            return self._cameras.setdefault(name, len(self._cameras))
        return self._cameras.get(name, NO_CAMERA - 1)

    def view(self) -> View:
        with self._lock:
            return View(self, {name: column[: self._count] for name, column in self._columns.items()})

    def lengths(self, view: View) -> np.ndarray | None:
        """|sum of vectors| of every person over all their pictures, float64 [P], reckoned again for those who changed.

        None when the view is no longer what the matrix is.
        """
        with self._lock:
            if view.version != self.version:
                return None
            rows = np.flatnonzero(np.isnan(self._lengths)[view.places] & view.alive)
            if len(rows):
                places, sums = sum_lengths(view.vectors, view.places, rows)
                self._lengths[places] = sums
            return self._lengths.copy()

    def _make_room(self, rows: int) -> None:
        """New arrays, so that views keep what they see."""
        have = len(self._columns["alive"])
        if rows <= have:
            return
        room = max(rows, 2 * have)
        self._columns = {name: grown(column, room) for name, column in self._columns.items()}

    def _make_room_for_people(self) -> None:
        if len(self._people) > len(self._lengths):
            more = np.full(max(len(self._people), 2 * len(self._lengths)), np.nan)
            more[: len(self._lengths)] = self._lengths
            self._lengths = more

    def _pack(self) -> None:
        """Without the dead rows, in new arrays."""
        rows = np.flatnonzero(self._columns["alive"][: self._count])
        self._columns = {name: grown(column[rows], max(FIRST_ROWS, len(rows))) for name, column in self._columns.items()}
        self._count, self._gone = len(rows), 0


def grown(column: np.ndarray, room: int) -> np.ndarray:
    larger = np.zeros((room, *column.shape[1:]), column.dtype)
    larger[: len(column)] = column
    return larger


class View:
    """The rows of one moment."""

    def __init__(self, matrix: Matrix, columns: dict[str, np.ndarray]):
        self.matrix, self.version = matrix, matrix.version
        self.vectors, self.pictures, self.people = columns["vectors"], columns["pictures"], columns["people"]
        self.places, self.cameras, self.times, self.alive = (columns[name] for name in ("places", "cameras", "times", "alive"))

    def search(self, vector: np.ndarray, top: int, by: str, which: Filter) -> list[Found]:
        """The `top` people, one picture each, best first; equal similarities in the order of enrolment."""
        scores = self.vectors @ vector  # (N,)
        counted = self._counted(which)
        scores[~counted] = -np.inf
        return self._by_mean(scores, counted, top, which) if by == "mean" else self._by_best(scores, top)

    def _counted(self, which: Filter) -> np.ndarray:
        counted = self.alive.copy()
        if which.cameras is not None:
            counted &= np.isin(self.cameras, list(which.cameras))
        if which.without is not None:
            counted &= self.cameras != which.without
        if which.since is not None or which.until is not None:
            counted &= self.times != NO_TIME
        if which.since is not None:
            counted &= self.times >= which.since
        if which.until is not None:
            counted &= self.times < which.until
        return counted

    def _by_best(self, scores: np.ndarray, top: int) -> list[Found]:
        """More of the best rows are looked at until they are of `top` people."""
        wanted = 4 * top
        while True:
            rows = best_rows(scores, wanted)
            _, first = np.unique(self.people[rows], return_index=True)
            if len(first) >= top or len(rows) < wanted:
                rows = rows[np.sort(first)[:top]]
                return [self._found(row, float(scores[row])) for row in rows]
            wanted *= 4

    def _by_mean(self, scores: np.ndarray, counted: np.ndarray, top: int, which: Filter) -> list[Found]:
        """q . sum(v) / |sum(v)| for each person: the sum of its scores over the length of the sum of its vectors."""
        rows = np.flatnonzero(counted)
        if not len(rows):
            return []
        places = self.places[rows]
        lengths = self.matrix.lengths(self) if which.empty else None
        if lengths is None:
            lengths = np.full(places.max() + 1, np.nan)
            found, sums = sum_lengths(self.vectors, self.places, rows)
            lengths[found] = sums
        totals = np.bincount(places, scores[rows].astype(np.float64))  # (P,)
        first = np.full(len(totals), len(self.people))
        np.minimum.at(first, places, rows)
        present = np.unique(places)
        means = np.divide(totals[present], lengths[present], out=np.zeros(len(present)), where=lengths[present] > 1e-6)
        order = np.lexsort((first[present], -means))[:top]
        found = []
        for place, mean in zip(present[order], means[order], strict=True):
            own = rows[places == place]
            found.append(self._found(own[np.argmax(scores[own])], float(mean)))
        return found

    def _found(self, row: int, similarity: float) -> Found:
        return Found(int(self.people[row]), int(self.pictures[row]), min(1.0, max(-1.0, similarity)))


def best_rows(scores: np.ndarray, wanted: int) -> np.ndarray:
    """The rows with the `wanted` highest scores above -inf, highest first; of equal ones the earlier."""
    if wanted < len(scores):
        least = np.partition(scores, len(scores) - wanted)[len(scores) - wanted]
        rows = np.flatnonzero(scores >= least)  # in order of enrolment; more than wanted only where scores are equal
    else:
        rows = np.arange(len(scores))
    rows = rows[scores[rows] > -np.inf]
    return rows[np.argsort(-scores[rows], kind="stable")][:wanted]


def sum_lengths(vectors: np.ndarray, places: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The people of `rows` by place, and the length of the sum of each one's vectors, float64 [P].

    Everybody's first picture, then everybody's second: few steps, where `np.add.reduceat` along the rows takes three times as long.
    """
    rows = rows[np.argsort(places[rows], kind="stable")]
    people, starts, counts = np.unique(places[rows], return_index=True, return_counts=True)
    lengths = np.empty(len(people))
    for begin in range(0, len(people), CHUNK):
        some = slice(begin, begin + CHUNK)
        sums = vectors[rows[starts[some]]]  # (C, D)
        for number in range(1, counts[some].max()):
            more = np.flatnonzero(counts[some] > number)
            sums[more] += vectors[rows[starts[some][more] + number]]
        lengths[some] = np.linalg.norm(sums, axis=1)
    return people, lengths
