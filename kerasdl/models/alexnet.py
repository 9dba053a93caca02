"""AlexNet, in the form that weights exist for and in the form of the paper. Both end in 4096 numbers.

`alexnet` is torchvision's: one tower (Krizhevsky 2014, arXiv:1404.5997, section 5), no normalisation, 61,100,840 parameters with 1000
classes. `alexnet_2012` is the net of Krizhevsky, Sutskever, Hinton 2012 ("ImageNet classification with deep convolutional neural
networks"), 60,965,224: convolutions 2, 4 and 5 are two halves that do not see each other, one per GPU of the time, and local response
normalisation follows the first two. Each half is a layer of its own, as Keras sends a grouped convolution through XLA on a CPU, which
trains several times slower.

The paper says 224 pixels where its own arithmetic needs 227. Two pixels of padding, as in torchvision, give the printed 55x55 after the
first layer and 6x6x256 before `fc6`. Other sizes are pooled to that 6x6.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from kerasdl.layers.adaptive_pooling import AdaptiveAveragePooling2D
from kerasdl.layers.local_response_norm import LocalResponseNormalization
from kerasdl.models.conv import conv


def conv_relu(x: Any, filters: int, kernel: int, name: str, stride: int = 1, pad: int | None = None) -> Any:
    x = conv(x, filters, kernel, stride, f"{name}_conv", pad=pad, bias=True)
    return layers.ReLU(name=f"{name}_relu")(x)


def two_conv_relu(x: Any, filters: int, kernel: int, name: str) -> Any:
    """The paper's two GPUs: half of the filters look at the first half of the channels, the others at the second."""
    halves = [conv_relu(half, filters // 2, kernel, f"{name}{gpu}") for half, gpu in zip(ops.split(x, 2, axis=-1), "ab", strict=True)]
    return layers.Concatenate(name=name)(halves)


def dense(x: Any, width: int, name: str) -> Any:
    return layers.Dense(width, activation="relu", kernel_initializer="he_normal", name=name)(x)


def overlapping_pool(x: Any, name: str) -> Any:
    return layers.MaxPooling2D(3, 2, name=name)(x)


def picture(image_shape: tuple[int, int, int], name: str) -> Any:
    if min(image_shape[:2]) < 63:
        raise ValueError(f"{name} pools the picture to a 32nd and needs sides of at least 63 pixels. Received: image_shape={image_shape}")
    return keras.Input(image_shape, name="image")


def alexnet(image_shape: tuple[int, int, int] = (224, 224, 3), dropout: float = 0.5) -> keras.Model:
    """AlexNet as in torchvision: (B,H,W,C) with sides of at least 63 to (B,4096); `dropout` before `fc6` and before `fc7`."""
    image = picture(image_shape, "alexnet")
    x = conv_relu(image, 64, 11, "c1", stride=4, pad=2)  # (B, 55, 55, 64)
    x = overlapping_pool(x, "stage1")
    x = conv_relu(x, 192, 5, "c2")  # (B, 27, 27, 192)
    x = overlapping_pool(x, "stage2")
    x = conv_relu(x, 384, 3, "c3")  # (B, 13, 13, 384)
    x = conv_relu(x, 256, 3, "c4")
    x = conv_relu(x, 256, 3, "c5")
    x = overlapping_pool(x, "stage3")
    x = AdaptiveAveragePooling2D((6, 6), name="adaptive_pool")(x)  # (B, 6, 6, 256)
    x = layers.Flatten(name="flatten")(x)  # (B, 9216)
    x = dense(layers.Dropout(dropout, name="fc6_dropout")(x), 4096, "fc6")
    x = dense(layers.Dropout(dropout, name="fc7_dropout")(x), 4096, "fc7")
    return keras.Model(image, x, name="alexnet")


def alexnet_2012(image_shape: tuple[int, int, int] = (224, 224, 3), dropout: float = 0.5) -> keras.Model:
    """AlexNet of the paper: (B,H,W,C) with sides of at least 63 to (B,4096); `dropout` after `fc6` and after `fc7`."""
    image = picture(image_shape, "alexnet_2012")
    x = conv_relu(image, 96, 11, "c1", stride=4, pad=2)  # (B, 55, 55, 96)
    x = LocalResponseNormalization(name="c1_norm")(x)
    x = overlapping_pool(x, "stage1")
    x = two_conv_relu(x, 256, 5, "c2")  # (B, 27, 27, 256)
    x = LocalResponseNormalization(name="c2_norm")(x)
    x = overlapping_pool(x, "stage2")
    x = conv_relu(x, 384, 3, "c3")  # (B, 13, 13, 384)
    x = two_conv_relu(x, 384, 3, "c4")
    x = two_conv_relu(x, 256, 3, "c5")
    x = overlapping_pool(x, "stage3")
    x = AdaptiveAveragePooling2D((6, 6), name="adaptive_pool")(x)  # (B, 6, 6, 256)
    x = layers.Flatten(name="flatten")(x)  # (B, 9216)
    x = layers.Dropout(dropout, name="fc6_dropout")(dense(x, 4096, "fc6"))
    x = layers.Dropout(dropout, name="fc7_dropout")(dense(x, 4096, "fc7"))
    return keras.Model(image, x, name="alexnet_2012")
