"""The error of a prediction as a layer: what the model knows of its targets, their scale, then stays in the model."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

ERRORS = ("squared", "absolute", "huber")


@keras.saving.register_keras_serializable(package="kerasdl")
class TargetError(layers.Layer):
    """The mean over targets of e², |e| or Huber's error of e = truth - prediction, both standardised: (B,T) and (B,T) to (B,).

    Huber's (1964, doi:10.1214/aoms/1177703732) is e² / 2 up to |e| = delta and delta (|e| - delta / 2) beyond: an outlier pulls with a
    constant force.

    Raises ValueError for another kind, or a delta that is not above 0.
    """

    def __init__(self, kind: str = "squared", delta: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        if kind not in ERRORS:
            raise ValueError(f"the loss is one of {', '.join(ERRORS)}. Received: {kind!r}")
        if delta <= 0:
            raise ValueError(f"the delta of Huber's error must be above 0. Received: {delta}")
        self.kind, self.delta = kind, delta

    def call(self, inputs: Any) -> Any:
        predicted, truth = inputs
        error = ops.abs(truth - predicted)
        if self.kind == "squared":
            error = ops.square(error)
        elif self.kind == "huber":
            error = ops.where(error <= self.delta, ops.square(error) / 2, self.delta * (error - self.delta / 2))
        return ops.mean(error, axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (input_shape[0][0],)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind, "delta": self.delta}
