"""A bundle is whole or absent: it is written beside its place and takes it at the end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged(out: Path, name: str) -> Iterator[Path]:
    """A hidden folder beside the bundle that takes its name when the block ends well, and vanishes when it does not.

    A folder cannot replace another in one step: the old bundle steps aside as .NAME.previous for the time of one rename. Should the
    machine stop right there, the next export finds it and puts it back.
    """
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    target, previous = out / name, out / f".{name}.previous"
    if previous.exists():
        shutil.rmtree(previous) if target.exists() else previous.rename(target)
    folder = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".partial", dir=out))
    try:
        folder.chmod(0o755)  # mkdtemp makes it private
        yield folder
        if target.exists():
            target.rename(previous)
        try:
            folder.rename(target)
        except BaseException:
            if previous.exists():
                previous.rename(target)
            raise
        shutil.rmtree(previous, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if made and not any(out.iterdir()):
            out.rmdir()
        raise
