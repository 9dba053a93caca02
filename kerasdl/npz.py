"""Arrays in a file that is whole or absent, every byte of them covered by the archive's CRC."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kerasdl.whole_file import whole_file


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Replaces `path`; OSError where the disk is full or closed, and then what was there stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """OSError where there is no such file, ValueError where it is damaged."""
    with path.open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as saved:
                return {name: saved[name] for name in saved.files}
        except Exception as problem:  # zipfile, zlib and numpy each have their own way to say "damaged"
            raise ValueError(f"{path.name} is damaged ({type(problem).__name__}: {problem})") from problem
