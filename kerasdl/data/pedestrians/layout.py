"""Who is photographed where and how often: the shots of training, validation and test, without drawing one.

As in Market-1501 (Zheng et al. 2015) a person is seen by some of the six cameras several times, each of them gives one query, and the
gallery holds distractors (pid 0: other people, and boxes around nobody) and junk (pid -1: boxes that cut the person away).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerasdl.data.identities import query_and_gallery
from kerasdl.data.pedestrians.identity import Identity
from kerasdl.data.pedestrians.picture import Shot

CAMERA_COUNTS = {3: 0.2, 4: 0.3, 5: 0.3, 6: 0.2}  # how many of the six see a person
A_CAMERA = (2, 5)  # pictures by one of them, both included
DISTRACTORS, JUNK = 0.15, 0.08  # as shares of the people's pictures in the gallery
EMPTY = 0.3  # share of the distractors that show nobody


def sightings(persons: Sequence[Identity], first_pid: int, domain: str, seed: int) -> list[Shot]:
    """All good pictures of these people, pids counted from `first_pid`; each person's are the same whoever else is asked for."""
    return [shot for pid, person in enumerate(persons, first_pid) for shot in _of_one(person, pid, domain, seed)]


def _of_one(person: Identity, pid: int, domain: str, seed: int) -> list[Shot]:
    random = np.random.default_rng([seed, pid])
    count = int(random.choice(list(CAMERA_COUNTS), p=list(CAMERA_COUNTS.values())))
    camids = np.sort(random.choice(6, size=count, replace=False)) + 1
    pictures = random.integers(A_CAMERA[0], A_CAMERA[1] + 1, size=count)
    return [Shot(domain, seed, person, pid, int(c), number) for c, n in zip(camids, pictures, strict=True) for number in range(n)]


def trial(persons: Sequence[Identity], first_pid: int, domain: str, seed: int) -> tuple[list[Shot], list[Shot]]:
    """Query and gallery of these people, the gallery with its distractors and junk."""
    shots = sightings(persons, first_pid, domain, seed)
    pids, camids = (np.array([getattr(shot, name) for shot in shots]) for name in ("pid", "camid"))
    query, gallery = query_and_gallery(pids, camids, seed)
    good = [shots[i] for i in gallery]
    return [shots[i] for i in query], [*good, *_distractors(good, first_pid), *_junk(good, first_pid)]


def _distractors(good: Sequence[Shot], first_pid: int) -> list[Shot]:
    random = np.random.default_rng([good[0].seed, first_pid, 0])
    found = []
    for number in range(round(DISTRACTORS * len(good))):
        box = "empty" if random.random() < EMPTY else "good"
        found.append(Shot(good[0].domain, good[0].seed, None, 0, int(random.integers(1, 7)), 10_000 * first_pid + number, box))
    return found


def _junk(good: Sequence[Shot], first_pid: int) -> list[Shot]:
    random = np.random.default_rng([good[0].seed, first_pid, 1])
    found = []
    for number in range(round(JUNK * len(good))):
        victim = good[int(random.integers(len(good)))]
        found.append(Shot(victim.domain, victim.seed, victim.person, -1, victim.camid, 10_000 * first_pid + number, "junk"))
    return found
