"""What the network will see: a few training pictures and what the pipeline makes of them, pass by pass."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from kerasdl.data.pipeline import place, training_batches
from kerasdl.data.splits import ArraySplit, Splits


@dataclasses.dataclass(frozen=True)
class Preview:
    """originals (N,H,W,C) uint8 with their class numbers; images (N,P,H,W,C) float32 and targets (N,P,classes) of P passes."""

    originals: np.ndarray
    labels: np.ndarray
    images: np.ndarray
    targets: np.ndarray


def preview(splits: Splits, recipe: Any, count: int = 8, passes: int = 9) -> Preview:
    """`count` training pictures, of different classes where there are so many, through `training_batches` of the recipe."""
    chosen = splits.train.arrays(_various(splits, count))
    few, classes = ArraySplit(chosen), splits.spec.classes
    count = len(few)
    batches = training_batches(few, count, recipe.seed, recipe.augment, mix=recipe.mix, classes=classes)
    images, targets = [], []
    for number, (inputs, outputs) in zip(range(passes), batches, strict=False):
        index, _ = place(np.arange(number * count, (number + 1) * count), count, recipe.seed)
        back = np.argsort(index.numpy())
        labels = outputs["logits"].numpy()
        images.append(inputs["image"].numpy()[back])
        targets.append((labels if recipe.mix else np.eye(classes, dtype=np.float32)[labels])[back])
    return Preview(chosen["image"], chosen["label"], np.stack(images, axis=1), np.stack(targets, axis=1))


def _various(splits: Splits, count: int) -> np.ndarray:
    """Numbers of the first examples of as many classes as possible, among the first thousand."""
    head = np.arange(min(len(splits.train), 1000))
    memory = splits.train.fields_in_memory()
    labels = memory["label"][head] if memory is not None else splits.train.arrays(head[: 8 * count])["label"]
    _, firsts = np.unique(labels, return_index=True)
    others = np.setdiff1d(np.arange(len(labels)), firsts)
    return np.concatenate([np.sort(firsts), others])[:count]
