"""A stranger's CSV file as rows for a network, line by line with what is wrong, and the same file again with the predictions beside it.

    age [years],income [kEUR],town      units may stand in brackets, behind the names or in a line of their own below them
    34,51.5,Modena

Read as `kerasdl.data.table_file` reads the table that the network learnt from; the separator is the comma, semicolon or tab that the
header has most of. Columns of the targets are true values; columns that no network knows are passed on unread.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from apps.runtime import Predicted, Regressor, RowError
from apps.runtime.regression import near, shown

MAX_ROWS, MAX_COLUMNS = 10_000, 200
CHECKED = 500  # rows between two looks at the clock
UNIT = re.compile(r"(?P<name>.*?)(\s*\[(?P<bracket>[^\[\]]*)\]|\s+\((?P<round>[^()]*)\))")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would run a cell that begins with one of these


@dataclass(frozen=True)
class Table:
    """Cells as text, below the header; `lines`: the line of the file on which each row ends."""

    header: list[str]
    names: list[str]
    rows: list[list[str]]
    lines: list[int]
    separator: str


@dataclass(frozen=True)
class Outcome:
    """What became of the rows of a table: `places` are those that could be predicted, `problems` say why not of the others.

    `predicted` and `warnings` are of the P places; truths float64 [N, T] of all rows, NaN where the table has none; `unread` are columns
    that the network does not know.
    """

    table: Table
    places: list[int]
    problems: dict[int, str]
    predicted: Predicted
    warnings: list[list[str]]
    truths: np.ndarray
    unread: list[str]


def read_table(data: bytes) -> Table:
    """RowError for what is no CSV file with a header, or has too many rows."""
    try:
        text = data.decode("utf-8-sig")
        separator = max(",;\t", key=text.partition("\n")[0].count)
        if text.count(separator) > MAX_ROWS * MAX_COLUMNS:  # a cell is a byte of the file and eight of memory
            raise RowError(f"At most {MAX_ROWS * MAX_COLUMNS:,} cells at once are accepted", "many")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except (UnicodeDecodeError, csv.Error) as problem:
        raise RowError(
            f"A table must be text in UTF-8, its cells separated by commas. Received: {str(problem)[:100]}", "malformed"
        ) from None
    if len(lines) < 2:
        raise RowError(f"A table must have a header with the names of its columns and a row. Received: {len(lines)} lines", "malformed")
    if len(lines) > MAX_ROWS + 2:
        raise too_many(len(lines) - 1)
    (_, header), *rest = lines
    if len(header) > MAX_COLUMNS:
        raise RowError(f"At most {MAX_COLUMNS} columns are accepted. Received: {len(header):,}", "many")
    if is_unit_row(rest[0][1], len(header)):
        header = [f"{title} {below}".strip() for title, below in zip(header, rest.pop(0)[1], strict=True)]
    if len(rest) > MAX_ROWS:
        raise too_many(len(rest))
    return Table(header, [split_title(title)[0] for title in header], [cells for _, cells in rest], [line for line, _ in rest], separator)


def too_many(count: int) -> RowError:
    return RowError(f"At most {MAX_ROWS:,} rows at once are accepted. Received: {count:,}", "many")


def is_unit_row(cells: Sequence[str], width: int) -> bool:
    given = [cell.strip() for cell in cells if cell.strip()]
    return len(cells) == width and all(re.fullmatch(r"\[[^\[\]]*\]", cell) for cell in given)


def split_title(title: str) -> tuple[str, str]:
    """Name and unit."""
    found = UNIT.fullmatch(title.strip())
    if not found or not found["name"]:
        return title.strip(), ""
    return found["name"].strip(), (found["bracket"] or found["round"] or "").strip()


def predict_table(regressor: Regressor, data: bytes, predict: Callable[[np.ndarray], Predicted], check: Callable[[], None]) -> Outcome:
    """Every row predicted, or with its problem; RowError where the whole file cannot be used. `check` may raise, between rows."""
    table = read_table(data)
    read = read_rows(regressor, table, check)
    none = Predicted(np.empty((0, len(regressor.targets))), np.empty((0, len(regressor.targets), 2)))
    predicted = predict(read.features) if read.places else none
    fine = predicted.finite
    problems = read.problems | {read.places[number]: "The prediction is no finite number." for number in np.flatnonzero(~fine)}
    kept = np.flatnonzero(fine)
    warnings = regressor.warnings(read.features[kept])
    places = [read.places[number] for number in kept]
    return Outcome(table, places, problems, predicted.some(kept), warnings, read.truths, read.unread)


@dataclass(frozen=True)
class Rows:
    """The rows of a table as the network takes them: features float32 [P, D] of `places`, truths float64 [N, T] of all."""

    features: np.ndarray
    places: list[int]
    problems: dict[int, str]
    truths: np.ndarray
    unread: list[str]


def read_rows(regressor: Regressor, table: Table, check: Callable[[], None] = lambda: None) -> Rows:
    """RowError where the header does not fit."""
    titles, unread = read_header(regressor, table)
    features, places, problems = np.empty((len(table.rows), len(regressor.columns)), np.float32), [], {}
    for number, cells in enumerate(table.rows):
        if number % CHECKED == 0:
            check()
        try:
            features[len(places)] = read_row(regressor, cells, titles, len(table.header))
            places.append(number)
        except RowError as error:
            problems[number] = str(error)
    return Rows(features[: len(places)], places, problems, read_truths(regressor, table), unread)


def read_header(regressor: Regressor, table: Table) -> tuple[dict[str, int], list[str]]:
    """Where the network's columns stand, and which others there are; RowError for names twice, missing columns and other units."""
    twice = next((name for name, count in Counter(table.names).items() if count > 1), None)
    if twice is not None:
        raise RowError(f"Each column must be named once. Received: {shown(twice)} twice")
    columns = {column.name: column for column in (*regressor.columns, *regressor.targets)}
    known = {*columns, *(field.name for field in regressor.fields)}
    titles = {name: place for place, name in enumerate(table.names) if name in known}
    for name, place in titles.items():
        unit = split_title(table.header[place])[1]
        if unit and name in columns and unit != columns[name].unit:
            raise RowError(f"{name} must be in {columns[name].unit or 'no unit'}. Received: {shown(unit)}")
    targets = {target.name for target in regressor.targets}
    titles = {name: place for name, place in titles.items() if name not in targets}
    unread = [name for name in table.names if name not in known]
    try:
        regressor.check_names(titles)
    except RowError as error:
        raise RowError(f"{error}{meant(regressor, titles, unread)}") from None
    return titles, unread


