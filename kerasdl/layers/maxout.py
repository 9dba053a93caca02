"""Maxout (Goodfellow et al. 2013, arXiv:1302.4389): the layer learns its activation as the largest of a few linear functions."""

from __future__ import annotations

import functools
import math
from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="kerasdl")
class Maxout(layers.Layer):
    """max(W1 x + b1, W2 x + b2): `units` outputs, each the largest of `pieces` linear functions of the input.

    With W2 = 0 and b2 = 0 it is ReLU, with W2 = -W1 the absolute value; the price is `pieces` times the parameters of a Dense layer.

    Args:
        units: size of the output.
        pieces: number of linear functions, at least 2.

    Shapes: (..., D) to (..., units). The sublayers `piece1`, `piece2`, ... hold the weights.
    """

    def __init__(self, units: int, pieces: int = 2, **options: Any) -> None:
        super().__init__(**options)
        if units < 1 or pieces < 2:
            raise ValueError(f"Maxout needs at least 1 unit and 2 pieces. Received: units={units}, pieces={pieces}")
        self.units, self.pieces = units, pieces
        self.linear = [layers.Dense(units, dtype=self.dtype_policy, name=f"piece{n}") for n in range(1, pieces + 1)]

    def build(self, input_shape: Any) -> None:
        for linear in self.linear:
            linear.build(input_shape)
        self.built = True

    def call(self, x: Any) -> Any:
        return functools.reduce(ops.maximum, [linear(x) for linear in self.linear])

    def multiply_adds(self) -> int:
        positions = math.prod(self.output.shape[1:-1])
        return positions * sum(math.prod(linear.kernel.shape) for linear in self.linear)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "pieces": self.pieces}
