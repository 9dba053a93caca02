"""California housing (Pace and Barry 1997, Statistics and Probability Letters 33, 291-297): 20,640 census blocks of 1990.

The file housing.csv has eight columns of numbers and the words of ocean_proximity, which become a column each. Median house values end
at 500,001 $: what was worth more is recorded so. Licence: public domain (StatLib). Fixed held-out fifth (4,087 of the complete rows).
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from kerasdl.data.splits import Splits
from kerasdl.data.table_spec import Column
from kerasdl.data.tables import table

TARGET = "median_house_value"
UNITS = {"longitude": "degrees", "latitude": "degrees", "housing_median_age": "years", "median_income": "10,000 $", TARGET: "$"}


def california(path: str | None = None, valid: float = 0.1, seed: int = 0) -> Splits:
    """Median house values of California's census blocks, from a file housing.csv.

    Args:
        path: the file; by default housing/housing.csv in KERASDL_DATA_DIR.
        valid: share of the rows outside the test split.
        seed: of that draw.

    The 207 rows without total_bedrooms are left out. Raises ValueError as `table`, and where neither path nor folder is given.
    """
    card = {
        "name": "California housing",
        "source": "housing.csv with ocean_proximity, after Pace and Barry 1997 (StatLib)",
        "licence": "public domain",
    }
    splits = table(_file(path), TARGET, choices="ocean_proximity", missing="drop", valid=valid, seed=seed, card=card)
    spec = splits.spec
    named = dataclasses.replace(spec, columns=tuple(map(_with_unit, spec.columns)), targets=tuple(map(_with_unit, spec.targets)))
    return dataclasses.replace(splits, spec=named)


def _with_unit(column: Column) -> Column:
    return dataclasses.replace(column, unit=column.unit or UNITS.get(column.name, ""))


def _file(path: str | None) -> str:
    if path is not None:
        return path
    if folder := os.environ.get("KERASDL_DATA_DIR"):
        return str(Path(folder).expanduser() / "housing" / "housing.csv")
    raise ValueError("california needs the path of housing.csv, or KERASDL_DATA_DIR with housing/housing.csv in it. Received: neither")
