"""ResNet for small pictures (He et al. 2015, arXiv:1512.03385, section 4.2): three stages of 16, 32 and 64 filters, 6n+2 layers.

Shortcut option A (the paper's): where the size changes the shortcut takes every second pixel and pads the channels with zeros,
without weights. Option B projects with a 1x1 convolution there. ResNet-20 with 10 classes has 269,722 trainable parameters with A
(271,098 with the BatchNormalization statistics), as the paper's 0.27M, and 272,474 with B.

`norm` replaces batch normalisation by one that knows no batch, over these axes of (N,H,W,C), always with one gamma and beta a channel:
"layer" (Ba, Kiros, Hinton 2016, arXiv:1607.06450) over H, W and C; "instance" (Ulyanov, Vedaldi, Lempitsky 2016, arXiv:1607.08022) over
H and W; "group" (Wu and He 2018, arXiv:1803.08494) over H, W and an eighth of the channels. `drop` is stochastic depth (Huang et al. 2016,
arXiv:1603.09382): the l-th of L blocks is left out in training with probability drop * l / L; the paper's ResNet-110 has 0.5.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from kerasdl.layers.stochastic_depth import StochasticDepth
from kerasdl.models.conv import conv, conv_bn

Shape = tuple[int, int, int]
GROUPS = {"layer": 1, "instance": -1, "group": 8}  # of channels that share a mean and variance; -1 is one a channel


def conv_norm(x: Any, filters: int, kernel: int, stride: int, name: str, norm: str, relu: bool = True) -> Any:
    """conv_bn, or its like with layers `name_conv`, `name_norm` and `name_relu`."""
    if norm == "batch":
        return conv_bn(x, filters, kernel, stride, name, relu)
    x = conv(x, filters, kernel, stride, f"{name}_conv")
    x = layers.GroupNormalization(GROUPS[norm], epsilon=1e-5, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def shortcut_a(x: Any, filters: int, stride: int, name: str, norm: str = "batch") -> Any:
    if stride > 1:
        x = layers.MaxPooling2D(1, strides=stride, name=f"{name}_subsample")(x)  # a 1x1 pool takes every second pixel
    missing = filters - x.shape[-1]
    if missing:
        x = ops.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))
    return x


def shortcut_b(x: Any, filters: int, stride: int, name: str, norm: str = "batch") -> Any:
    if stride > 1 or x.shape[-1] != filters:
        x = conv_norm(x, filters, 1, stride, f"{name}_proj", norm, relu=False)
    return x


SHORTCUTS = {"A": shortcut_a, "B": shortcut_b}


def basic_block(x: Any, filters: int, stride: int, shortcut: str, name: str, last: str, norm: str = "batch", drop: float = 0.0) -> Any:
    short = SHORTCUTS[shortcut](x, filters, stride, name, norm)
    x = conv_norm(x, filters, 3, stride, f"{name}_a", norm)
    x = conv_norm(x, filters, 3, 1, f"{name}_b", norm, relu=False)
    if drop:
        x = StochasticDepth(drop, name=f"{name}_drop")(x)
    x = layers.Add(name=f"{name}_add")([x, short])
    return layers.ReLU(name=last)(x)


def resnet_cifar(
    depth: int, image_shape: Shape, name: str, shortcut: str = "A", norm: str = "batch", drop: float = 0.0, last_stride: int = 2
) -> keras.Model:
    """(B,H,W,C) to (B,H/4,W/4,64), or to (B,H/2,W/2,64) with last_stride=1; `depth` is 6n+2 for n basic blocks a stage."""
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"depth must be 6n+2, for three stages of n blocks of two convolutions. Received: depth={depth}")
    if shortcut not in SHORTCUTS:
        raise ValueError(f"shortcut must be 'A' (zero channels) or 'B' (projection). Received: {shortcut!r}")
    if norm not in ("batch", *GROUPS):
        raise ValueError(f"norm is one of batch, {', '.join(GROUPS)}. Received: {norm!r}")
    if not 0 <= drop < 1:
        raise ValueError(f"drop is a probability in [0, 1). Received: {drop}")
    if last_stride not in (1, 2):
        raise ValueError(f"last_stride must be 1 or 2. Received: {last_stride}")
    if min(image_shape[:2]) < 4:
        raise ValueError(f"{name} halves the picture twice and needs sides of at least 4 pixels. Received: image_shape={image_shape}")
    image = keras.Input(image_shape, name="image")
    x = conv_norm(image, 16, 3, 1, "stem", norm)
    blocks = (depth - 2) // 6
    for stage, (filters, first) in enumerate(((16, 1), (32, 2), (64, last_stride)), start=1):
        for block in range(1, blocks + 1):
            stride = first if block == 1 else 1
            block_name = f"s{stage}b{block}"
            last = f"stage{stage}" if block == blocks else f"{block_name}_relu"
            rate = drop * ((stage - 1) * blocks + block) / (3 * blocks)
            x = basic_block(x, filters, stride, shortcut, block_name, last, norm, rate)
    return keras.Model(image, x, name=name)


def resnet20(
    image_shape: Shape = (32, 32, 3), shortcut: str = "A", norm: str = "batch", drop: float = 0.0, last_stride: int = 2
) -> keras.Model:
    """ResNet-20: (B,H,W,C) to (B,H/4,W/4,64), or with last_stride=1 to (B,H/2,W/2,64)."""
    return resnet_cifar(20, image_shape, "resnet20", shortcut, norm, drop, last_stride)


def resnet32(
    image_shape: Shape = (32, 32, 3), shortcut: str = "A", norm: str = "batch", drop: float = 0.0, last_stride: int = 2
) -> keras.Model:
    """ResNet-32: (B,H,W,C) to (B,H/4,W/4,64), or with last_stride=1 to (B,H/2,W/2,64)."""
    return resnet_cifar(32, image_shape, "resnet32", shortcut, norm, drop, last_stride)


def resnet44(
    image_shape: Shape = (32, 32, 3), shortcut: str = "A", norm: str = "batch", drop: float = 0.0, last_stride: int = 2
) -> keras.Model:
    """ResNet-44: (B,H,W,C) to (B,H/4,W/4,64), or with last_stride=1 to (B,H/2,W/2,64)."""
    return resnet_cifar(44, image_shape, "resnet44", shortcut, norm, drop, last_stride)


def resnet56(
    image_shape: Shape = (32, 32, 3), shortcut: str = "A", norm: str = "batch", drop: float = 0.0, last_stride: int = 2
) -> keras.Model:
    """ResNet-56: (B,H,W,C) to (B,H/4,W/4,64), or with last_stride=1 to (B,H/2,W/2,64)."""
    return resnet_cifar(56, image_shape, "resnet56", shortcut, norm, drop, last_stride)


def resnet110(
    image_shape: Shape = (32, 32, 3), shortcut: str = "A", norm: str = "batch", drop: float = 0.0, last_stride: int = 2
) -> keras.Model:
    """ResNet-110: (B,H,W,C) to (B,H/4,W/4,64), or with last_stride=1 to (B,H/2,W/2,64)."""
    return resnet_cifar(110, image_shape, "resnet110", shortcut, norm, drop, last_stride)
