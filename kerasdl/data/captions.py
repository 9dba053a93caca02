"""Pictures with sentences as splits: in training a (picture, caption) pair is an example, elsewhere a picture with all its captions.

The vocabulary is that of the training captions alone. What is left out or cut is told, in the log and in the card.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.data.image_folder import FITS_IN_MEMORY, STATISTICS_SAMPLE, _problem
from kerasdl.data.pictures import open_picture, prepare
from kerasdl.data.reading import in_order
from kerasdl.data.spec import Spec
from kerasdl.data.splits import PictureSplit, Split, Splits, channel_statistics
from kerasdl.text import TOKENIZER, Vocabulary, said_of_characters, tokenize

log = logging.getLogger("kerasdl")
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
PARTS = ("train", "valid", "test")


@dataclasses.dataclass(frozen=True)
class Captioned:
    """Picture files with all captions of each."""

    files: Sequence[str]
    captions: Sequence[Sequence[str]]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, numbers: Iterable[int]) -> Captioned:
        numbers = [int(number) for number in numbers]
        return Captioned([self.files[i] for i in numbers], [self.captions[i] for i in numbers])

    @classmethod
    def of(cls, captions: Mapping[str, Sequence[str]]) -> Captioned:
        """From {file: captions}."""
        return cls(list(captions), list(captions.values()))


@dataclasses.dataclass(frozen=True)
class PairSplit:
    """Pairs over a split of distinct pictures, each of which is kept and decoded once however many captions it has.

    pictures: the split of pictures.
    numbers: (N,) which of them a pair shows.
    tokens: int32 (N,T), the caption of each pair.
    """

    pictures: Split
    numbers: np.ndarray
    tokens: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def arrays(self, indices: Sequence[int] | np.ndarray | None = None) -> dict[str, np.ndarray]:
        indices = np.arange(len(self)) if indices is None else np.asarray(indices)
        shown, place = np.unique(self.numbers[indices], return_inverse=True)
        fields = {name: values[place] for name, values in self.pictures.arrays(shown).items()}
        return {**fields, "tokens": self.tokens[indices]}

    def fields_in_memory(self) -> dict[str, np.ndarray] | None:
        return None


def caption_splits(
    parts: Mapping[str, Captioned],
    name: str,
    source: str,
    side: int = 224,
    least: int = 5,
    longest: int = 30,
    valid: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    licence: str = "the owner's",
    skipped: Sequence[str] = (),
) -> Splits:
    """Splits of pictures with captions, and as `references` all captions of each valid and test picture.

    Args:
        parts: "train", and where they are given "valid" and "test"; they must not share a picture.
        name, source, licence: for the card.
        side: pictures are squeezed to side x side, not cut: a caption may speak of the border.
        least: how often a word comes in training captions to have a number of its own.
        longest: words of a caption; what goes beyond is cut.
        valid, test: shares of the pictures that are held out where there is no such part, drawn by `seed`.
        skipped: sentences on what was left out before, which are logged and stand in the card.

    The card's `vocabulary` is what `Vocabulary.to_json` gives. Raises ValueError when parts share a picture, shares leave nothing to
    train on, a part is empty, or no word comes `least` times.
    """
    if longest < 1:
        raise ValueError(f"longest must be at least 1 word. Received: {longest}")
    said = list(skipped)
    parts = _held_out({part: _usable(part, some, said) for part, some in parts.items()}, {"test": test, "valid": valid}, seed)
    _check(parts)
    sentences = [caption for captions in parts["train"].captions for caption in captions]
    vocabulary = Vocabulary.build(sentences, least)  # which logs what it finds of characters
    words = min(max(len(tokenize(caption)) for caption in sentences), longest)
    said += _said_of_words(parts, vocabulary, words)
    for sentence in said:
        log.warning("%s", sentence)
    said += said_of_characters(sentences)

    shape, steps = (side, side, 3), ({"op": "resize", "size": [side, side], "method": "bilinear"},)
    decode = partial(_decode, shape=shape, steps=steps)
    pictures = {part: _pictures(some, decode, shape) for part, some in parts.items()}
    numbers = np.repeat(np.arange(len(parts["train"])), [len(captions) for captions in parts["train"].captions])
    train = PairSplit(pictures["train"], numbers, _tokens(sentences, vocabulary, words + 2))
    seen = np.sort(np.random.default_rng(0).permutation(len(pictures["train"]))[:STATISTICS_SAMPLE])
    mean, std = channel_statistics(pictures["train"].arrays(seen)["image"])
    valid_split, test_split = (
        PairSplit(pictures[part], np.arange(len(parts[part])), _tokens(_first(parts[part]), vocabulary, words + 2))
        for part in ("valid", "test")
    )
    card = {
        "name": name,
        "source": source,
        "licence": licence,
        "synthetic": False,
        "counts": {"train": len(train), "valid": len(valid_split), "test": len(test_split)},
        "pictures": {part: len(parts[part]) for part in PARTS},
        "captions": {part: sum(map(len, parts[part].captions)) for part in PARTS},
        "tokenizer": TOKENIZER,
        "vocabulary": vocabulary.to_json(),
        "skipped": said,
    }
    spec = Spec(shape, tuple(vocabulary.words), mean, std, steps, name, caption_length=words + 2)
    references = {part: parts[part].captions for part in ("valid", "test")}
    return Splits(train, valid_split, test_split, spec=spec, card=card, references=references)


def examples_of(names: Sequence[str]) -> str:
    """The first three of many, for a sentence."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _usable(part: str, some: Captioned, said: list[str]) -> Captioned:
    """Without captions that have no word, and pictures that cannot be read or have no caption left."""
    kept = [[caption for caption in captions if tokenize(caption)] for captions in some.captions]
    if wordless := sum(map(len, some.captions)) - sum(map(len, kept)):
        said.append(f"skipped: {wordless} {part} captions without a word")
    if silent := [Path(file).name for file, captions in zip(some.files, kept, strict=True) if not captions]:
        said.append(f"skipped: {len(silent)} {part} pictures without a caption: {examples_of(silent)}")
    some = Captioned(some.files, kept)[[i for i, captions in enumerate(kept) if captions]]
    problems = list(in_order(_problem, some.files, title=f"checking {part} pictures"))
    said += [f"skipped: {part}: {problem}" for problem in problems if problem]
    return some[[i for i, problem in enumerate(problems) if not problem]]


