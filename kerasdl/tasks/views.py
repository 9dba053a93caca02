"""Test-time augmentation: a picture and its mirror image, shifted too if wanted, through one model; their answers averaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

VIEWS = ("flip", "flip-shift")


def averaged_over_views(model: Callable[[Any], Any], x: Any, kind: str) -> Any:
    """`model` maps pictures (B,H,W,C) to logits (B,classes) and runs once, on all views; gives their weighted mean (B,classes).

    "flip" is the picture and its mirror image. "flip-shift" takes half of the answer from these two and half from both moved by a
    pixel up-left and down-right: the six views of Jordan 2024, arXiv:2404.00498, section 3.5.
    """
    views = [x, _mirrored(x)]
    if kind == "flip-shift":
        views += [_shifted(one, by) for one in views for by in (-1, 1)]
    logits = model(ops.concatenate(views))  # (V*B, classes)
    logits = ops.reshape(logits, (len(views), -1, logits.shape[-1]))  # (V, B, classes)
    if kind == "flip":
        return ops.mean(logits, axis=0)
    plain, shifted = ops.split(logits, [2], axis=0)
    return (ops.mean(plain, axis=0) + ops.mean(shifted, axis=0)) / 2


def _mirrored(x: Any) -> Any:
    return x[:, :, ::-1]


def _shifted(x: Any, by: int) -> Any:
    """(B,H,W,C) moved down and to the right by a pixel, or up and to the left; the border is reflected."""
    height, width = x.shape[1:3]
    padded = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    first = 1 - by
    return padded[:, first : first + height, first : first + width]
