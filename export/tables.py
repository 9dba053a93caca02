"""The card's section `table` of a regression: columns and targets, errors in a target's own measure, and rows as examples."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export import parity
from export.gates import LEAST_SAMPLES, ExportRefused
from export.parity import Arrays, Run

TASK = "regression"
COLUMN = {"name": str, "unit": str, "low": float, "high": float, "mean": float, "std": float, "choice": str}
FIELDS = {"columns": list, "targets": list, "interval": dict, "parity_rows": dict, "pictures": list}
MEASURED_ON = ("valid", "train", "unknown")
UNIT = "standard deviations of the target"
ROWS = "examples/rows.csv"
EXAMPLES, SEED = 24, 0
LEAST = 2  # rows that a score is made of
COARSEST = 1e-3  # standard deviations, however large the numbers are


def constants(task: Any, spec: Any) -> dict[str, Any]:
    """What a client must know of a table's columns and targets; nothing of other tasks."""
    if task.name != TASK:
        return {}
    return {kind: [dataclasses.asdict(column) for column in getattr(spec, kind)] for kind in ("columns", "targets")}


def metadata(section: dict[str, Any] | None) -> dict[str, str]:
    """The metadata_props of the ONNX file."""
    return {"kerasdl.table": json.dumps({kind: section[kind] for kind in ("columns", "targets")}, sort_keys=True)} if section else {}


def measure(task: Any, spec: Any, runtime: str, run: Run, feeds: Arrays, wanted: Arrays) -> list[dict[str, Any]]:
    """As `parity.measure`, errors and tolerance in standard deviations of the targets."""
    if not np.isfinite(wanted["interval"]).all():
        raise ExportRefused("the interval must be finite: task.after_training(model, splits) measures it. Received: one without end")
    targets = constants(task, spec)["targets"]
    compare = functools.partial(compared, difference_of(targets))
    rows = parity.measure(task, runtime, run, feeds, wanted, compare=compare)
    return [{**row, "tolerance": tolerance(task.tolerance, targets), "unit": UNIT} for row in rows]


def compared(difference: Callable[..., float], task: Any, wanted: Arrays, found: Arrays) -> tuple[float, bool, int]:
    """As `parity.compare`: (max error, are the decisions equal, near ties), where nothing is decided."""
    return max(difference(wanted[name], found[name]) for name in wanted), True, 0


def difference_of(targets: Sequence[dict[str, Any]]) -> Callable[[np.ndarray, np.ndarray], float]:
    """The largest difference of values (N,T) or intervals (N,T,2), each in standard deviations of its target."""

    def difference(wanted: np.ndarray, found: np.ndarray) -> float:
        if wanted.shape != found.shape:
            return math.inf
        return max(parity.difference(wanted[:, i], found[:, i]) / target["std"] for i, target in enumerate(targets))

    return difference


def tolerance(least: float, targets: Sequence[dict[str, Any]]) -> float:
    """`least`, or two steps of float32 where they are more: a year, of standard deviation 11, is told to 1e-5 of that at best."""
    steps = [2 * float(np.spacing(np.float32(max(abs(t["low"]), abs(t["high"]))))) / t["std"] for t in targets]
    return float(f"{min(max(least, *steps), COARSEST):.2g}")


def write_rows(folder: Path, part: Any, section: dict[str, Any]) -> list[str]:
    """examples/rows.csv: rows of the scored split in an order of its own, whatever is predicted, with their true values behind them."""
    picked = np.random.default_rng(SEED).permutation(len(part))[:EXAMPLES]
    rows = part.arrays(picked)
    path = folder / ROWS
    path.parent.mkdir()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header(section))
        writer.writerows([shortest(number) for number in row] for row in np.concatenate([rows["features"], rows["target"]], axis=1))
    return [ROWS]


def header(section: dict[str, Any]) -> list[str]:
    return [column["name"] for kind in ("columns", "targets") for column in section[kind]]


def shortest(number: np.float32) -> str:
    """The fewest digits that are this float32 again."""
    return np.format_float_positional(number, trim="-")


def check_rows(samples: Arrays, splits: Any, split: str) -> None:
    """Rows come with what is to be predicted, and some are left to score: figures, picture and examples are made of them."""
    if set(samples) != {"features", "target"} or len({len(values) for values in samples.values()}) != 1:
        told = ", ".join(f"{len(values)} of {name}" for name, values in samples.items())
        raise ExportRefused(f"the samples of a regression are features and target, as many of each. Received: {told}")
    count = len(samples["target"] if splits is None else splits.split(split))
    if count < LEAST:
        raise ExportRefused(f"a regression needs at least {LEAST} rows to be scored on. Received: {count} in the {split} split")


