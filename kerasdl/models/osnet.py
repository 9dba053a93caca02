"""OSNet (Zhou, Yang, Cavallaro, Xiang 2019, arXiv:1905.00953): a small net that looks at people at every scale.

A block looks at its input with 1, 2, 3 and 4 stacked 3x3 convolutions side by side, that is, through windows of 3, 5, 7 and 9 pixels,
and one small network, the same for the four streams, says for every channel of every picture how much of each stream goes on (the
unified aggregation gate, eq. 4). The 3x3 is "lite": a 1x1 that mixes channels, then a 3x3 for each channel. As published by the authors
(KaiyangZhou/deep-person-reid): reduction 16 in the gate, and after the average a dense layer of 512 with BatchNormalization and ReLU.

Their counter visits the gate once for each stream and so counts its weights four times: 2,193,616 for `osnet_x1_0` where there are
2,169,508, 203,568 for `osnet_x0_25` where there are 201,864. For heads that pool by themselves `hidden=0` ends with the map.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from kerasdl.models.conv import conv, conv_bn, max_pool, norm

Shape = tuple[int, int, int]
WIDTHS = (64, 256, 384, 512)  # of the stem and the three stages, at width 1
BLOCKS = 2  # a stage
SCALES = 4  # streams of 1 to 4 lite convolutions
REDUCTION = 16


def lite_conv(x: Any, filters: int, name: str) -> Any:
    x = conv(x, filters, 1, name=f"{name}_point")
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, depthwise_initializer="he_normal", name=f"{name}_depth")(x)
    return layers.ReLU(name=f"{name}_relu")(norm(x, f"{name}_bn"))


def stream(x: Any, depth: int, name: str) -> Any:
    for i in range(1, depth + 1):
        x = lite_conv(x, x.shape[-1], f"{name}_{i}")
    return x


def gated_sum(streams: list[Any], name: str) -> Any:
    """sum_t G(x_t) * x_t with one G for all streams: sigmoid(W2 relu(W1 mean(x) + b1) + b2), a factor for each channel."""
    channels = streams[0].shape[-1]
    means = [layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean{i}")(x) for i, x in enumerate(streams, start=1)]
    g = layers.Concatenate(axis=1, name=f"{name}_means")(means)  # (B, T, 1, C), one 1x1 convolution for the T streams
    # With a bias of 0, the authors', the ReLU silences 6 of 48 gates of osnet_x0_25 (8 seeds) for every picture at the start; with 1, one.
    g = conv(g, channels // REDUCTION, 1, name=f"{name}_reduce", bias=True, activation="relu", bias_initializer="ones")
    g = conv(g, channels, 1, name=f"{name}_expand", bias=True, activation="sigmoid")
    gates = ops.split(g, len(streams), axis=1)  # each (B, 1, 1, C)
    gated = [layers.Multiply(name=f"{name}_scale{i}")(pair) for i, pair in enumerate(zip(streams, gates, strict=True), start=1)]
    return layers.Add(name=f"{name}_sum")(gated)


def omni_scale_block(x: Any, filters: int, name: str) -> Any:
    y = conv_bn(x, filters // 4, 1, name=f"{name}_a")
    y = gated_sum([stream(y, depth, f"{name}_t{depth}") for depth in range(1, SCALES + 1)], f"{name}_gate")
    y = conv_bn(y, filters, 1, name=f"{name}_b", relu=False)
    if x.shape[-1] != filters:
        x = conv_bn(x, filters, 1, name=f"{name}_proj", relu=False)
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))


def osnet(width: float, image_shape: Shape, name: str, hidden: int = 512) -> keras.Model:
    """An OSNet without its classifier.

    Args:
        width: of all stages, relative to 64, 256, 384 and 512 filters.
        image_shape: (height, width, channels), sides of at least 16; the paper's people are 256 x 128.
        name: of the model.
        hidden: units of the dense layer after the average; 0 leaves out both.

    Returns:
        `keras.Model` (B,H,W,C) to (B,hidden), or to (B,H/16,W/16,C') with `hidden=0`.
    """
    if min(image_shape[:2]) < 16:
        raise ValueError(f"{name} halves the picture four times and needs sides of at least 16 pixels. Received: {image_shape=}")
    if hidden < 0:
        raise ValueError(f"hidden must be at least 0. Received: hidden={hidden}")
    stem, *stages = (int(width * filters) for filters in WIDTHS)
    image = keras.Input(image_shape, name="image")
    x = conv_bn(image, stem, 7, 2, "stem")
    x = max_pool(x, 3, 2, "stem_pool", pad=1)  # (B, H/4, W/4, stem)
    for stage, filters in enumerate(stages, start=1):
        for block in range(1, BLOCKS + 1):
            x = omni_scale_block(x, filters, f"s{stage}b{block}")
        x = conv_bn(x, filters, 1, name=f"s{stage}_last", relu=False)
        x = layers.ReLU(name=f"stage{stage}")(x)
        if stage < len(stages):
            x = layers.AveragePooling2D(2, name=f"s{stage}_pool")(x)
    if hidden:
        x = layers.GlobalAveragePooling2D(name="average")(x)  # (B, C')
        x = layers.Dense(hidden, name="fc")(x)
        x = layers.ReLU(name="fc_relu")(norm(x, "fc_bn"))
    return keras.Model(image, x, name=name)


def osnet_x1_0(image_shape: Shape = (256, 128, 3), hidden: int = 512) -> keras.Model:
    """OSNet: (B,H,W,C) to (B,512), or to (B,H/16,W/16,512) with `hidden=0`."""
    return osnet(1.0, image_shape, "osnet_x1_0", hidden)


def osnet_x0_75(image_shape: Shape = (256, 128, 3), hidden: int = 512) -> keras.Model:
    """OSNet of three quarters of the width: (B,H,W,C) to (B,512), or to (B,H/16,W/16,384) with `hidden=0`."""
    return osnet(0.75, image_shape, "osnet_x0_75", hidden)


def osnet_x0_5(image_shape: Shape = (256, 128, 3), hidden: int = 512) -> keras.Model:
    """OSNet of half the width: (B,H,W,C) to (B,512), or to (B,H/16,W/16,256) with `hidden=0`."""
    return osnet(0.5, image_shape, "osnet_x0_5", hidden)


def osnet_x0_25(image_shape: Shape = (256, 128, 3), hidden: int = 512) -> keras.Model:
    """OSNet of a quarter of the width: (B,H,W,C) to (B,512), or to (B,H/16,W/16,128) with `hidden=0`."""
    return osnet(0.25, image_shape, "osnet_x0_25", hidden)
