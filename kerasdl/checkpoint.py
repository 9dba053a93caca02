"""Checkpoints: every variable of model and optimizer, the history, the place in the run; at each epoch's end and, in long epochs, within.

A process may be killed at any moment: files are written aside and renamed, so never half, and what a run has consumed of its data
and draws is a function of (epoch, step). A resumed run therefore ends with the weights of the uninterrupted one, bit for bit where
the recipe is deterministic. A disk that is full costs checkpoints, not the training.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasdl.npz import read_arrays, write_arrays
from kerasdl.whole_file import whole_file

log = logging.getLogger("kerasdl")
KEPT = 2  # the one before is the fall-back of a damaged last one
WITHIN_EPOCH = 600.0  # seconds: what an interruption costs at most


@dataclasses.dataclass
class Place:
    """Where a run is: `epoch` finished epochs and `step` steps of the next, which took `seconds` so far; `metrics` within an epoch."""

    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    minutes: float = 0.0
    seconds: float = 0.0
    metrics: list[np.ndarray] = dataclasses.field(default_factory=list)


class EveryEpoch(keras.callbacks.Callback):
    """Writes history.csv and a checkpoint when an epoch ends, and a checkpoint every WITHIN_EPOCH seconds; goes on from a `Place`."""

    def __init__(self, run: Path, place: Place | None = None) -> None:
        super().__init__()
        self.run, self.place = run, place or Place()
        self.history, self.minutes = list(self.place.history), self.place.minutes
        self.started = self.saved = time.monotonic()
        self.before, self.seconds = 0, 0.0  # steps of the present epoch, and their time, that an earlier process did

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.before, self.seconds = (self.place.step, self.place.seconds) if epoch == self.place.epoch else (0, 0.0)
        self.started = self.saved = time.monotonic()

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Not at the batch's end: that is called in a thread where Keras runs on JAX."""
        if batch and time.monotonic() - self.saved >= WITHIN_EPOCH:
            if keras.config.backend() == "jax":
                self.model.jax_state_sync()
            self._save(self.before + batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        spent = time.monotonic() - self.started
        self.minutes += spent / 60
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        # where there are auxiliary outputs Keras writes the main one's name before its metrics
        row = {re.sub("^(val_)?logits_(?!loss)", r"\1", name): float(value) for name, value in (logs or {}).items()}
        self.history.append({"epoch": epoch + 1, **row, "learning_rate": rate, "seconds": round(self.seconds + spent, 2)})
        self.started, self.seconds = time.monotonic(), 0.0
        self.write_history()
        self._save(0)

    def write_history(self) -> None:
        path = self.run / "history.csv"
        if self.history:
            _unless_full(lambda: write_history(path, self.history), path)

    def _save(self, step: int) -> None:
        spent = time.monotonic() - self.started if step else 0.0
        facts = (self.history, self.minutes + spent / 60, step, self.seconds + spent)
        folder = self.run / "checkpoints"
        _unless_full(lambda: save(self.model, folder, len(self.history), *facts), folder)
        self.saved = time.monotonic()


class ResumedEpoch(keras.callbacks.Callback):
    """Ends the epoch that a run resumes within after the steps it still had, its metrics counted on from where they were.

    Stands before the callbacks that may end the training when an epoch ends: this one lets it go on.
    """

    def __init__(self, place: Place, steps: int) -> None:
        super().__init__()
        self.place, self.steps = place, steps
        self.within = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.within = epoch == self.place.epoch and self.place.step > 0
        if self.within:  # Keras has just set the metrics to zero
            for variable, value in zip(_metrics(self.model), self.place.metrics, strict=True):
                variable.assign(value)

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self.within and self.place.step + batch == self.steps - 1:
            self.model.stop_training = True  # after this step: Keras would take as many as a whole epoch has

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.within:
            self.model.stop_training = False


def _unless_full(write: Callable[[], None], path: Path) -> None:
    try:
        write()
    except OSError as problem:
        log.warning("%s could not be written (%s): training goes on without it and tries again", path, problem.strerror or problem)


def save(
    model: Any, folder: Path, epoch: int, history: list[dict[str, float]], minutes: float, step: int = 0, seconds: float = 0.0
) -> None:
    """Writes `epoch-EEEEE.npz`, or within an epoch `epoch-EEEEE_SSSSSSSS.npz`, and removes all but the last KEPT; OSError if it cannot."""
    facts = json.dumps({"epoch": epoch, "step": step, "history": history, "minutes": minutes, "seconds": seconds})
    arrays = {f"v{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(_variables(model))}
    if step:
        arrays |= {f"m{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(_metrics(model))}
    name = f"epoch-{epoch:05d}_{step:08d}" if step else f"epoch-{epoch:05d}"
    write_arrays(folder / f"{name}.npz", {"facts": np.array(facts), **arrays})
    for old in _checkpoints(folder)[:-KEPT]:
        old.unlink()


def restore(model: Any, folder: Path) -> Place:
    """Puts the newest readable checkpoint into a compiled model; the run's start when there is none."""
    model.optimizer.build(model.trainable_variables)
    for path in reversed(_checkpoints(folder)):
        try:
            arrays = read_arrays(path)
            facts = json.loads(str(arrays.pop("facts")))
            place = Place(**facts, metrics=_numbered(arrays, "m"))
        except (OSError, ValueError, KeyError, TypeError) as problem:
            log.warning("%s is damaged (%s): falling back to the checkpoint before it", path.name, problem)
            continue
        variables, values = _variables(model), _numbered(arrays, "v")
        if [tuple(v.shape) for v in variables] != [v.shape for v in values]:
            raise ValueError(f"a checkpoint must fit the model. Received: {path} from another model or optimizer")
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return place
    return Place()


def _numbered(arrays: dict[str, np.ndarray], letter: str) -> list[np.ndarray]:
    return [arrays[f"{letter}{i}"] for i in range(sum(name[0] == letter for name in arrays))]


def _checkpoints(folder: Path) -> list[Path]:
    """The oldest first: "epoch-00003_00000200" comes after "epoch-00003"."""
    return sorted(folder.glob("epoch-*.npz"), key=lambda path: path.stem)


def _variables(model: Any) -> list[Any]:
    """Weights, BatchNormalization statistics, dropout seeds, optimizer state."""
    metrics = {id(v) for v in _metrics(model)}
    return [v for v in model.variables if id(v) not in metrics] + list(model.optimizer.variables)


def _metrics(model: Any) -> list[Any]:
    """Sums over the present epoch."""
    return [v for metric in model.metrics for v in metric.variables]


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    with whole_file(path) as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]), restval="")
        writer.writeheader()
        writer.writerows(history)
