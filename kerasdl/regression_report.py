"""Pictures of a regression: predicted against true, and what is left over, with the band that 95 % of it should lie in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kerasdl.figures import new_figure

MOST = 5000  # points; more make a black picture
BLUE, GREY = "#1f6fb4", "#5f6368"


def draw_fit(truth: np.ndarray, value: np.ndarray, interval: np.ndarray, titles: Sequence[str], path: Path, title: str) -> None:
    """A row for each target of truth and value (N,T) and interval (N,T,2): predicted against true, residuals over predicted."""
    some = np.unique(np.linspace(0, len(truth) - 1, min(len(truth), MOST)).astype(int))
    figure = new_figure(10, 4.2 * truth.shape[1] + 0.4)
    figure.suptitle(title)
    for number, (left, right) in enumerate(figure.subplots(truth.shape[1], 2, squeeze=False)):
        t, v = truth[some, number].astype(float), value[some, number].astype(float)
        half = float(np.ptp(interval[0, number])) / 2
        size = 10 if len(some) < 1000 else 3
        ends = np.array([min(t.min(), v.min()), max(t.max(), v.max())])
        left.scatter(t, v, s=size, alpha=0.5, color=BLUE, linewidths=0)
        left.plot(ends, ends, color=GREY, linewidth=1)
        left.set(xlabel=f"true {titles[number]}", ylabel="predicted", title="predicted against true")
        right.scatter(v, t - v, s=size, alpha=0.5, color=BLUE, linewidths=0)
        right.axhline(0, color=GREY, linewidth=1)
        if np.isfinite(half):
            left.fill_between(ends, ends - half, ends + half, color=GREY, alpha=0.15, linewidth=0)
            right.axhspan(-half, half, color=GREY, alpha=0.15, linewidth=0, label="95 % prediction interval")
            right.legend(fontsize=8, loc="upper right")
        right.set(xlabel=f"predicted {titles[number]}", ylabel="true - predicted", title="residuals")
        for axes in (left, right):
            axes.grid(alpha=0.3)
    figure.savefig(path)
