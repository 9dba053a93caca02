"""The class token (Devlin et al. 2018, arXiv:1810.04805; for pictures Dosovitskiy et al. 2020, arXiv:2010.11929)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasdl")
class ClassToken(keras.layers.Layer):
    """Puts one learnt token, at first zero, before the others: (B,N,D) to (B,N+1,D). Attention lets it collect what the head reads."""

    def build(self, input_shape: Any) -> None:
        if input_shape[1] is None:
            raise ValueError(f"ClassToken needs a fixed number of tokens. Received: input_shape={tuple(input_shape)}")
        self.token = self.add_weight(name="token", shape=(1, 1, input_shape[-1]), initializer="zeros")
        self.built = True

    def call(self, x: Any) -> Any:
        # A free slot plus the token in it: two nodes in an exported graph, where repeating the token for each picture takes seven.
        token = ops.pad(ops.cast(self.token, x.dtype), ((0, 0), (0, x.shape[1]), (0, 0)))  # (1, N+1, D)
        return ops.pad(x, ((0, 0), (1, 0), (0, 0))) + token

    def compute_output_shape(self, input_shape: Any) -> tuple:
        batch, tokens, width = input_shape
        return (batch, tokens + 1, width)


@keras.saving.register_keras_serializable(package="kerasdl")
class FirstToken(keras.layers.Layer):
    """Takes the class token back out: (B,N,D) to (B,D)."""

    def call(self, x: Any) -> Any:
        return x[:, 0]

    def compute_output_shape(self, input_shape: Any) -> tuple:
        return (input_shape[0], input_shape[2])
