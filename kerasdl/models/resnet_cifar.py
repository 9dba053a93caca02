"""ResNet for small pictures (He et al. 2015, arXiv:1512.03385, section 4.2): three stages of 16, 32 and 64 filters, 6n+2 layers.

Shortcut option A: where the size changes the shortcut takes every second pixel and pads the channels with zeros, without weights.
ResNet-20 with 10 classes has 269,722 trainable parameters (271,098 with the BatchNormalization statistics), as the paper's 0.27M.
Strided 3x3 convolutions pad one pixel on both sides, as in torch; Keras' "same" would pad only right and bottom.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


def conv_bn(x: Any, filters: int, stride: int, name: str) -> Any:
    if stride > 1:
        x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    padding = "valid" if stride > 1 else "same"
    x = layers.Conv2D(filters, 3, stride, padding, use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv")(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)


def shortcut_a(x: Any, filters: int, stride: int, name: str) -> Any:
    if stride > 1:
        x = layers.MaxPooling2D(1, strides=stride, name=f"{name}_subsample")(x)  # a 1x1 pool takes every second pixel
    missing = filters - x.shape[-1]
    if missing:
        x = ops.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))
    return x


def basic_block(x: Any, filters: int, stride: int, name: str, last: str) -> Any:
    shortcut = shortcut_a(x, filters, stride, name)
    x = conv_bn(x, filters, stride, f"{name}_a")
    x = layers.ReLU(name=f"{name}_a_relu")(x)
    x = conv_bn(x, filters, 1, f"{name}_b")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=last)(x)


def resnet_cifar(blocks: int, image_shape: tuple[int, int, int], name: str) -> keras.Model:
    """(B,H,W,C) to (B,H/4,W/4,64); `blocks` basic blocks a stage."""
    if min(image_shape[:2]) < 4:
        raise ValueError(f"{name} halves the picture twice and needs sides of at least 4 pixels. Received: image_shape={image_shape}")
    image = keras.Input(image_shape, name="image")
    x = layers.ReLU(name="stem_relu")(conv_bn(image, 16, 1, "stem"))
    for stage, filters in enumerate((16, 32, 64), start=1):
        for block in range(1, blocks + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            block_name = f"s{stage}b{block}"
            x = basic_block(x, filters, stride, block_name, f"stage{stage}" if block == blocks else block_name)
    return keras.Model(image, x, name=name)


def resnet20(image_shape: tuple[int, int, int] = (32, 32, 3)) -> keras.Model:
    """ResNet-20: (B,H,W,C) to (B,H/4,W/4,64)."""
    return resnet_cifar(3, image_shape, "resnet20")
