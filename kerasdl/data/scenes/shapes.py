"""Masks of the drawn shapes: polygons at four times the size, averaged down, kept for the sizes and whole degrees that come again."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image, ImageDraw

FINER = 4
STROKE = 0.16  # of an outline, in half extents


def _ring(radii: np.ndarray, first: float = -90.0) -> np.ndarray:
    angles = np.deg2rad(first + 360 / len(radii) * np.arange(len(radii)))
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    x, y = 16 * np.sin(t) ** 3, 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -y - 2.5], axis=1) / 16.5


def _cross(arm: float = 0.33) -> np.ndarray:
    quarter = np.array([(arm, -arm), (arm, -1), (-arm, -1)])
    turns = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]).round() for a in (0, -np.pi / 2, -np.pi, -3 * np.pi / 2)]
    return 0.94 * np.concatenate([quarter @ turn.T for turn in turns])


# Corners (x, y) in -1..1, y down, about the point around which the shape turns.
POLYGONS = {
    "circle": 0.97 * _ring(np.ones(48)),
    "square": 0.84 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]),
    "triangle": np.array([(0, -0.95), (1, 0.78), (-1, 0.78)]),
    "star": np.array([0, 0.06]) + 1.04 * _ring(np.tile([1, 0.42], 5)),
    "heart": _heart(),
    "diamond": np.array([(0, -1), (0.66, 0), (0, 1), (-0.66, 0)]),
    "cross": _cross(),
}


@functools.lru_cache(maxsize=4096)
def mask(kind: str, pixels: int, degrees: int, outlined: bool = False) -> np.ndarray:
    """How much of each pixel the shape covers, float32 (pixels,pixels) in 0..1."""
    angle = np.deg2rad(degrees)
    corners = POLYGONS[kind] @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    picture = Image.new("L", (FINER * pixels, FINER * pixels))
    pen, half = ImageDraw.Draw(picture), FINER * pixels / 2
    pen.polygon([tuple(corner) for corner in half + half * corners], fill=255)
    if outlined:
        middle = corners.mean(axis=0)
        pen.polygon([tuple(corner) for corner in half + half * (middle + (1 - STROKE) * (corners - middle))], fill=0)
    cover = np.asarray(picture.reduce(FINER), np.float32) / 255
    cover.setflags(write=False)
    return cover
