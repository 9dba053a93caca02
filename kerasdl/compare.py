"""Several runs side by side: one table, what their recipes do differently, whether the best is better than chance, one picture."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl import figures
from kerasdl.metrics import wilson_interval
from kerasdl.names import nearest

UNKNOWN = "-"
NO_DIFFERENCE = ("name", "note", "expect", "minutes")  # of a recipe: words and promises, not the experiment


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run folder says of itself; of a run that is not finished the history is enough."""

    name: str
    history: list[dict[str, str]]
    recipe: dict[str, Any]
    data: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def accuracy(self) -> float:
        """Of the saved model where there is one (averaged weights score differently), else of the last epoch; NaN when unknown."""
        final = self.metrics.get("valid", {}).get("accuracy")
        return float(final) if final is not None else float(figures.column(self.history, "val_accuracy")[-1])

    @property
    def best(self) -> float:
        values = figures.column(self.history, "val_accuracy")
        return float(np.nanmax(values)) if np.isfinite(values).any() else float("nan")

    @property
    def valid_count(self) -> int:
        return int(self.data.get("counts", {}).get("valid", 0))

    @property
    def interval(self) -> tuple[float, float] | None:
        known = self.valid_count > 0 and 0 <= self.accuracy <= 1
        return wilson_interval(self.accuracy, self.valid_count) if known else None

    @property
    def minutes(self) -> float:
        return self.metrics.get("train_minutes") or float(np.nansum(figures.column(self.history, "seconds"))) / 60

    @property
    def images_per_second(self) -> float:
        """Of the later half of the epochs: the first one compiles. From the epoch's time where the speed was not noted."""
        speed = figures.column(self.history, "images_per_second")
        if not np.isfinite(speed).any():
            speed = self.data.get("counts", {}).get("train", np.nan) / figures.column(self.history, "seconds")
        late = speed[len(speed) // 2 :]
        return float(np.nanmedian(late)) if np.isfinite(late).any() else float("nan")


def compare(names: Sequence[str], run_dir: str | Path = "runs", out: str | Path | None = None) -> str:
    """A text for the screen on two or more runs (names under `run_dir`, or paths); with `out` the picture is written there.

    Raises:
        ValueError: fewer than two runs, a run that is missing, or one that finished no epoch.
    """
    if len(names) < 2:
        raise ValueError(f"a comparison needs at least two runs. Received: {', '.join(names) or 'none'}")
    folders = [_find(name, Path(run_dir)) for name in names]
    short = len({folder.name for folder in folders}) == len(folders)
    runs = [read_run(folder, folder.name if short else str(folder)) for folder in folders]
    if out is not None:
        figures.comparison({run.name: run.history for run in runs}, Path(out))
    return "\n\n".join(part for part in (_table(runs), _differences(runs), _verdict(runs)) if part)


def read_run(folder: Path, name: str | None = None) -> Run:
    """The facts of a run folder; ValueError when no epoch of it was finished."""
    file = folder / "history.csv"
    history = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines())) if file.is_file() else []
    if not history:
        raise ValueError(f"the run has no history yet: none of its epochs was finished. Received: {str(folder)!r}")
    recipe, data, metrics = (_facts(folder / f"{part}.json") for part in ("recipe", "data", "metrics"))
    return Run(name or folder.name, history, recipe, data, metrics)


