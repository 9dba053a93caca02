"""What a trained regression says of the rows of a CSV file: numbers with their prediction intervals, and what lies outside its training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.data.table_rows import read_rows
from kerasdl.data.table_spec import Column, TableSpec
from kerasdl.predictions import Form, Row
from kerasdl.tasks import keras_predictor

BATCH = 4096  # rows at a time


def form_of_rows(spec: TableSpec) -> Form:
    """`row`, the targets with the bounds of their intervals, `outside` (columns beyond the range of the training rows), `problem`."""
    columns = ["row", *(title for target in spec.targets for title in _titles(target)), "outside", "problem"]

    def line(row: Row) -> str:
        told = "  ".join(_told(target, row) for target in spec.targets)
        return told + (f"  (outside the training rows: {row['outside']})" if row["outside"] else "")

    return Form(
        columns,
        lambda found: [_cells(spec, *answer) for answer in zip(found["value"], found["interval"], strict=True)],
        line,
        "predicted",
        "row",
    )


def predict_rows(task: Any, spec: TableSpec, model: Any, file: Path, form: Form) -> tuple[list[Row], list[str]]:
    """A row for each of the file's in their order, its answer or its problem; and the columns of the file that were not used.

    Raises ValueError as `kerasdl.data.table_rows.read_rows`.
    """
    given = read_rows(file, spec)
    answer, good = keras_predictor(task, model, spec), given.good
    parts = [good[start : start + BATCH] for start in range(0, len(good), BATCH)]
    found = iter([cells for part in parts for cells in form.rows(answer({"features": given.features[part]}))])
    outside = _outside(spec.columns, given.features)
    rows = [
        {"row": number + 1, "problem": problem, "outside": "" if problem else outside[number], **({} if problem else next(found))}
        for number, problem in enumerate(given.problems)
    ]
    return rows, given.unused


def _titles(target: Column) -> tuple[str, str, str]:
    """`price [EUR]`, `price low [EUR]`, `price high [EUR]`"""
    unit = f" [{target.unit}]" if target.unit else ""
    return target.title, f"{target.name} low{unit}", f"{target.name} high{unit}"


def _cells(spec: TableSpec, value: np.ndarray, interval: np.ndarray) -> Row:
    numbers = np.concatenate([value[:, None], interval], axis=1)
    return {
        title: str(number)  # the fewest digits that are this float32 again
        for target, some in zip(spec.targets, numbers, strict=True)
        for title, number in zip(_titles(target), some, strict=True)
    }


def _told(target: Column, row: Row) -> str:
    value, low, high = (f"{float(row[title]):.6g}" for title in _titles(target))
    return f"{target.name} {value}{' ' + target.unit if target.unit else ''} ({low} .. {high})"


def _outside(columns: Sequence[Column], features: np.ndarray) -> list[str]:
    low, high = (np.array([getattr(column, end) for column in columns], np.float32) for end in ("low", "high"))
    beyond = (features < low) | (features > high)
    return [", ".join(column.name for column, far in zip(columns, row, strict=True) if far) for row in beyond]
