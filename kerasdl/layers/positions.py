"""Positions of tokens: learnt (Dosovitskiy et al. 2020, arXiv:2010.11929) and sinusoidal (Vaswani et al. 2017, arXiv:1706.03762).

Attention alone is permutation-equivariant (course row D4): it knows where a token stands only by what is added to it here.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


def sinusoidal_positions(length: int, width: int) -> np.ndarray:
    """(length, width) float32: PE(t,2k) = sin(t / 10000^(2k/width)), PE(t,2k+1) = cos(the same), k from 0 (course row D7)."""
    if width % 2:
        raise ValueError(f"sinusoidal positions are pairs of sine and cosine and need an even width. Received: width={width}")
    frequencies = 10000.0 ** (-np.arange(0, width, 2) / width)
    angles = np.arange(length)[:, None] * frequencies  # (length, width/2)
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(length, width).astype("float32")


def sinusoidal_grid(height: int, width: int, channels: int) -> np.ndarray:
    """(height*width, channels) float32: sin x, cos x, sin y, cos y, a quarter of the channels each, rows of the picture first.

    The frequencies fall geometrically from 1 to exactly 1/10000. Beyer et al. 2022, arXiv:2205.01580 (MoCo v3's form).
    """
    if channels % 4 or channels < 8:
        raise ValueError(f"sinusoidal positions of a grid need a width that four divides, of at least 8. Received: width={channels}")
    quarter = channels // 4
    frequencies = 10000.0 ** (-np.arange(quarter) / (quarter - 1))
    y, x = (axis.reshape(-1, 1) * frequencies for axis in np.mgrid[:height, :width])
    return np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1).astype("float32")


def resize_positions(positions: np.ndarray, old_grid: tuple[int, int], new_grid: tuple[int, int], extra_tokens: int = 1) -> np.ndarray:
    """Learnt positions of one grid for another: (1,N,D) to (1,M,D), bicubic; the slots of the extra tokens stay as they are.

    Pillow's antialiased bicubic (a = -0.5), which is the kernel of torch with `antialias=True`, so that fine-tuning at another size
    begins where timm's `resample_abs_pos_embed` would.
    """
    from PIL import Image

    _, tokens, width = positions.shape
    if tokens != extra_tokens + old_grid[0] * old_grid[1]:
        raise ValueError(f"the positions must fit their grid. Received: {tokens} positions, {old_grid=}, {extra_tokens=}")
    if tuple(old_grid) == tuple(new_grid):
        return positions
    extra, grid = positions[:, :extra_tokens], positions[0, extra_tokens:].reshape(*old_grid, width)
    planes = [Image.fromarray(np.ascontiguousarray(plane, "float32")) for plane in np.moveaxis(grid, -1, 0)]
    resized = [np.asarray(plane.resize((new_grid[1], new_grid[0]), Image.Resampling.BICUBIC)) for plane in planes]
    return np.concatenate([extra, np.stack(resized, -1).reshape(1, -1, width)], axis=1).astype(positions.dtype)


@keras.saving.register_keras_serializable(package="kerasdl")
class LearntPositions(keras.layers.Layer):
    """Adds a learnt vector to every slot: (B,N,D) to (B,N,D), N fixed. The weight `positions` is (1,N,D), as in torch."""

    def build(self, input_shape: Any) -> None:
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        self.positions = self.add_weight(name="positions", shape=(1, *input_shape[1:]), initializer=initializer)
        self.built = True

    def call(self, x: Any) -> Any:
        return x + ops.cast(self.positions, x.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


@keras.saving.register_keras_serializable(package="kerasdl")
class SinusoidalPositions(keras.layers.Layer):
    """Adds sines and cosines, without weights: (B,N,D) to (B,N,D).

    Args:
        grid: (height, width) of a picture's patches, or (length,) of a sequence.
        extra_tokens: slots before the grid (the class token), to which nothing is added.
    """

    def __init__(self, grid: tuple[int, ...], extra_tokens: int = 0, **options: Any) -> None:
        super().__init__(**options)
        if len(grid) not in (1, 2):
            raise ValueError(f"a grid is (height, width) or (length,). Received: {grid=}")
        self.grid, self.extra_tokens = tuple(grid), extra_tokens

    def build(self, input_shape: Any) -> None:
        _, tokens, width = input_shape
        if tokens != self.extra_tokens + int(np.prod(self.grid)):
            raise ValueError(f"the tokens must fit the grid. Received: {tokens} tokens, grid={self.grid}, extra_tokens={self.extra_tokens}")
        table = sinusoidal_positions(self.grid[0], width) if len(self.grid) == 1 else sinusoidal_grid(self.grid[0], self.grid[1], width)
        self.table = np.pad(table, ((self.extra_tokens, 0), (0, 0)))  # numpy: an eager tensor would become an input of the exported graph
        self.built = True

    def call(self, x: Any) -> Any:
        return x + ops.convert_to_tensor(self.table, x.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "grid": self.grid, "extra_tokens": self.extra_tokens}
