"""The fast CIFAR-10 network (Jordan 2024, arXiv:2404.00498, "94% on CIFAR-10 in 3.29 seconds on a single GPU", section 3.1).

A patch-whitening layer whose filters the data fix, then three stages of convolution, max pooling, convolution, each followed by
BatchNormalization without scale and by GELU; the convolutions begin as the identity as far as their channels go. 2.0M parameters.
The paper has no bias in the classifier and an epsilon of 1e-12 in its norms; here the one is the common head's, the other 1e-5.
`activation="silu"` is the same idea at two thirds of the time on a CPU in bfloat16.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from kerasdl.layers.whitening import PatchWhitening

Shape = tuple[int, int, int]


@keras.saving.register_keras_serializable(package="kerasdl")
class PartlyIdentity(keras.initializers.Initializer):
    """(k,k,in,out): the first `in` outputs copy the inputs, the others are drawn as torch does, uniform with variance 1 / (3 k k in)."""

    def __call__(self, shape: Any, dtype: Any = None, **options: Any) -> Any:
        height, width, inputs, outputs = shape
        drawn = keras.random.uniform(shape, -1, 1, dtype="float32") * (height * width * inputs) ** -0.5
        copies = min(inputs, outputs)
        kernel = np.zeros((height, width, inputs, copies), "float32")
        kernel[height // 2, width // 2, range(copies), range(copies)] = 1
        return keras.ops.cast(keras.ops.concatenate([kernel, drawn[..., copies:]], axis=-1), dtype or "float32")


def conv(x: Any, filters: int, name: str) -> Any:
    return layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer=PartlyIdentity(), name=f"{name}_conv")(x)


def norm_act(x: Any, activation: str, name: str, act_name: str) -> Any:
    x = layers.BatchNormalization(momentum=0.6, epsilon=1e-5, scale=False, name=f"{name}_bn")(x)
    return layers.Activation(activation, name=act_name)(x)


def airbench94(
    image_shape: Shape = (32, 32, 3),
    widths: tuple[int, int, int] = (64, 256, 256),
    activation: str = "gelu",
    whitening_epsilon: float = 5e-4,
) -> keras.Model:
    """(B,32,32,C) to (B,1,1,256). Sides of at least 25 pixels; larger pictures leave more places for the head to average.

    `whitening_epsilon` is added to the variances of patches: more where the finest ones are mostly noise, as behind JPEG.
    """
    if min(image_shape[:2]) < 25:
        raise ValueError(f"airbench94 needs sides of at least 25 pixels. Received: image_shape={image_shape}")
    image = keras.Input(image_shape, name="image")
    x = PatchWhitening(2, whitening_epsilon, name="whitening")(image)  # (B, 31, 31, 24)
    x = layers.Activation(activation, name="whitening_act")(x)
    for stage, filters in enumerate(widths, start=1):
        x = conv(x, filters, f"s{stage}a")
        x = layers.MaxPooling2D(2, name=f"s{stage}_pool")(x)  # sides 31, 15, 7, 3
        x = norm_act(x, activation, f"s{stage}a", f"s{stage}a_act")
        x = conv(x, filters, f"s{stage}b")
        x = norm_act(x, activation, f"s{stage}b", f"stage{stage}")
    x = layers.MaxPooling2D(3, name="pool3")(x)  # (B, 1, 1, 256)
    return keras.Model(image, x * (1 / 9), name="airbench94")  # the paper's factor on the logits
