"""Augmentation as functions `(image, seed) -> image` of one picture, inside the tf.data pipeline and nowhere else.

`image` is (H,W,C) uint8 or float32 on 0..255 and keeps shape and dtype; `seed` is an int64 pair, the only source of chance.
A recipe lists them as `augment=(partial(pad_crop, pad=4), flip)`.
"""

from __future__ import annotations

from typing import Any, Literal


def flip(image: Any, seed: Any) -> Any:
    """Left and right exchanged with probability one half."""
    import tensorflow as tf

    return tf.where(tf.random.stateless_uniform((), seed) < 0.5, tf.reverse(image, [1]), image)


def pad_crop(image: Any, seed: Any, pad: int = 4, mode: Literal["CONSTANT", "REFLECT"] = "CONSTANT") -> Any:
    """`pad` pixels on every side (zeros, or "REFLECT"), then a window of the old size at a random place (He et al. 2015, section 4.2)."""
    import tensorflow as tf

    height, width, channels = image.shape
    padded = tf.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode=mode)
    corner = tf.random.stateless_uniform((2,), seed, maxval=2 * pad + 1, dtype=tf.int32)
    return tf.slice(padded, [corner[0], corner[1], 0], [height, width, channels])


def cutout(image: Any, seed: Any, size: int = 16, fill: int = 128) -> Any:
    """A square of `size` pixels, its centre anywhere in the picture, becomes `fill` (DeVries and Taylor 2017, arXiv:1708.04552).

    The square is cut off at the border, so that a part of the pictures keeps most of its pixels, as in the paper's section 3.2.
    """
    import tensorflow as tf

    height, width, _ = image.shape
    middle = tf.random.stateless_uniform((2,), seed) * (height, width)
    top, left = (tf.cast(tf.floor(middle[axis]), tf.int32) - size // 2 for axis in (0, 1))
    rows, columns = tf.range(height), tf.range(width)
    inside = ((rows >= top) & (rows < top + size))[:, None] & ((columns >= left) & (columns < left + size))[None]
    return tf.where(inside[..., None], tf.cast(fill, image.dtype), image)
