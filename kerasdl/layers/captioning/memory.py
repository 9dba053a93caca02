"""What a decoder looks at: the places of a picture as a row of vectors that know where they are.

Attention alone does not tell left from right (course row D4). The sines and cosines of a place are added to what stands there, as DETR
does (Carion et al. 2020, arXiv:2005.12872, section 3.2).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasdl.layers.positions import sinusoidal_grid


@keras.saving.register_keras_serializable(package="kerasdl")
class PictureMemory(keras.layers.Layer):
    """Features (B,N,C), rows of the picture first, to (B,N,width): LayerNorm(features W + b), and the code of the place added.

    Args:
        width: of the vectors; four divides it.
        grid: (height, width) of the places, N in all.
    """

    def __init__(self, width: int, grid: tuple[int, int], **options: Any) -> None:
        super().__init__(**options)
        if len(grid) != 2:
            raise ValueError(f"a grid is (height, width). Received: grid={tuple(grid)}")
        self.width, self.grid = width, (int(grid[0]), int(grid[1]))
        self.table = sinusoidal_grid(*self.grid, width)  # (N, width), numpy: an eager tensor would become an input of the exported graph
        self.project = keras.layers.Dense(width, name="project", dtype=self.dtype_policy)
        self.norm = keras.layers.LayerNormalization(epsilon=1e-6, name="norm", dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        places = self.grid[0] * self.grid[1]
        if len(input_shape) != 3 or input_shape[1] != places:
            raise ValueError(f"features must be (B,{places},C) on the grid {self.grid}. Received: {tuple(input_shape)}")
        self.project.build(input_shape)
        self.norm.build((*input_shape[:2], self.width))
        self.built = True

    def call(self, x: Any) -> Any:
        x = self.norm(self.project(x))
        return x + ops.convert_to_tensor(self.table, x.dtype)

    def compute_output_shape(self, input_shape: Any) -> tuple:
        return (*input_shape[:2], self.width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "grid": self.grid}
