"""Pictures to sentences over two graphs: `encoder` once for all pictures, `decoder` once for every word.

bundle = load_bundle("saved_models/scenes-captioner")
caption(bundle, [open_picture("scene.png", bundle.color)])[0].text
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime as ort
from PIL import Image

from apps.runtime import decoding
from apps.runtime.bundle import Bundle, BundleError
from apps.runtime.words import END, UNK, Words

MAX_BEAM = 10
MAX_LENGTH = 512  # tokens of a caption
MAX_TEMPERATURE = 5.0
MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Caption:
    """What was said of one picture.

    score: mean log-probability of its words and its end: 0 is certain.
    margin: how far in log-probability the nearest other choice of the search lay, least over its steps; infinite where it had none.
    attention: float32 [words, heads, h, w], where the decoder looked as it said each word; every map sums to 1.
    ended: whether the network itself ended the sentence, not the room for it.
    alternatives: all captions a beam finished with their scores, best first, the text itself included; else it alone.
    """

    text: str
    words: list[str]
    score: float
    margin: float
    attention: np.ndarray
    ended: bool
    alternatives: list[tuple[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Choice:
    """How words are chosen: a beam of `beam` open captions (1 is greedy), or drawn with a `temperature` from a seed."""

    beam: int = 3
    temperature: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.beam <= MAX_BEAM:
            raise ValueError(f"beam must be a whole number from 1 to {MAX_BEAM}. Received: {self.beam}")
        if self.temperature is not None and not 0 < self.temperature <= MAX_TEMPERATURE:
            raise ValueError(f"temperature must be above 0 and at most {MAX_TEMPERATURE:g}. Received: {self.temperature:g}")
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed must be a whole number from 0 to {MAX_SEED}. Received: {self.seed}")


def caption(
    bundle: Bundle,
    pictures: Sequence[Image.Image | np.ndarray],
    choice: Choice | None = None,
    options: ort.RunOptions | None = None,
    check: Callable[[], None] = lambda: None,
) -> list[Caption]:
    """A caption of each picture; arrays are taken as prepared uint8 [H, W, C]. Without a choice the beam is the card's.

    `options` lets another thread stop a run, `check` is called before every word and may raise.
    """
    if not pictures:
        return []
    choice = choice or Choice(bundle.card["caption"]["beam"])
    memory = bundle.look(pictures, "encoder", options=options)

    def step(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        check()
        return bundle.run(inputs, "decoder", options=options)

    found = decode(step, memory, bundle.card["caption"]["length"], choice)
    return [read(bundle, found, row) for row in range(len(pictures))]


def decode(step: decoding.Step, memory: dict[str, np.ndarray], length: int, choice: Choice) -> decoding.Captions:
    """By beam, greedily, or by drawing, as chosen."""
    if choice.temperature is not None:
        return decoding.sample(step, memory, length, choice.temperature, choice.seed)
    if choice.beam == 1:
        return decoding.greedy(step, memory, length)
    return decoding.beam(step, memory, length, choice.beam)


def read(bundle: Bundle, found: decoding.Captions, row: int) -> Caption:
    """One picture's caption in words."""
    words, tokens = words_of(bundle), found.tokens[row]
    shown = np.flatnonzero((tokens > UNK) & (np.cumsum(tokens == END) == 0))  # as Words.said chooses them
    height, width = bundle.card["caption"]["grid"]
    maps = found.attention[row][shown]
    text, score = words.decode(tokens), float(found.scores[row])
    others = found.alternatives[row] if found.alternatives else []
    return Caption(
        text,
        words.said(tokens),
        score,
        float(found.margins[row]),
        maps.reshape(*maps.shape[:2], height, width),
        bool(found.ended[row]),
        [(words.decode(ids), float(value)) for ids, value in others] or [(text, score)],
    )


def words_of(bundle: Bundle) -> Words:
    if bundle.words is None:
        raise BundleError(f"A captioner must have its words in vocab.json. Received: {bundle.name} without it")
    return bundle.words


def check_captioner(bundle: Bundle) -> None:
    """Graphs, words and card go together; BundleError says what does not. Ends with a caption of an empty picture."""
    name, words = bundle.name, words_of(bundle)
    if not {"encoder", "decoder"} <= set(bundle.graphs):
        raise BundleError(f"A captioner must have the graphs encoder and decoder. Received: {name} with {', '.join(bundle.graphs)}")
    if bundle.labels != list(words.words):
        raise BundleError(f"The labels of a captioner must be the words of vocab.json. Received: {name}, where they differ")
    memory = {slot.name for slot in bundle.outputs("encoder")}
    wanted = {"token", "state"} | memory
    taken = {slot.name: slot for slot in bundle.inputs("decoder")}
    if set(taken) != wanted:
        raise BundleError(f"The decoder must take token, state and what the encoder gives. Received: {name} with {', '.join(taken)}")
    if not {"state", "cross"} & memory:
        raise BundleError(f"The encoder must give a state, or keys and values as cross. Received: {name} with {', '.join(memory)}")
    given = {slot.name: slot.shape[-1] for slot in bundle.outputs("decoder")}
    if given.get("logits") != len(words) or not {"next_state", "attention"} <= set(given):
        rule = f"The decoder must give logits of {len(words)} words, next_state and attention"
        raise BundleError(f"{rule}. Received: {name} with {', '.join(f'{key} of {side}' for key, side in given.items())}")
    check_facts(bundle.card.get("caption"), name)
    check_run(bundle)


def check_facts(facts: Any, name: str) -> None:
    """The card's own lines on captions: {"length": 24, "beam": 3, "grid": [8, 8]}."""
    told = facts if isinstance(facts, dict) else {}
    grid = told.get("grid")
    sides = grid if isinstance(grid, list) and len(grid) == 2 else [0]
    numbers = [told.get("length"), told.get("beam"), *sides]
    whole = all(type(number) is int and number >= 1 for number in numbers)
    if not whole or not 3 <= told["length"] <= MAX_LENGTH or told["beam"] > MAX_BEAM:
        rule = f"The card must say of captions their length from 3 to {MAX_LENGTH}, a beam up to {MAX_BEAM} and the grid of the attention"
        raise BundleError(f"{rule}. Received: {name} with {facts}")


def check_run(bundle: Bundle) -> None:
    """One caption, so that what serves has spoken before; its attention must fit the grid."""
    height, width = bundle.card["caption"]["grid"]
    try:
        caption(bundle, [np.zeros(bundle.shape, np.uint8)])
    except ValueError as problem:  # attention to another number of places, or a state of another shape
        rule = f"A captioner must be able to caption an empty picture, looking at {height} x {width} places"
        raise BundleError(f"{rule}. Received: {bundle.name}, {problem}") from None


__all__ = ["Caption", "Choice", "caption", "check_captioner"]
