"""Pictures of a run: learning curves and the confusion matrix, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def _new_figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def curves(history: Sequence[dict[str, float]], path: Path, title: str) -> None:
    """Loss and accuracy over epochs, training and validation, with the learning rate below."""
    figure = _new_figure(10, 3.4)
    figure.suptitle(title)
    epochs = [row["epoch"] for row in history]
    for axes, name in zip(figure.subplots(1, 3), ("loss", "accuracy", "learning_rate"), strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if history and key in history[0]:
                axes.plot(epochs, [row.get(key, np.nan) for row in history], label=label, marker="." if len(epochs) < 3 else None)
        axes.set(xlabel="epoch", title=name.replace("_", " "))
        axes.grid(alpha=0.3)
        if f"val_{name}" in (history[0] if history else {}):
            axes.legend()
    figure.savefig(path)


def confusion(matrix: np.ndarray, labels: Sequence[str], path: Path, title: str) -> None:
    """Truth in rows, decision in columns, coloured by the share of the row; counts are written where they can be read."""
    classes = len(labels)
    side = min(max(4.0, 0.5 * classes + 2), 24)
    figure = _new_figure(side + 0.8, side)
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the row")
    if classes <= 40:
        axes.set_xticks(range(classes), labels, rotation=90 if max(map(len, labels)) > 2 else 0)
        axes.set_yticks(range(classes), labels)
    if classes <= 25:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=8, color=colour)
    axes.set(xlabel="decision", ylabel="truth", title=title)
    figure.savefig(path)
