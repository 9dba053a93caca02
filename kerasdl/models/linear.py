"""The nets before convolution (course rows A2, B4-B6, B12, B14, B17): linear maps and multilayer perceptrons.

With the classification head softmax regression has 7,850 parameters (784-10), the MLP 669,706 (784-512-512-10) on 28x28x1 pictures.
A row of D columns is a picture of one pixel with D channels, `image_shape=(1, 1, D)`.
"""

from __future__ import annotations

import keras
from keras import layers

from kerasdl.layers.drop_connect import DropConnectDense
from kerasdl.layers.maxout import Maxout


def softmax_regression(image_shape: tuple[int, int, int] = (28, 28, 1)) -> keras.Model:
    """(B,H,W,C) to (B,H*W*C): nothing but the pixels in a row; the head does the rest."""
    image = keras.Input(image_shape, name="image")
    return keras.Model(image, layers.Flatten(name="stage1")(image), name="softmax_regression")


def linear_regression(image_shape: tuple[int, int, int] = (28, 28, 1)) -> keras.Model:
    """(B,H,W,C) to (B,H*W*C): softmax regression before its head, under the name it has where the answer is a number."""
    image = keras.Input(image_shape, name="image")
    return keras.Model(image, layers.Flatten(name="stage1")(image), name="linear_regression")


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


def maxout_mlp(
    image_shape: tuple[int, int, int] = (28, 28, 1), width: int = 240, depth: int = 2, pieces: int = 5, dropout: float = 0.0
) -> keras.Model:
    """(B,H,W,C) to (B,width) through `depth` layers of maxout units (Goodfellow et al. 2013, arXiv:1302.4389), each the largest of
    `pieces` linear functions; by default as wide as the paper's net for MNIST without convolution. `dropout` as in `mlp`."""
    if depth < 1:
        raise ValueError(f"maxout_mlp needs at least one hidden layer. Received: depth={depth}")
    image = keras.Input(image_shape, name="image")
    x = layers.Flatten(name="flatten")(image)  # (B, H*W*C)
    for stage in range(1, depth + 1):
        x = Maxout(width, pieces, name=f"hidden{stage}" if dropout else f"stage{stage}")(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"stage{stage}")(x)
    return keras.Model(image, x, name="maxout_mlp")
