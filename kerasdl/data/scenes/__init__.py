"""`scenes`: handwritten digits or photographs and drawn shapes put together, with sentences about them, for captioning without a download.

A scene (scene.py) is drawn at random (invent.py), laid out so that all that can be said of it can be seen (layout.py), painted (picture.py,
shapes.py), and told by a grammar in many ways (grammar.py) that is read backwards too (parsing.py): slots.py scores what a sentence gets
right, whatever its words. Made in the manner of CLEVR (Johnson et al. 2017, arXiv:1612.06890) and its test of new combinations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from kerasdl.data.captions import PairSplit
from kerasdl.data.digits import digits
from kerasdl.data.scenes.grammar import every_sentence, lexicon, longest, sentences
from kerasdl.data.scenes.invent import invent
from kerasdl.data.scenes.parsing import parse
from kerasdl.data.scenes.picture import Album, draw
from kerasdl.data.scenes.scene import DIGITS, PHOTOGRAPHS, Scene, Thing, combinations, is_held_out
from kerasdl.data.scenes.slots import slot_scores
from kerasdl.data.spec import Spec
from kerasdl.data.splits import PictureSplit, Split, Splits, channel_statistics
from kerasdl.data.tfds_sets import FITS_IN_MEMORY, cifar10
from kerasdl.text import SPECIAL, TOKENIZER, Vocabulary

__all__ = [
    "Scene",
    "Thing",
    "combinations",
    "draw",
    "every_sentence",
    "invent",
    "is_held_out",
    "parse",
    "scenes",
    "sentences",
    "slot_scores",
]
SUBJECTS = {"digits": DIGITS, "cifar10": PHOTOGRAPHS}
PARTS = ("train", "valid", "test")
REFERENCES = 5  # sentences about each picture of the validation and the test
STATISTICS_SAMPLE = 500  # pictures, for mean and standard deviation


def scenes(pictures: str = "digits", scenes: int = 20000, side: int = 64, seed: int = 0, checks: int = 1000, captions: int = 1) -> Splits:
    """Drawn scenes with sentences, `image` uint8 (side,side,3), `label` int64 0, `tokens` int32 (T,).

    Args:
        pictures: "digits" (scikit-learn's scans) or "cifar10" (TensorFlow Datasets), beside the drawn shapes. Training, validation and test
            scenes take theirs from the training, validation and test split of that set.
        scenes: training pictures.
        side: of the pictures in pixels; 64 or more for digits, 96 or more shows photographs better.
        seed: of everything. Fewer scenes of a seed are the first of them.
        checks: pictures of the validation and of the test, each; their `references` are five sentences a picture.
        captions: sentences about each training picture, 1 to 5. More pictures cost no more than more sentences.

    One (kind, colour, role) in five, for example (seven, red, left of), is in no training or validation scene, and every test scene has
    one at least. The vocabulary is all that the grammar can say of these pictures, whatever came in training; `card["vocabulary"]` has its
    counts. Pictures beyond 2 GB are drawn when they are asked for.

    Raises ValueError for other pictures, a side below 32, captions beyond 1..5, and no scenes.
    """
    if pictures not in SUBJECTS:
        raise ValueError(f"pictures must be one of {', '.join(SUBJECTS)}. Received: {pictures!r}")
    if side < 32:
        raise ValueError(f"side must be at least 32, so that small things can be told apart. Received: side={side}")
    if min(scenes, checks) < 1 or not 1 <= captions <= REFERENCES:
        raise ValueError(
            f"there must be scenes, checks and 1 to {REFERENCES} captions. Received: scenes={scenes}, checks={checks}, captions={captions}"
        )
    subjects, length = SUBJECTS[pictures], longest(SUBJECTS[pictures]) + 2
    source = (digits if pictures == "digits" else cifar10)(seed=seed)
    drawn = {
        part: [invent((seed, number, i), subjects, unseen=part == "test") for i in range(scenes if part == "train" else checks)]
        for number, part in enumerate(PARTS)
    }
    told = {part: [sentences(scene, captions if part == "train" else REFERENCES) for scene in some] for part, some in drawn.items()}
    vocabulary = _vocabulary(lexicon(subjects), told["train"])
    splits = {part: _split(drawn[part], told[part], vocabulary, length, album_of(source.split(part), subjects), side) for part in PARTS}
    if captions > 1:
        splits["train"] = _pairs(splits["train"], told["train"], vocabulary, length)
    some = np.arange(0, len(splits["train"]), max(len(splits["train"]) // STATISTICS_SAMPLE, 1))
    mean, std = channel_statistics(splits["train"].arrays(some)["image"])
    name = f"scenes of {'digits' if pictures == 'digits' else source.card['name'] + ' photographs'} and shapes"
    resize = {"op": "resize", "size": [side, side], "method": "bilinear"}
    spec = Spec((side, side, 3), tuple(vocabulary.words), mean, std, (resize,), name, caption_length=length)
    card = _card(name, source.card, seed, {part: len(split) for part, split in splits.items()}, told, vocabulary)
    return Splits(
        splits["train"], splits["valid"], splits["test"], spec=spec, card=card, references={part: told[part] for part in PARTS[1:]}
    )


def album_of(split: Split, subjects: Sequence[str]) -> Album:
    """The pictures of each kind, digits (N,h,w) or photographs (N,h,w,3), uint8; the labels count the subjects."""
    fields = split.arrays()
    images = fields["image"][..., 0] if fields["image"].shape[-1] == 1 else fields["image"]
    return {kind: images[fields["label"] == label] for label, kind in enumerate(subjects)}


def _vocabulary(words: Sequence[str], told: Sequence[Sequence[str]]) -> Vocabulary:
    """All words of the grammar, also those that a small training set happens not to use."""
    counts = Counter(word for some in told for sentence in some for word in sentence.split())
    ordered = sorted(words, key=lambda word: (-counts[word], word))
    captions = sum(map(len, told))
    return Vocabulary((*SPECIAL, *ordered), [0, captions, captions, 0, *(counts[word] for word in ordered)])


def _split(scenes: Sequence[Scene], told: Sequence[Sequence[str]], vocabulary: Vocabulary, length: int, album: Album, side: int) -> Split:
    tokens = np.stack([vocabulary.encode(some[0], length) for some in told])  # (N, T)
    split = PictureSplit(scenes, np.zeros(len(scenes), np.int64), partial(draw, album=album, side=side), {"tokens": tokens})
    return split.held(FITS_IN_MEMORY, (side, side, 3))


def _pairs(split: Split, told: Sequence[Sequence[str]], vocabulary: Vocabulary, length: int) -> PairSplit:
    numbers = np.repeat(np.arange(len(told)), [len(some) for some in told])
    return PairSplit(split, numbers, np.stack([vocabulary.encode(sentence, length) for some in told for sentence in some]))


def _card(
    name: str, source: dict[str, Any], seed: int, counts: dict[str, int], told: dict[str, list[list[str]]], vocabulary: Vocabulary
) -> dict[str, Any]:
    return {
        "name": name,
        "source": f"kerasdl.data.scenes, seed {seed}: shapes drawn by this package beside {source['source']}",
        "licence": f"Apache-2.0 for the drawing and the sentences; {source['name']}: {source['licence']}",
        "synthetic": True,
        "counts": counts,
        "pictures": {part: len(some) for part, some in told.items()},
        "captions": {part: sum(map(len, some)) for part, some in told.items()},
        "held_out": "one (kind, colour, place or side of a relation) in five is in no training scene and in every test scene",
        "tokenizer": TOKENIZER,
        "vocabulary": vocabulary.to_json(),
    }
