"""Rows of named numbers to numbers in their units, each with its prediction interval: what a bundle for regression takes and gives.

regressor = Regressor(load_bundle("saved_models/diabetes-ridge"))
regressor.predict(regressor.rows([{"age": 59, "sex": 2, ...}])).values
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from apps.runtime.bundle import Bundle, BundleError, Slot

INPUT, VALUE, INTERVAL = "features", "value", "interval"
FEW_NAMES = 16  # more of them are not listed in a sentence
SHOWN = 60  # characters of a stranger's value
BATCH = 64  # rows of one run


class RowError(ValueError):
    """The row cannot be used; the message is a sentence for whoever sent it. reason: row, malformed or many."""

    def __init__(self, sentence: str, reason: str = "row"):
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True)
class Column:
    """A column as the card describes it, its range and statistics over the training rows. `choice`: of one value of a column of words."""

    name: str
    unit: str
    low: float
    high: float
    mean: float
    std: float
    choice: str = ""

    @property
    def title(self) -> str:
        """`income [kEUR]`"""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    @property
    def word(self) -> str:
        """`INLAND` of `ocean_proximity=INLAND`"""
        return self.name.removeprefix(f"{self.choice}=") if self.choice else ""

    def measured(self, number: float) -> str:
        """`26.4 kg/m²`"""
        return f"{number:,.6g} {self.unit}".rstrip()

    def outside(self, numbers: np.ndarray) -> np.ndarray:
        """The places of float32 [N] outside the range, whose ends are float64 here and were float32 when the network saw them."""
        return np.flatnonzero((numbers < np.float32(self.low)) | (numbers > np.float32(self.high)))


@dataclass(frozen=True)
class Field:
    """What a row gives under one name: a number, or one of `words`. `places`: of its columns among the features."""

    name: str
    places: tuple[int, ...]
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Predicted:
    """`values` float32 [B, T] and `intervals` float32 [B, T, 2], low and high, in the targets' units."""

    values: np.ndarray
    intervals: np.ndarray

    @property
    def finite(self) -> np.ndarray:
        """Which rows have finite numbers only, bool [B]: far outside the training rows float32 may end."""
        return np.asarray(np.isfinite(self.values).all(1) & np.isfinite(self.intervals).all((1, 2)))

    def some(self, rows: np.ndarray) -> Predicted:
        return Predicted(self.values[rows], self.intervals[rows])


