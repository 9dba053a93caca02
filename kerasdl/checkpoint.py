"""A checkpoint an epoch: every variable of model and optimizer, the history, the epoch; written aside and renamed, so never half."""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

log = logging.getLogger("kerasdl")
KEPT = 2  # the one before is the fall-back of a damaged last one


class EveryEpoch(keras.callbacks.Callback):
    """Writes history.csv and a checkpoint when an epoch ends; `history` and `minutes` go on from a resumed run's."""

    def __init__(self, run: Path, history: list[dict[str, float]], minutes: float) -> None:
        super().__init__()
        self.run, self.history, self.minutes = run, list(history), minutes
        self.clock = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.clock = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        seconds = time.monotonic() - self.clock
        self.minutes += seconds / 60
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        # where there are auxiliary outputs Keras writes the main one's name before its metrics
        row = {re.sub("^(val_)?logits_(?!loss)", r"\1", name): float(value) for name, value in (logs or {}).items()}
        self.history.append({"epoch": epoch + 1, **row, "learning_rate": rate, "seconds": round(seconds, 2)})
        write_history(self.run / "history.csv", self.history)
        save(self.model, self.run / "checkpoints", epoch + 1, self.history, self.minutes)


def save(model: Any, folder: Path, epoch: int, history: list[dict[str, float]], minutes: float) -> None:
    folder.mkdir(exist_ok=True)
    facts = json.dumps({"epoch": epoch, "history": history, "minutes": minutes})
    temporary = folder / "writing.npz"
    arrays: dict[str, Any] = {f"v{i}": np.asarray(v) for i, v in enumerate(_variables(model))}
    np.savez(temporary, facts=facts, **arrays)
    os.replace(temporary, folder / f"epoch-{epoch:05d}.npz")
    for old in sorted(folder.glob("epoch-*.npz"))[:-KEPT]:
        old.unlink()


def restore(model: Any, folder: Path) -> tuple[int, list[dict[str, float]], float]:
    """Puts the newest readable checkpoint into a compiled model; (epochs done, history, minutes), zeros when there is none."""
    model.optimizer.build(model.trainable_variables)
    for path in sorted(folder.glob("epoch-*.npz"), reverse=True):
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
                facts = json.loads(str(saved["facts"]))
                values = [saved[f"v{i}"] for i in range(len(saved.files) - 1)]
        except Exception as problem:  # zipfile, zlib, numpy and json each have their own way to say "damaged"
            log.warning("%s is damaged (%s): falling back to the checkpoint before it", path.name, type(problem).__name__)
            continue
        variables = _variables(model)
        if [tuple(v.shape) for v in variables] != [v.shape for v in values]:
            raise ValueError(f"a checkpoint must fit the model. Received: {path} from another model or optimizer")
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return facts["epoch"], facts["history"], facts["minutes"]
    return 0, [], 0.0


def _variables(model: Any) -> list[Any]:
    """Weights, BatchNormalization statistics, dropout seeds, optimizer state; the metrics start anew each epoch."""
    metrics = {id(v) for metric in model.metrics for v in metric.variables}
    return [v for v in model.variables if id(v) not in metrics] + list(model.optimizer.variables)


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
    os.replace(temporary, path)
