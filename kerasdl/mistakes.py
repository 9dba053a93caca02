"""The pictures a classifier was surest about, and wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kerasdl.figures import new_figure

COLUMNS = 8


def surest_mistakes(labels: np.ndarray, probabilities: np.ndarray, most: int = 24) -> np.ndarray:
    """Numbers of the wrongly answered among labels (N,) and probabilities (N,classes), the most probable wrong answer first."""
    decisions = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(decisions != labels)
    return wrong[np.argsort(-probabilities[wrong, decisions[wrong]], kind="stable")][:most]


def draw_mistakes(images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str], path: Path, title: str) -> None:
    """Pictures uint8 (N,H,W,C) in rows of eight, below each what was answered, how surely, and the truth."""
    rows = -(-len(images) // COLUMNS)
    figure = new_figure(1.4 * COLUMNS, 1.75 * rows + 0.5)
    figure.suptitle(title, fontsize=10)
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    for axes in grid.flat[len(images) :]:
        axes.set_visible(False)
    for axes, image, label, shares in zip(grid.flat, images, labels, probabilities, strict=False):
        axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255)
        axes.set(xticks=[], yticks=[])
        said = f"{names[shares.argmax()]}, {100 * shares.max():.0f} %"
        axes.set_xlabel("\n".join(textwrap.fill(line, 18) for line in (said, f"is {names[label]}")), fontsize=7)
    figure.savefig(path)
