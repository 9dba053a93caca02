"""Average pooling to a given size, whatever the size of the picture, with the windows of torch's AdaptiveAvgPool2d.

The layer of that name in Keras (3.15) refuses maps of one pixel under TensorFlow and pools everything twice; older ones lack it.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops


def averaging_matrix(pixels: int, size: int) -> np.ndarray:
    """(size, pixels); row i averages the pixels floor(i * pixels / size) to ceil((i + 1) * pixels / size), the last one left out."""
    matrix = np.zeros((size, pixels), np.float32)
    for i in range(size):
        first, end = i * pixels // size, -(-(i + 1) * pixels // size)
        matrix[i, first:end] = 1 / (end - first)
    return matrix


@keras.saving.register_keras_serializable(package="kerasdl")
class AdaptiveAveragePooling2D(layers.Layer):
    """(B,H,W,C) to (B,h,w,C): each output pixel is the mean of its share of the rows and columns.

    A map of the wanted size passes as it is, one of a multiple of it goes through plain average pooling, and any other, also a smaller
    one, through two products with constant matrices: operations that every exporter knows.

    Args:
        size: (h, w).
    """

    def __init__(self, size: tuple[int, int], **kwargs: Any):
        super().__init__(**kwargs)
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"size must be two whole numbers of at least 1. Received: size={size}")
        self.size = tuple(size)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if None in input_shape[1:3]:
            raise ValueError(f"adaptive pooling needs a picture of known height and width. Received: input_shape={input_shape}")
        super().build(input_shape)

    def call(self, x: Any) -> Any:
        (height, width, channels), (h, w) = x.shape[1:], self.size
        if (height, width) == (h, w):
            return x
        if height % h == 0 and width % w == 0:
            return ops.average_pool(x, (height // h, width // w), data_format="channels_last")
        rows = ops.cast(averaging_matrix(height, h), x.dtype)  # (h, H)
        columns = ops.cast(averaging_matrix(width, w), x.dtype)  # (w, W)
        x = ops.matmul(rows, ops.reshape(x, (-1, height, width * channels)))  # (B, h, W*C)
        return ops.matmul(columns, ops.reshape(x, (-1, h, width, channels)))  # (B, h, w, C)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], *self.size, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}
