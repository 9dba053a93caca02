"""A file that is there whole or not at all: written aside, brought to the disk, then renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def whole_file(path: Path, mode: str = "w") -> Iterator[Any]:
    """`path` opened for writing ("w" text in UTF-8, "wb" bytes); what stood there stays until all of it is on the disk.

    Where the writing fails (OSError: a full disk) nothing of it remains.
    """
    aside = path.with_name(f"{path.name}.tmp")
    text = "b" not in mode
    try:
        with aside.open(mode, encoding="utf-8" if text else None, newline="" if text else None) as file:
            yield file
        put_in_place(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def put_in_place(aside: Path, path: Path) -> None:
    """Renames a written file once its content is on the disk: or a loss of power leaves the name without the content."""
    with aside.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(aside, path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """The rename itself brought to the disk, where the system lets a folder be opened (Windows does not)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
