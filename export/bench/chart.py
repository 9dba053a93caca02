"""The times of the bench as a picture: p50 of one answer by runtime, a panel a bundle; what is wrong is hatched in red."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.bench.measure import OK, WRONG, Result, Row

COLOURS = {"float32": "#4477aa", "int8": "#ccbb44", "fp16": "#66ccee"}
COLUMNS = 2


def draw(results: Sequence[Result], path: Path) -> None:
    """One panel a bundle, milliseconds of the smallest batch."""
    from matplotlib.patches import Patch

    from kerasdl.figures import new_figure

    rows = [measured(result) for result in results]
    across = min(COLUMNS, len(results))
    down = math.ceil(len(results) / across)
    heights = [3.5 + max([1, *map(len, rows[line * across : (line + 1) * across])]) for line in range(down)]  # in bars
    figure = new_figure(5.6 * across, 0.7 + 0.24 * sum(heights))
    panels = figure.subplots(down, across, squeeze=False, height_ratios=heights).ravel()
    for axes, result, some in zip(panels, results, rows, strict=False):
        panel(axes, result, some)
    for axes in panels[len(results) :]:
        axes.set_axis_off()
    shown = [name for name in COLOURS if any(row.precision == name for some in rows for row in some)]
    legend = [Patch(color=COLOURS[name], label=name) for name in shown]
    if any(row.status == WRONG for some in rows for row in some):
        legend.append(Patch(facecolor="white", edgecolor="red", hatch="////", label="WRONG: not the answers of Keras"))
    figure.legend(handles=legend, loc="outside lower center", ncols=max(len(legend), 1), fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def measured(result: Result) -> list[Row]:
    """The rows of the smallest batch that have a time."""
    timed = [row for row in result.rows if row.p50_ms is not None and row.batch is not None]
    smallest = min((row.batch or 0 for row in timed), default=0)
    return [row for row in timed if row.batch == smallest]


def panel(axes: Any, result: Result, rows: Sequence[Row]) -> None:
    axes.set_title(f"{result.name}, batch {rows[0].batch}" if rows else f"{result.name}: nothing measured", fontsize=9)
    labels = [row.runtime if row.precision == "float32" else f"{row.runtime}, {row.precision}" for row in rows]
    for place, row in enumerate(rows):
        wrong = row.status == WRONG
        style: dict[str, Any] = {"color": "white", "edgecolor": "red", "hatch": "////"} if wrong else {"color": COLOURS[row.precision]}
        axes.barh(place, row.p50_ms, height=0.7, **style)
        told = f" {row.p50_ms:.3g} ms" + ("" if row.status == OK else f", {row.status}")
        axes.text(row.p50_ms, place, told, va="center", fontsize=7, color="red" if wrong else "black")
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlim(0, 1.3 * max([row.p50_ms or 0 for row in rows], default=1))  # room for the figures behind the bars
    axes.set_xlabel("ms, p50", fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
