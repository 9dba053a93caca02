"""From any picture file to the array a network was trained on, safely: strangers send these files.

The pixel count is read from the header before anything is decoded, because a PNG of 20 KB can unfold to gigabytes.
`kerasdl/data/pictures.py` does the same for training; tests/apps/test_pictures_twin.py holds the two equal.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

MAX_PIXELS = 16_000_000
JPEG_START = b"\xff\xd8\xff"
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
ORIENTATION = 0x0112  # the EXIF tag; its values 2..8 say how the camera was held
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
METHODS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
INK_LEVEL = 0.2 * 255  # what is brighter than this is ink
MAX_INK_PIXELS = 4 * MAX_PIXELS  # of the square around the ink: a line of 60,000 x 1 pixels would ask for 3.6 GB


class PictureError(ValueError):
    """The file is no picture that can be used; the message is a sentence for whoever sent it.

    reason: "format" (no accepted picture at all), "size" (too many pixels), "damaged" or "missing".
    """

    def __init__(self, sentence: str, reason: str = "damaged"):
        super().__init__(sentence)
        self.reason = reason


def open_picture(source: str | Path | bytes, color: str = "rgb", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The upright picture of a file or its bytes, mode RGB (`color="rgb"`) or L (`"grey"`).

    Transparency becomes white, an animation its first frame, a JPEG of up to four times `max_pixels` half its sides. PictureError
    says why a file is refused.
    """
    if color not in ("rgb", "grey"):
        raise ValueError(f"color must be rgb or grey. Received: {color}")
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with open_header(stream) as picture:
            halve_large_jpeg(picture, max_pixels)
            check_size(picture.size, max_pixels)
            picture.load()
            picture = flatten(turn_upright(picture))
        return picture.convert("L" if color == "grey" else "RGB")
    except PictureError:
        raise
    except FileNotFoundError:
        raise PictureError("The picture does not exist.", "missing") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # Pillow's own limit, far above ours
        raise PictureError(f"The picture is too large: at most {max_pixels / 1e6:g} million pixels are accepted.", "size") from None
    except Image.UnidentifiedImageError:
        raise PictureError(f"The file is not a picture in one of the accepted formats: {', '.join(FORMATS)}.", "format") from None
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, zlib.error and more
        raise PictureError("The picture is damaged or cut short and cannot be read.") from error


def open_header(source: str | Path | io.BytesIO) -> Image.Image:
    """Reads no pixels. A JPEG is opened as one: `Image.open` would refuse a large one before its sides could be halved."""
    if not is_jpeg(source):
        return Image.open(source, formats=FORMATS)
    try:
        return JpegImageFile(source)
    except (SyntaxError, IndexError, TypeError, KeyError, struct.error) as error:  # those that Image.open takes for "not this format"
        raise Image.UnidentifiedImageError from error


def is_jpeg(source: str | Path | io.BytesIO) -> bool:
    if isinstance(source, io.BytesIO):
        return source.getvalue()[:3] == JPEG_START
    with open(source, "rb") as stream:
        return stream.read(3) == JPEG_START


def halve_large_jpeg(picture: Image.Image, max_pixels: int) -> None:
    """A photo's decoder leaves every second pixel out by itself; only of a progressive one would it hold the whole all the same."""
    width, height = picture.size
    if isinstance(picture, JpegImageFile) and "progressive" not in picture.info and max_pixels < width * height <= 4 * max_pixels:
        picture.draft(None, (width // 2, height // 2))


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise PictureError(
            f"The picture is too large: at most {max_pixels / 1e6:g} million pixels are accepted. Received: {width} x {height}.", "size"
        )


def turn_upright(picture: Image.Image) -> Image.Image:
    try:
        turn = UPRIGHT.get(picture.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged metadata is no reason to refuse a readable picture
        turn = None
    return picture if turn is None else picture.transpose(turn)


def flatten(picture: Image.Image) -> Image.Image:
    """Eight bits a channel and no transparency."""
    if picture.mode.startswith("I"):  # 16-bit grey: 65535 / 257 = 255
        levels = np.asarray(picture, np.int32).clip(0, 65535)
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        white.alpha_composite(picture)
        return white.convert("RGB")
    return picture if picture.mode in ("L", "RGB") else picture.convert("RGB")


def prepare(picture: Image.Image, shape: Sequence[int], steps: Sequence[dict[str, Any]], any_size: bool = False) -> np.ndarray:
    """An opened picture becomes uint8 [H, W, C] by the card's steps; one that has the size already is taken as it is.

    With `any_size` the graph resizes by itself: the picture keeps what size the steps leave it.
    """
    height, width, channels = shape
    picture = picture.convert("L" if channels == 1 else "RGB")
    if picture.size != (width, height):
        for step in steps:
            picture = apply_step(picture, step)
    if not any_size and picture.size != (width, height):
        raise ValueError(f"The steps must end at {width} x {height} pixels. Received: {picture.width} x {picture.height}")
    return np.array(picture, np.uint8).reshape(picture.height, picture.width, channels)


def apply_step(picture: Image.Image, step: dict[str, Any]) -> Image.Image:
    if step["op"] == "ink":
        return cut_ink(picture, step["margin"], step["center"])
    if step["op"] == "center_crop":
        return crop_square(picture)
    if step["op"] == "resize":
        height, width = step["size"]
        return picture.resize((width, height), METHODS[step["method"]])
    raise ValueError(f"A step must be ink, center_crop or resize. Received: {step['op']}")


def crop_square(picture: Image.Image) -> Image.Image:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def cut_ink(picture: Image.Image, margin: float, center: str) -> Image.Image:
    """The ink, bright on black, in the middle of a square: by its box, or by its centre of mass."""
    pixels = np.asarray(picture)
    table = stretch_table(pixels)
    if table is None:
        return picture
    rows, columns = inked((table > INK_LEVEL)[pixels])
    levels = table[pixels[rows, columns]]
    height, width = levels.shape
    side = round(max(height, width) * (1 + 2 * margin))
    if side * side > MAX_INK_PIXELS:
        raise PictureError(f"The drawing is too long and thin for a square picture. Received: {width} x {height}.", "size")
    top, left = (side - height) // 2, (side - width) // 2
    if center == "mass":
        total = float(levels.sum())
        middle = (side - 1) / 2
        top = round(middle - float(levels.sum(1) @ np.arange(height)) / total)
        left = round(middle - float(levels.sum(0) @ np.arange(width)) / total)
        top, left = min(max(top, 0), side - height), min(max(left, 0), side - width)
    square = np.zeros((side, side), np.uint8)
    square[top : top + height, left : left + width] = levels.round()
    return Image.fromarray(square)


def stretch_table(pixels: np.ndarray) -> np.ndarray | None:
    """For each of the 256 levels its new one: paper to 0, the strongest ink to 255; None if the picture is all paper."""
    border = float(np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])))
    table = np.arange(256, dtype=np.float32)
    if border > 127:  # light paper, dark ink
        table, border = 255 - table, 255 - border
    table = np.clip(table - border, 0, None)
    strongest = max(table[pixels.min()], table[pixels.max()])
    return None if strongest == 0 else table * (255 / strongest)


def inked(mask: np.ndarray) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
