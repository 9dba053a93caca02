"""Soft attention of "Show, Attend and Tell" (Xu et al. 2015, arXiv:1502.03044, section 4.2; course row F2)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasdl")
class SoftAttention(keras.layers.Layer):
    """[h (B,u), features (B,N,D), keys (B,N,A)] to the context (B,D) and the weights (B,N), float32, that sum to 1.

        e_i = v . tanh(W_a a_i + W_h h)                 equation 4, f_att a net of one hidden layer
        alpha = softmax(e)                              equation 5
        z = beta sum_i alpha_i a_i,  beta = sigmoid(w . h + b)      equation 13 and the gating scalar of section 4.2.1

    `keys` of the same picture, W_a a_i + b, are the same at every step: `self.keys(features)` makes them once.

    Args:
        units: A, of the hidden layer.
    """

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        if units < 1:
            raise ValueError(f"attention needs at least one hidden unit. Received: {units=}")
        self.units = units
        self.key = keras.layers.Dense(units, name="key", dtype=self.dtype_policy)
        self.query = keras.layers.Dense(units, use_bias=False, name="query", dtype=self.dtype_policy)
        self.score = keras.layers.Dense(1, use_bias=False, name="score", dtype=self.dtype_policy)
        self.gate = keras.layers.Dense(1, "sigmoid", name="gate", dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        h, features = input_shape[:2]
        self.key.build(features)
        self.query.build(h)
        self.score.build((*features[:2], self.units))
        self.gate.build(h)
        self.built = True

    def keys(self, features: Any) -> Any:
        """(B,N,D) to (B,N,A)."""
        return self.key(features)

    def call(self, inputs: Any) -> tuple[Any, Any]:
        h, features, keys = inputs
        hidden = ops.tanh(keys + self.query(h)[:, None])  # (B, N, A)
        scores = ops.squeeze(self.score(hidden), -1)  # (B, N)
        weights = ops.softmax(ops.cast(scores, "float32"))
        context = ops.matmul(ops.cast(weights, features.dtype)[:, None], features)  # (B, 1, D)
        return self.gate(h) * ops.squeeze(context, 1), weights

    def compute_output_shape(self, input_shape: Any) -> tuple:
        batch, places, width = input_shape[1]
        return (batch, width), (batch, places)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
