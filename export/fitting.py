"""The layer that stands before a network whose pictures may have any size, or channels first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


class Fit(keras.layers.Layer):
    """uint8 (B,H,W,C), or (B,C,H,W), to float32 (B,h,w,C) by a rule of `contracts.py`; "none" only turns and casts.

    Bilinear with half-pixel centres: pixel i of h lies at (i + 1/2) H / h - 1/2 of the picture, between two of its pixels, at its edge on
    one. A picture of the size h x w passes unchanged.
    """

    def __init__(self, size: Sequence[int], rule: str, channels_first: bool, color: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.size, self.rule, self.channels_first, self.color = tuple(size), rule, channels_first, tuple(color)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        return input_shape[0], *self.size, input_shape[1 if self.channels_first else 3]

    def call(self, pictures: Any) -> Any:
        import tensorflow as tf

        x = tf.transpose(pictures, (0, 2, 3, 1)) if self.channels_first else pictures
        x = tf.cast(x, tf.float32)
        if self.rule == "crop":
            x = middle_square(x)
        if self.rule == "letterbox":
            return letterbox(x, self.size, self.color)
        return x if self.rule == "none" else tf.image.resize(x, self.size)


def middle_square(x: Any) -> Any:
    """(B,H,W,C) to (B,S,S,C), S the smaller side."""
    import tensorflow as tf

    batch, height, width, channels = tf.unstack(tf.shape(x))
    side = tf.minimum(height, width)
    return tf.slice(x, [0, (height - side) // 2, (width - side) // 2, 0], [batch, side, side, channels])


def letterbox(x: Any, size: Sequence[int], color: Sequence[int]) -> Any:
    """(B,H,W,C) to (B,h,w,C): scaled by min(h / H, w / W), sides rounded half up and at least 1, in the middle of bars of a colour."""
    import tensorflow as tf

    height, width = size
    _, given_height, given_width, _ = tf.unstack(tf.shape(x, out_type=tf.int64))
    tall = tf.clip_by_value(rounded_ratio(given_height * width, given_width), 1, height)
    wide = tf.clip_by_value(rounded_ratio(given_width * height, given_height), 1, width)
    inner = tf.cast(tf.stack([tall, wide]), tf.int32)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    borders = [[0, 0], [top, height - inner[0] - top], [left, width - inner[1] - left], [0, 0]]
    level = tf.constant(color, tf.float32)
    boxed = tf.pad(tf.image.resize(x, inner) - level, tf.stack([tf.stack(border) for border in borders])) + level
    boxed.set_shape((None, height, width, x.shape[3]))
    return boxed


def rounded_ratio(a: Any, b: Any) -> Any:
    """a / b of whole numbers, rounded half up."""
    return (2 * a + b) // (2 * b)


def fitted(model: keras.Model, rule: str, channels_first: bool, color: Sequence[int]) -> keras.Model:
    """A serving model of the picture `image` as one that takes it in another form; the layers and their weights are the same ones.

    What the resize gives stays float32: rounded to whole levels, two runtimes would now and then differ by one.
    """
    height, width, channels = model.inputs[0].shape[1:]
    sides = (height, width) if rule == "none" else (None, None)
    image = keras.Input((channels, *sides) if channels_first else (*sides, channels), dtype="uint8", name="image")
    seen = Fit((height, width), rule, channels_first, color, name="fit")(image)
    outputs = model._run_through_graph([seen], operation_fn=lambda operation: operation)
    return keras.Model({"image": image}, outputs, name=model.name)
