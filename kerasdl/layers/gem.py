"""Generalised mean pooling, GeM (Radenovic, Tolias, Chum 2018, arXiv:1711.02512, eq. 3)."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

SMALLEST = 1e-6  # of an activation: what is zero or negative has no power of its own


@keras.saving.register_keras_serializable(package="kerasdl")
class GeM(layers.Layer):
    """y = (mean over all places of max(x, 1e-6)^p)^(1/p), for each channel; p = 1 is the average, p towards infinity the maximum.

    The powers are taken of x divided by the channel's maximum, which changes nothing but that they neither vanish nor overflow.

    Args:
        p: where the exponent starts, above 0; the paper's is 3.
        learnable: whether p is trained, one number for all channels.

    Shapes: (B,H,W,C) or (B,N,C) to (B,C).
    """

    def __init__(self, p: float = 3.0, learnable: bool = True, **options: Any) -> None:
        super().__init__(**options)
        if p <= 0:
            raise ValueError(f"p must be above 0. Received: {p}")
        self.p, self.learnable = p, learnable

    def build(self, input_shape: Any) -> None:
        if len(input_shape) not in (3, 4):
            raise ValueError(f"GeM pools a map (B,H,W,C) or tokens (B,N,C). Received: input_shape={tuple(input_shape)}")
        initial = keras.initializers.Constant(self.p)
        self.exponent = self.add_weight(name="exponent", shape=(), initializer=initial, trainable=self.learnable)
        self.built = True

    def call(self, x: Any) -> Any:
        places = tuple(range(1, len(x.shape) - 1))
        p = ops.cast(self.exponent, x.dtype)
        x = ops.maximum(x, SMALLEST)
        largest = ops.stop_gradient(ops.max(x, axis=places, keepdims=True))
        mean = ops.mean(ops.power(x / largest, p), axis=places, keepdims=True)
        return ops.squeeze(largest * ops.power(mean, 1 / p), axis=places)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (input_shape[0], input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "p": self.p, "learnable": self.learnable}