def _facts(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _find(name: str, run_dir: Path) -> Path:
    for folder in (run_dir / name, Path(name)):
        if any((folder / part).is_file() for part in ("recipe.json", "history.csv")):
            return folder
    known = sorted(path.parent.name for path in run_dir.glob("*/recipe.json"))
    raise ValueError(f"no such run in {run_dir}, nor a run folder of that path. Received: {name!r}. {nearest(name, known)}")


def _table(runs: Sequence[Run]) -> str:
    """A fact a row, a run a column."""
    facts = [_row(run) for run in runs]
    rows = [(fact, *(f[fact] for f in facts)) for fact in facts[0]]
    return "\n".join(_aligned([row for row in rows if set(row[1:]) != {UNKNOWN}]))


def _row(run: Run) -> dict[str, str]:
    interval, metrics = run.interval, run.metrics
    return {
        "run": run.name,
        "data": str(run.data.get("name", UNKNOWN)),
        "model": _plain(run.recipe.get("model", UNKNOWN)).partition("(")[0],
        "parameters": f"{metrics['parameters']:,}" if "parameters" in metrics else UNKNOWN,
        "epochs": str(len(run.history)) if metrics else f"{len(run.history)} of {run.recipe.get('epochs', '?')}, not finished",
        "validation accuracy": _number(run.accuracy, 4),
        "95 % interval": f"{interval[0]:.4f} .. {interval[1]:.4f}" if interval else UNKNOWN,
        "of the best epoch": _number(run.best, 4),
        "minutes": _number(run.minutes, 1),
        "images/s": _number(run.images_per_second, 0),
        "device": str(metrics.get("device", UNKNOWN)),
        "seed": str(metrics.get("seed", run.recipe.get("seed", UNKNOWN))),
        "commit": (metrics.get("commit") or UNKNOWN)[:8] + (" with changes" if metrics.get("dirty") else ""),
    }


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _differences(runs: Sequence[Run]) -> str:
    """The fields of the recipes that are not the same everywhere, down to the arguments of a function they share."""
    settings = [_flat(run.recipe) for run in runs]
    if not all(settings):
        return ""
    fields = dict.fromkeys(name for setting in settings for name in setting)
    names = [name for name in fields if len({setting.get(name, "none") for setting in settings}) > 1]  # "none": not asked for
    if not names:
        return "Their recipes are the same."
    return "\n".join(_aligned([("recipe", *(run.name for run in runs)), *((n, *(s.get(n, UNKNOWN) for s in settings)) for n in names)]))


def _flat(recipe: dict[str, Any]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in recipe.items():
        if name in NO_DIFFERENCE:
            continue
        if _is_call(value):
            flat[name] = value[0].rpartition(":")[2]
            flat.update({f"{name}.{key}": _plain(argument) for key, argument in value[1].items()})
        else:
            flat[name] = _plain(value)
    return flat


def _is_call(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and ":" in value[0] and isinstance(value[1], dict)


def _plain(value: Any) -> str:
    """`["kerasdl.data.augment:pad_crop", {"pad": 4}]` as `pad_crop(pad=4)`."""
    if _is_call(value):
        arguments = ", ".join(f"{key}={_plain(argument)}" for key, argument in value[1].items())
        return value[0].rpartition(":")[2] + (f"({arguments})" if arguments else "")
    if isinstance(value, list):
        return " ".join(map(_plain, value)) or "none"
    return "none" if value is None else str(value)


def _verdict(runs: Sequence[Run]) -> str:
    """One sentence on the two best: is their difference larger than the uncertainty of a count?"""
    if len({run.data.get("name") for run in runs}) > 1:
        return "The runs are of different data: their figures are not to be compared."
    ranked = sorted((run for run in runs if run.interval), key=lambda run: -run.accuracy)
    if len(ranked) < 2:
        return "The number of validation pictures is not known of two runs: nothing can be said on chance."
    first, second = ranked[:2]
    assert first.interval and second.interval
    points = 100 * (first.accuracy - second.accuracy)
    pictures = f"{first.valid_count:,} validation pictures"
    if points == 0:
        return f"{first.name} and {second.name} are equal on {pictures}."
    if first.interval[0] <= second.interval[1]:
        return (
            f"{first.name} is {points:.2f} points above {second.name}, but their 95 % intervals overlap: {pictures} of one seed "
            "do not tell them apart."
        )
    return (
        f"{first.name} is {points:.2f} points above {second.name}, and their 95 % intervals on {pictures} do not overlap: "
        "more than chance in the pictures (another seed may still move both)."
    )


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else UNKNOWN
