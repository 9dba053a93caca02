"""From a captioner's tokens to its sentence: the words of vocab.json by id.

`kerasdl/text.py` writes the file and does the same; tests/apps/test_caption_twins.py holds the two equal.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

FORMAT_MAJOR = "1"
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
PAD, START, END, UNK = range(4)
CLITIC = re.compile(r"(?<=\w) (?=(?:n't|'(?:s|m|d|re|ve|ll))(?!\S))")  # is n't, dog 's: one word in a sentence


@dataclasses.dataclass(frozen=True)
class Words:
    """The words by id, <pad> <start> <end> <unk> first, and the name of the tokenizer that split the captions into them."""

    words: tuple[str, ...]
    tokenizer: str

    def __post_init__(self) -> None:
        if self.words[:4] != SPECIAL or not all(isinstance(word, str) for word in self.words) or len(set(self.words)) < len(self.words):
            raise ValueError(f"A vocabulary's words must begin with {' '.join(SPECIAL)} and differ. Received: {list(self.words[:4])}")

    def __len__(self) -> int:
        return len(self.words)

    @property
    def spoken(self) -> list[str]:
        """All that it can say, the most frequent first."""
        return list(self.words[UNK + 1 :])

    @classmethod
    def load(cls, path: str | Path) -> Words:
        """vocab.json; ValueError says what is wrong with it. The tokenizer may be any: nothing is split here."""
        path = Path(path)
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as problem:
            raise ValueError(f"A vocabulary must be a JSON file. Received: {path.name}, {problem}") from None
        return cls.of(facts, path.name)

    @classmethod
    def of(cls, facts: Any, file: str) -> Words:
        """The same of what the file holds."""
        if not isinstance(facts, dict) or not isinstance(facts.get("words"), list):
            raise ValueError(f"A vocabulary must have a list of words. Received: {file} without one")
        if str(facts.get("format")).split(".")[0] != FORMAT_MAJOR:
            raise ValueError(f"The vocabulary's format must be {FORMAT_MAJOR}.x for this reader. Received: {facts.get('format')}")
        return cls(tuple(facts["words"]), str(facts.get("tokenizer", "unknown")))

    def said(self, ids: Iterable[int] | np.ndarray) -> list[str]:
        """The words up to the first <end>; never <pad>, <start>, <end> or <unk>. ValueError for an id that is none."""
        words = []
        for number in np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), np.int64).reshape(-1).tolist():
            if not 0 <= number < len(self.words):
                raise ValueError(f"A token must be an id from 0 to {len(self.words) - 1}. Received: {number}")
            if number == END:
                break
            if number > UNK:
                words.append(self.words[number])
        return words

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """The same words as a sentence, clitics joined to their word."""
        return CLITIC.sub("", " ".join(self.said(ids)))
