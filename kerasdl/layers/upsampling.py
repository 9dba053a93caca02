"""Resize-convolution (Odena, Dumoulin, Olah 2016, doi:10.23915/distill.00003): a larger picture without checkerboards.

A transposed convolution pastes a kernel for every input pixel. Where the stride does not divide the kernel the pastes overlap unevenly
and leave a pattern of the stride's period; enlarging first and convolving at stride 1 treats all output pixels alike.
"""

from __future__ import annotations

from typing import Any

from keras import layers


def resize_conv(x: Any, filters: int, kernel: int, scale: int, name: str, **options: Any) -> Any:
    """(B,H,W,C) to (B,scale H,scale W,filters): nearest-neighbour enlargement, then a convolution. Layers `name_resize`, `name_conv`."""
    x = layers.UpSampling2D(scale, interpolation="nearest", name=f"{name}_resize")(x)
    return layers.Conv2D(filters, kernel, padding="same", name=f"{name}_conv", **options)(x)
