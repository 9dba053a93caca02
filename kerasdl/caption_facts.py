"""What a model card says of a captioner: its scores by greedy choice and by beam, and whether two runtimes say the same.

Everything is plain Python, ready for JSON, and of captions that the model said by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kerasdl.metrics.captions import caption_scores
from kerasdl.text import TOKENIZER, Vocabulary

Spoken = dict[str, np.ndarray]  # of N pictures: tokens (N,T), margin (N,)
Slots = Callable[[Sequence[str], Sequence[Sequence[str]]], dict[str, float]]


def way(beam: int) -> str:
    """What a beam is called: "greedy", "beam 3"."""
    return "greedy" if beam == 1 else f"beam {beam}"


def beams(beam: int) -> list[int]:
    """Those that a card compares: greedy, and the model's own, or 3 where that is greedy."""
    return [1, beam if beam > 1 else 3]


def spoken(predict: Callable[..., Spoken], part: Any, beam: int, batch_size: int = 64) -> Spoken:
    """What is said of all pictures of a split."""
    found: dict[str, list[np.ndarray]] = {"tokens": [], "margin": []}
    for start in range(0, len(part), batch_size):
        image = part.arrays(np.arange(start, min(start + batch_size, len(part))))["image"]
        said = predict({"image": image}, beam=beam)
        for name, values in found.items():
            values.append(said[name])
    return {name: np.concatenate(values) for name, values in found.items()}


def scores(found: Spoken, references: Sequence[Sequence[str]], words: Vocabulary, slots: Slots | None) -> dict[str, float]:
    """`kerasdl.metrics.caption_scores`, and the shares of `slots`."""
    said = [words.decode(row) for row in found["tokens"]]
    return {**caption_scores(said, references), **(slots(said, references) if slots else {})}


def agreement(wanted: Spoken, found: Spoken, near: float) -> dict[str, int]:
    """How many captions are the same token by token, and how many others are no near tie.

    `near_ties` are the pictures where another choice lay within `near` in log-probability, whether or not it was taken.
    """
    if wanted["tokens"].shape != found["tokens"].shape:
        raise ValueError(f"both must caption the same pictures. Received: {wanted['tokens'].shape} and {found['tokens'].shape}")
    same, tied = (wanted["tokens"] == found["tokens"]).all(axis=1), wanted["margin"] < near
    return {"pictures": len(same), "same": int(same.sum()), "near_ties": int(tied.sum()), "different": int((~same & ~tied).sum())}


def section(
    predict: Callable[..., Spoken],
    reference: Callable[..., Spoken],
    part: Any,
    references: Sequence[Sequence[str]],
    words: Vocabulary,
    beam: int,
    near: float,
    slots: Slots | None = None,
) -> dict[str, Any]:
    """The section `caption` of a card, without what graphs and pictures tell.

    Args:
        predict, reference: the exported graphs and Keras, from `image` (B,H,W,C) to `tokens` and `margin`, with the option `beam`.
        part: the scored split.
        references: all captions of each of its pictures.
        words: the vocabulary.
        beam: the model's own.
        near: log-probability within which two choices are as likely.
        slots: further scores.
    """
    found = {way(width): spoken(predict, part, width) for width in beams(beam)}
    wanted = {way(width): spoken(reference, part, width) for width in beams(beam)}
    return {
        "tokenizer": TOKENIZER,
        "words": len(words) - 4,
        "pictures_scored": len(references),
        "references": sum(map(len, references)),
        "scores": {name: scores(some, references, words, slots) for name, some in found.items()},
        "caption_parity": {name: agreement(wanted[name], some, near) for name, some in found.items()},
    }
