"""A gallery as a Parquet file, one row a picture, for whoever studies the vectors elsewhere. Needs pyarrow."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from apps.gallery.store import GalleryError, ModelMark

GROUP = 4096  # rows in memory at a time


@dataclass(frozen=True)
class Row:
    """`added` and `time` are microseconds since 1970, UTC; the vector is float32 [D]."""

    picture: str
    person: str
    name: str
    added: int
    camera: str | None
    time: int | None
    vector: np.ndarray


def write_parquet(path: str | Path, model: ModelMark, rows: Iterable[Row]) -> int:
    """Whole or not at all, readable by its owner alone; the number of rows. The schema's metadata says whose vectors they are."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise GalleryError("An export to Parquet must have pyarrow: pip install pyarrow. Received: no such package") from None
    schema = schema_of(pyarrow, model)
    path, rows, count = Path(path), iter(rows), 0
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise GalleryError(f"The export must be able to write its file. Received: {path}, {error.strerror}", "read-only") from None
    try:
        with os.fdopen(handle, "wb") as file:
            with parquet.ParquetWriter(file, schema) as writer:
                while some := list(islice(rows, GROUP)):
                    writer.write_table(table_of(pyarrow, schema, some))
                    count += len(some)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError as error:
        raise GalleryError(f"The disk must take the export. Received: {path}, {error.strerror or error}", "full") from None
    finally:
        Path(name).unlink(missing_ok=True)
    return count


def schema_of(pyarrow: Any, model: ModelMark) -> Any:
    moment = pyarrow.timestamp("us", tz="UTC")
    columns = [
        ("picture", pyarrow.string()),
        ("person", pyarrow.string()),
        ("name", pyarrow.string()),
        ("added", moment),
        ("camera", pyarrow.string()),
        ("time", moment),
        ("vector", pyarrow.list_(pyarrow.float32(), model.dimensions)),
    ]
    return pyarrow.schema(columns, metadata={"model": model.name, "model_sha256": model.sha256})


def table_of(pyarrow: Any, schema: Any, rows: list[Row]) -> Any:
    columns = [pyarrow.array([getattr(row, field.name) for row in rows], field.type) for field in list(schema)[:-1]]
    numbers = pyarrow.array(np.concatenate([row.vector for row in rows]))
    columns.append(pyarrow.FixedSizeListArray.from_arrays(numbers, type=schema.field("vector").type))
    return pyarrow.Table.from_arrays(columns, schema=schema)
