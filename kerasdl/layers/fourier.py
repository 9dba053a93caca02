"""Random Fourier features (Rahimi and Recht 2007, NIPS, algorithm 1): a map whose dot products are nearly those of the RBF kernel."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import initializers, layers, ops


@keras.saving.register_keras_serializable(package="kerasdl")
class RandomFourierFeatures(layers.Layer):
    """z(x) = sqrt(2/K) [cos(x W), sin(x W)], so that z(x)·z(y) is near exp(-gamma |x - y|²); its error falls with the root of K.

    The columns of W are drawn from N(0, 2 gamma), the spectrum of that kernel, and never train. Cosine and sine of one frequency stand
    in pairs, where the paper's algorithm 1 has cosines with random phases: z(x)·z(x) is then exactly 1.

    Args:
        features: K, an even number.
        gamma: of the kernel; None for 1 / D, which on columns of variance 1 is scikit-learn's "scale".
        seed: of the draw.

    Shapes: (..., D) to (..., K). Raises ValueError for an odd K or a gamma that is not above 0.
    """

    def __init__(self, features: int, gamma: float | None = None, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        if features < 2 or features % 2:
            raise ValueError(f"random Fourier features are pairs of a cosine and a sine. Received: features={features}")
        if gamma is not None and gamma <= 0:
            raise ValueError(f"the gamma of an RBF kernel must be above 0. Received: {gamma}")
        self.features, self.gamma, self.seed = features, gamma, seed

    def build(self, input_shape: Any) -> None:
        columns = input_shape[-1]
        spectrum = initializers.RandomNormal(stddev=math.sqrt(2 * (self.gamma or 1 / columns)), seed=self.seed)
        self.frequencies = self.add_weight(
            shape=(columns, self.features // 2), initializer=spectrum, trainable=False, name="frequencies"
        )  # (D, K/2)
        self.built = True

    def call(self, x: Any) -> Any:
        angles = ops.matmul(x, ops.cast(self.frequencies, x.dtype))  # (..., K/2)
        return math.sqrt(2 / self.features) * ops.concatenate([ops.cos(angles), ops.sin(angles)], axis=-1)

    def multiply_adds(self) -> int:
        return math.prod(self.output.shape[1:-1]) * math.prod(self.frequencies.shape)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.features)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "features": self.features, "gamma": self.gamma, "seed": self.seed}
