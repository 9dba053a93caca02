"""Fixed functions of the input before a linear layer (course rows A8, A9, B15): powers, and random Fourier features for the RBF kernel.

Nothing trains before the head, so that a regression on them has a closed form (`kerasdl.linear.solve_ridge`) and an SVM on them stays
convex. A row of D columns is a picture of one pixel with D channels, `image_shape=(1, 1, D)`.
"""

from __future__ import annotations

import keras
from keras import layers

from kerasdl.layers.fourier import RandomFourierFeatures


def polynomial(image_shape: tuple[int, int, int] = (28, 28, 1), degree: int = 3) -> keras.Model:
    """(B,H,W,C) to (B,H*W*C*degree): the powers 1 to `degree` of every number by itself, without products of two."""
    if degree < 1:
        raise ValueError(f"a polynomial has a degree of at least 1. Received: degree={degree}")
    image = keras.Input(image_shape, name="image")
    power = x = layers.Flatten(name="flatten")(image)  # (B, H*W*C)
    powers = [x]
    for number in range(2, degree + 1):
        power = layers.Multiply(name=f"power{number}")([power, x])
        powers.append(power)
    together = layers.Concatenate(name="stage1")(powers) if degree > 1 else layers.Identity(name="stage1")(x)
    return keras.Model(image, together, name="polynomial")


def random_fourier(
    image_shape: tuple[int, int, int] = (28, 28, 1), features: int = 2048, gamma: float | None = None, seed: int = 0
) -> keras.Model:
    """(B,H,W,C) to (B,features): random Fourier features of the kernel exp(-gamma |x - y|²), gamma 1 / (H*W*C) by default."""
    image = keras.Input(image_shape, name="image")
    x = layers.Flatten(name="flatten")(image)  # (B, H*W*C)
    return keras.Model(image, RandomFourierFeatures(features, gamma, seed, name="stage1")(x), name="random_fourier")
