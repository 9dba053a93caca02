"""Any picture to the uint8 array a model takes: open it safely, then apply the data set's own steps.

`apps/runtime/pictures.py` is the same function for people without this package; a test holds the two equal byte for byte.

A step is a dict; a picture that already has exactly the right size is taken as it is.
- {"op": "ink", "margin": 0.1, "center": "box" | "mass"}: grey only, a dark drawing on light paper becomes light on black, is cut
  to its ink and set in the middle of a square;
- {"op": "center_crop"}: the largest square in the middle;
- {"op": "resize", "size": [h, w], "method": "bilinear" | "box" | "nearest" | "bicubic"}: Pillow's antialiased resize.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

MAX_PIXELS = 16_000_000
METHODS = {
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
    "bicubic": Image.Resampling.BICUBIC,
}
INK_LEVEL = 0.2 * 255  # above this a pixel is ink
MAX_INK_PIXELS = 4 * MAX_PIXELS  # of the square around the ink: a line of 60,000 x 1 pixels would ask for 3.6 GB


class PictureError(ValueError):
    """A file that is no usable picture; the message is a sentence for people."""


def open_picture(source: str | Path | bytes, color: str = "rgb", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """An upright picture of mode RGB (`color="rgb"`) or L (`"grey"`): EXIF rotation applied, transparency on white, first frame.

    Raises PictureError for what is no picture, is cut short, or has more than `max_pixels` (read from the header, before decoding);
    a JPEG of up to four times as many is decoded at half its sides.
    """
    name = source.name if isinstance(source, Path) else Path(source).name if isinstance(source, str) else "the picture"
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            halve_large_jpeg(picture, max_pixels)
            if picture.width * picture.height > max_pixels:
                raise PictureError(
                    f"{name} is too large: at most {max_pixels / 1e6:g} million pixels. Received: {picture.width} x {picture.height}"
                )
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            return flatten(upright).convert("L" if color == "grey" else "RGB")
    except PictureError:
        raise
    except Image.DecompressionBombError:
        raise PictureError(f"{name} is too large: at most {max_pixels / 1e6:g} million pixels.") from None
    except FileNotFoundError:
        raise PictureError(f"{name} does not exist.") from None
    except Exception as problem:  # Pillow's decoders raise OSError, SyntaxError, struct.error, zlib.error and more on broken files
        raise PictureError(f"{name} is not a readable picture ({type(problem).__name__}).") from problem


def halve_large_jpeg(picture: Image.Image, max_pixels: int) -> None:
    """A photo's decoder leaves every second pixel out by itself; only of a progressive one would it hold the whole all the same."""
    width, height = picture.size
    if isinstance(picture, JpegImageFile) and "progressive" not in picture.info and max_pixels < width * height <= 4 * max_pixels:
        picture.draft(None, (width // 2, height // 2))


def flatten(picture: Image.Image) -> Image.Image:
    """8 bits a channel, no transparency: 16-bit grey is scaled, alpha is laid on white."""
    if picture.mode in ("I;16", "I;16B", "I;16L", "I"):
        return Image.fromarray((np.asarray(picture, np.float32).clip(0, 65535) / 257).round().astype(np.uint8))
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture if picture.mode in ("L", "RGB") else picture.convert("RGB")


def prepare(picture: Image.Image, shape: tuple[int, int, int], steps: Iterable[dict[str, Any]]) -> np.ndarray:
    """A picture of mode RGB or L to uint8 (H,W,C) by the data set's steps."""
    height, width, channels = shape
    picture = picture.convert("L" if channels == 1 else "RGB")
    if picture.size != (width, height):
        for step in steps:
            picture = apply_step(picture, step)
    if picture.size != (width, height):
        raise ValueError(f"the steps must end at {width} x {height} pixels. Received: {picture.size}")
    return np.asarray(picture, np.uint8).reshape(shape)


def apply_step(picture: Image.Image, step: dict[str, Any]) -> Image.Image:
    match step["op"]:
        case "ink":
            return ink(picture, step["margin"], step["center"])
        case "center_crop":
            side = min(picture.size)
            left, top = (picture.width - side) // 2, (picture.height - side) // 2
            return picture.crop((left, top, left + side, top + side))
        case "resize":
            height, width = step["size"]
            return picture.resize((width, height), METHODS[step["method"]])
    raise ValueError(f"a step is one of ink, center_crop, resize. Received: {step['op']!r}")


def ink(picture: Image.Image, margin: float, center: str) -> Image.Image:
    levels = np.asarray(picture, np.float32)
    border = float(np.median(np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])))
    if border > 127:
        levels, border = 255 - levels, 255 - border
    levels = np.clip(levels - border, 0, None)
    if levels.max() == 0:
        return picture
    levels = levels * (255 / levels.max())
    rows, columns = np.nonzero(levels > INK_LEVEL)
    levels = levels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    height, width = levels.shape
    side = round(max(height, width) * (1 + 2 * margin))
    if side * side > MAX_INK_PIXELS:
        raise PictureError(f"The drawing is too long and thin for a square picture. Received: {width} x {height}.")
    top, left = (side - height) // 2, (side - width) // 2
    if center == "mass":
        total = levels.sum()
        middle = (side - 1) / 2
        top = round(middle - float(levels.sum(1) @ np.arange(height)) / float(total))
        left = round(middle - float(levels.sum(0) @ np.arange(width)) / float(total))
        top, left = min(max(top, 0), side - height), min(max(left, 0), side - width)
    square = np.zeros((side, side), np.uint8)
    square[top : top + height, left : left + width] = levels.round().astype(np.uint8)
    return Image.fromarray(square)
