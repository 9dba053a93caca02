"""The zoo as a table that needs no framework, so that `kerasdl list models` answers at once.

`zoo.csv` beside this file is written by `python tools/zoo_table.py`; tests/kerasdl/test_zoo.py holds it to the models.
"""

from __future__ import annotations

import csv
import fnmatch
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("zoo.csv")


class Row(NamedTuple):
    """One registered model with its own image shape and class count."""

    name: str
    family: str
    trainable: int  # parameters as papers and torch count them
    total: int  # as Keras counts them: with the moving statistics of BatchNormalization
    multiply_adds: int  # of one picture
    input: str  # height x width x channels
    classes: int
    paper: str
    identifier: str  # arXiv number or DOI
    year: int


def read_zoo(pattern: str = "*") -> list[Row]:
    """The models whose name matches a shell pattern: families in the order of their years, small before large."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return [_row(row) for row in csv.DictReader(file) if fnmatch.fnmatchcase(row["name"], pattern)]


def _row(texts: dict[str, str]) -> Row:
    numbers = {"trainable", "total", "multiply_adds", "classes", "year"}
    return Row(**{field: int(text) if field in numbers else text for field, text in texts.items()})  # pyright: ignore[reportArgumentType]


def lines(rows: list[Row]) -> list[str]:
    """Aligned text, a line of titles first."""
    cells = [("models", "parameters", "multiply-adds", "input", "paper", "", "year")]
    for row in rows:
        cost = f"{row.multiply_adds / 1e6:,.2f} M"
        cells.append((f"  {row.name}", f"{row.trainable:,}", cost, row.input, row.paper, row.identifier, str(row.year)))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(c.rjust(w) if i in (1, 2) else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))) for line in cells
    ]
