"""From a bundle's name to folders: all the targets that were asked for, or none."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from export.deploy import cpp, litert, triton, web
from export.deploy.bundles import Finished, finished
from export.deploy.folders import fresh
from export.gates import ExportRefused

Write = Callable[[Path], None]
KINDS: dict[str, Callable[[Finished, Path], dict[Path, Write]]] = {  # folders to make, and how each is filled
    "triton": triton.folders,
    "web": web.folders,
    "cpp": cpp.folders,
    "litert": litert.folders,
}


@dataclass(frozen=True)
class Plan:
    """A folder of one kind and what fills it."""

    kind: str
    folder: Path
    write: Write


def deploy(source: Path, wanted: dict[str, Path], say: Callable[[str], None] = lambda line: None) -> list[Path]:
    """Write the bundle `source` as `wanted`, {kind: folder}; gives the folders. ExportRefused, and then nothing was written.

    The bundle is checked first. A folder that an earlier call wrote is replaced when the new one is whole.
    """
    bundle = finished(source)
    plans = [Plan(kind, *made) for kind, folder in wanted.items() for made in KINDS[kind](bundle, folder).items()]
    check_apart([plan.folder for plan in plans])
    with ExitStack() as stack:
        for plan in plans:
            say(f"{bundle.name}: writing {plan.folder}")
            plan.write(stack.enter_context(fresh(plan.folder, plan.kind, bundle.card)))
    return [plan.folder for plan in plans]


def check_apart(folders: list[Path]) -> None:
    """One must not be written over, or into, another."""
    whole = [Path(os.path.abspath(folder)) for folder in folders]
    for one, other in combinations(whole, 2):
        if one.is_relative_to(other) or other.is_relative_to(one):
            raise ExportRefused(f"every target must have a folder of its own. Received: {one} and {other}")
