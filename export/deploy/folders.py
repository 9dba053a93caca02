"""The folders that deploying writes: whole or not at all, and never over what it did not write itself.

Each holds deployed.json: of which bundle it was made, and the sha256 of every file. By it a folder is known again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from export import card as cards
from export.bundle import staged
from export.gates import ExportRefused

MARK = "deployed.json"
FORMAT = "1.0"
BUILT = "build"  # a folder that CMake makes where the README says so: nothing is lost with it


@contextmanager
def fresh(target: Path, kind: str, card: dict[str, Any]) -> Iterator[Path]:
    """An empty folder that becomes `target` when the block ends well; ExportRefused where something else is there."""
    target = Path(os.path.abspath(target))
    check_ours(target, kind)
    with staged(target.parent, target.name) as folder:
        yield folder
        facts = {"format": FORMAT, "kind": kind, "bundle": card["name"], "fingerprint": cards.fingerprint(card), "files": digests(folder)}
        (folder / MARK).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def check_ours(target: Path, kind: str) -> None:
    """Nothing is there, or an empty folder, or what was deployed there earlier, as it was."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ExportRefused(f"--{kind} must name a folder. Received: {target}, which is none")
    if not target.exists() or not any(target.iterdir()):
        return
    facts = read_mark(target)
    if facts.get("kind") != kind:
        raise ExportRefused(f"--{kind} must name a new folder, or one that it wrote. Received: {target}, which holds other files")
    found, told = digests(target), facts["files"]
    if found != told:
        changed = sorted(path for path in {*found, *told} if found.get(path) != told.get(path))
        raise ExportRefused(f"a folder is replaced only as it was written. Received: {target} with another {changed[0]}")


def read_mark(target: Path) -> dict[str, Any]:
    """deployed.json, or nothing where there is none of ours."""
    try:
        facts = json.loads((target / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) and isinstance(facts.get("files"), dict) else {}


def digests(folder: Path) -> dict[str, str]:
    """sha256 by relative path, without deployed.json and what was built."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: cards.digest_of_file(path) for name, path in names.items() if name != MARK and name.split("/")[0] != BUILT}
