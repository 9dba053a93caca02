"""ResNet (He, Zhang, Ren, Sun 2015, arXiv:1512.03385) for ImageNet, with basic blocks (18, 34) and bottlenecks (50, 101, 152).

The stride of a bottleneck sits in its 3x3 convolution, as in torchvision ("v1.5"); convolutions have no bias.
`se_resnet*` recalibrates every block's channels (Hu, Shen, Albanie, Sun, Wu 2017, arXiv:1709.01507): reduction 16, biased layers,
applied behind the last BatchNormalization and before the addition. `resnet50_sd` leaves residual branches out at random in
training (Huang et al. 2016, arXiv:1603.09382): the l-th of L with probability drop * l / L. `resnet18_small` has the 3x3 stem
without pooling that pictures of 32 pixels want. `last_stride=1` keeps the size in the last stage, for a finer map with the same
weights (Luo et al. 2019, arXiv:1903.07071, section 3.4, for people seen from afar).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from kerasdl.layers.stochastic_depth import StochasticDepth
from kerasdl.models.conv import conv_bn, max_pool

Shape = tuple[int, int, int]


def squeeze_excitation(x: Any, reduction: int, name: str) -> Any:
    """x * sigmoid(W2 relu(W1 mean(x) + b1) + b2), one factor a channel."""
    channels = x.shape[-1]
    s = layers.GlobalAveragePooling2D(name=f"{name}_squeeze")(x)  # (B, C)
    s = layers.Dense(channels // reduction, activation="relu", name=f"{name}_reduce")(s)
    s = layers.Dense(channels, activation="sigmoid", name=f"{name}_expand")(s)
    s = layers.Reshape((1, 1, channels), name=f"{name}_reshape")(s)  # (B, 1, 1, C)
    return layers.Multiply(name=f"{name}_scale")([x, s])


def basic_branch(x: Any, filters: int, stride: int, name: str) -> Any:
    x = conv_bn(x, filters, 3, stride, f"{name}_a")
    return conv_bn(x, filters, 3, 1, f"{name}_b", relu=False)


def bottleneck_branch(x: Any, filters: int, stride: int, name: str) -> Any:
    x = conv_bn(x, filters, 1, 1, f"{name}_a")
    x = conv_bn(x, filters, 3, stride, f"{name}_b")
    return conv_bn(x, 4 * filters, 1, 1, f"{name}_c", relu=False)


def residual(x: Any, branch: Any, filters: int, stride: int, se: int, drop: float, name: str, last: str) -> Any:
    """relu(shortcut(x) + F(x)); the shortcut is projected where size or channels change (option B)."""
    y = branch(x, filters, stride, name)
    if se:
        y = squeeze_excitation(y, se, f"{name}_se")
    if drop:
        y = StochasticDepth(drop, name=f"{name}_drop")(y)
    if stride > 1 or x.shape[-1] != y.shape[-1]:
        x = conv_bn(x, y.shape[-1], 1, stride, f"{name}_proj", relu=False)
    return layers.ReLU(name=last)(layers.Add(name=f"{name}_add")([x, y]))


def resnet(
    blocks: Sequence[int],
    image_shape: Shape,
    name: str,
    bottleneck: bool = True,
    small: bool = False,
    width: int = 64,
    se: int = 0,
    drop: float = 0.0,
    last_stride: int = 2,
) -> keras.Model:
    """A ResNet without its classifier.

    Args:
        blocks: residual blocks of each stage.
        image_shape: (height, width, channels), sides of at least 32 (8 when small).
        name: of the model.
        bottleneck: 1x1, 3x3, 1x1 blocks with four times the filters at the end, in place of two 3x3.
        small: 3x3 stem that keeps the size, in place of 7x7 stride 2 and 3x3 max-pooling stride 2.
        width: filters of the first stage; they double with each.
        se: reduction of squeeze-and-excitation, 0 for none.
        drop: probability that stochastic depth leaves out the last block; it grows linearly from the first.
        last_stride: of the last stage; 1 keeps its map at twice the height and width.

    Returns:
        `keras.Model` (B,H,W,C) to (B,H/32,W/32,C'), or (B,H/8,W/8,C') when small.
    """
    if last_stride not in (1, 2):
        raise ValueError(f"last_stride must be 1 or 2. Received: {last_stride}")
    least = last_stride * 2 ** (len(blocks) - 2 + (0 if small else 2))
    if min(image_shape[:2]) < least:
        raise ValueError(f"{name} needs sides of at least {least} pixels. Received: {image_shape=}")
    if not 0 <= drop < 1:
        raise ValueError(f"drop is a probability in [0, 1). Received: {drop}")
    image = keras.Input(image_shape, name="image")
    x = conv_bn(image, width, 3, 1, "stem") if small else conv_bn(image, width, 7, 2, "stem")
    if not small:
        x = max_pool(x, 3, 2, "stem_pool", pad=1)  # (B, H/4, W/4, width)
    branch = bottleneck_branch if bottleneck else basic_branch
    built = 0
    for stage, depth in enumerate(blocks, start=1):
        for block in range(1, depth + 1):
            built += 1
            stride = 1 if stage == 1 or block > 1 else last_stride if stage == len(blocks) else 2
            block_name = f"s{stage}b{block}"
            last = f"stage{stage}" if block == depth else f"{block_name}_relu"
            x = residual(x, branch, width * 2 ** (stage - 1), stride, se, drop * built / sum(blocks), block_name, last)
    return keras.Model(image, x, name=name)


def resnet18(image_shape: Shape = (224, 224, 3), last_stride: int = 2) -> keras.Model:
    """ResNet-18: (B,H,W,C) to (B,H/32,W/32,512)."""
    return resnet((2, 2, 2, 2), image_shape, "resnet18", bottleneck=False, last_stride=last_stride)


def resnet34(image_shape: Shape = (224, 224, 3), last_stride: int = 2) -> keras.Model:
    """ResNet-34: (B,H,W,C) to (B,H/32,W/32,512)."""
    return resnet((3, 4, 6, 3), image_shape, "resnet34", bottleneck=False, last_stride=last_stride)


def resnet50(image_shape: Shape = (224, 224, 3), last_stride: int = 2) -> keras.Model:
    """ResNet-50: (B,H,W,C) to (B,H/32,W/32,2048)."""
    return resnet((3, 4, 6, 3), image_shape, "resnet50", last_stride=last_stride)


def resnet101(image_shape: Shape = (224, 224, 3), last_stride: int = 2) -> keras.Model:
    """ResNet-101: (B,H,W,C) to (B,H/32,W/32,2048)."""
    return resnet((3, 4, 23, 3), image_shape, "resnet101", last_stride=last_stride)


def resnet152(image_shape: Shape = (224, 224, 3), last_stride: int = 2) -> keras.Model:
    """ResNet-152: (B,H,W,C) to (B,H/32,W/32,2048)."""
    return resnet((3, 8, 36, 3), image_shape, "resnet152", last_stride=last_stride)


def resnet18_small(image_shape: Shape = (32, 32, 3), last_stride: int = 2) -> keras.Model:
    """ResNet-18 with a 3x3 stem for small pictures: (B,H,W,C) to (B,H/8,W/8,512)."""
    return resnet((2, 2, 2, 2), image_shape, "resnet18_small", bottleneck=False, small=True, last_stride=last_stride)


def resnet50_sd(image_shape: Shape = (224, 224, 3), drop: float = 0.5, last_stride: int = 2) -> keras.Model:
    """ResNet-50 with stochastic depth, the paper's linear decay to a survival of one half: (B,H,W,C) to (B,H/32,W/32,2048)."""
    return resnet((3, 4, 6, 3), image_shape, "resnet50_sd", drop=drop, last_stride=last_stride)


