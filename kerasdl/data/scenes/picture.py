"""A scene as a picture: a plain ground, light or dark, and on it the things with soft shadows.

The colour words belong to drawn shapes, tinted digits and frames; an untinted digit is chalk on a dark ground and ink on a light one.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
from PIL import Image

from kerasdl.data.scenes.layout import Mark, layout
from kerasdl.data.scenes.scene import Scene
from kerasdl.data.scenes.shapes import POLYGONS, mask

PALETTE = {
    "red": (222, 36, 36),
    "orange": (250, 128, 18),
    "yellow": (250, 218, 40),
    "green": (30, 160, 66),
    "blue": (46, 104, 240),
    "purple": (158, 66, 214),
    "pink": (250, 138, 196),
}
CHALK, INK = 238, 30
DARK, LIGHT = (22, 62), (196, 236)  # levels of the ground
FRAME = 0.035  # of the side, at least 2 pixels
SHADOW = 0.35

Album = Mapping[str, np.ndarray]


def draw(scene: Scene, album: Album | None = None, side: int = 64) -> np.ndarray:
    """The picture of a scene, uint8 (side,side,3); the same scene, seed and album are the same picture at every call.

    album: the pictures to choose from, of each kind that is not a drawn shape, uint8: digits (N,h,w), light on black, or photographs
        (N,h,w,3).
    Raises ValueError for a kind that the album lacks, and for things that do not fit beside each other.
    """
    random = np.random.default_rng([*scene.seed, 0])
    dark = bool(random.random() < 0.5)
    canvas = _ground(side, dark, random)
    for mark in layout(scene, random):
        _put(canvas, mark, album or {}, dark, random)
    canvas += random.integers(0, 8, (side, side, 3), np.uint8)  # the camera's noise
    return np.minimum(np.maximum(canvas - 3.5, 0), 255).astype(np.uint8)


def _ground(side: int, dark: bool, random: np.random.Generator) -> np.ndarray:
    """Nearly grey and uneven like a wall, float32 (side,side,3)."""
    low, high = DARK if dark else LIGHT
    level = low + random.random() * (high - low)
    soft = _softening(side)
    uneven = soft @ (24 * random.random((5, 5), np.float32) - 12) @ soft.T
    return uneven[..., None] + (level - 6 + 12 * random.random(3)).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _softening(side: int) -> np.ndarray:
    """From 5 points to `side` pixels without a corner (cosine interpolation), float32 (side,5)."""
    distance = np.abs(np.linspace(0, 4, side)[:, None] - np.arange(5))
    return np.where(distance < 1, (1 + np.cos(np.pi * distance)) / 2, 0).astype(np.float32)


def _put(canvas: np.ndarray, mark: Mark, album: Album, dark: bool, random: np.random.Generator) -> None:
    side = len(canvas)
    pixels = max(round(mark.extent * side), 4)
    left, top = (min(max(round(centre * side - pixels / 2), 0), side - pixels) for centre in (mark.x, mark.y))
    if mark.kind in POLYGONS:
        cover, paint = mask(mark.kind, pixels, round(mark.angle), mark.outlined), _paint(mark.colour, dark, pixels, random)
    else:
        scan = _choose(mark.kind, album, random)
        if scan.ndim == 3:
            cover, paint = np.ones((pixels, pixels), np.float32), _framed(scan, pixels, side, mark.colour)
        else:
            cover, paint = _stroke(scan, pixels, mark.angle), _paint(mark.colour, dark, pixels, random)
    _shade(canvas, cover, left, top)
    place = canvas[top : top + pixels, left : left + pixels]
    place += cover[..., None] * (paint - place)


def _shade(canvas: np.ndarray, cover: np.ndarray, left: int, top: int) -> None:
    """A shadow to the lower right, a sixty-fourth of the side away."""
    step = max(len(canvas) // 64, 1)
    place = canvas[top + step : top + step + len(cover), left + step : left + step + len(cover)]
    place *= 1 - SHADOW * cover[: place.shape[0], : place.shape[1], None]


def _paint(colour: str | None, dark: bool, pixels: int, random: np.random.Generator) -> np.ndarray:
    """The colour, a little lighter above than below, float32 (pixels,1,3)."""
    base = PALETTE[colour] if colour else (CHALK if dark else INK,) * 3
    light = 1.06 - np.arange(pixels, dtype=np.float32) * (0.14 / pixels)
    return (base + (16 * random.random(3, np.float32) - 8)) * light[:, None, None]


def _choose(kind: str, album: Album, random: np.random.Generator) -> np.ndarray:
    if kind not in album:
        raise ValueError(f"the album must have pictures of every kind in the scene. Received: {kind!r}, the album has {sorted(album)}")
    return album[kind][int(random.random() * len(album[kind]))]


def _stroke(scan: np.ndarray, pixels: int, degrees: float) -> np.ndarray:
    """A digit's ink on its new size, a little tilted and sharpened, float32 (pixels,pixels) in 0..1."""
    angle, step, middle = np.deg2rad(degrees), len(scan) / pixels, len(scan) / 2
    right, down = step * float(np.cos(angle)), step * float(np.sin(angle))
    first = middle - (right + down) * pixels / 2, middle - (right - down) * pixels / 2
    turned = Image.fromarray(scan).transform(
        (pixels, pixels), Image.Transform.AFFINE, (right, down, first[0], -down, right, first[1]), Image.Resampling.BILINEAR
    )
    return np.minimum(np.maximum(np.asarray(turned, np.float32) * (1 / 150) - 0.15, 0), 1)


def _framed(photograph: np.ndarray, pixels: int, side: int, colour: str | None) -> np.ndarray:
    width = max(round(FRAME * side), 2) if colour else 0
    inner = pixels - 2 * width
    picture = Image.fromarray(photograph).resize((inner, inner), Image.Resampling.BICUBIC)
    framed = np.empty((pixels, pixels, 3), np.float32)
    framed[...] = PALETTE[colour] if colour else 0
    framed[width : pixels - width, width : pixels - width] = np.asarray(picture)
    return framed
