"""Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762; course rows D1-D4, D6): softmax(Q K^T / sqrt(d)) V."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

MASKED = -1e30  # exp of it is exactly 0; unlike -inf it gives no NaN where a whole row is masked


def attention_weights(q: Any, k: Any, mask: Any = None) -> Any:
    """Softmax of Q K^T / sqrt(d): queries (..., N, d) and keys (..., M, d) to weights (..., N, M) that sum to 1 over M.

    The queries are scaled before the product and the softmax is taken in float32 at least, so that neither leaves the range of float16.

    Args:
        q: queries.
        k: keys.
        mask: boolean, broadcast to (..., N, M); False where a query must not look. A row without any True gets equal weights.
    """
    scores = ops.matmul(q * (1 / math.sqrt(q.shape[-1])), ops.swapaxes(k, -2, -1))  # (..., N, M)
    dtype, scores = scores.dtype, ops.cast(scores, keras.backend.result_type(scores.dtype, "float32"))
    if mask is not None:
        scores = ops.where(mask, scores, MASKED)
    return ops.cast(ops.softmax(scores), dtype)


def scaled_dot_product_attention(q: Any, k: Any, v: Any, mask: Any = None) -> Any:
    """Values (..., M, e) averaged by `attention_weights(q, k, mask)`: (..., N, e)."""
    return ops.matmul(attention_weights(q, k, mask), v)


def causal_mask(length: int) -> np.ndarray:
    """(length, length), True on and below the diagonal: a position sees itself and what came before (course row D6)."""
    return np.tril(np.ones((length, length), bool))


@keras.saving.register_keras_serializable(package="kerasdl")
class SelfAttention(keras.layers.Layer):
    """Multi-head self-attention without its projections: (B,N,3D), queries, keys and values side by side, to (B,N,D).

    The heads' parts of D lie side by side too, as in timm and torchvision. The number of tokens must be known when the layer is built:
    an exported graph is then ten nodes, without any arithmetic on shapes.

    Args:
        heads: number of heads; divides D.
        dropout: rate at which attention weights are dropped in training.
        seed: of the dropout.
    """

    def __init__(self, heads: int, dropout: float = 0.0, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.heads, self.rate, self.seed = heads, dropout, seed
        self.drop = keras.layers.Dropout(dropout, seed=seed, dtype=self.dtype_policy) if dropout else None

    def build(self, input_shape: Any) -> None:
        tokens, fused = input_shape[1:]
        if tokens is None:
            raise ValueError(f"SelfAttention needs a fixed number of tokens. Received: input_shape={tuple(input_shape)}")
        if self.heads < 1 or fused % (3 * self.heads):
            raise ValueError(f"queries, keys and values must each divide into the heads. Received: heads={self.heads}, 3D={fused}")
        self.tokens, self.width = tokens, fused // 3
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        x = ops.reshape(x, (-1, self.tokens, 3 * self.heads, self.width // self.heads))
        q, k, v = ops.split(ops.transpose(x, (0, 2, 1, 3)), 3, axis=1)  # (B, heads, N, d) each
        weights = attention_weights(q, k)
        if self.drop is not None:
            weights = self.drop(weights, training=training)
        x = ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3))  # (B, N, heads, d)
        return ops.reshape(x, (-1, self.tokens, self.width))

    def multiply_adds(self) -> int:
        """Of one picture: N*N*D for Q K^T and as many for the weighted sum of the values."""
        return 2 * self.tokens**2 * self.width

    def compute_output_shape(self, input_shape: Any) -> tuple:
        return (*input_shape[:-1], input_shape[-1] // 3)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads, "dropout": self.rate, "seed": self.seed}
