"""Patch whitening (Coates and Ng 2012; Page 2019; Jordan 2024, arXiv:2404.00498, section 3.2): a first layer fixed by the data.

Its filters are the eigenvectors of the covariance of small patches of the training pictures, each divided by the root of its
eigenvalue: on patches like those the outputs have variance one and no correlation. Every filter is there with both signs, because an
activation follows. Only the bias trains.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="kerasdl")
class PatchWhitening(keras.layers.Layer):
    """(B,H,W,C) to (B,H-k+1,W-k+1,2kkC). Until `adapt_to` has seen pictures the filters are the pixels of the patch.

    Args:
        size: k, the side of a patch.
        epsilon: added to the eigenvalues, against the noise in the smallest ones.
    """

    def __init__(self, size: int = 2, epsilon: float = 5e-4, **options: Any) -> None:
        super().__init__(**options)
        if size < 1:
            raise ValueError(f"the side of a patch must be at least 1. Received: {size}")
        self.size, self.epsilon = size, epsilon

    def build(self, input_shape: Any) -> None:
        channels = input_shape[-1]
        self.width = 2 * self.size**2 * channels
        shape = (self.size, self.size, channels, self.width)
        self.filters = self.add_weight(shape=shape, initializer=_pixels, trainable=False, name="filters")
        self.bias = self.add_weight(shape=(self.width,), initializer="zeros", name="bias")

    def call(self, x: Any) -> Any:
        return ops.conv(x, self.filters, padding="valid") + self.bias

    def adapt_to(self, inputs: Any) -> None:
        """Takes the filters from pictures (N,H,W,C) as this layer gets them."""
        x = np.asarray(ops.convert_to_numpy(inputs), "float64")
        windows = np.lib.stride_tricks.sliding_window_view(x, (self.size, self.size), axis=(1, 2))  # (N, H', W', C, k, k)
        patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, self.width // 2)  # (NH'W', kkC)
        values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
        columns = (vectors / np.sqrt(values + self.epsilon))[:, ::-1]  # the largest eigenvalue first
        self.filters.assign(_with_both_signs(columns, self.filters.shape))

    def multiply_adds(self) -> int:
        return int(np.prod(self.output.shape[1:3])) * int(np.prod(self.filters.shape))

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, height, width, channels = input_shape
        return (batch, height and height - self.size + 1, width and width - self.size + 1, 2 * self.size**2 * channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "epsilon": self.epsilon}


def _with_both_signs(columns: np.ndarray, shape: Any) -> np.ndarray:
    return np.concatenate([columns, -columns], axis=1).reshape(shape).astype("float32")


def _pixels(shape: Any, dtype: Any = None) -> Any:
    return ops.convert_to_tensor(_with_both_signs(np.eye(shape[-1] // 2), shape), dtype)
