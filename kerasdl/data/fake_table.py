"""A look-alike of a table: random rows with the columns, ranges and statistics of a `TableSpec`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerasdl.data.splits import Splits
from kerasdl.data.table_spec import Column, TableSpec
from kerasdl.data.tables import Named, table_splits


def fake_table(spec: TableSpec, train: int = 64, valid: int = 16, test: int = 16, seed: int = 0) -> Splits:
    """Targets are linear in the columns, with a tenth of their variance as noise; the card says that it is synthetic.

    The statistics of the splits are their own, near those of the spec.
    """
    random = np.random.default_rng(seed)
    count = train + valid + test
    standard = random.normal(size=(count, len(spec.columns)))
    truth = standard @ random.normal(size=(len(spec.columns), len(spec.targets)))
    truth = np.sqrt(0.9) * truth / np.maximum(truth.std(axis=0), 1e-9) + np.sqrt(0.1) * random.normal(size=truth.shape)
    card = {"name": f"fake {spec.data_name}", "source": "kerasdl.data.fake_table", "licence": "none needed", "synthetic": True}
    rows = np.split(np.arange(count), [train, train + valid])
    return table_splits(_named(spec.columns, standard), _named(spec.targets, truth), card, parts=(rows[0], rows[1], rows[2]))


def _named(columns: Sequence[Column], standard: np.ndarray) -> list[Named]:
    values = [(column.mean + column.std * z).clip(column.low, column.high) for column, z in zip(columns, standard.T, strict=True)]
    return [Named(column.name, column.unit, x, column.choice) for column, x in zip(columns, values, strict=True)]
