"""Which weights are the result: those of the last epoch, their moving average, the mean of the last epochs, or those of the best one.

Ensembles of snapshots are here too. What a result needs beyond the checkpoints are the weights after certain epochs; each lies in
a file of its own beside the checkpoints, so that a resumed run finds them. Which epochs these are depends on the history alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasdl import checkpoint
from kerasdl.layers.ensemble import ensemble
from kerasdl.npz import read_arrays, write_arrays
from kerasdl.recipe import Recipe

log = logging.getLogger("kerasdl")


def needed_epochs(recipe: Recipe, history: list[dict[str, float]]) -> set[int]:
    """The epochs, counted from 1, whose weights the result may need, of those in the history."""
    done = len(history)
    if recipe.average:
        return set(range(recipe.epochs - recipe.average + 1, done + 1))
    if recipe.snapshots:
        length = recipe.epochs // recipe.snapshots
        return {epoch for epoch in range(length, done + 1, length)}
    if recipe.early_stopping and done:
        return {best_epoch(history)}
    return set()


def best_epoch(history: list[dict[str, float]]) -> int:
    """The first epoch, counted from 1, with the lowest validation loss; NaN counts as infinite."""
    losses = [row.get("val_loss", np.nan) for row in history]
    return int(np.argmin(np.nan_to_num(losses, nan=np.inf))) + 1


def should_stop(recipe: Recipe, history: list[dict[str, float]]) -> bool:
    """Early stopping (Prechelt 1998): no better validation loss for as many epochs as the recipe's patience."""
    return bool(recipe.early_stopping and history) and len(history) - best_epoch(history) >= (recipe.early_stopping or 0)


class KeepWeights(keras.callbacks.Callback):
    """Stores the weights that the result needs, removes those that it no longer does, and stops when no better epoch comes.

    Stands before the callback that writes the checkpoint and adds to `history`: a checkpoint never names an epoch without its weights.
    """

    def __init__(self, recipe: Recipe, folder: Path, history: list[dict[str, float]]) -> None:
        super().__init__()
        self.recipe, self.folder, self.history = recipe, folder, history

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        history = [*self.history, dict(logs or {})]
        if epoch + 1 in needed_epochs(self.recipe, history):
            self._store(epoch + 1)
        recent = range(max(len(history) - checkpoint.KEPT, 1), len(history) + 1)  # a resumed run may go on from any checkpoint
        needed = set().union(*(needed_epochs(self.recipe, history[:length]) for length in recent))
        for file in self.folder.glob("weights-*.npz"):
            if int(file.stem.rpartition("-")[2]) not in needed:
                file.unlink()
        if should_stop(self.recipe, history):
            self.model.stop_training = True

    def _store(self, epoch: int) -> None:
        try:
            write_arrays(_file(self.folder, epoch), {f"w{i}": w for i, w in enumerate(self.model.get_weights())})
        except OSError as problem:
            log.warning("the weights after epoch %d could not be stored: %s", epoch, problem)


def put_result_in_place(
    model: keras.Model, recipe: Recipe, folder: Path, history: list[dict[str, float]], batches: Callable[[], Iterable[Any]], steps: int
) -> None:
    """Gives a trained model the weights that the recipe asks for; `batches` re-estimate the BatchNormalization statistics of means."""
    members = _read(folder, sorted(needed_epochs(recipe, history)))
    if members:
        model.set_weights([np.mean(same, axis=0, dtype="float64").astype(same[0].dtype) for same in zip(*members, strict=True)])
    elif recipe.early_stopping or recipe.average:
        log.warning("none of the weights that the result needs can be read: it is the last epoch's")
    if recipe.ema or recipe.average:
        reestimate_norms(model, batches(), steps)


def ensemble_of_snapshots(recipe: Recipe, folder: Path, history: list[dict[str, float]], member: Callable[[], keras.Model]) -> keras.Model:
    """One model of the snapshots (Huang et al. 2017, arXiv:1704.00109); `member()` builds what the weights fit."""
    epochs = sorted(needed_epochs(recipe, history))
    snapshots, members = _read(folder, epochs), []
    if not snapshots:
        raise ValueError(f"an ensemble needs the weights after epochs {epochs}, and none can be read. Received: {folder}")
    for weights in snapshots:
        members.append(member())
        members[-1].set_weights(weights)
    return ensemble([recipe.task.trained(one) for one in members])


def reestimate_norms(model: keras.Model, batches: Iterable[Any], steps: int) -> None:
    """BatchNormalization statistics of the present weights: the plain mean over `steps` training batches."""
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable]
    if not norms:
        return
    momenta = [layer.momentum for layer in norms]
    for step, (inputs, *_) in zip(range(steps), batches, strict=False):
        for layer in norms:
            layer.momentum = step / (step + 1)
        model(inputs, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


def _file(folder: Path, epoch: int) -> Path:
    return folder / f"weights-{epoch:05d}.npz"


def _read(folder: Path, epochs: list[int]) -> list[list[np.ndarray]]:
    """The weights after those epochs; what is missing or damaged is named and left out."""
    found = []
    for epoch in epochs:
        try:
            arrays = read_arrays(_file(folder, epoch))
            found.append([arrays[f"w{i}"] for i in range(len(arrays))])
        except (OSError, ValueError) as problem:
            log.warning("the weights after epoch %d cannot be read and are left out: %s", epoch, problem)
    return found
