"""GoogLeNet (Szegedy et al. 2014, arXiv:1409.4842, table 1): nine inception blocks, and two auxiliary classifiers for training only.

`googlenet` is torchvision's form: BatchNormalization (epsilon 1e-3) after convolutions without bias, 3x3 where the paper has 5x5 and 2x2 in
the fourth pooling, as the weights from TensorFlow had it; 6,624,904 parameters with 1000 classes. `googlenet_2014` is the paper's: biases,
true 5x5, local response normalisation around the second and third convolution with the constants of AlexNet, as it gives none; 6,998,552.

With `aux=True` the output is a dict of `features` and of `aux1` and `aux2`, (B,1024) each, after the blocks 4a and 4d; their losses count
0.3 each in the paper. The paper pools 5x5 with stride 3 there, torchvision adaptively to 4x4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from kerasdl.layers.adaptive_pooling import AdaptiveAveragePooling2D
from kerasdl.layers.local_response_norm import LocalResponseNormalization
from kerasdl.models.conv import conv, conv_bn

# Filters of 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; 1x1 after the pooling: table 1 of the paper.
INCEPTION = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
Unit = Callable[..., Any]  # (x, filters, kernel, stride=1, name="", last=None): a convolution and what follows it, up to the ReLU


def conv_bn_relu(x: Any, filters: int, kernel: int, stride: int = 1, name: str = "", last: str | None = None) -> Any:
    x = conv_bn(x, filters, kernel, stride, name, relu=False, epsilon=1e-3)
    return layers.ReLU(name=last or f"{name}_relu")(x)


def conv_relu(x: Any, filters: int, kernel: int, stride: int = 1, name: str = "", last: str | None = None) -> Any:
    x = conv(x, filters, kernel, stride, f"{name}_conv", bias=True)
    return layers.ReLU(name=last or f"{name}_relu")(x)


def ceil_pool(x: Any, window: int, name: str) -> Any:
    """Max pooling with stride 2 that keeps the last pixels: a window that ends outside is filled up with zeros, right and below.

    Only after a ReLU, where a zero never wins.
    """
    below, right = ((window - side) % 2 for side in x.shape[1:3])
    if below or right:
        x = layers.ZeroPadding2D(((0, below), (0, right)), name=f"{name}_pad")(x)
    return layers.MaxPooling2D(window, 2, name=name)(x)


def inception(x: Any, block: str, unit: Unit, kernel5: int, last: str | None = None) -> Any:
    """Four branches side by side: (B,H,W,C) to (B,H,W, the sum of their filters)."""
    one, reduce3, three, reduce5, five, pool = INCEPTION[block]
    name = f"i{block}"
    branch1 = unit(x, one, 1, name=f"{name}_1x1")
    branch3 = unit(unit(x, reduce3, 1, name=f"{name}_3x3r"), three, 3, name=f"{name}_3x3")
    branch5 = unit(unit(x, reduce5, 1, name=f"{name}_5x5r"), five, kernel5, name=f"{name}_5x5")
    pooled = layers.MaxPooling2D(3, 1, "same", name=f"{name}_pool")(x)
    return layers.Concatenate(name=last or name)([branch1, branch3, branch5, unit(pooled, pool, 1, name=f"{name}_pool")])


def auxiliary(x: Any, unit: Unit, name: str, paper: bool) -> Any:
    """What comes before an auxiliary classifier: (B,14,14,C) to (B,1024)."""
    pool = layers.AveragePooling2D(5, 3, name=f"{name}_pool") if paper else AdaptiveAveragePooling2D((4, 4), name=f"{name}_pool")
    x = unit(pool(x), 128, 1, name=name)  # (B, 4, 4, 128)
    x = layers.Flatten(name=f"{name}_flatten")(x)  # (B, 2048)
    x = layers.Dense(1024, activation="relu", kernel_initializer="he_normal", name=f"{name}_fc")(x)
    return layers.Dropout(0.7, name=f"{name}_dropout")(x)


def check_sides(name: str, image_shape: tuple[int, int, int], aux: bool, paper: bool) -> None:
    least = 15 if not paper else 79 if aux else 31  # 79: five pixels for the 5x5 window at a sixteenth of the size
    if min(image_shape[:2]) < least:
        wanted = f"{name} with aux" if aux else name
        raise ValueError(
            f"{wanted} pools the picture five times and needs sides of at least {least} pixels. Received: image_shape={image_shape}"
        )


def build(name: str, image_shape: tuple[int, int, int], aux: bool, paper: bool) -> keras.Model:
    check_sides(name, image_shape, aux, paper)
    unit, kernel5 = (conv_relu, 5) if paper else (conv_bn_relu, 3)

    image = keras.Input(image_shape, name="image")
    x = unit(image, 64, 7, 2, name="stem1", last="stage1")  # (B, 112, 112, 64)
    x = ceil_pool(x, 3, "pool1")  # (B, 56, 56, 64)
    if paper:
        x = LocalResponseNormalization(name="stem1_norm")(x)
    x = unit(x, 64, 1, name="stem2")
    x = unit(x, 192, 3, name="stem3", last=None if paper else "stage2")  # (B, 56, 56, 192)
    if paper:
        x = LocalResponseNormalization(name="stage2")(x)
    x = ceil_pool(x, 3, "pool2")  # (B, 28, 28, 192)
    x = inception(x, "3a", unit, kernel5)
    x = inception(x, "3b", unit, kernel5, last="stage3")  # (B, 28, 28, 480)
    x = ceil_pool(x, 3, "pool3")  # (B, 14, 14, 480)
    x = i4a = inception(x, "4a", unit, kernel5)
    x = inception(x, "4b", unit, kernel5)
    x = inception(x, "4c", unit, kernel5)
    x = i4d = inception(x, "4d", unit, kernel5)
    x = inception(x, "4e", unit, kernel5, last="stage4")  # (B, 14, 14, 832)
    x = ceil_pool(x, 3 if paper else 2, "pool4")  # (B, 7, 7, 832); torchvision's window is 2x2
    x = inception(x, "5a", unit, kernel5)
    x = inception(x, "5b", unit, kernel5, last="stage5")  # (B, 7, 7, 1024)
    if aux:
        x = {"features": x, "aux1": auxiliary(i4a, unit, "aux1", paper), "aux2": auxiliary(i4d, unit, "aux2", paper)}
    return keras.Model(image, x, name=name)


def googlenet(image_shape: tuple[int, int, int] = (224, 224, 3), aux: bool = False) -> keras.Model:
    """GoogLeNet as in torchvision: (B,H,W,C) with sides of at least 15 to (B,H/32,W/32,1024), with `aux` to a dict (see the top)."""
    return build("googlenet", image_shape, aux, paper=False)


def googlenet_2014(image_shape: tuple[int, int, int] = (224, 224, 3), aux: bool = False) -> keras.Model:
    """GoogLeNet of the paper: (B,H,W,C) with sides of at least 31, 79 with `aux`, to (B,H/32,W/32,1024) or to a dict (see the top)."""
    return build("googlenet_2014", image_shape, aux, paper=True)
