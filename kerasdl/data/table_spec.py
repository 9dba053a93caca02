"""What a model must know about a table: its columns with names, units, ranges and statistics, saved as `runs/NAME/spec.json`."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

from kerasdl.data.spec import Spec


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of numbers.

    name, unit: as the table has them; the unit is empty where none is known.
    low, high: the least and the largest value over the training rows.
    mean, std: over the training rows; std is 1 where the column is constant.
    choice: of a text column as one column for each of its values, 1 where it has this one: its name. Empty for a column of numbers.
    """

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


@dataclasses.dataclass(frozen=True)
class TableSpec:
    """Facts of a table: the columns that a model takes, in order, those that it predicts, and what results must call the data."""

    columns: tuple[Column, ...]
    targets: tuple[Column, ...]
    data_name: str

    def __post_init__(self) -> None:
        if not self.columns or not self.targets:
            raise ValueError(f"a table needs columns and targets. Received: {len(self.columns)} columns, {len(self.targets)} targets")
        names = [column.name for column in (*self.columns, *self.targets)]
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise ValueError(f"columns and targets need different names. Received: {', '.join(twice)} more than once")
        if flat := [column.name for column in (*self.columns, *self.targets) if not column.std > 0]:
            raise ValueError(f"std must be above 0. Received: another of {', '.join(flat)}")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """A row as a picture of one pixel, which is how a backbone of the zoo takes it."""
        return (1, 1, len(self.columns))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the targets."""
        return tuple(target.name for target in self.targets)

    @property
    def summary(self) -> str:
        return f"{len(self.columns)} columns; {'target' if len(self.targets) == 1 else 'targets'} {', '.join(self.labels)}"

    def to_json(self) -> dict[str, Any]:
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_json(cls, source: str | Path | dict[str, Any]) -> TableSpec:
        facts = source if isinstance(source, dict) else json.loads(Path(source).read_text(encoding="utf-8"))
        known = {field.name for field in dataclasses.fields(cls)}
        if set(facts) != known:
            raise ValueError(f"the spec of a table has the fields {sorted(known)}. Received: {sorted(facts)}")
        parts = {name: tuple(Column(**column) for column in facts[name]) for name in ("columns", "targets")}
        return cls(**parts, data_name=facts["data_name"])


def open_spec(source: str | Path | dict[str, Any]) -> Spec | TableSpec:
    """A spec of pictures or of a table, from `spec.json` or its content."""
    facts = source if isinstance(source, dict) else json.loads(Path(source).read_text(encoding="utf-8"))
    return TableSpec.from_json(facts) if "columns" in facts else Spec.from_json(facts)
