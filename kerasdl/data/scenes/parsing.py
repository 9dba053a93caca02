"""From a sentence back to the scene: the forms of grammar.py, matched from left to right.

A noun phrase takes all words it can, so no form needs a second try; a sentence that no form matches to its last word has no scene.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from kerasdl.data.scenes.grammar import COUNTS, FORMS, PLACE_PHRASES, SIZE_WORDS, nouns
from kerasdl.data.scenes.scene import COLOURS, DIGITS, KINDS, PHOTOGRAPHS, RELATIONS, Scene, Thing

NOUNS = {(name.split()[-1], many): kind for kind in KINDS for many in (False, True) for name in nouns(kind, many)}
SIZE_OF = {word: size for size, words in SIZE_WORDS.items() if size for word in words}
COUNT_OF = {"a": 1, "an": 1, **{word: count for count, word in COUNTS.items()}}
PLACE_OF = sorted(
    ((tuple(phrase.split()), place) for place, phrases in PLACE_PHRASES.items() for phrase in phrases), key=lambda pair: -len(pair[0])
)
# Relations first: "on the left and ... on the right" tells of one, and is not two places.
PATTERNS = [(name, tuple(form.split())) for name in sorted(FORMS, key=lambda name: name not in RELATIONS) for form in FORMS[name]]
EITHER = {"is": ("is", "are"), "its": ("its", "their")}


def parse(sentence: str) -> Scene | None:
    """The scene of a sentence in lower case, its words apart by spaces; None where the grammar has no such sentence.

    "a" and "an", "is" and "are", "its" and "their" are taken for each other: they change no meaning.
    """
    reader = _Reader(sentence.split())
    for name, pattern in PATTERNS:
        found = reader.match(pattern)
        if found is not None:
            return _scene(name, found)
    return None


class _Reader:
    """The words of one sentence; noun phrases are read once, whichever form asks."""

    def __init__(self, words: list[str]):
        self.words = words
        self.read: dict[int, tuple[Thing, int] | None] = {}

    def match(self, pattern: tuple[str, ...]) -> dict[str, Any] | None:
        """What A, B, C, P and Q stand for, if the pattern matches the whole sentence."""
        found, at = {}, 0
        for element in pattern:
            if element in ("A", "B", "C"):
                got = self.noun_phrase(at)
            elif element in ("P", "Q"):
                got = self.place(at)
            else:
                got = element, at + 1 if self.is_at(at, *EITHER.get(element.partition(":")[0], (element,))) else 0
            if not got or not got[1]:
                return None
            found[element], at = got
        return found if at == len(self.words) else None

    def is_at(self, at: int, *expected: str) -> bool:
        return at < len(self.words) and self.words[at] in expected

    def place(self, at: int) -> tuple[str, int] | None:
        return next(((place, at + len(phrase)) for phrase, place in PLACE_OF if tuple(self.words[at : at + len(phrase)]) == phrase), None)

    def noun_phrase(self, at: int) -> tuple[Thing, int] | None:
        if at not in self.read:
            self.read[at] = self._noun_phrase(at)
        return self.read[at]

    def _noun_phrase(self, at: int) -> tuple[Thing, int] | None:
        if not self.is_at(at, *COUNT_OF):
            return None
        count, at = COUNT_OF[self.words[at]], at + 1
        size, at = (SIZE_OF[self.words[at]], at + 1) if self.is_at(at, *SIZE_OF) else (None, at)
        colour, at = (self.words[at], at + 1) if self.is_at(at, *COLOURS) else (None, at)
        many = count > 1
        photo = self.is_at(at, "photos" if many else "photo") and self.is_at(at + 1, "of") and (many or self.is_at(at + 2, "a", "an"))
        if photo:
            at += 2 if many else 3
        number = self.is_at(at, "number")
        at += number
        kind = NOUNS.get((self.words[at], many)) if at < len(self.words) else None
        wrong = (kind in PHOTOGRAPHS and colour) or (photo and kind not in PHOTOGRAPHS) or (number and kind not in DIGITS)
        if not kind or wrong:
            return None
        at += 1
        if not colour:
            colour, at = self._frame(at, many) if kind in PHOTOGRAPHS else self._tint(at)
        return Thing(kind, colour, size, count), at

    def _tint(self, at: int) -> tuple[str | None, int]:
        """The colour of "in red" after a noun."""
        return (self.words[at + 1], at + 2) if self.is_at(at, "in") and self.is_at(at + 1, *COLOURS) else (None, at)

    def _frame(self, at: int, many: bool) -> tuple[str | None, int]:
        """The colour of "in a red frame" or "with red frames" after a photograph."""
        start = at + 1 if many else at + 2
        framed = self.is_at(at, "in", "with") and (many or self.is_at(at + 1, "a", "an")) and self.is_at(start, *COLOURS)
        return (self.words[start], start + 2) if framed and self.is_at(start + 1, "frames" if many else "frame") else (None, at)


def _scene(form: str, found: dict[str, Any]) -> Scene:
    things = tuple(found[letter] for letter in "ABC" if letter in found)
    places = {"scattered": ("scattered",), "placed": (found.get("P"),), "corners": (found.get("P"), found.get("Q"))}.get(form)
    if places is None:
        return Scene(things, form)
    return Scene(tuple(dataclasses.replace(thing, place=place) for thing, place in zip(things, places, strict=True)))