def se_resnet18(image_shape: Shape = (224, 224, 3), last_stride: int = 2) -> keras.Model:
    """SE-ResNet-18: (B,H,W,C) to (B,H/32,W/32,512)."""
    return resnet((2, 2, 2, 2), image_shape, "se_resnet18", bottleneck=False, se=16, last_stride=last_stride)


def se_resnet34(image_shape: Shape = (224, 224, 3), last_stride: int = 2) -> keras.Model:
    """SE-ResNet-34: (B,H,W,C) to (B,H/32,W/32,512)."""
    return resnet((3, 4, 6, 3), image_shape, "se_resnet34", bottleneck=False, se=16, last_stride=last_stride)


def se_resnet50(image_shape: Shape = (224, 224, 3), last_stride: int = 2) -> keras.Model:
    """SE-ResNet-50: (B,H,W,C) to (B,H/32,W/32,2048)."""
    return resnet((3, 4, 6, 3), image_shape, "se_resnet50", se=16, last_stride=last_stride)


def se_resnet101(image_shape: Shape = (224, 224, 3), last_stride: int = 2) -> keras.Model:
    """SE-ResNet-101: (B,H,W,C) to (B,H/32,W/32,2048)."""
    return resnet((3, 4, 23, 3), image_shape, "se_resnet101", se=16, last_stride=last_stride)


def se_resnet152(image_shape: Shape = (224, 224, 3), last_stride: int = 2) -> keras.Model:
    """SE-ResNet-152: (B,H,W,C) to (B,H/32,W/32,2048)."""
    return resnet((3, 8, 36, 3), image_shape, "se_resnet152", se=16, last_stride=last_stride)