def _held_out(parts: dict[str, Captioned], shares: Mapping[str, float], seed: int) -> dict[str, Captioned]:
    """With a draw of the training pictures for each part that is not there; a share is one of all that `train` brought."""
    missing = {part: share for part, share in shares.items() if part not in parts}
    if any(not 0 < share < 1 for share in missing.values()) or sum(missing.values()) >= 1:
        raise ValueError(f"held-out shares must be in (0, 1) and leave pictures to train on. Received: {missing}")
    train, order = parts["train"], np.random.default_rng(seed).permutation(len(parts["train"]))
    for part, share in missing.items():
        count = max(round(share * len(train)), 1)
        parts[part], order = train[np.sort(order[:count])], order[count:]
    return {**parts, "train": train[np.sort(order)]}


def _check(parts: Mapping[str, Captioned]) -> None:
    for part in PARTS:
        if not len(parts[part]):
            raise ValueError(f"every part needs a readable picture with a caption. Received: none in {part}")
    for one, other in (("train", "valid"), ("train", "test"), ("valid", "test")):
        if common := sorted({*parts[one].files} & {*parts[other].files}):
            names = examples_of([Path(file).name for file in common])
            raise ValueError(f"{one} and {other} pictures must be disjoint. Received: {len(common)} in both: {names}")


def _said_of_words(parts: Mapping[str, Captioned], vocabulary: Vocabulary, words: int) -> Iterable[str]:
    """How many words are unknown and how many captions cut, part by part."""
    for part in PARTS:
        tokens = [tokenize(caption) for captions in parts[part].captions for caption in captions]
        if unknown := vocabulary.unknown(caption for captions in parts[part].captions for caption in captions):
            share, common = unknown.total() / sum(map(len, tokens)), [word for word, _ in unknown.most_common(4)]
            yield f"{part}: {share:.1%} of the words are <unk>, {len(unknown)} different ones: {examples_of(common)}"
        if long := sum(len(some) > words for some in tokens):
            yield f"{part}: {long} captions have more than {words} words and are cut"


def _first(some: Captioned) -> list[str]:
    return [captions[0] for captions in some.captions]


def _tokens(sentences: Sequence[str], vocabulary: Vocabulary, length: int) -> np.ndarray:
    return np.stack([vocabulary.encode(sentence, length) for sentence in sentences])  # (N, T)


def _decode(file: str, shape: tuple[int, int, int], steps: tuple[dict[str, Any], ...]) -> np.ndarray:
    return prepare(open_picture(Path(file)), shape, steps)


def _pictures(some: Captioned, decode: Any, shape: tuple[int, int, int]) -> Split:
    return PictureSplit(some.files, np.zeros(len(some), np.int64), decode).held(FITS_IN_MEMORY, shape)
