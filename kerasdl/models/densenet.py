"""DenseNet (Huang, Liu, van der Maaten, Weinberger 2016, arXiv:1608.06993): every layer of a block sees the maps of all before it.

ImageNet nets are DenseNet-BC of four blocks: each layer narrows its input to 4k maps with a 1x1 convolution (B) and each transition
halves the channels (C). `densenet264` is the paper's table with k=32; `densenet264_k48` is the larger one of the authors' page. The
nets for small pictures have three blocks, a 3x3 stem of 2k filters (BC) or 16, and no BatchNormalization behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from kerasdl.models.conv import conv, conv_bn, max_pool, norm

Shape = tuple[int, int, int]


def dense_layer(x: Any, growth: int, bottleneck: bool, dropout: float, name: str, last: str) -> Any:
    """(B,H,W,C) to (B,H,W,C+growth)."""
    new = layers.ReLU(name=f"{name}_a_relu")(norm(x, f"{name}_a_bn"))
    if bottleneck:
        new = conv(new, 4 * growth, 1, name=f"{name}_a_conv")
        new = drop(new, dropout, f"{name}_a_drop")
        new = layers.ReLU(name=f"{name}_b_relu")(norm(new, f"{name}_b_bn"))
    new = conv(new, growth, 3, name=f"{name}_b_conv")
    new = drop(new, dropout, f"{name}_b_drop")
    return layers.Concatenate(name=last)([x, new])


def drop(x: Any, rate: float, name: str) -> Any:
    return layers.Dropout(rate, name=name)(x) if rate else x


def transition(x: Any, compression: float, dropout: float, name: str) -> Any:
    """(B,H,W,C) to (B,H//2,W//2,int(compression*C))."""
    x = layers.ReLU(name=f"{name}_relu")(norm(x, f"{name}_bn"))
    x = conv(x, int(x.shape[-1] * compression), 1, name=f"{name}_conv")
    x = drop(x, dropout, f"{name}_drop")
    return layers.AveragePooling2D(2, name=f"{name}_pool")(x)


def densenet(
    blocks: Sequence[int],
    growth: int,
    image_shape: Shape,
    name: str,
    stem: int,
    small: bool = False,
    bottleneck: bool = True,
    compression: float = 0.5,
    dropout: float = 0.0,
) -> keras.Model:
    """A DenseNet without its classifier.

    Args:
        blocks: layers of each block.
        growth: k, the maps that a layer adds.
        image_shape: (height, width, channels).
        name: of the model.
        stem: filters of the first convolution.
        small: 3x3 stem that keeps the size, in place of 7x7 stride 2 and 3x3 max-pooling stride 2.
        bottleneck: the 1x1 convolutions to 4k maps.
        compression: share of the channels that a transition keeps.
        dropout: rate behind every convolution but the first (the paper: 0.2 on small sets without augmentation).

    Returns:
        `keras.Model` (B,H,W,C) to (B,H/32,W/32,C'), or (B,H/4,W/4,C') when small, of non-negative features.
    """
    halvings = len(blocks) - 1 + (0 if small else 2)
    if min(image_shape[:2]) < 2**halvings:
        raise ValueError(
            f"{name} halves the picture {halvings} times and needs sides of at least {2**halvings} pixels. Received: {image_shape=}"
        )
    image = keras.Input(image_shape, name="image")
    if small:
        x = conv(image, stem, 3, name="stem_conv")
    else:
        x = conv_bn(image, stem, 7, 2, "stem")  # (B, H/2, W/2, stem)
        x = max_pool(x, 3, 2, "stem_pool", pad=1)  # (B, H/4, W/4, stem)
    for block, depth in enumerate(blocks, start=1):
        for layer in range(1, depth + 1):
            layer_name = f"d{block}l{layer}"
            ends_stage = layer == depth and block < len(blocks)
            x = dense_layer(x, growth, bottleneck, dropout, layer_name, f"stage{block}" if ends_stage else f"{layer_name}_concat")
        if block < len(blocks):
            x = transition(x, compression, dropout, f"t{block}")
    x = layers.ReLU(name=f"stage{len(blocks)}")(norm(x, "final_bn"))
    return keras.Model(image, x, name=name)


def densenet_small(depth: int, growth: int, image_shape: Shape, name: str, bottleneck: bool = True, dropout: float = 0.0) -> keras.Model:
    """(B,H,W,C) to (B,H/4,W/4,C'): three equal blocks, `depth` layers with weights counting the classifier."""
    per_layer = 2 if bottleneck else 1
    if depth < 4 + 3 * per_layer or (depth - 4) % (3 * per_layer):
        raise ValueError(f"depth must be 4 + {3 * per_layer}n, for three equal blocks of n layers. Received: depth={depth}")
    blocks = [(depth - 4) // (3 * per_layer)] * 3
    stem, compression = (2 * growth, 0.5) if bottleneck else (16, 1.0)
    return densenet(blocks, growth, image_shape, name, stem, True, bottleneck, compression, dropout)


def densenet121(image_shape: Shape = (224, 224, 3), dropout: float = 0.0) -> keras.Model:
    """DenseNet-121, k=32: (B,H,W,C) to (B,H/32,W/32,1024)."""
    return densenet((6, 12, 24, 16), 32, image_shape, "densenet121", stem=64, dropout=dropout)


def densenet161(image_shape: Shape = (224, 224, 3), dropout: float = 0.0) -> keras.Model:
    """DenseNet-161, k=48: (B,H,W,C) to (B,H/32,W/32,2208)."""
    return densenet((6, 12, 36, 24), 48, image_shape, "densenet161", stem=96, dropout=dropout)


def densenet169(image_shape: Shape = (224, 224, 3), dropout: float = 0.0) -> keras.Model:
    """DenseNet-169, k=32: (B,H,W,C) to (B,H/32,W/32,1664)."""
    return densenet((6, 12, 32, 32), 32, image_shape, "densenet169", stem=64, dropout=dropout)


def densenet201(image_shape: Shape = (224, 224, 3), dropout: float = 0.0) -> keras.Model:
    """DenseNet-201, k=32: (B,H,W,C) to (B,H/32,W/32,1920)."""
    return densenet((6, 12, 48, 32), 32, image_shape, "densenet201", stem=64, dropout=dropout)


def densenet264(image_shape: Shape = (224, 224, 3), dropout: float = 0.0) -> keras.Model:
    """DenseNet-264, k=32: (B,H,W,C) to (B,H/32,W/32,2688)."""
    return densenet((6, 12, 64, 48), 32, image_shape, "densenet264", stem=64, dropout=dropout)


def densenet264_k48(image_shape: Shape = (224, 224, 3), dropout: float = 0.0) -> keras.Model:
    """DenseNet-264, k=48: (B,H,W,C) to (B,H/32,W/32,4032)."""
    return densenet((6, 12, 64, 48), 48, image_shape, "densenet264_k48", stem=96, dropout=dropout)


def densenet40_12(image_shape: Shape = (32, 32, 3), depth: int = 40, growth: int = 12, dropout: float = 0.0) -> keras.Model:
    """DenseNet (L=40, k=12), neither bottleneck nor compression: (B,H,W,C) to (B,H/4,W/4,448)."""
    return densenet_small(depth, growth, image_shape, "densenet40_12", bottleneck=False, dropout=dropout)


def densenet_bc_40_12(image_shape: Shape = (32, 32, 3), depth: int = 40, growth: int = 12, dropout: float = 0.0) -> keras.Model:
    """DenseNet-BC (L=40, k=12), the small sister: (B,H,W,C) to (B,H/4,W/4,132)."""
    return densenet_small(depth, growth, image_shape, "densenet_bc_40_12", dropout=dropout)


def densenet_bc_100_12(image_shape: Shape = (32, 32, 3), depth: int = 100, growth: int = 12, dropout: float = 0.0) -> keras.Model:
    """DenseNet-BC (L=100, k=12): (B,H,W,C) to (B,H/4,W/4,342)."""
    return densenet_small(depth, growth, image_shape, "densenet_bc_100_12", dropout=dropout)
