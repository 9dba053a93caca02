"""Patterns of cloth: how much of the second colour a place of the garment has, in lengths of the body (1 = a stature)."""

from __future__ import annotations

import numpy as np


def pattern(texture: str, around: np.ndarray, up: np.ndarray, pixel: float) -> np.ndarray:
    """Weights 0..1 of the second colour. around: length from the middle of the front; up: height above the hem; pixel: size of one."""
    return PATTERNS[texture](around, up, max(pixel, 1e-4))


def _band(x: np.ndarray, period: float, share: float, pixel: float) -> np.ndarray:
    """1 within `share` of each period, with edges one pixel wide."""
    from_middle = np.abs((x / period) % 1 - 0.5) * period
    return np.clip((share * period / 2 - from_middle) / pixel + 0.5, 0, 1)


def _solid(around, up, pixel):
    return np.zeros(np.broadcast_shapes(np.shape(around), np.shape(up)), np.float32)


def _stripe(around, up, pixel):
    return _band(up + 0 * around, 0.056, 0.46, pixel)


def _check(around, up, pixel):
    return 0.55 * _band(up + 0 * around, 0.05, 0.5, pixel) + 0.45 * _band(around + 0 * up, 0.05, 0.5, pixel)


def _dots(around, up, pixel):
    row = np.floor(up / 0.036)
    x = ((around / 0.042 + 0.5 * (row % 2)) % 1 - 0.5) * 0.042
    y = ((up / 0.036) % 1 - 0.5) * 0.036
    return np.clip((0.0105 - np.hypot(x, y)) / pixel + 0.5, 0, 1)


def _block(around, up, pixel):
    return np.clip((up - 0.2) / pixel + 0.5, 0, 1) + 0 * around


PATTERNS = {"solid": _solid, "logo": _solid, "stripe": _stripe, "check": _check, "dots": _dots, "block": _block}


def logo(number: int, around: np.ndarray, up: np.ndarray, pixel: float) -> np.ndarray:
    """Weights of a print on the chest: a disc, a bar, a diamond or a ring around a point 0.23 above the hem."""
    x, y = around + 0 * up, up - 0.225 + 0 * around
    radius = np.hypot(x, y)
    distance = {
        0: radius - 0.04,
        1: np.maximum(np.abs(x) - 0.055, np.abs(y) - 0.018),
        2: (np.abs(x) + np.abs(y)) / 1.4 - 0.034,
        3: np.abs(radius - 0.034) - 0.011,
    }[number]
    return np.clip(0.5 - distance / pixel, 0, 1)
