"""Draws the pictures of docs/course.md with the layers themselves: python tools/course_figures.py [FOLDER]."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kerasdl import schedules
from kerasdl.data import augment, mixing
from kerasdl.data.digits import digits
from kerasdl.layers.maxout import Maxout
from kerasdl.layers.upsampling import resize_conv

BLUE, ORANGE, GREY, PALE = "#1f6f9f", "#d9822b", "#8a8f94", "#f2f4f5"


def new_figure(width: float, height: float) -> Figure:
    figure = Figure((width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def maxout_of_three(x: np.ndarray) -> Any:
    """max(-x - 1, 0.2 x, 1.5 x - 1): a convex function of straight pieces."""
    layer = Maxout(1, pieces=3)
    layer.build((None, 1))
    layer.set_weights([np.reshape(v, (1, 1) if n % 2 == 0 else (1,)) for n, v in enumerate((-1.0, -1.0, 0.2, 0.0, 1.5, -1.0))])
    return layer(x[:, None])[:, 0]


def activations() -> Figure:
    """Sigmoid, tanh, ReLU, leaky ReLU, ELU and maxout with their slopes."""
    figure = new_figure(9.6, 4.9)
    x = np.linspace(-3, 3, 601).astype("float32")
    curves = {
        "sigmoid   1 / (1 + e⁻ˣ)": keras.activations.sigmoid,
        "tanh x": keras.activations.tanh,
        "ReLU   max(0, x)": layers.ReLU(),
        "leaky ReLU   x or 0.1 x": layers.LeakyReLU(0.1),
        "ELU   x or eˣ − 1": layers.ELU(),
        "maxout   max of three lines": maxout_of_three,
    }
    for axes, (name, function) in zip(figure.subplots(2, 3).flat, curves.items(), strict=True):
        y = np.asarray(function(x))
        axes.axhline(0, color=GREY, lw=0.6)
        axes.axvline(0, color=GREY, lw=0.6)
        axes.plot(x, np.gradient(y, x), color=ORANGE, lw=1.2, ls="--", label="slope")
        axes.plot(x, y, color=BLUE, lw=2, label="value")
        axes.set(xlim=(-3, 3), ylim=(-1.4, 2.2))
        axes.set_title(name, fontsize=10)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def windows(axes: Any, title: str, side: int, kernel: int, pad: int = 0, stride: int = 1, dilation: int = 1) -> None:
    """The padded picture as a grid with the first window filled, the second outlined, and the output size from a real layer."""
    x = layers.ZeroPadding2D(pad)(np.zeros((1, side, side, 1), "float32"))
    out = layers.Conv2D(1, kernel, stride, dilation_rate=dilation)(x).shape[1]
    for i in range(-pad, side + pad):
        for j in range(-pad, side + pad):
            inside = 0 <= i < side and 0 <= j < side
            axes.add_patch(square(j, i, facecolor=PALE if inside else "white", edgecolor=GREY, lw=0.7, ls="-" if inside else ":"))
    taps = [dilation * n - pad for n in range(kernel)]
    for i in taps:
        for j in taps:
            axes.add_patch(square(j, i, facecolor=BLUE, edgecolor="white", lw=0.7))
            axes.add_patch(square(j + stride, i, facecolor="none", edgecolor=ORANGE, lw=1.6))
    axes.set(xlim=(-pad - 0.2, side + pad + 0.2), ylim=(side + pad + 0.2, -pad - 0.2), aspect="equal")
    axes.set_axis_off()
    axes.set_title(f"{title}\n{side} → {out}", fontsize=10)


def square(left: float, top: float, **options: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((left, top), 1, 1, **options)


def enlarged(body: Any) -> np.ndarray:
    """A constant picture of ones through a model whose kernels are all ones, the middle of what comes out scaled to a mean of 1."""
    image = keras.Input((24, 24, 1))
    picture = np.asarray(keras.Model(image, body(image))(np.ones((1, 24, 24, 1), "float32")))[0, :, :, 0]
    middle = len(picture) // 2
    picture = picture[middle - 8 : middle + 8, middle - 8 : middle + 8]
    return picture / picture.mean()


def convolutions() -> Figure:
    """Padding, stride and dilation as windows on a grid; then what three ways of enlarging do to a constant picture."""
    figure = new_figure(9.6, 6.2)
    first, second = figure.subplots(2, 3)
    windows(first[0], "kernel 3, padding 1", 5, 3, pad=1)
    windows(first[1], "kernel 3, stride 2", 7, 3, stride=2)
    windows(first[2], "kernel 3, dilation 2", 7, 3, dilation=2)
    ones: dict[str, Any] = {"kernel_initializer": "ones", "use_bias": False}
    ways = {
        "transposed convolution, stride 2, once": layers.Conv2DTranspose(1, 3, 2, **ones),
        "the same, twice": lambda x: layers.Conv2DTranspose(1, 3, 2, **ones)(layers.Conv2DTranspose(1, 3, 2, **ones)(x)),
        "resize, then convolution": lambda x: resize_conv(x, 1, 3, 2, "up", **ones),
    }
    for axes, (title, body) in zip(second, ways.items(), strict=True):
        axes.imshow(enlarged(body), cmap="Blues", vmin=0, vmax=3)
        axes.set_title(title, fontsize=10)
        axes.set(xticks=[], yticks=[])
    return figure


def rates() -> dict[str, Any]:
    """Each schedule of 1,000 steps with a tenth of them for the warm-up."""
    warm = {"total_steps": 1000, "peak": 1.0, "warmup": 0.1}
    return {
        "step": schedules.step(**warm),
        "exponential": schedules.exponential(**warm),
        "1 / t": schedules.inverse_time(**warm),
        "1 / √t": schedules.inverse_sqrt(**warm),
        "linear": schedules.linear(**warm),
        "cosine": schedules.cosine(**warm),
        "cosine cycles": schedules.cosine_cycles(**warm, cycles=4),
        "one cycle": schedules.one_cycle(1000, 1.0),
    }


def looks() -> dict[str, np.ndarray]:
    """A scanned digit, and what augmentation makes of it with the seed that shows most."""
    scans = digits().train.arrays(np.arange(40))["image"]
    four, other = scans[np.argmax(scans.astype(int).sum((1, 2, 3)))], scans[3]
    shown: dict[str, np.ndarray] = {"the scan": four}
    for name, function in {
        "rotate": partial(augment.rotate, degrees=30),
        "shear": partial(augment.shear, amount=0.4),
        "stretch": partial(augment.stretch, limits=(0.6, 1.5)),
        "pad_crop": partial(augment.pad_crop, pad=8),
        "stroke_width": partial(augment.stroke_width, thinner=1.0, thicker=2.0),
        "cutout": partial(augment.cutout, size=12),
    }.items():
        made = [np.asarray(function(four, np.array([0, n]))) for n in range(12)]
        shown[name] = max(made, key=lambda one: np.abs(one.astype(int) - four).sum())
    pair = np.stack([four, other]).astype("float32")
    mixed = [np.asarray(mixing.mixup(pair, np.eye(2, dtype="float32"), np.array([0, n]), alpha=1.0)[0])[0] for n in range(12)]
    shown["mixup"] = min(mixed, key=lambda one: abs(float(np.mean(one - pair.mean(0)))))
    return shown


def training() -> Figure:
    """Learning rates over a run, and a digit as augmentation shows it."""
    figure = new_figure(9.6, 5.0)
    above, below = figure.subfigures(2, 1, height_ratios=(2, 1))
    steps = np.arange(0, 1001, 5)
    for axes, (name, schedule) in zip(above.subplots(2, 4, sharex=True, sharey=True).flat, rates().items(), strict=True):
        axes.plot(steps / 1000, [float(schedule(step)) for step in steps], color=BLUE, lw=1.8)
        axes.set_title(name, fontsize=10)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    above.supxlabel("share of the training", fontsize=9)
    above.supylabel("rate / peak", fontsize=9)
    for axes, (name, picture) in zip(below.subplots(1, 8), looks().items(), strict=True):
        axes.imshow(picture[..., 0], cmap="gray", vmin=0, vmax=255)
        axes.set_title(name, fontsize=9)
        axes.set(xticks=[], yticks=[])
    return figure


FIGURES = {"course_activations.png": activations, "course_convolutions.png": convolutions, "course_training.png": training}


def main(folder: Path) -> None:
    for name, draw in FIGURES.items():
        draw().savefig(folder / name, metadata={"Software": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs")
