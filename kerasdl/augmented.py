"""`kerasdl show NAME --augment`: training pictures beside what the network will see of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kerasdl.data.preview import preview
from kerasdl.figures import contact_sheet


def draw_augmented(recipe: Any, path: Path) -> str:
    """Writes a contact sheet of a recipe's training pictures to `path`; gives a sentence on it. ValueError for a table."""
    splits = recipe.data()
    if hasattr(splits.spec, "columns"):
        raise ValueError(f"--augment shows pictures, and {splits.card['name']} is a table")
    labels, seen = splits.spec.labels, preview(splits, recipe)
    captions = [[_mixture(targets, labels) if recipe.mix else "" for targets in row] for row in seen.targets]
    names = [labels[number] for number in seen.labels]
    steps = [getattr(step, "func", step).__name__ for step in (*recipe.augment, *([recipe.mix] if recipe.mix else []))]
    title = f"{recipe.name}, seed {recipe.seed}: {', '.join(steps) or 'no augmentation'}"
    contact_sheet(seen.originals, seen.images, captions, names, path, title)
    return f"wrote {path}: {len(names)} training pictures, each as {seen.images.shape[1]} passes show it"


def _mixture(targets: Any, labels: Sequence[str]) -> str:
    """`cat 70 %, dog 30 %`; nothing for a picture that is not mixed."""
    parts = [f"{labels[number]} {100 * targets[number]:.0f} %" for number in targets.argsort()[::-1][:2] if targets[number] >= 0.005]
    return "\n".join(parts) if len(parts) > 1 else ""
