"""VGG (Simonyan, Zisserman 2014, arXiv:1409.1556): configurations A, B, D and E, with BatchNormalization in the `_bn` forms.

Convolutions keep their bias under BatchNormalization too, as in torchvision, whose counts these are. Pictures of other sizes are pooled
to the 7x7 that `fc6` was made for. The form for 32-pixel pictures is `vgg16_bn(image_shape=(32, 32, 3), hidden=0)`: no dense layers, and
the classification head pools the 512 maps that are left.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from kerasdl.layers.adaptive_pooling import AdaptiveAveragePooling2D
from kerasdl.models.conv import conv, conv_bn

WIDTHS = (64, 128, 256, 512, 512)
# Convolutions per stage, table 1 of the paper.
DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def conv_relu(x: Any, filters: int, name: str, batch_norm: bool) -> Any:
    if batch_norm:
        return conv_bn(x, filters, 3, name=name, bias=True)
    return layers.ReLU(name=f"{name}_relu")(conv(x, filters, 3, name=f"{name}_conv", bias=True))


def dense_dropout(x: Any, width: int, dropout: float, name: str) -> Any:
    x = layers.Dense(width, activation="relu", kernel_initializer="he_normal", name=name)(x)
    return layers.Dropout(dropout, name=f"{name}_dropout")(x)


def vgg(name: str, image_shape: tuple[int, int, int] = (224, 224, 3), hidden: int = 4096, dropout: float = 0.5) -> keras.Model:
    """(B,H,W,C) to (B,hidden), or to (B,H/32,W/32,512) with `hidden=0`.

    Args:
        name: vgg11, vgg13, vgg16, vgg19, or one of these with `_bn`.
        image_shape: (height, width, channels), sides of at least 32.
        hidden: width of `fc6` and `fc7`; 0 leaves them out.
        dropout: rate after `fc6` and after `fc7`; without them whole maps are dropped, which is dropout after the pooling of the head.
    """
    if min(image_shape[:2]) < 32:
        raise ValueError(f"{name} halves the picture five times and needs sides of at least 32 pixels. Received: image_shape={image_shape}")
    if hidden < 0:
        raise ValueError(f"hidden must be at least 0. Received: hidden={hidden}")
    depth, batch_norm = name.removeprefix("vgg").removesuffix("_bn"), name.endswith("_bn")
    x = image = keras.Input(image_shape, name="image")
    for stage, (width, convs) in enumerate(zip(WIDTHS, DEPTHS[int(depth)], strict=True), start=1):
        for i in range(1, convs + 1):
            x = conv_relu(x, width, f"s{stage}c{i}", batch_norm)
        x = layers.MaxPooling2D(2, name=f"stage{stage}")(x)
    if hidden:
        x = AdaptiveAveragePooling2D((7, 7), name="adaptive_pool")(x)  # (B, 7, 7, 512)
        x = layers.Flatten(name="flatten")(x)  # (B, 25088)
        x = dense_dropout(x, hidden, dropout, "fc6")
        x = dense_dropout(x, hidden, dropout, "fc7")
    else:
        x = layers.SpatialDropout2D(dropout, name="dropout")(x)
    return keras.Model(image, x, name=name)


def vgg11(image_shape: tuple[int, int, int] = (224, 224, 3), hidden: int = 4096, dropout: float = 0.5) -> keras.Model:
    """VGG-11 (A): (B,H,W,C) to (B,4096)."""
    return vgg("vgg11", image_shape, hidden, dropout)


def vgg11_bn(image_shape: tuple[int, int, int] = (224, 224, 3), hidden: int = 4096, dropout: float = 0.5) -> keras.Model:
    """VGG-11 (A) with BatchNormalization: (B,H,W,C) to (B,4096)."""
    return vgg("vgg11_bn", image_shape, hidden, dropout)


def vgg13(image_shape: tuple[int, int, int] = (224, 224, 3), hidden: int = 4096, dropout: float = 0.5) -> keras.Model:
    """VGG-13 (B): (B,H,W,C) to (B,4096)."""
    return vgg("vgg13", image_shape, hidden, dropout)


def vgg13_bn(image_shape: tuple[int, int, int] = (224, 224, 3), hidden: int = 4096, dropout: float = 0.5) -> keras.Model:
    """VGG-13 (B) with BatchNormalization: (B,H,W,C) to (B,4096)."""
    return vgg("vgg13_bn", image_shape, hidden, dropout)


def vgg16(image_shape: tuple[int, int, int] = (224, 224, 3), hidden: int = 4096, dropout: float = 0.5) -> keras.Model:
    """VGG-16 (D): (B,H,W,C) to (B,4096)."""
    return vgg("vgg16", image_shape, hidden, dropout)


def vgg16_bn(image_shape: tuple[int, int, int] = (224, 224, 3), hidden: int = 4096, dropout: float = 0.5) -> keras.Model:
    """VGG-16 (D) with BatchNormalization: (B,H,W,C) to (B,4096)."""
    return vgg("vgg16_bn", image_shape, hidden, dropout)


def vgg19(image_shape: tuple[int, int, int] = (224, 224, 3), hidden: int = 4096, dropout: float = 0.5) -> keras.Model:
    """VGG-19 (E): (B,H,W,C) to (B,4096)."""
    return vgg("vgg19", image_shape, hidden, dropout)


def vgg19_bn(image_shape: tuple[int, int, int] = (224, 224, 3), hidden: int = 4096, dropout: float = 0.5) -> keras.Model:
    """VGG-19 (E) with BatchNormalization: (B,H,W,C) to (B,4096)."""
    return vgg("vgg19_bn", image_shape, hidden, dropout)
