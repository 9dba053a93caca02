"""DropConnect (Wan, Zeiler, Zhang, LeCun, Fergus 2013, ICML): a dense layer whose weights are left out at random in training."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasdl")
class DropConnectDense(keras.layers.Dense):
    """A Dense layer whose every weight is zero with probability `rate` in training, and divided by `1 - rate` otherwise.

    Where dropout silences a unit, this cuts single connections. The mask is drawn once a batch, and the bias is left alone: the paper
    draws one for each example, which costs a kernel of weights an example, masks the biases too, and samples from a normal
    distribution of the same moments in the test, where this layer uses the mean, which is a plain Dense layer.

    Args:
        units: size of the output.
        rate: probability in [0, 1) that a weight is left out.
        seed: of the masks.
        options: of keras.layers.Dense.

    Shapes: (..., D) to (..., units).
    """

    def __init__(self, units: int, rate: float, seed: int | None = None, **options: Any) -> None:
        super().__init__(units, **options)
        if not 0 <= rate < 1:
            raise ValueError(f"the rate of DropConnect must be in [0, 1). Received: {rate}")
        self.rate, self.seed = rate, seed
        self.masks = keras.random.SeedGenerator(seed)

    def call(self, x: Any, training: bool = False) -> Any:
        if not training or not self.rate:
            return super().call(x)
        kernel = ops.cast(self.kernel, self.compute_dtype)
        kept = keras.random.uniform(kernel.shape, seed=self.masks) >= self.rate
        x = ops.matmul(x, kernel * (ops.cast(kept, kernel.dtype) / (1 - self.rate)))
        if self.use_bias:
            x = x + ops.cast(self.bias, x.dtype)
        return x if self.activation is None else self.activation(x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
