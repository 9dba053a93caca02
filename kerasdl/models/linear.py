"""The two nets before convolution (course rows B14, B17, B4-B6): softmax regression and the multilayer perceptron.

With the classification head they have 7,850 (784-10) and 669,706 (784-512-512-10) parameters on 28x28x1 pictures.
"""

from __future__ import annotations

import keras
from keras import layers

from kerasdl.layers.drop_connect import DropConnectDense


def softmax_regression(image_shape: tuple[int, int, int] = (28, 28, 1)) -> keras.Model:
    """(B,H,W,C) to (B,H*W*C): nothing but the pixels in a row; the head does the rest."""
    image = keras.Input(image_shape, name="image")
    return keras.Model(image, layers.Flatten(name="stage1")(image), name="softmax_regression")


def mlp(
    image_shape: tuple[int, int, int] = (28, 28, 1),
    width: int = 512,
    depth: int = 2,
    activation: str = "relu",
    dropout: float = 0.0,
    drop_connect: float = 0.0,
) -> keras.Model:
    """(B,H,W,C) to (B,width) through `depth` hidden layers, in training without a share `dropout` of their units and a share
    `drop_connect` of their weights."""
    if depth < 1:
        raise ValueError(f"mlp needs at least one hidden layer. Received: depth={depth}")
    image = keras.Input(image_shape, name="image")
    x = layers.Flatten(name="flatten")(image)  # (B, H*W*C)
    for stage in range(1, depth + 1):
        hidden = f"hidden{stage}" if dropout else f"stage{stage}"
        if drop_connect:
            x = DropConnectDense(width, drop_connect, activation=activation, name=hidden)(x)
        else:
            x = layers.Dense(width, activation=activation, name=hidden)(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"stage{stage}")(x)
    return keras.Model(image, x, name="mlp")
