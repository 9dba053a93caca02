"""The sentences about a scene. One table of forms, which `sentences` fills in and parsing.py reads backwards.

In a form A, B, C stand for the things, P and Q for the places of A and B, `is:A` for "is" or "are" and `its:A` for "its" or "their".
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import product

import numpy as np

from kerasdl.data.scenes.scene import COLOURS, DIGITS, PHOTOGRAPHS, SHAPES, Scene, Thing

COUNTS = {2: "two", 3: "three", 4: "four"}
SIZE_WORDS = {None: ("",), "small": ("small", "little", "tiny"), "large": ("large", "big")}
OTHER_NOUNS = {"automobile": ("car",), "airplane": ("plane",)}
PLURALS = {"six": "sixes", "cross": "crosses", "deer": "deer"}
PLACE_PHRASES = {
    "top left": ("in the top left corner", "in the upper left corner", "at the top left"),
    "top right": ("in the top right corner", "in the upper right corner", "at the top right"),
    "bottom left": ("in the bottom left corner", "in the lower left corner", "at the bottom left"),
    "bottom right": ("in the bottom right corner", "in the lower right corner", "at the bottom right"),
    "top": ("at the top", "at the top of the picture"),
    "left": ("on the left", "on the left side"),
    "right": ("on the right", "on the right side"),
    "bottom": ("at the bottom", "at the bottom of the picture"),
    "middle": ("in the middle", "in the centre"),
}
FORMS = {
    "placed": ("A P", "there is:A A P", "P there is:A A", "A is:A P", "a picture with A P"),
    "scattered": (
        "A scattered around",
        "A spread out",
        "A all over the picture",
        "there is:A A scattered around",
        "there is:A A all over the picture",
        "all over the picture there is:A A",
        "A is:A spread out",
        "a picture with A scattered around",
    ),
    "corners": (
        "A P and B Q",
        "B Q and A P",
        "there is:A A P and B Q",
        "there is:B B Q and A P",
        "A is:A P and B is:B Q",
        "P there is:A A and Q there is:B B",
        "a picture with A P and B Q",
    ),
    "left": (
        "A to the left of B",
        "A left of B",
        "B to the right of A",
        "B right of A",
        "A on the left and B on the right",
        "B on the right and A on the left",
        "there is:A A to the left of B",
        "there is:B B to the right of A",
        "to the left of B there is:A A",
        "to the right of A there is:B B",
        "A is:A to the left of B",
        "B is:B to the right of A",
        "A with B to its:A right",
        "B with A to its:B left",
        "a picture with A to the left of B",
    ),
    "above": (
        "A above B",
        "A over B",
        "B below A",
        "B under A",
        "B beneath A",
        "A at the top and B at the bottom",
        "B at the bottom and A at the top",
        "there is:A A above B",
        "there is:B B below A",
        "above B there is:A A",
        "under A there is:B B",
        "A is:A above B",
        "B is:B below A",
        "A with B underneath",
        "a picture with A above B",
    ),
    "inside": (
        "A inside B",
        "A in B",
        "B around A",
        "B with A inside",
        "B with A in it",
        "there is:A A inside B",
        "inside B there is:A A",
        "A is:A inside B",
        "A surrounded by B",
        "a picture with A inside B",
    ),
    "between": (
        "A between B and C",
        "A between C and B",
        "there is:A A between B and C",
        "there is:A A between C and B",
        "between B and C there is:A A",
        "between C and B there is:A A",
        "A is:A between B and C",
        "B and C with A in between",
        "C and B with A between them",
        "A with B and C on either side",
        "a picture with A between B and C",
    ),
}


def form_of(scene: Scene) -> str:
    """Which forms tell this scene: a key of FORMS."""
    if scene.relation:
        return scene.relation
    if len(scene.things) == 2:
        return "corners"
    return "scattered" if scene.things[0].place == "scattered" else "placed"


def nouns(kind: str, many: bool) -> tuple[str, ...]:
    """How a kind is called. That digit is always a "number one": "a small one" could be a small star."""
    if kind == "one":
        return ("number ones",) if many else ("number one",)
    names = (kind, *OTHER_NOUNS.get(kind, ()))
    if many:
        return tuple(PLURALS.get(name, f"{name}s") for name in names)
    return (*names, f"number {kind}") if kind in DIGITS else names


def article(rest: str) -> str:
    return f"an {rest}" if rest[0] in "aeiou" else f"a {rest}"


@functools.lru_cache(maxsize=8192)
def noun_phrases(thing: Thing) -> tuple[str, ...]:
    """All ways to name a thing, without its place: "two small red sevens", "two little sevens in red"."""
    many = thing.count > 1
    ways = _photographs(thing, many) if thing.kind in PHOTOGRAPHS else _drawn(thing, many)
    sized = (f"{size} {way}".strip() for size, way in product(SIZE_WORDS[thing.size], ways))
    return tuple(f"{COUNTS[thing.count]} {words}" if many else article(words) for words in sized)


def _drawn(thing: Thing, many: bool) -> list[str]:
    names = nouns(thing.kind, many)
    if not thing.colour:
        return list(names)
    return [f"{thing.colour} {name}" for name in names] + [f"{name} in {thing.colour}" for name in names]


def _photographs(thing: Thing, many: bool) -> list[str]:
    names = nouns(thing.kind, many)
    ways = [*names, *(f"photos of {name}" if many else f"photo of {article(name)}" for name in names)]
    if not thing.colour:
        return ways
    frame = f"{thing.colour} frames" if many else article(f"{thing.colour} frame")
    return [f"{way} {word} {frame}" for way, word in product(ways, ("in", "with"))]


def every_sentence(scene: Scene) -> Iterator[str]:
    """All sentences of the scene, from ten to some ten thousands."""
    for form in FORMS[form_of(scene)]:
        choices = [_fillings(word, scene.things) for word in form.split()]
        yield from (" ".join(words) for words in product(*choices))


def sentences(scene: Scene, number: int = 5) -> list[str]:
    """`number` different sentences that all say everything of the scene, drawn by its seed.

    Raises ValueError where there are fewer.
    """
    random = np.random.default_rng([*scene.seed, 1])
    forms, found = FORMS[form_of(scene)], {}
    for draws in random.random((40 * number, 8)):
        left = iter(draws)
        words = (_fillings(word, scene.things) for word in _pick(forms, next(left)).split())
        found[" ".join(_pick(ways, next(left) if ways[1:] else 0) for ways in words)] = True
        if len(found) == number:
            return list(found)
    raise ValueError(f"the scene must have that many sentences. Received: number={number}, {scene}")


def _pick(ways: tuple[str, ...], draw: float) -> str:
    """The first ways more often than the last, as people have favourites."""
    return ways[int(draw**1.5 * len(ways))]


def _fillings(word: str, things: tuple[Thing, ...]) -> tuple[str, ...]:
    """What may stand for a word of a form."""
    if word in ("A", "B", "C"):
        return noun_phrases(things[ord(word) - ord("A")])
    if word in ("P", "Q"):
        return PLACE_PHRASES[things[ord(word) - ord("P")].place or ""]
    verb, _, subject = word.partition(":")
    if not subject:
        return (word,)
    many = things[ord(subject) - ord("A")].count > 1
    return ({"is": "are", "its": "their"}[verb] if many else verb,)


def lexicon(subjects: tuple[str, ...]) -> tuple[str, ...]:
    """Every word that sentences about things of these kinds, and about the drawn shapes, can hold, sorted."""
    phrases = [
        *COLOURS,
        *COUNTS.values(),
        *(way for ways in (*SIZE_WORDS.values(), *PLACE_PHRASES.values()) for way in ways),
        "a an are their",
    ]
    phrases += [name for kind in (*subjects, *SHAPES) for many in (False, True) for name in nouns(kind, many)]
    phrases += [word.partition(":")[0] for forms in FORMS.values() for form in forms for word in form.split() if not word.isupper()]
    if set(subjects) & set(PHOTOGRAPHS):
        phrases.append("photo photos of frame frames")
    return tuple(sorted({word for phrase in phrases for word in phrase.split()}))


def longest(subjects: tuple[str, ...]) -> int:
    """The most words that a sentence about these kinds and the drawn shapes can have."""
    things = [Thing(kind, COLOURS[0], "small", count) for kind in (*subjects, *SHAPES) for count in (1, 2)]
    phrase = max(_words(noun_phrases(thing)) for thing in things)
    place = max(_words(ways) for ways in PLACE_PHRASES.values())
    lengths = {**dict.fromkeys("ABC", phrase), **dict.fromkeys("PQ", place)}
    return max(sum(lengths.get(word, 1) for word in form.split()) for forms in FORMS.values() for form in forms)


def _words(ways: tuple[str, ...]) -> int:
    return max(len(way.split()) for way in ways)
