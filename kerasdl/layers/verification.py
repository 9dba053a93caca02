"""The head of verification (Zheng, Zheng, Yang 2016, arXiv:1611.05666, section 3.2): squared difference, dropout, one linear layer."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="kerasdl")
class PairVerification(layers.Layer):
    """Embeddings (B,D) to the logit, (B,B) float32, that two pictures of the batch show one person: Dense(dropout((f_i - f_j)^2)).

    One logit and a sigmoid are the paper's two and a softmax: only their difference matters. Memory is B*B*D.

    Args:
        dropout: share of the D squared differences that a training step leaves out.
        seed: of the dropout.
    """

    def __init__(self, dropout: float = 0.5, seed: int | None = None, **options: Any) -> None:
        super().__init__(**{"dtype": "float32", **options})
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is a share in [0, 1). Received: {dropout}")
        self.dropout, self.seed = dropout, seed
        self.drop = layers.Dropout(dropout, seed=seed, dtype=self.dtype_policy)
        self.linear = layers.Dense(1, dtype=self.dtype_policy, name="linear")

    def build(self, input_shape: Any) -> None:
        self.linear.build((None, None, input_shape[-1]))
        self.built = True

    def call(self, embedding: Any, training: bool | None = None) -> Any:
        difference = ops.square(embedding[:, None, :] - embedding[None, :, :])  # (B, B, D)
        return self.linear(self.drop(difference, training=training))[..., 0]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], input_shape[0])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dropout": self.dropout, "seed": self.seed}
