"""Stochastic depth (Huang, Sun, Liu, Sedra, Weinberger 2016, arXiv:1603.09382): a residual branch is left out at random in training."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasdl")
class StochasticDepth(keras.layers.Layer):
    """Sets the whole branch of a picture to zero with probability `rate`, else divides it by `1 - rate`.

    The paper draws one coin for the whole batch and multiplies by the survival probability in the test; a coin for each picture and
    the division in training have the same expectation and leave no trace in an exported graph.

    Args:
        rate: probability in [0, 1) that the branch is dropped, the paper's 1 - p_l.
        seed: of the coins.
    """

    def __init__(self, rate: float, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        if not 0 <= rate < 1:
            raise ValueError(f"the rate of stochastic depth must be in [0, 1). Received: {rate}")
        self.rate, self.seed = rate, seed
        self.coins = keras.random.SeedGenerator(seed)

    def call(self, x: Any, training: bool = False) -> Any:
        if not training or not self.rate:
            return x
        coin = keras.random.uniform((ops.shape(x)[0], *[1] * (len(x.shape) - 1)), seed=self.coins) >= self.rate
        return x * (ops.cast(coin, x.dtype) / (1 - self.rate))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