class Regressor:
    """A bundle for regression by the names of its columns; BundleError where the card does not say what they are."""

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        table = told(bundle.card.get("table"), dict, f"The card must describe the table. Received: {bundle.name} without it")
        self.columns = read_columns(bundle.name, table, "columns")
        self.targets = read_columns(bundle.name, table, "targets")
        self.level, self.measured_on = read_interval(bundle.name, table.get("interval"))
        self.fields = read_fields(bundle.name, self.columns)
        self._places = {column.name: place for place, column in enumerate(self.columns)}
        self._fields = {field.name: field for field in self.fields}

    @property
    def means(self) -> np.ndarray:
        """float32 [D], the training rows' means; of a choice its commonest word."""
        row = np.array([column.mean for column in self.columns], np.float32)
        for field in self.fields:
            if field.words:
                row[list(field.places)] = one_of(len(field.places), int(np.argmax(row[list(field.places)])))
        return row

    def field(self, name: str) -> Field:
        """RowError for another name."""
        if name not in self._fields:
            raise RowError(f"The column must be one of {listed(self._fields)}. Received: {shown(name)}{near(name, self._fields)}")
        return self._fields[name]

    def rows(self, given: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """float32 [B, D] of rows as `row` takes them; RowError says which of several is wrong."""
        if not given:
            raise RowError("There must be a row. Received: none")
        return np.stack([self._numbered(row, number if len(given) > 1 else None) for number, row in enumerate(given, 1)])

    def row(self, given: Mapping[str, Any]) -> np.ndarray:
        """float32 [D] of names and values: numbers in their columns' units, for a choice its word, or 0 and 1 in its columns."""
        self.check_names(given)
        row = np.empty(len(self.columns), np.float32)
        for field in self.fields:
            row[list(field.places)] = self._word(field, given) if field.words else number_of(field.name, given[field.name])
        return row

    def check_names(self, given: Iterable[str]) -> None:
        """RowError for names that no column bears, and for columns that have no value, or two."""
        names = set(given)
        known = [*self._fields, *(name for name in self._places if name not in self._fields)]
        missing = [field.name for field in self.fields if field.name not in names and not names.intersection(self._one_hot(field))]
        rule = f"A row must have the columns {listed(self._fields)}"
        if strange := next((name for name in given if name not in known), None):
            raise RowError(f"{rule}. Received: {shown(strange)}, which is none of them{near(strange, missing or known)}")
        if missing:
            raise RowError(f"{rule}. Received: none named {listed(missing)}")
        for field in filter(lambda one: one.words, self.fields):
            absent = [name for name in self._one_hot(field) if name not in names]
            if field.name in names and len(absent) < len(field.places):
                raise RowError(f"{field.name} must be given once. Received: the word and its columns")
            if field.name not in names and absent:
                raise RowError(f"{field.name} must be given by its word, or by all its columns. Received: none named {listed(absent)}")

    def mapping(self, row: np.ndarray) -> dict[str, float | str]:
        """What `row` would take, of float32 [D]; numbers as short as float32 allows."""
        return {
            field.name: field.words[int(np.argmax(row[list(field.places)]))] if field.words else shortest(row[field.places[0]])
            for field in self.fields
        }

    def predict(
        self, features: np.ndarray, options: ort.RunOptions | None = None, batch: int = BATCH, check: Callable[[], None] = lambda: None
    ) -> Predicted:
        """Numbers for float32 [B, D] in the columns' order and units, `batch` rows of them at a time; before each `check` may raise."""
        if features.ndim != 2 or features.shape[1] != len(self.columns) or features.dtype != np.float32 or not len(features):
            rule = f"Rows must be float32 [B, {len(self.columns)}]"
            raise RowError(f"{rule}. Received: {features.dtype} {list(features.shape)}")
        if not np.isfinite(features).all():
            row, place = np.argwhere(~np.isfinite(features))[0]
            raise RowError(f"{self.columns[place].name} must be a finite number. Received: {features[row, place]} in row {row + 1}")
        found = []
        for start in range(0, len(features), batch):
            check()
            found.append(self.bundle.run({INPUT: features[start : start + batch]}, outputs=[VALUE, INTERVAL], options=options))
        return Predicted(*(np.concatenate([part[name] for part in found]) for name in (VALUE, INTERVAL)))

    def warnings(self, features: np.ndarray) -> list[list[str]]:
        """For each row of float32 [B, D] what lies outside the training rows: there the network continues what it learnt inside."""
        told: list[list[str]] = [[] for _ in features]
        for place, column in enumerate(self.columns):
            for row in column.outside(features[:, place]):
                told[row].append(warning(column, shortest(features[row, place])))
        return told

    def _numbered(self, row: Any, number: int | None) -> np.ndarray:
        where = "" if number is None else f"Row {number}: "
        if not isinstance(row, Mapping):
            raise RowError(f"{where}A row must be an object of column names and values. Received: {shown(row)}")
        try:
            return self.row(row)
        except RowError as error:
            raise RowError(f"{where}{error}", error.reason) from None

    def _one_hot(self, field: Field) -> list[str]:
        return [self.columns[place].name for place in field.places] if field.words else []

    def _word(self, field: Field, given: Mapping[str, Any]) -> np.ndarray:
        if field.name in given:
            word = given[field.name]
            if not isinstance(word, str) or word.strip() not in field.words:
                hint = near(word, field.words) if isinstance(word, str) else ""
                raise RowError(f"{field.name} must be one of {listed(field.words)}. Received: {shown(word)}{hint}")
            return one_of(len(field.places), field.words.index(word.strip()))
        names = self._one_hot(field)
        marks = np.array([number_of(name, given[name]) for name in names], np.float32)
        if sorted(marks) != [0] * (len(marks) - 1) + [1]:
            rule = f"Of the columns {listed(names)} one must be 1 and the others 0"
            raise RowError(f"{rule}. Received: {', '.join(f'{mark:g}' for mark in marks[:FEW_NAMES])}")
        return marks


def shortest(number: np.float32) -> float:
    """26.9, not 26.899999618530273; whole numbers without a point."""
    found = float(str(number))
    return int(found) if found.is_integer() and abs(found) < 1e9 else found


def warning(column: Column, number: float) -> str:
    if column.choice:
        return f"No training row had {column.choice} {column.word}."
    unit = f" {column.unit}" if column.unit else ""
    return f"{column.name} is {number:,.6g}{unit}; the training rows had {column.low:,.6g} to {column.high:,.6g}."


def number_of(name: str, value: Any) -> float:
    """A finite float32."""
    fits = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not fits:
        raise RowError(f"{name} must be a number. Received: {shown(value)}")
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite and is refused as that
            number = np.float32(float(value))
    except OverflowError:  # a whole number beyond float64
        number = np.float32(math.inf)
    if not np.isfinite(number):
        raise RowError(f"{name} must be a finite number of float32. Received: {shown(value)}")
    return float(number)


def one_of(count: int, place: int) -> np.ndarray:
    return np.eye(1, count, place, np.float32)[0]


def read_columns(name: str, table: dict[str, Any], part: str) -> list[Column]:
    entries = told(table.get(part), list, f"The card's table must list its {part}. Received: {name} without them")
    columns = [read_column(name, entry, part) for entry in entries]
    names = [column.name for column in columns]
    if not names or len(set(names)) != len(names):
        raise BundleError(f"The {part} of a table must have names, each its own. Received: {name} with {listed(names) or 'none'}")
    return columns


def read_column(name: str, entry: Any, part: str) -> Column:
    entry = told(entry, dict, f"Each of the {part} of a table must be an object. Received: {shown(entry)} in {name}")
    words = [entry.get(key, "") for key in ("name", "unit", "choice")]
    numbers = [entry.get(key) for key in ("low", "high", "mean", "std")]
    if any(not isinstance(word, str) for word in words) or not words[0] or not all(map(is_finite, numbers)):
        rule = f"Each of the {part} of a table must have a name, and as finite numbers low, high, mean and std"
        raise BundleError(f"{rule}. Received: {name} with {shown(words[0])}")
    low, high, mean, std = map(float, numbers)  # type: ignore[arg-type]
    if not low <= mean <= high or std < 0:
        raise BundleError(f"A column must have low <= mean <= high and a std of at least 0. Received: {name} with {words[0]}")
    if words[2] and not words[0].startswith(f"{words[2]}="):
        raise BundleError(f"A column of the choice {words[2]} must be named {words[2]}=WORD. Received: {words[0]} in {name}")
    return Column(words[0], words[1], low, high, mean, std, words[2])


def read_interval(name: str, entry: Any) -> tuple[float, str]:
    entry = told(entry, dict, f"The card's table must describe the interval. Received: {name} without it")
    level, measured_on = entry.get("level"), entry.get("measured_on")
    if not is_finite(level) or not 0 < level < 1 or not isinstance(measured_on, str):
        raise BundleError(f"The interval must have a level between 0 and 1, and measured_on. Received: {shown(level)} in {name}")
    return float(level), measured_on


def read_fields(name: str, columns: Sequence[Column]) -> list[Field]:
    """In the order of the columns; those of one choice stand side by side and are one field."""
    fields: list[Field] = []
    for place, column in enumerate(columns):
        last = fields[-1] if fields else None
        if column.choice and last is not None and last.words and last.name == column.choice:
            fields[-1] = Field(last.name, (*last.places, place), (*last.words, column.word))
        else:
            fields.append(Field(column.choice or column.name, (place,), (column.word,) if column.choice else ()))
    names = [field.name for field in fields]
    if len(set(names)) != len(names):
        raise BundleError(f"The columns of a choice must stand together, its name its own. Received: {name} with {listed(names)}")
    return fields


def check_regressor(bundle: Bundle) -> None:
    """Graph and card go together, and the means give finite numbers inside their intervals; BundleError."""
    regressor = Regressor(bundle)
    count, targets = len(regressor.columns), len(regressor.targets)
    if bundle.graphs != ["model"]:
        raise BundleError(f"A bundle for regression must have one graph, model. Received: {bundle.name} with {', '.join(bundle.graphs)}")
    check_slots(bundle, bundle.inputs(), {INPUT: (count,)}, "take")
    check_slots(bundle, bundle.outputs(), {VALUE: (targets,), INTERVAL: (targets, 2)}, "give")
    entry = bundle.card["graphs"]["model.onnx"]["inputs"][0]
    names = [column.name for column in regressor.columns]
    if entry.get("columns", names) != names:
        raise BundleError(f"The graph's columns must be those of the card's table. Received: {bundle.name}, where they differ")
    if bundle.labels != [target.name for target in regressor.targets]:
        raise BundleError(f"The labels must be the targets of the card's table. Received: {bundle.name} with {listed(bundle.labels)}")
    found = regressor.predict(np.stack([regressor.means] * 2))
    low, high = found.intervals[..., 0], found.intervals[..., 1]
    if not np.isfinite(found.intervals).all() or not ((low <= found.values) & (found.values <= high)).all():
        raise BundleError(f"A value must lie in its interval. Received: {found.values[0]} in {found.intervals[0]} from {bundle.name}")


def check_slots(bundle: Bundle, slots: Sequence[Slot], wanted: dict[str, tuple[int, ...]], verb: str) -> None:
    found = {slot.name: slot.shape[1:] for slot in slots if slot.dtype == "float32" and slot.shape and isinstance(slot.shape[0], str)}
    if found != wanted or len(slots) != len(wanted):
        rule = " and ".join(f"{name} float32 [batch, {', '.join(map(str, sides))}]" for name, sides in wanted.items())
        raise BundleError(f"A bundle for regression must {verb} {rule}. Received: {bundle.name}, {list(slots)}")


def told(value: Any, kind: type, sentence: str) -> Any:
    if not isinstance(value, kind):
        raise BundleError(sentence)
    return value


def is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def listed(names: Iterable[str]) -> str:
    names = list(names)
    return f"{', '.join(names[:FEW_NAMES])}{', ...' * (len(names) > FEW_NAMES)}"


def near(name: Any, names: Iterable[str]) -> str:
    """A sentence about the name that was perhaps meant."""
    found = difflib.get_close_matches(str(name)[:200], list(names), n=1)
    return f". Did you mean {found[0]}?" if found else ""


def shown(value: Any) -> str:
    """A stranger's value, short enough for a sentence and in ASCII, for it may be no proper text."""
    if value is None:
        return "none"
    if isinstance(value, dict | list | tuple):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    text = json.dumps(value) if isinstance(value, str | bool) else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


__all__ = ["Column", "Field", "Predicted", "Regressor", "RowError", "check_regressor"]
