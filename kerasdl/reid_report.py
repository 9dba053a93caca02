"""Pictures of a re-identification: ranked strips, what each query found, and curves of CMC and ROC, as PNG files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kerasdl.figures import new_figure
from kerasdl.metrics.distance import distance_blocks, first
from kerasdl.metrics.open_set import Roc
from kerasdl.metrics.protocol import DISTRACTOR, JUNK, Identities, identities

COLOURS = {"right": "#009e73", "wrong": "#d55e00", "ignored": "#9aa0a6"}  # told apart by colour-blind readers too (Okabe and Ito)
TALL, FRAME, GAP, LINE = 168, 5, 10, 15  # pixels: height of a picture, its frame, the space between, a line of text
INK, PALE, PAPER = "#202124", "#5f6368", "#ffffff"


@dataclasses.dataclass(frozen=True)
class RankedList:
    """What a query found: numbers of gallery pictures (K,), nearest first, their distances (K,), and right, wrong or ignored of each."""

    query: int
    gallery: np.ndarray
    distances: np.ndarray
    verdicts: tuple[str, ...]
    captions: tuple[str, ...]  # of the query, then of each gallery picture


def ranked_lists(
    queries: Sequence[int],
    query_embeddings: Any,
    gallery_embeddings: Any,
    query_pids: Any,
    gallery_pids: Any,
    query_camids: Any = None,
    gallery_camids: Any = None,
    protocol: str = "cross-camera",
    metric: str = "cosine",
    top: int = 10,
) -> list[RankedList]:
    """The first `top` gallery pictures of some queries, the ignored in their places.

    Args:
        queries: numbers of queries, as `telling_queries` picks them. Other arguments as in `reid_evaluate`; cameras are written into
            the captions under every protocol.

    Raises:
        ValueError: arguments that do not fit each other, a query that does not exist.
    """
    people = identities(query_pids, gallery_pids, query_camids, gallery_camids, protocol)
    chosen = np.asarray(queries, np.int64)
    if chosen.ndim != 1 or not len(chosen) or chosen.min() < 0 or chosen.max() >= people.shape[0]:
        raise ValueError(f"queries must be numbers from 0 to {people.shape[0] - 1}, at least one. Received: {list(queries)}")
    found, top = [], min(top, people.shape[1])
    for start, rows in distance_blocks(np.asarray(query_embeddings)[chosen], gallery_embeddings, metric):
        for query, row in zip(chosen[start : start + len(rows)].tolist(), rows, strict=True):
            nearest, distances = first(row, top)
            own = _caption(people.query_pids[query], None if query_camids is None else query_camids[query])
            theirs = (_caption(people.gallery_pids[g], None if gallery_camids is None else gallery_camids[g]) for g in nearest)
            found.append(RankedList(query, nearest, distances, _verdicts(people, query, nearest), (own, *theirs)))
    return found


def _verdicts(people: Identities, query: int, gallery: np.ndarray) -> tuple[str, ...]:
    right, ignored = people.right_and_ignored(query)
    return tuple("ignored" if ignored[g] else "right" if right[g] else "wrong" for g in gallery)


def _caption(pid: Any, camid: Any) -> str:
    name = {JUNK: "junk", DISTRACTOR: "distractor"}.get(int(pid), f"id {pid}")
    return name if camid is None else f"{name}, cam {camid}"


def telling_queries(query_ap: Any, count: int) -> list[int]:
    """Numbers of `count` queries from the worst average precision (Q,) to the best, evenly between; NaN, without a match, is left out."""
    query_ap = np.asarray(query_ap)
    order = np.argsort(query_ap, kind="stable")[: np.isfinite(query_ap).sum()]
    return order[np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))].tolist()


def strips(lists: Sequence[RankedList], query_images: Any, gallery_images: Any, path: Path, title: str, query_ap: Any = None) -> None:
    """A row for each query: its picture, then what it found, framed as right, wrong or ignored, with person, camera and distance.

    Args:
        lists: of `ranked_lists`, all of one length.
        query_images: a `Split`, or anything that gives uint8 (H, W, 3) or (H, W, 1) by the number of the query; sizes may differ.
        gallery_images: the same of the gallery.
        path: of the PNG file.
        title: first line.
        query_ap: average precisions by the number of the query, written below it.
    """
    rows = [_row(ranked, query_images, gallery_images, query_ap) for ranked in lists]
    widths = [max(row[column].width for row in rows) for column in range(len(rows[0]))]
    lefts = np.cumsum([GAP, widths[0] + 3 * GAP, *(width + GAP for width in widths[1:])])  # the query stands apart
    head, tall = 5 * LINE, rows[0][0].height + GAP
    sheet = Image.new("RGB", (int(lefts[-1]), head + tall * len(rows)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 8), title, INK, _font(17))
    _legend(draw, 2 * LINE + 2)
    for column, (left, width) in enumerate(zip(lefts, widths, strict=False)):
        draw.text((left + width / 2, head - 4), str(column) if column else "query", PALE, _font(12), anchor="ms")
        for number, row in enumerate(rows):
            sheet.paste(row[column], (int(left + (width - row[column].width) // 2), head + number * tall))
    sheet.save(path)


def shrink(path: Path, colours: int = 128) -> None:
    """A PNG file again with a palette, about a third of its size: for pictures that travel with a model."""
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def _row(ranked: RankedList, query_images: Any, gallery_images: Any, query_ap: Any) -> list[Image.Image]:
    below = "" if query_ap is None else f"AP {query_ap[ranked.query]:.2f}"
    tiles = [_tile(_image(query_images, ranked.query), (ranked.captions[0], below), None)]
    found = zip(ranked.gallery, ranked.distances, ranked.verdicts, ranked.captions[1:], strict=True)
    return tiles + [_tile(_image(gallery_images, g), (caption, f"{distance:.3f}"), verdict) for g, distance, verdict, caption in found]


def _image(images: Any, number: int) -> np.ndarray:
    return images.arrays([number])["image"][0] if hasattr(images, "arrays") else images[number]


def _tile(picture: Any, lines: tuple[str, str], verdict: str | None) -> Image.Image:
    """A picture of height TALL in its frame, two lines below; what is ignored is pale."""
    photo = Image.fromarray(np.asarray(picture, np.uint8).squeeze()).convert("RGB")
    photo = photo.resize((max(round(photo.width * TALL / photo.height), 1), TALL), Image.Resampling.BICUBIC)
    if verdict == "ignored":
        photo = Image.blend(photo.convert("L").convert("RGB"), Image.new("RGB", photo.size, PAPER), 0.45)
    font = _font(11)
    width = max(photo.width + 2 * FRAME, *(int(font.getlength(line)) + 2 for line in lines))
    tile = Image.new("RGB", (width, TALL + 2 * FRAME + 2 * LINE + 2), PAPER)
    left = (width - photo.width) // 2
    draw = ImageDraw.Draw(tile)
    draw.rectangle((left - FRAME, 0, left + photo.width + FRAME - 1, TALL + 2 * FRAME - 1), COLOURS.get(verdict or "", INK))
    tile.paste(photo, (left, FRAME))
    if verdict:
        tile.paste(_badge(verdict), (left + photo.width + FRAME - 22, 0))
    for number, line in enumerate(lines):
        draw.text((width / 2, TALL + 2 * FRAME + 12 + number * LINE), line, (INK, PALE)[number], font, anchor="ms")
    return tile


def _badge(verdict: str) -> Image.Image:
    """A tick, a cross or a dash on the frame's colour, 22 x 22, drawn four times as large: frames are not told apart by colour alone."""
    badge = Image.new("RGB", (88, 88), COLOURS[verdict])
    draw = ImageDraw.Draw(badge)
    marks = {"right": [(20, 46, 38, 64), (38, 64, 70, 26)], "wrong": [(26, 26, 64, 64), (26, 64, 64, 26)], "ignored": [(24, 44, 66, 44)]}
    for line in marks[verdict]:
        draw.line(line, PAPER, 11)
    return badge.resize((22, 22), Image.Resampling.LANCZOS)


