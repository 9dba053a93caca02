"""Scenes drawn at random: which kind of scene, which things, and only what can be drawn and belongs to the asked side of the test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasdl.data.scenes.layout import fits
from kerasdl.data.scenes.scene import COLOURS, CORNERS, EDGES, OPPOSITE, PHOTOGRAPHS, SHAPES, SIZES, Scene, Thing, is_unseen

FORMS = {"placed": 0.2, "row": 0.08, "scattered": 0.08, "corners": 0.14, "left": 0.16, "above": 0.16, "inside": 0.09, "between": 0.09}
COUNTS = {1: 0.55, 2: 0.2, 3: 0.15, 4: 0.1}  # of the things of a group in a relation
PLAIN = 0.35  # digits without a tint, photographs without a frame
SUBJECTS = 0.6  # digits or photographs among the things; the rest are drawn shapes
UNREMARKABLE = 0.4


def invent(seed: tuple[int, ...], subjects: Sequence[str], unseen: bool) -> Scene:
    """A scene of these subjects and drawn shapes; all of it follows from the seed.

    unseen: whether it holds a (kind, colour, role) kept for the test. Either way the kinds of scene have the shares of FORMS.
    """
    random = np.random.default_rng([*seed, 2])
    form = _one_of(tuple(FORMS), random, tuple(FORMS.values()))
    while True:
        scene = _attempt(form, subjects, random, seed)
        if scene and is_unseen(scene) == unseen and fits(scene):
            return scene


def _attempt(form: str, subjects: Sequence[str], random: np.random.Generator, seed: tuple[int, ...]) -> Scene | None:
    if form == "placed":
        return Scene((_thing(subjects, random, place=_one_of((*CORNERS, *EDGES, "middle"), random)),), seed=seed)
    if form in ("row", "scattered"):
        place = "scattered" if form == "scattered" else _one_of(EDGES, random)
        return Scene((_thing(subjects, random, _one_of((2, 3, 4), random), place),), seed=seed)
    if form == "corners":
        places = _one_of(OPPOSITE, random)
        things = tuple(_thing(subjects, random, place=place) for place in places)
        return Scene(things, seed=seed) if _differ(things) else None
    if form == "between":
        things = tuple(_thing(subjects, random) for _ in range(3))
        return Scene(things, form, seed) if len({thing.kind for thing in things}) == 3 else None
    if form == "inside":
        things = (_thing(subjects, random, sized=False), _thing((), random, sized=False))
        return Scene(things, form, seed) if _differ(things) and things[0].colour != things[1].colour else None
    things = tuple(_thing(subjects, random, _one_of(tuple(COUNTS), random, tuple(COUNTS.values()))) for _ in range(2))
    return Scene(things, form, seed) if _differ(things) else None


def _thing(subjects: Sequence[str], random: np.random.Generator, count: int = 1, place: str | None = None, sized: bool = True) -> Thing:
    subject = bool(subjects) and random.random() < SUBJECTS
    kind = _one_of(subjects if subject else SHAPES, random)
    colour = None if subject and random.random() < PLAIN else _one_of(COLOURS, random)
    usual = random.random() < UNREMARKABLE and kind not in PHOTOGRAPHS
    return Thing(kind, colour, None if usual or not sized else _one_of(SIZES, random), count, place)


def _differ(things: Sequence[Thing]) -> bool:
    """In more than size and number: two small red stars beside a large red star are hard to tell apart in words."""
    return len({(thing.kind, thing.colour) for thing in things}) == len(things)


def _one_of(values: Sequence[Any], random: np.random.Generator, shares: Sequence[float] | None = None) -> Any:
    draw = random.random()
    if shares is None:
        return values[int(draw * len(values))]
    for value, share in zip(values, shares, strict=True):
        draw -= share
        if draw < 0:
            return value
    return values[-1]  # the shares' rounding