def meant(regressor: Regressor, titles: dict[str, int], unread: Sequence[str]) -> str:
    """Which of the file's other columns may be the missing one."""
    missing = [field.name for field in regressor.fields if field.name not in titles]
    return next((f". Perhaps {shown(name)} is meant{near(name, missing)}" for name in unread if near(name, missing)), "")


def read_row(regressor: Regressor, cells: Sequence[str], titles: dict[str, int], width: int) -> np.ndarray:
    """float32 [D]"""
    if len(cells) != width:
        raise RowError(f"A row must have {width} cells, as the header. Received: {len(cells)}")
    worded = {field.name for field in regressor.fields if field.words}
    return regressor.row({name: cells[place] if name in worded else number_in(name, cells[place]) for name, place in titles.items()})


def number_in(name: str, cell: str) -> float:
    if not cell.strip():
        raise RowError(f"{name} must be a number. Received: an empty cell")
    number = as_number(cell)
    if number is None:
        hint = " (with a point, not a comma)" if as_number(cell.replace(",", ".", 1)) is not None else ""
        raise RowError(f"{name} must be a number{hint}. Received: {shown(cell.strip())}")
    return number


def as_number(cell: str) -> float | None:
    try:
        return float(cell) if "_" not in cell else None
    except ValueError:
        return None


def read_truths(regressor: Regressor, table: Table) -> np.ndarray:
    """float64 [N, T]; what is no number is NaN, for the prediction does not need it."""
    truths = np.full((len(table.rows), len(regressor.targets)), np.nan)
    for place, target in enumerate(regressor.targets):
        if target.name in table.names:
            column = table.names.index(target.name)
            cells = [row[column] if len(row) == len(table.header) else "" for row in table.rows]
            truths[:, place] = [math.nan if (number := as_number(cell)) is None or not math.isfinite(number) else number for cell in cells]
    return truths


def write_table(regressor: Regressor, outcome: Outcome) -> str:
    """The file as it came, and behind each row the predictions with their intervals, warnings and the problem, in the targets' units."""
    table, stream = outcome.table, io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=table.separator, lineterminator="\n")
    writer.writerow([*map(harmless, table.header), *new_titles(regressor), "warning", "problem"])
    numbers = dict(zip(outcome.places, range(len(outcome.places)), strict=True))
    for place, cells in enumerate(table.rows):
        row = [harmless(cell) for cell in [*cells, *[""] * (len(table.header) - len(cells))][: len(table.header)]]
        writer.writerow([*row, *added(regressor, outcome, numbers.get(place)), harmless(outcome.problems.get(place, ""))])
    return stream.getvalue()


def new_titles(regressor: Regressor) -> list[str]:
    """`price predicted [kEUR]`, `price low [kEUR]`, `price high [kEUR]`"""
    units = [f" [{target.unit}]" if target.unit else "" for target in regressor.targets]
    return [
        f"{target.name} {what}{unit}"
        for target, unit in zip(regressor.targets, units, strict=True)
        for what in ("predicted", "low", "high")
    ]


def added(regressor: Regressor, outcome: Outcome, number: int | None) -> list[str]:
    """Numbers as short as float32 allows, and the warnings."""
    if number is None:
        return [""] * (3 * len(regressor.targets) + 1)
    values, intervals = outcome.predicted.values[number], outcome.predicted.intervals[number]
    numbers = [str(one) for value, (low, high) in zip(values, intervals, strict=True) for one in (value, low, high)]
    return [*numbers, " ".join(outcome.warnings[number])]


def harmless(cell: str) -> str:
    """A cell that no spreadsheet runs."""
    return f"'{cell}" if cell.startswith(FORMULA) and as_number(cell) is None else cell


__all__ = ["MAX_ROWS", "Outcome", "Table", "predict_table", "read_rows", "read_table", "too_many", "write_table"]
