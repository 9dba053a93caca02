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
    """What a run folder says of itself; of a run that is not finished the history is enough, of one that was solved the scores."""

    name: str
    history: list[dict[str, str]]
    recipe: dict[str, Any]
    data: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def accuracy(self) -> float:
        """Of the saved model where there is one (averaged weights score differently), else of the last epoch; NaN when unknown."""
        if "accuracy" in self.scores:
            return float(self.scores["accuracy"])
        values = figures.column(self.history, "val_accuracy")
        return float(values[-1]) if len(values) else float("nan")

    @property
    def scores(self) -> dict[str, float]:
        """Of the saved model on the validation split."""
        return self.metrics.get("valid", {})

    @property
    def judged(self) -> str:
        """The score that says which run is better: R2 of one target, else accuracy."""
        return "R2" if "R2" in self.scores else "accuracy"

    @property
    def value(self) -> float:
        return self.accuracy if self.judged == "accuracy" else self.scores[self.judged]

    @property
    def best(self) -> float:
        values = figures.column(self.history, "val_accuracy")
        return float(np.nanmax(values)) if np.isfinite(values).any() else float("nan")

    @property
    def valid_count(self) -> int:
        return int(self.data.get("counts", {}).get("valid", 0))

    @property
    def interval(self) -> tuple[float, float] | None:
        if self.judged in (intervals := self.metrics.get("valid_intervals", {})):
            low, high = intervals[self.judged]
            return low, high
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
        ValueError: fewer than two runs, a run that is missing, or one that finished no epoch although it has some.
    """
    if len(names) < 2:
        raise ValueError(f"a comparison needs at least two runs. Received: {', '.join(names) or 'none'}")
    folders = [_find(name, Path(run_dir)) for name in names]
    short = len({folder.name for folder in folders}) == len(folders)
    runs = [read_run(folder, folder.name if short else str(folder)) for folder in folders]
    drawn = "" if out is None else _draw(runs, Path(out))
    return "\n\n".join(part for part in (_table(runs), _differences(runs), _verdict(runs), drawn) if part)


def _draw(runs: Sequence[Run], out: Path) -> str:
    """A sentence on the picture."""
    histories = {run.name: run.history for run in runs if run.history}
    if not histories:
        return "No picture: all of them were solved in closed form, without epochs."
    drawn = figures.comparison(histories, out)
    left_out = ", ".join(run.name for run in runs if not run.history)
    told = f"; without {left_out}, solved in closed form" if left_out else ""
    return f"{out}: validation {' and '.join(drawn)} over epochs and minutes{told}"


def read_run(folder: Path, name: str | None = None) -> Run:
    """The facts of a run folder; ValueError when no epoch of it was finished, nor anything solved."""
    file = folder / "history.csv"
    history = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines())) if file.is_file() else []
    recipe, data, metrics = (_facts(folder / f"{part}.json") for part in ("recipe", "data", "metrics"))
    if not history and not metrics:
        raise ValueError(f"the run has no history yet: none of its epochs was finished. Received: {str(folder)!r}")
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
    others = dict.fromkeys(name for run in runs for name in run.scores if name != "accuracy")
    facts = [_row(run, list(others)) for run in runs]
    rows = [(fact, *(f[fact] for f in facts)) for fact in facts[0]]
    return "\n".join(_aligned([row for row in rows if set(row[1:]) != {UNKNOWN}]))


def _row(run: Run, others: Sequence[str]) -> dict[str, str]:
    interval, metrics = run.interval if run.judged == "accuracy" else None, run.metrics
    done = str(len(run.history) or "solved in closed form")
    return {
        "run": run.name,
        "data": str(run.data.get("name", UNKNOWN)),
        "model": _plain(run.recipe.get("model", UNKNOWN)).partition("(")[0],
        "parameters": f"{metrics['parameters']:,}" if "parameters" in metrics else UNKNOWN,
        "epochs": done if metrics else f"{len(run.history)} of {run.recipe.get('epochs', '?')}, not finished",
        "validation accuracy": _number(run.accuracy, 4),
        "95 % interval": f"{interval[0]:.4f} .. {interval[1]:.4f}" if interval else UNKNOWN,
        "of the best epoch": _number(run.best, 4),
        **{f"validation {name}": _score(run, name) for name in others},
        "minutes": _number(run.minutes, 1),
        "images/s": _number(run.images_per_second, 0),
        "device": str(metrics.get("device", UNKNOWN)),
        "seed": str(metrics.get("seed", run.recipe.get("seed", UNKNOWN))),
        "commit": (metrics.get("commit") or UNKNOWN)[:8] + (" with changes" if metrics.get("dirty") else ""),
    }


def _score(run: Run, name: str) -> str:
    """`0.8039 (0.7819 .. 0.8236)`"""
    interval = run.metrics.get("valid_intervals", {}).get(name)
    told = f" ({_digits(interval[0])} .. {_digits(interval[1])})" if interval else ""
    return _digits(run.scores[name]) + told if name in run.scores else UNKNOWN


def _digits(value: float) -> str:
    return _number(value, 4 if abs(value) < 1000 else 1)


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
    if any(name.startswith("R2 ") for run in runs for name in run.scores):
        return "Each target has scores of its own: no one figure says which run is better."
    examples = "rows" if runs[0].judged == "R2" else "pictures"
    ranked = sorted((run for run in runs if run.interval and run.judged == runs[0].judged), key=lambda run: -run.value)
    if len(ranked) < 2:
        return f"The uncertainty on validation {examples} is not known of two runs: nothing can be said on chance."
    first, second = ranked[:2]
    assert first.interval and second.interval
    points = f"{100 * (first.value - second.value):.2f} points{'' if first.judged == 'accuracy' else f' of {first.judged}'}"
    counted = f"{first.valid_count:,} validation {examples}"
    if first.value == second.value:
        return f"{first.name} and {second.name} are equal on {counted}."
    if first.interval[0] <= second.interval[1]:
        return (
            f"{first.name} is {points} above {second.name}, but their 95 % intervals overlap: {counted} of one seed do not tell them apart."
        )
    return (
        f"{first.name} is {points} above {second.name}, and their 95 % intervals on {counted} do not overlap: "
        f"more than chance in the {examples} (another seed may still move both)."
    )


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else UNKNOWN
