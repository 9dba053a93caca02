"""Rows of a CSV file for a model that knows its table: each becomes numbers, or a sentence that says what is wrong with it."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from kerasdl.data.table_file import TableFile, is_missing, read_table
from kerasdl.data.table_spec import Column, TableSpec

Reader = Callable[[Sequence[str]], list[float]]  # the cells of a row to the numbers of one column, or of one choice
LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows as a model takes them.

    features: float32 (N,D) in their units, NaN throughout where a row has a problem.
    problems: N sentences, empty where a row is good.
    unused: columns of the file that the model neither takes nor predicts.
    """

    features: np.ndarray
    problems: list[str]
    unused: list[str]

    @property
    def good(self) -> np.ndarray:
        """Numbers of the rows without a problem."""
        return np.array([row for row, problem in enumerate(self.problems) if not problem], int)


def read_rows(path: str | Path, spec: TableSpec) -> Rows:
    """The columns of `spec` in a CSV file, in any order; a choice by its words, or by a column of 0 and 1 for each of them.

    Raises ValueError for a file that `read_table` refuses, a column that is not there, a choice given twice, a unit other than the one
    learnt (of a target too), and no row.
    What is wrong with a row alone is told in `problems`, with its number from 1 and its line.
    """
    found = read_table(path, ragged=True)
    if not found.rows:
        raise ValueError(f"a table needs rows below its header. Received: none in {found.file}")
    _check_units(found, spec)
    readers = list(_readers(found, spec))
    known = {*(column.name for column in (*spec.columns, *spec.targets)), *(column.choice for column in spec.columns)}
    features = np.full((len(found.rows), len(spec.columns)), np.nan, np.float32)
    problems = []
    for number, (cells, line) in enumerate(zip(found.rows, found.lines, strict=True)):
        try:
            features[number] = _numbers(cells, readers, len(found.names))
            problems.append("")
        except ValueError as problem:
            problems.append(f"row {number + 1} (line {line}): {problem}")
    return Rows(features, problems, [name for name in found.names if name not in known])


def _readers(found: TableFile, spec: TableSpec) -> Iterator[Reader]:
    for choice, group in itertools.groupby(spec.columns, key=lambda column: column.choice):
        columns = list(group)
        if not choice:
            for column in columns:
                yield functools.partial(_number, found.place(column.name), column.name)
        elif choice in found.names:
            _check_given_once(found, choice, columns)
            yield functools.partial(_word, found.place(choice), choice, [c.name.removeprefix(f"{choice}=") for c in columns])
        elif not any(column.name in found.names for column in columns):
            found.place(choice)  # says that it is missing
        else:
            yield functools.partial(_marks, [found.place(column.name) for column in columns], [column.name for column in columns])


def _check_units(found: TableFile, spec: TableSpec) -> None:
    for column in (*spec.columns, *spec.targets):
        unit = found.unit(column.name) if column.name in found.names else ""
        if unit and unit != column.unit:
            learnt = f"in {column.unit}" if column.unit else "without a unit"
            raise ValueError(f"the column {column.name} is {learnt}, as it was learnt. Received: {unit} in {found.file}")


def _check_given_once(found: TableFile, choice: str, columns: Sequence[Column]) -> None:
    also = [column.name for column in columns if column.name in found.names]
    if also:
        raise ValueError(f"a choice comes as words or as columns of 0 and 1. Received: {choice} and {', '.join(also)} in {found.file}")


def _numbers(cells: Sequence[str], readers: Sequence[Reader], count: int) -> list[float]:
    if len(cells) != count:
        raise ValueError(f"a row has {count} cells, as the header. Received: {len(cells)}")
    return [number for reader in readers for number in reader(cells)]


def _number(place: int, name: str, cells: Sequence[str]) -> list[float]:
    cell = cells[place].strip()
    if is_missing(cell):
        raise ValueError(f"the column {name} needs a value. Received: {cell!r}")
    try:
        number = np.inf if "_" in cell else float(cell)
    except ValueError:
        number = np.inf
    if not abs(number) <= LARGEST:
        raise ValueError(f"the column {name} must hold a number. Received: {cell!r}")
    return [number]


def _word(place: int, choice: str, words: Sequence[str], cells: Sequence[str]) -> list[float]:
    cell = cells[place].strip()
    if cell not in words:
        raise ValueError(f"the column {choice} is one of {', '.join(words)}. Received: {cell!r}")
    return [float(word == cell) for word in words]


def _marks(places: Sequence[int], names: Sequence[str], cells: Sequence[str]) -> list[float]:
    marks = [number for place, name in zip(places, names, strict=True) for number in _number(place, name, cells)]
    if sorted(marks) != [0.0] * (len(marks) - 1) + [1.0]:
        told = ", ".join(f"{mark:g}" for mark in marks)
        raise ValueError(f"one of the columns {', '.join(names)} is 1, the others are 0. Received: {told}")
    return marks