def filled(feeds: Arrays, spec: Any) -> tuple[Arrays, dict[str, int]]:
    """The rows, and behind fewer than 256 as many more that take each column, or choice, from any of them; the counts of both kinds."""
    rows, random = feeds["features"], np.random.default_rng(SEED)
    missing = max(LEAST_SAMPLES - len(rows), 0)
    mixed = np.empty((missing, rows.shape[1]), rows.dtype)
    owners = [column.choice or column.name for column in spec.columns]
    for owner in dict.fromkeys(owners):
        mine = [i for i, other in enumerate(owners) if other == owner]
        mixed[:, mine] = rows[random.integers(len(rows), size=missing)][:, mine]
    return {"features": np.concatenate([rows, mixed])}, {"data": len(rows), "mixed": missing}


def check_section(card: dict[str, Any], folder: Path | None = None) -> None:
    """The section of a regression is whole, agrees with itself, the graph, the labels and the files."""
    section = card.get("table")
    if section is None:
        if card["task"] == TASK:
            raise ExportRefused("the card of a regression must have a section table. Received: none")
        return
    wrong = [name for name, kind in FIELDS.items() if not isinstance(section.get(name), kind) or not section[name]]
    if wrong:
        raise ExportRefused(f"the card's section table must have every field with its type. Received: no usable {', '.join(wrong)}")
    for column in [*section["columns"], *section["targets"]]:
        check_column(column)
    check_counts(section["parity_rows"], card)
    check_choices([column["choice"] for column in section["columns"]])
    check_names(section, card)
    check_interval(section["interval"])
    missing = [path for path in (ROWS, *section["pictures"]) if path not in card["files"]]
    if missing:
        raise ExportRefused(f"a bundle of a table must have its rows and pictures. Received: no {', '.join(missing)}")
    if folder is not None:
        check_file(folder / ROWS, section)


def check_column(column: Any) -> None:
    usable = isinstance(column, dict) and all(isinstance(column.get(name), kind) for name, kind in COLUMN.items())
    if not (usable and column["low"] <= column["mean"] <= column["high"] and 0 < column["std"] < math.inf):
        raise ExportRefused(f"a column has name, unit, choice, std above 0, and low, mean and high in this order. Received: {column}")


def check_counts(counts: dict[str, Any], card: dict[str, Any]) -> None:
    """The rows that parity was measured on, those of the data first of all."""
    samples = [row["samples"] for row in card["parity"]]
    if list(counts) != ["data", "mixed"] or {counts["data"] + counts["mixed"]} != set(samples) or counts["data"] < LEAST:
        raise ExportRefused(f"parity_rows of the section table must be those of the parity. Received: {counts} of {samples}")


def check_choices(choices: Sequence[str]) -> None:
    """Columns of one choice stand together."""
    runs = [choice for i, choice in enumerate(choices) if choice and (i == 0 or choices[i - 1] != choice)]
    if len(set(runs)) != len(runs):
        raise ExportRefused(f"the columns of a choice must stand together. Received: {', '.join(runs)}")


def check_names(section: dict[str, Any], card: dict[str, Any]) -> None:
    """The names are those of the graph's columns and of the labels, and none comes twice."""
    names = header(section)
    (entry,) = card["graphs"]["model.onnx"]["inputs"]
    count = len(section["columns"])
    if entry.get("columns") != names[:count] or entry["shape"][1:] != [count] or card["labels"] != names[count:]:
        raise ExportRefused(f"the names of the section table must be those of the graph and of the labels. Received: {', '.join(names)}")
    if len(set(names)) != len(names):
        raise ExportRefused(f"columns and targets need different names. Received: {', '.join(names)}")


def check_interval(interval: dict[str, Any]) -> None:
    level = interval.get("level")
    if not (isinstance(level, float) and 0 < level < 1 and interval.get("measured_on") in MEASURED_ON):
        told = f"a level between 0 and 1 and measured_on as one of {', '.join(MEASURED_ON)}"
        raise ExportRefused(f"the interval of the section table has {told}. Received: {interval}")


def check_file(path: Path, section: dict[str, Any]) -> None:
    """The rows have the columns of the card, and numbers in them."""
    with path.open(newline="", encoding="utf-8") as file:
        first, *rows = csv.reader(file)
    if first != header(section) or not 0 < len(rows) <= EXAMPLES:
        raise ExportRefused(
            f"{ROWS} must have the columns of the card and up to {EXAMPLES} rows. Received: {len(rows)} of {', '.join(first)}"
        )
    try:
        numbers = np.array(rows, float)
    except ValueError as problem:
        raise ExportRefused(f"{ROWS} must hold numbers. Received: {problem}") from None
    if not np.isfinite(numbers).all():
        raise ExportRefused(f"{ROWS} must hold finite numbers. Received: another in row {int(np.argmin(np.isfinite(numbers).all(1))) + 1}")
