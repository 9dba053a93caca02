"""A CSV file as columns of text, with every fault in a sentence that says where it is. No number is read here, and none is guessed.

    age [years],income [kEUR],town      the header; a unit stands in brackets, or behind a blank in parentheses: income (kEUR)
    [years],[kEUR],                     or in a line of its own below the names, each cell in brackets or empty
    34,51.5,Modena

The separator is the comma, semicolon or tab that the header has most of.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kerasdl.names import nearest

MISSING = ("", "na", "n/a", "nan", "null", "none", "?")
UNIT = re.compile(r"(?P<name>.*?)(\s*\[(?P<bracket>[^\[\]]*)\]|\s+\((?P<round>[^()]*)\))")


@dataclasses.dataclass(frozen=True)
class TableFile:
    """Cells as text. names, units: of the columns; rows: their cells; lines: the line of the file on which each row ends."""

    file: str
    names: tuple[str, ...]
    units: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]

    def place(self, name: str) -> int:
        """The number of a column; ValueError that names the nearest."""
        if name not in self.names:
            raise ValueError(f"{self.file} has no column of that name. Received: {name!r}. {nearest(name, self.names)}")
        return self.names.index(name)

    def unit(self, name: str) -> str:
        return self.units[self.place(name)]

    def missing(self, names: Sequence[str]) -> list[tuple[int, str]]:
        """(row, column) of every cell without a value."""
        places = [self.place(name) for name in names]
        return [(row, self.names[i]) for row, cells in enumerate(self.rows) for i in places if is_missing(cells[i])]

    def without(self, rows: set[int]) -> TableFile:
        kept = [i for i in range(len(self.rows)) if i not in rows]
        return dataclasses.replace(self, rows=[self.rows[i] for i in kept], lines=[self.lines[i] for i in kept])

    def numbers(self, name: str) -> np.ndarray:
        """(N,) float64; ValueError for what is no finite number, with its line."""
        place = self.place(name)
        return np.array([self._number(cells[place], line, name) for cells, line in zip(self.rows, self.lines, strict=True)])

    def words(self, name: str) -> list[str]:
        place = self.place(name)
        return [cells[place].strip() for cells in self.rows]

    def _number(self, cell: str, line: int, name: str) -> float:
        try:
            number = float(cell)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(
                f"the column {name} must hold numbers (a column of words is named in choices). "
                f"Received: {cell.strip()!r} in line {line} of {self.file}"
            )
        return number


def read_table(path: str | Path, ragged: bool = False) -> TableFile:
    """A CSV file in UTF-8 with a header.

    Raises ValueError for a file that is absent or no text, names that are missing or come twice, and rows of another length unless they
    may be `ragged`.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"a table is a CSV file with a header. Received: no file {str(path)!r}")
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            lines = _cells(opened)
    except (UnicodeDecodeError, csv.Error) as problem:
        raise ValueError(f"a table is text in UTF-8, its cells separated by commas. Received: {file.name}, {problem}") from None
    if not lines:
        raise ValueError(f"a table needs a header with the names of its columns. Received: {file.name}, which is empty")
    if not ragged:
        _check_lengths(lines, file.name)
    (_, header), *rest = lines
    names, units = zip(*(_split_title(title) for title in header), strict=True)
    _check_names(names, file.name)
    if rest and _is_unit_row(rest[0][1]):
        units = tuple(below.strip(" []") or unit for below, unit in itertools.zip_longest(rest.pop(0)[1], units, fillvalue=""))[
            : len(names)
        ]
    return TableFile(file.name, names, units, [cells for _, cells in rest], [line for line, _ in rest])


def _cells(opened) -> list[tuple[int, list[str]]]:
    """(line, cells) of the header and of every row that is not blank."""
    header = opened.readline()
    opened.seek(0)
    separator = max(",;\t", key=header.count)
    reader = csv.reader(opened, delimiter=separator, strict=True)
    return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]


def _check_lengths(lines: Sequence[tuple[int, list[str]]], name: str) -> None:
    (_, header), *rows = lines
    for line, cells in rows:
        if len(cells) != len(header):
            raise ValueError(f"every row has {len(header)} cells, as the header. Received: {len(cells)} in line {line} of {name}")


def _split_title(title: str) -> tuple[str, str]:
    """Name and unit."""
    found = UNIT.fullmatch(title.strip())
    if not found or not found["name"]:
        return title.strip(), ""
    return found["name"].strip(), (found["bracket"] or found["round"] or "").strip()


def _check_names(names: Sequence[str], file: str) -> None:
    if "" in names:
        raise ValueError(f"every column needs a name. Received: none for column {list(names).index('') + 1} of {file}")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"columns need different names. Received: {', '.join(twice)} more than once in {file}")


def _is_unit_row(cells: Sequence[str]) -> bool:
    given = [cell.strip() for cell in cells if cell.strip()]
    return bool(given) and all(re.fullmatch(r"\[[^\[\]]*\]", cell) for cell in given)


def is_missing(cell: str) -> bool:
    return cell.strip().lower() in MISSING
