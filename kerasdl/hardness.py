"""What the training tells its sampler: how hard each identity still is, measured after every epoch, kept beside the checkpoints."""

from __future__ import annotations

import dataclasses
import inspect
import re
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasdl.checkpoint import _unless_full
from kerasdl.data.samplers import Hardness
from kerasdl.data.splits import Split, Splits, facts
from kerasdl.recipe import Recipe

PICTURES = 4  # of each identity that are looked at after an epoch
FILE = "hardness.npz"


def follow_hardness(recipe: Recipe, splits: Splits, run: Path, folder: Path, epochs: int) -> tuple[Recipe, list[keras.callbacks.Callback]]:
    """The recipe with a sampler that is told, and the callback that tells it; the recipe itself where its sampler asks for nothing.

    Args:
        run, folder: what was known after the first `epochs` epochs is read from RUN/checkpoints; FOLDER/checkpoints is written.

    The callback has to stand before the one that writes checkpoints: one that says so many epochs are done promises their record.
    Raises ValueError where that is absent.
    """
    if not _asks(recipe.sampler):
        return recipe, []
    hardness = Hardness()
    if epochs:
        _load(hardness, run / "checkpoints" / FILE, epochs)
    told = dataclasses.replace(recipe, sampler=partial(recipe.sampler, hardness=hardness))  # type: ignore[arg-type]
    return told, [KeepHardness(hardness, splits.train, folder / "checkpoints" / FILE)]


class KeepHardness(keras.callbacks.Callback):
    """After each epoch measures, records and saves the hardness of every identity of `split`."""

    def __init__(self, hardness: Hardness, split: Split, path: Path) -> None:
        super().__init__()
        self.hardness, self.split, self.path = hardness, split, path
        self.numbers = _some_of_each(facts(split)["label"])

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        _identity_outputs(self.model)  # a sentence before the first epoch instead of after it

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.hardness.record(epoch, mean_cross_entropy(self.model, self.split, self.numbers))
        _unless_full(lambda: self.hardness.save(self.path), self.path)


def mean_cross_entropy(model: keras.Model, split: Split, numbers: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """(N,) float32 of the identities 0..N-1: the mean of -log p(own label) over their examples among `numbers`, not augmented.

    Of a model of parts also the mean over their logits. Raises ValueError where the training model classifies no identities.
    """
    outputs = _identity_outputs(model)
    losses, labels = [], []
    for start in range(0, len(numbers), batch_size):
        examples = split.arrays(numbers[start : start + batch_size])
        labels.append(examples["label"])
        answers = _answers(model, examples)
        losses.append(np.mean([_cross_entropy(answers[name], labels[-1]) for name in outputs], axis=0))
    number, loss = np.concatenate(labels), np.concatenate(losses)
    return (np.bincount(number, loss) / np.maximum(np.bincount(number), 1)).astype(np.float32)


def _load(hardness: Hardness, path: Path, epochs: int) -> None:
    try:
        hardness.load(path, epochs)
    except FileNotFoundError:
        raise ValueError(f"resuming with an adaptive sampler needs what it had learnt. Received: no file {str(path)!r}") from None


def _asks(sampler: Any) -> bool:
    return sampler is not None and "hardness" in inspect.signature(sampler).parameters


def _some_of_each(labels: np.ndarray) -> np.ndarray:
    """Numbers of at most PICTURES examples of each label, spread over those there are."""
    found = []
    for label in np.unique(labels[labels >= 0]):
        mine = np.flatnonzero(labels == label)
        found.append(mine[np.unique(np.linspace(0, len(mine) - 1, min(PICTURES, len(mine))).astype(int))])
    return np.concatenate(found)


def _identity_outputs(model: keras.Model) -> list[str]:
    """Its output logits, or those of parts: logits1, logits2, ..."""
    names = list(model.output) if isinstance(model.output, dict) else []
    found = ["logits"] if "logits" in names else [name for name in names if re.fullmatch(r"logits\d+", name)]
    if not found:
        raise ValueError(
            "an adaptive sampler measures identities by the identity loss, and needs a model with the output logits, or logits1, ... of "
            f"parts: identity above 0 in the task. Received: a model with {', '.join(names) or 'one output without a name'}"
        )
    return found


def _answers(model: keras.Model, examples: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    known = {"image": examples["image"].astype(np.float32), "label": examples["label"]}
    return model.predict_on_batch({name: known[name] for name in model.input})


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
