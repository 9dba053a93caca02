"""Where a new observation will lie: the prediction and two standard deviations of the noise to both sides."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

NORMAL_95 = 1.959964  # quantile 0.975 of the standard normal distribution


@keras.saving.register_keras_serializable(package="kerasdl")
class PredictionInterval(layers.Layer):
    """value (B,T) to its 95 % interval (B,T,2), value -+ 1.96 / sqrt(beta), under Gaussian noise of precision beta.

    The weight `precision` (T,), one over the variance of the noise in the targets' units, is measured after training, not learnt; until
    then it is 0, and the interval without end. The uncertainty of the model's own weights is not in it: few examples make it too narrow.
    """

    def build(self, input_shape: Any) -> None:
        self.precision = self.add_weight(shape=(input_shape[-1],), initializer="zeros", trainable=False, name="precision")
        self.built = True

    def call(self, value: Any) -> Any:
        half = NORMAL_95 / ops.sqrt(self.precision)
        return ops.stack([value - half, value + half], axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*input_shape, 2)
