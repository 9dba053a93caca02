"""Rows of named numbers: your own CSV file (`table:FILE.csv`), and what every table goes through on its way to splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kerasdl.data.splits import ArraySplit, Splits, held_out
from kerasdl.data.table_file import TableFile, read_table
from kerasdl.data.table_spec import Column, TableSpec

LEAST = 10  # rows, below which no three splits can be made
Names = str | Sequence[str] | None


class Named(NamedTuple):
    """A column before its statistics are known: float64 values (N,)."""

    name: str
    unit: str
    values: np.ndarray
    choice: str = ""


def table(
    path: str,
    targets: Names = None,
    columns: Names = None,
    choices: Names = None,
    missing: str = "refuse",
    valid: float = 0.2,
    seed: int = 0,
    card: dict[str, Any] | None = None,
) -> Splits:
    """A CSV file with a header, targets=PRICE; units in brackets, words by choices=TOWN.

    Args:
        path: the file, UTF-8; units as `kerasdl.data.table_file` says.
        targets: names of the columns to predict, a list or a text with commas.
        columns: those to predict from; by default all others.
        choices: those of words; each becomes a column for every word in it, NAME=WORD, 1 where the row has it.
        missing: "refuse", where a cell without a value is an error; or "drop", which leaves such rows out and says so in the card.
        valid: share of the rows outside the test split.
        seed: of the draw of the validation split.
        card: name, source and licence of the data; by default those of a user's own file.

    Returns:
        `features` float32 (N,D) and `target` float32 (N,T) in their units. The test split is a fixed fifth, whatever the seed;
        statistics and ranges are those of the training split.

    Raises:
        ValueError: as `read_table`; unknown columns, values that are missing or no numbers (with line and column), too few rows.
    """
    found = read_table(path)
    wanted = _listed(targets)
    if not wanted:
        raise ValueError(f"name the columns to predict, targets=NAME. Received: none; {found.file} has {', '.join(found.names)}")
    worded = _listed(choices)
    given = _listed(columns) or [name for name in found.names if name not in wanted]
    if both := [name for name in given if name in wanted]:
        raise ValueError(f"a target is no column to predict from. Received: {', '.join(both)} as both")
    for name in worded:
        if found.place(name) >= 0 and name not in given:
            raise ValueError(f"choices are among the columns to predict from. Received: {name!r}")
    found, left_out = _complete(found, [*given, *wanted], missing)
    told = {"name": Path(found.file).stem, "source": "a table of the user's", "licence": "unknown", "synthetic": False, **(card or {})}
    if left_out:
        told["left_out"] = f"{left_out} rows with a missing value"
    inputs = [column for name in given for column in (_choices(found, name) if name in worded else [_numbers(found, name)])]
    return table_splits(inputs, [_numbers(found, name) for name in wanted], told, valid=valid, seed=seed)


def table_splits(
    columns: Sequence[Named],
    targets: Sequence[Named],
    card: dict[str, Any],
    *,
    valid: float = 0.2,
    seed: int = 0,
    parts: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> Splits:
    """Splits of columns of numbers; `parts` are the row numbers of train, valid and test, by default a fixed fifth and a drawn share."""
    features, target = (np.column_stack([column.values for column in some]) for some in (columns, targets))
    train, held, test = parts or _drawn(len(features), valid, seed)
    spec = TableSpec(_described(columns, train), _described(targets, train), card["name"])
    counts = {"train": len(train), "valid": len(held), "test": len(test)}
    splits = [ArraySplit({"features": features[i].astype(np.float32), "target": target[i].astype(np.float32)}) for i in (train, held, test)]
    return Splits(*splits, spec=spec, card={**card, "counts": counts})


def _drawn(count: int, valid: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if count < LEAST:
        raise ValueError(f"a table needs at least {LEAST} complete rows. Received: {count}")
    rest, test = held_out(np.zeros(count), 0.2, seed=0)  # the fifth never moves, whatever the seed
    kept, out = held_out(np.zeros(len(rest)), valid, seed)
    return rest[kept], rest[out], test


def _described(columns: Sequence[Named], train: np.ndarray) -> tuple[Column, ...]:
    described = []
    for name, unit, values, choice in columns:
        some = values[train]
        std = float(some.std())
        constant = std <= 1e-9 * max(1.0, float(np.abs(some).max()))  # rounding alone
        facts = (float(some.min()), float(some.max()), float(some.mean()), 1.0 if constant else std)
        described.append(Column(name, unit, *facts, choice))
    return tuple(described)


def _complete(found: TableFile, names: Sequence[str], missing: str) -> tuple[TableFile, int]:
    """The table without rows that lack a value, and how many these were."""
    if missing not in ("refuse", "drop"):
        raise ValueError(f"missing is 'refuse' or 'drop'. Received: {missing!r}")
    gaps = found.missing(names)
    if gaps and missing == "refuse":
        row, column = gaps[0]
        more = f", the first of {len(gaps)} such cells" if len(gaps) > 1 else ""
        raise ValueError(
            f"every cell needs a value, or missing='drop' leaves its row out. "
            f"Received: none in line {found.lines[row]} of {found.file}, column {column}{more}"
        )
    rows = {row for row, _ in gaps}
    return found.without(rows), len(rows)


def _numbers(found: TableFile, name: str) -> Named:
    return Named(name, found.unit(name), found.numbers(name))


def _choices(found: TableFile, name: str) -> list[Named]:
    words = found.words(name)
    return [Named(f"{name}={word}", "", np.array([float(other == word) for other in words]), name) for word in sorted(set(words))]


def _listed(names: Names) -> list[str]:
    if names is None:
        return []
    listed = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    return [name for name in listed if name]
