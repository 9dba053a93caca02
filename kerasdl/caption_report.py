"""Pictures of a captioner's work as PNG files: what it says beside what is true, and where it looks at each word."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kerasdl.text import tokenize

SIDE, GAP, LINE = 176, 14, 15  # pixels: the longer side of a picture, the space between, a line of text
INK, PALE, PAPER, RIGHT = "#202124", "#5f6368", "#ffffff", "#00724f"


def contact_sheet(
    images: np.ndarray, said: Sequence[str], references: Sequence[Sequence[str]], path: Path, title: str, columns: int = 4
) -> None:
    """Pictures uint8 (N,H,W,C), below each its caption, green where it is one of the true ones; else the first of these, pale."""
    if not len(images) == len(said) == len(references):
        raise ValueError(f"every picture has a caption and references. Received: {len(images)}, {len(said)} and {len(references)}")
    lines = [_told(candidate, some) for candidate, some in zip(said, references, strict=True)]
    photos = [_photo(image) for image in images]
    high = max(photo.height + LINE * len(told) for photo, told in zip(photos, lines, strict=True)) + GAP + 8
    columns = min(columns, len(photos))
    sheet = Image.new("RGB", (GAP + columns * (SIDE + GAP), 3 * LINE + -(-len(photos) // columns) * high), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 10), textwrap.shorten(title, 26 * columns), INK, _font(15))
    for number, (photo, told) in enumerate(zip(photos, lines, strict=True)):
        left, top = GAP + number % columns * (SIDE + GAP), 3 * LINE + number // columns * high
        sheet.paste(photo, (left + (SIDE - photo.width) // 2, top))
        for row, (line, colour) in enumerate(told):
            draw.text((left, top + photo.height + 4 + row * LINE), line, colour, _font(12))
    sheet.save(path)


def _told(candidate: str, references: Sequence[str]) -> list[tuple[str, str]]:
    """(line, colour) of what stands below a picture."""
    right = tokenize(candidate) in map(tokenize, references)
    said = textwrap.wrap(candidate or "(nothing)", 27)
    true = [] if right else textwrap.wrap(f"true: {references[0]}", 27)
    return [*((line, RIGHT if right else INK) for line in said), *((line, PALE) for line in true)]


def attention_sheet(
    images: np.ndarray, words: Sequence[Sequence[str]], attention: np.ndarray, grid: tuple[int, int], path: Path, title: str
) -> None:
    """A row for each picture (N,H,W,C): itself, then a copy for each word, bright where the model looked as it said the word.

    Args:
        words: of each picture; the last may stand for its end.
        attention: (N,T,places), of the words in order; each is drawn on the scale of its own largest value.
        grid: (height, width) of the places.
    """
    if attention.shape[2] != grid[0] * grid[1]:
        raise ValueError(f"the attention must fit the grid. Received: {attention.shape[2]} places, {grid=}")
    side, columns = SIDE * 2 // 3, 1 + max(map(len, words))
    photos = [_photo(image, side) for image in images]
    high = max(photo.height for photo in photos) + 2 * LINE + GAP
    sheet = Image.new("RGB", (GAP + columns * (side + GAP // 2), 3 * LINE + len(photos) * high), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 10), title, INK, _font(15))
    for row, (photo, spoken, looks) in enumerate(zip(photos, words, attention, strict=True)):
        shown = [(photo, "")] + [(_lit(photo, look, grid), word) for word, look in zip(spoken, looks, strict=False)]
        for column, (picture, word) in enumerate(shown):
            left, top = GAP + column * (side + GAP // 2), 3 * LINE + row * high
            sheet.paste(picture, (left, top))
            draw.text((left + side / 2, top + picture.height + LINE), word, INK, _font(12), anchor="ms")
    sheet.save(path)


def _lit(photo: Image.Image, look: np.ndarray, grid: tuple[int, int]) -> Image.Image:
    """The picture, dark where the attention (places,) is low."""
    light = np.asarray(look, np.float32).reshape(grid) / max(float(look.max()), 1e-12)
    mask = Image.fromarray(np.rint(255 * light).astype(np.uint8)).resize(photo.size, Image.Resampling.BICUBIC)
    grey = Image.blend(photo.convert("L").convert("RGB"), Image.new("RGB", photo.size, "#101418"), 0.75)
    return Image.composite(photo, grey, mask)


def _photo(image: Any, side: int = SIDE) -> Image.Image:
    photo = Image.fromarray(np.asarray(image, np.uint8).squeeze()).convert("RGB")
    scale = side / max(photo.size)
    return photo.resize((max(round(photo.width * scale), 1), max(round(photo.height * scale), 1)), Image.Resampling.BICUBIC)


def _font(size: int) -> Any:
    return ImageFont.load_default(size)