def _legend(draw: ImageDraw.ImageDraw, top: int) -> None:
    left, font = GAP, _font(12)
    for verdict, words in (("right", "the same person"), ("wrong", "another person"), ("ignored", "not counted")):
        draw.rectangle((left, top, left + 11, top + 11), COLOURS[verdict])
        draw.text((left + 17, top + 11), words, INK, font, anchor="ls")
        left += 17 + int(font.getlength(words)) + 2 * GAP


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def cmc_curves(results: Mapping[str, Mapping[str, Any]], path: Path, title: str) -> None:
    """The CMC of several results of `reid_evaluate` by name, with rank-1 and mAP in the legend."""
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    for name, result in results.items():
        label = f"{name}: rank-1 {100 * result['cmc'][0]:.1f} %, mAP {100 * result['mAP']:.1f} %"
        axes.plot(np.arange(1, len(result["cmc"]) + 1), 100 * np.asarray(result["cmc"]), label=label, marker=".", markersize=4)
    axes.set(xlabel="rank", ylabel="queries with a match so far, %", title=title, ylim=(None, 101))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(path)


def roc_curves(curves: Mapping[str, Roc], path: Path, title: str, far: float | None = None) -> None:
    """TPR over FAR, logarithmic, of several `roc` by name; `far` is marked."""
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    for name, curve in curves.items():
        seen = curve.far > 0
        axes.plot(curve.far[seen], 100 * curve.tpr[seen], label=f"{name}: AUC {curve.auc:.4f}", drawstyle="steps-post")
    if far is not None:
        axes.axvline(far, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", xlabel="pairs of two people accepted (FAR)", ylabel="pairs of one person accepted, %", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(path)
