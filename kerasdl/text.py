"""Sentences as numbers: a tokenizer close to the Penn Treebank's, and a vocabulary with counts that travels as `vocab.json`.

Names stand for versions: scores, vocabularies and sentences belong together where their tokenizer has one name. No string ever enters
a graph; `apps/runtime/words.py` is the twin of `load` and `decode` for people without this package.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.whole_file import whole_file

log = logging.getLogger("kerasdl")
TOKENIZER = "kerasdl-ptb-1"
FORMAT = "1.0"
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")  # no sentence holds one of them: "<" is a token of its own
PAD, START, END, UNK = range(4)

PLAIN = str.maketrans({**dict.fromkeys("‘’‛´ʼ", "'"), **dict.fromkeys("“”„«»", '"'), **dict.fromkeys("‐‑", "-"), "–": "--", "—": "--"})
DROPPED = set("'\"`.?!,:;-()[]{}…¿¡")
CLITIC = "n't|'(?:s|m|d|re|ve|ll)"


def tokenize(sentence: str) -> list[str]:
    """The words of a sentence in lower case, without its punctuation: "A dog's ball, isn't it?" is a, dog, 's, ball, is, n't, it.

    As the Penn Treebank has it, clitics stand alone, and hyphens, slashes, abbreviations and numbers hold together (two-story, u.s.,
    10:30). Quotes, brackets, dashes and . , : ; ? ! are dropped, every other symbol is a token. For languages with blanks between words.
    Tokens joined by blanks give the same tokens again.
    """
    plain = unicodedata.normalize("NFC", sentence.lower()).translate(PLAIN)
    return [token for token in _tokens().findall(_clitics().sub(r" \1", plain)) if token not in DROPPED]


def unknown_characters(sentences: Iterable[str]) -> Counter[str]:
    """Symbols that a caption seldom means, as emoji and control characters, with their counts. They are tokens; none is dropped."""
    known = {*string.punctuation, *DROPPED}
    singles = Counter(token for sentence in sentences for token in tokenize(sentence) if len(token) == 1)
    return Counter({token: count for token, count in singles.items() if not token.isalnum() and token not in known})


@functools.cache
def _tokens() -> re.Pattern[str]:
    letter = rf"[\w{_marks()}]"
    abbreviation = rf"(?<!{letter})(?:[a-z]\.)+[a-z](?!{letter})\.?"
    number = rf"\d+(?:[.,:]\d+)+{letter}*"
    word = rf"{letter}+(?:[-'/]{letter}+)*"
    return re.compile(rf"{abbreviation}|{number}|(?:{CLITIC})(?!{letter})|{word}|\S")


@functools.cache
def _clitics() -> re.Pattern[str]:
    letter = rf"[\w{_marks()}]"
    return re.compile(rf"(?<={letter})({CLITIC})(?!{letter})")


@functools.cache
def _marks() -> str:
    """Accents and vowel signs, which belong to the letter before them and are no letters to `re`."""
    return "".join(character for character in map(chr, range(0x300, 0x1F000)) if unicodedata.category(character)[0] == "M")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The words by id: <pad> <start> <end> <unk>, then by falling count, ties in the order of their code points.

    counts: of each word in the captions it was built from; <start> and <end> count captions, <unk> the words left out.
    """

    words: Sequence[str]
    counts: Sequence[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", tuple(self.words))
        object.__setattr__(self, "counts", tuple(self.counts))
        if self.words[:4] != SPECIAL:
            raise ValueError(f"a vocabulary begins with {' '.join(SPECIAL)}. Received: {list(self.words[:4])}")
        if len(self.words) != len(self.counts):
            raise ValueError(f"a vocabulary has a count for every word. Received: {len(self.words)} words and {len(self.counts)} counts")
        if wrong := [word for word in self.words if not isinstance(word, str) or len(word.split()) != 1]:
            raise ValueError(f"words are strings without blanks. Received: {wrong[0]!r}")
        if repeated := [word for word, times in Counter(self.words).items() if times > 1]:
            raise ValueError(f"the words of a vocabulary must differ. Received: {repeated[:5]} more than once")

    def __len__(self) -> int:
        return len(self.words)

    @functools.cached_property
    def ids(self) -> dict[str, int]:
        """The id of every word."""
        return {word: number for number, word in enumerate(self.words)}

    @classmethod
    def build(cls, captions: Iterable[str], least: int = 1) -> Vocabulary:
        """All words that come at least `least` times; characters that a caption seldom means are logged.

        Raises ValueError where no word is left.
        """
        if least < 1:
            raise ValueError(f"least must be at least 1. Received: {least}")
        captions = list(captions)
        for sentence in said_of_characters(captions):
            log.warning("%s", sentence)
        found = Counter(token for caption in captions for token in tokenize(caption))
        kept = sorted((word for word, count in found.items() if count >= least), key=lambda word: (-found[word], word))
        if not kept:
            raise ValueError(f"a vocabulary needs a word that comes {least} times. Received: {len(captions)} captions, {len(found)} words")
        rest = found.total() - sum(found[word] for word in kept)
        counts = [0, len(captions), len(captions), rest, *(found[word] for word in kept)]
        return cls((*SPECIAL, *kept), counts)

    def encode(self, sentence: str, length: int) -> np.ndarray:
        """int32 (length,): <start>, the ids of the words, <end>, then <pad>; a word that is not here is <unk>.

        What does not fit is cut, and then there is no <end>, for the sentence goes on. `unknown` tells the words that are not here.
        """
        if length < 3:
            raise ValueError(f"a caption has room for <start>, a word and <end>: length must be at least 3. Received: {length}")
        ids = [START, *(self.ids.get(token, UNK) for token in tokenize(sentence)), END][:length]
        return np.array(ids + [PAD] * (length - len(ids)), np.int32)

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """The words up to the first <end>, joined by blanks, clitics to their word; never <pad>, <start>, <end> or <unk>.

        Raises ValueError for an id that is none.
        """
        words = []
        for number in np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), np.int64).reshape(-1).tolist():
            if not 0 <= number < len(self.words):
                raise ValueError(f"a token is an id from 0 to {len(self.words) - 1}. Received: {number}")
            if number == END:
                break
            if number > UNK:
                words.append(self.words[number])
        return re.sub(rf"(?<=\w) (?=(?:{CLITIC})(?!\S))", "", " ".join(words))

    def unknown(self, sentences: Iterable[str]) -> Counter[str]:
        """The words of sentences that are not here, with their counts."""
        return Counter(token for sentence in sentences for token in tokenize(sentence) if token not in self.ids)

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "tokenizer": TOKENIZER, "words": list(self.words), "counts": list(self.counts)}

    def save(self, path: str | Path) -> None:
        """Writes `vocab.json`, whole or not at all."""
        with whole_file(Path(path)) as file:
            json.dump(self.to_json(), file, ensure_ascii=False)

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Raises ValueError where the file is no vocabulary, or one of another tokenizer, whose words would be other words."""
        try:
            facts = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as problem:
            raise ValueError(f"a vocabulary is a JSON file. Received: {Path(path).name} ({problem})") from None
        if not isinstance(facts, dict) or not isinstance(facts.get("words"), list) or not isinstance(facts.get("counts"), list):
            raise ValueError(f"a vocabulary has the lists words and counts. Received: {Path(path).name} without them")
        for name, ours in (("format", FORMAT), ("tokenizer", TOKENIZER)):
            if facts.get(name) != ours:
                raise ValueError(f"a vocabulary has the {name} {ours}. Received: {facts.get(name)!r} in {Path(path).name}")
        return cls(facts["words"], facts["counts"])


def said_of_characters(captions: Iterable[str]) -> Iterator[str]:
    """A sentence on the characters that a caption seldom means; none where there are none."""
    if found := unknown_characters(captions):
        some = ", ".join(f"{character!a} {count} times" for character, count in found.most_common(5))
        yield f"captions hold {found.total()} unusual characters, kept as words of their own: {some}"
