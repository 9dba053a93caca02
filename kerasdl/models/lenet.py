"""LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition", fig. 2).

C3 is connected to all maps of S2 (the paper's table of connections saves 900 weights) and the two subsampling layers are plain
pooling without weights, as every later implementation has it: 61,706 parameters at 32x32x1 with 10 classes.
`activation="tanh", pool="average"` is the paper's form; `"relu"` and `"max"` is the course's (row C16) and today's.
"""

from __future__ import annotations

import keras
from keras import layers


def lenet5(image_shape: tuple[int, int, int] = (32, 32, 1), activation: str = "tanh", pool: str = "average") -> keras.Model:
    """(B,H,W,C) with sides of at least 28 to (B,84). A 28-pixel picture is padded by 2 to the paper's 32."""
    height, width, _ = image_shape
    if min(height, width) < 28:
        raise ValueError(f"lenet5 needs sides of at least 28 pixels. Received: image_shape={image_shape}")
    if pool not in ("average", "max"):
        raise ValueError(f"pool must be 'average' or 'max'. Received: {pool!r}")
    pooling = layers.AveragePooling2D if pool == "average" else layers.MaxPooling2D

    image = keras.Input(image_shape, name="image")
    x = layers.ZeroPadding2D(2, name="pad")(image) if (height, width) == (28, 28) else image
    x = layers.Conv2D(6, 5, activation=activation, name="c1")(x)  # (B, 28, 28, 6)
    x = pooling(2, name="stage1")(x)  # (B, 14, 14, 6)
    x = layers.Conv2D(16, 5, activation=activation, name="c3")(x)  # (B, 10, 10, 16)
    x = pooling(2, name="stage2")(x)  # (B, 5, 5, 16)
    x = layers.Flatten(name="flatten")(x)  # (B, 400)
    x = layers.Dense(120, activation=activation, name="c5")(x)
    x = layers.Dense(84, activation=activation, name="f6")(x)
    return keras.Model(image, x, name="lenet5")
