"""The locally connected layer (LeCun 1989, "Generalization and network design strategies"): convolution without weight sharing.

It stands between a dense layer, whose output pixels see everything with weights of their own, and a convolution, whose output
pixels see a window with common weights. Keras 3 dropped its own.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="kerasdl")
class LocallyConnected2D(layers.Layer):
    """Each output pixel (i, j) has its own kernel: o[i,j,f] = b[i,j,f] + sum over the window at (i,j) of w[i,j,:,f] times the pixels.

    Args:
        filters: number of output channels.
        kernel_size: side of the square window.
        strides: step of the window; there is no padding.

    Shapes: (B,H,W,C) to (B,H',W',filters), H' = (H - kernel_size) // strides + 1. The picture's sides must be known.
    """

    def __init__(self, filters: int, kernel_size: int, strides: int = 1, **options: Any) -> None:
        super().__init__(**options)
        if min(filters, kernel_size, strides) < 1:
            raise ValueError(
                "filters, kernel_size and strides must be at least 1. "
                f"Received: filters={filters}, kernel_size={kernel_size}, strides={strides}"
            )
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides

    def build(self, input_shape: Any) -> None:
        _, height, width, filters = self.compute_output_shape(input_shape)
        window = self.kernel_size * self.kernel_size * input_shape[-1]
        # Every position is a small dense layer: Glorot's bound comes from the window, not from the number of positions.
        bound = (6 / (window + filters)) ** 0.5
        initializer = keras.initializers.RandomUniform(-bound, bound)
        self.kernel = self.add_weight(shape=(height, width, window, filters), initializer=initializer, name="kernel")
        self.bias = self.add_weight(shape=(height, width, filters), initializer="zeros", name="bias")

    def call(self, x: Any) -> Any:
        windows = ops.image.extract_patches(x, self.kernel_size, strides=self.strides, padding="valid")  # (B, H', W', window)
        return ops.matmul(windows[..., None, :], self.kernel)[..., 0, :] + self.bias  # (B, H', W', filters)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        sides = input_shape[1:3]
        if None in sides or min(sides) < self.kernel_size:
            raise ValueError(f"the picture's sides must be known and at least {self.kernel_size}. Received: input_shape={input_shape}")
        height, width = ((side - self.kernel_size) // self.strides + 1 for side in sides)
        return input_shape[0], height, width, self.filters

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "kernel_size": self.kernel_size, "strides": self.strides}
