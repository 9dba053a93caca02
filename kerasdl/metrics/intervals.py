"""Metrics and intervals that Keras lacks; numpy in, numbers out."""

from __future__ import annotations

import math

import numpy as np


def wilson_interval(share: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a share seen in n trials (Wilson 1927, eq. for the score interval)."""
    if n < 1 or not 0 <= share <= 1:
        raise ValueError(f"an interval needs a share in [0, 1] of at least one trial. Received: share={share}, n={n}")
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def confusion_matrix(labels: np.ndarray, decisions: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) counts, truth in rows and decision in columns."""
    cells = np.asarray(labels) * classes + np.asarray(decisions)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)
