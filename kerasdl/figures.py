"""Pictures of a run: learning curves and the confusion matrix, as PNG files."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def new_figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def curves(history: Sequence[Mapping[str, Any]], path: Path, title: str, sentences: Sequence[str] = ()) -> None:
    """Loss and, where there is one, accuracy over epochs, training and validation, the best epoch marked, with the learning rate beside.

    `sentences` (the diagnosis) stand below in small type.
    """
    text = "\n".join(line for sentence in sentences for line in textwrap.wrap(sentence, 170))
    figure = new_figure(10, 3.4 + 0.16 * (text.count("\n") + 1 if text else 0))
    figure.suptitle(title)
    epochs = column(history, "epoch")
    measured = np.isfinite([*column(history, "accuracy"), *column(history, "val_accuracy")]).any()
    names = [name for name in ("loss", "accuracy", "learning_rate") if measured or name != "accuracy"]
    for axes, name in zip(figure.subplots(1, len(names)), names, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            values = column(history, key)
            if np.isfinite(values).any():
                axes.plot(epochs, values, label=label, marker="." if len(epochs) < 3 else None)
                if label == "validation":
                    _mark_best(axes, epochs, values, lowest=name == "loss")
        axes.set(xlabel="epoch", title=name.replace("_", " "))
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0] and name != "learning_rate":
            axes.legend(fontsize=8, loc="upper right" if name == "loss" else "lower right")  # "best" is slow on large data, and warns
        if name == "learning_rate" and _spans_decades(column(history, name)):
            axes.set_yscale("log")
    if text:
        figure.supxlabel(text, fontsize=7, x=0.01, ha="left")
    figure.savefig(path)


def column(history: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """A column of a history as floats; NaN where it is missing, as in the rows of a run that an older version began."""
    return np.array([float("nan") if row.get(name) in (None, "") else float(row[name]) for row in history], float)


def _mark_best(axes: Any, epochs: np.ndarray, values: np.ndarray, lowest: bool) -> None:
    best = int(np.nanargmin(values) if lowest else np.nanargmax(values))
    axes.axvline(epochs[best], color="grey", linewidth=0.8, linestyle=":")
    label = f"best: {values[best]:.4f} in epoch {epochs[best]:.0f}"
    axes.plot(epochs[best], values[best], "o", color="black", markersize=4, linestyle="", label=label)


def _spans_decades(rate: np.ndarray) -> bool:
    """Two powers of ten, as steps and exponentials do; a rate that ends at zero is drawn as it is."""
    rate = rate[np.isfinite(rate)]
    return len(rate) > 0 and rate.min() > 0 and rate.max() >= 100 * rate.min()


def comparison(runs: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> list[str]:
    """Validation loss of several histories by name, and their accuracy where they have one, over epochs and over minutes of training.

    Gives the names of what was drawn.
    """
    keys = [key for key in ("accuracy", "loss") if any(np.isfinite(column(rows, f"val_{key}")).any() for rows in runs.values())] or ["loss"]
    figure = new_figure(10, 3.5 * len(keys))
    grid = figure.subplots(len(keys), 2, sharey="row", squeeze=False)
    for name, history in runs.items():
        minutes = np.nancumsum(column(history, "seconds")) / 60
        for axes, key in zip(grid, keys, strict=True):
            values = column(history, f"val_{key}")
            known = np.isfinite(values)
            for axis, x in zip(axes, (column(history, "epoch"), minutes), strict=True):
                axis.plot(x[known], values[known], label=name, linewidth=1.2, marker="." if known.sum() < 3 else None)
    for axes, key in zip(grid, keys, strict=True):
        for axis, unit in zip(axes, ("epoch", "minutes of training"), strict=True):
            axis.set(xlabel=unit, title=f"validation {key}")
            axis.grid(alpha=0.3)
    grid[0][0].legend(fontsize=8, loc="lower right" if keys[0] == "accuracy" else "upper right")
    figure.savefig(path)
    return keys


def confusion(matrix: np.ndarray, labels: Sequence[str], path: Path, title: str) -> None:
    """Truth in rows, decision in columns, coloured by the share of the row; counts are written where they can be read."""
    classes = len(labels)
    side = min(max(4.0, 0.5 * classes + 2), 24)
    figure = new_figure(side + 0.8, side)
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


def contact_sheet(
    originals: np.ndarray, images: np.ndarray, captions: Sequence[Sequence[str]], names: Sequence[str], path: Path, title: str
) -> None:
    """A row for each picture (N,H,W,C) with its name: the original, then its versions (N,P,h,w,C) on 0..255, a caption below each."""
    rows, passes = images.shape[:2]
    figure = new_figure(1.05 * (passes + 1) + 1.2, 1.2 * rows + 0.6)
    figure.suptitle(title, fontsize=10)
    for row, line in enumerate(figure.subplots(rows, passes + 1, squeeze=False)):
        for axes, picture, caption in zip(line, [originals[row], *images[row]], ["", *captions[row]], strict=True):
            axes.imshow(np.clip(np.round(picture), 0, 255).astype(np.uint8).squeeze(), cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            axes.set_xlabel(caption, fontsize=6, labelpad=2)
            axes.spines[:].set_visible(False)
        line[0].set_ylabel(textwrap.fill(names[row], 14), rotation=0, ha="right", va="center", fontsize=9)
        if row == 0:
            line[0].set_title("original", fontsize=8)
            for number, axes in enumerate(line[1:], 1):
                axes.set_title(f"pass {number}", fontsize=8)
    figure.savefig(path)
