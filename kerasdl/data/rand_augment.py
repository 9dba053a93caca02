"""RandAugment (Cubuk et al. 2019, arXiv:1909.13719) and TrivialAugment (Müller and Hutter 2021, arXiv:2103.10158): random operations.

The 14 operations with the ranges of AutoAugment (Cubuk et al. 2018, arXiv:1805.09501, table 6), reached at magnitude 30 of 30:

| operation | at magnitude M | sign |
|---|---|---|
| identity, autocontrast, equalize | the same for every M | - |
| rotate | 30 M/30 degrees | random |
| shear_x, shear_y | 0.3 M/30 | random |
| translate_x, translate_y | 150/331 M/30 of the side | random |
| color, contrast, brightness, sharpness | factor 1 +- 0.9 M/30 | random |
| posterize | 8 - round(4 M/30) bits | - |
| solarize | levels from 256 (1 - M/30) on | - |

TrivialAugment's "wide" ranges at 30: 135 degrees, shear 0.99, 32 pixels, factor 1 +- 0.99, 8 - round(6 M/30) bits.
Pixels from outside the picture become `fill`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from kerasdl.data import portable

MAGNITUDES = 30
FIXED = ("identity", "autocontrast", "equalize")
BLENDS = ("color", "contrast", "brightness", "sharpness")
GEOMETRY = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = (*FIXED, *BLENDS, "posterize", "solarize", *GEOMETRY)


@dataclasses.dataclass(frozen=True)
class Ranges:
    """What each operation does at magnitude 30. `translate` is a share of the side, `pixels` a number of them in its place."""

    degrees: float = 30.0
    shear: float = 0.3
    translate: float = 150 / 331
    pixels: float | None = None
    enhance: float = 0.9
    bits: int = 4


WIDE = Ranges(degrees=135.0, shear=0.99, pixels=32.0, enhance=0.99, bits=6)


def apply(ops: Any, image: Any, name: str, strength: Any, fill: int, ranges: Ranges = Ranges()) -> Any:
    """One operation on float32 pictures; `strength` (...) is M/30 with its sign."""
    size, factor = ops.abs(strength), 1 + ranges.enhance * strength
    operations = {
        "identity": lambda: image,
        "autocontrast": lambda: portable.autocontrast(ops, image),
        "equalize": lambda: portable.equalize(ops, image),
        "color": lambda: portable.saturation(ops, image, factor),
        "contrast": lambda: portable.contrast(ops, image, factor),
        "brightness": lambda: portable.brightness(ops, image, factor),
        "sharpness": lambda: portable.sharpness(ops, image, factor),
        "posterize": lambda: portable.posterize(ops, image, 8 - ops.round(ranges.bits * size)),
        "solarize": lambda: portable.solarize(ops, image, 256 * (1 - size)),
    }
    if name in operations:
        return operations[name]()
    zeros = dict.fromkeys(GEOMETRY, ops.zeros_like(strength))
    return geometry(ops, image, {**zeros, name: strength}, fill, ranges)


def geometry(ops: Any, image: Any, strengths: dict[str, Any], fill: int, ranges: Ranges) -> Any:
    """The five geometric operations as one resampling; what is not to be done has strength 0."""
    one = ops.ones_like(strengths["rotate"])
    across, down = (ranges.pixels or ranges.translate * image.shape[axis] for axis in (-2, -3))
    matrix = portable.distortion(
        ops,
        strengths["rotate"] * math.radians(ranges.degrees),
        (strengths["shear_x"] * ranges.shear, strengths["shear_y"] * ranges.shear),
        (one, one),
        (strengths["translate_x"] * across, strengths["translate_y"] * down),
    )
    return portable.affine(ops, image, matrix, fill)


def choice(ops: Any, u: Any) -> tuple[Any, Any]:
    """From two uniform numbers the number of an operation (int32) and a sign."""
    return ops.cast(ops.floor(u[..., 0] * len(OPERATIONS)), "int32"), ops.where(u[..., 1] < 0.5, -1.0, 1.0)


def on_picture(image: Any, number: Any, strength: Any, fill: int, ranges: Ranges = Ranges()) -> Any:
    """TensorFlow, one float32 picture: only the operation `number` runs."""
    import tensorflow as tf

    ops = portable.tensorflow_vocabulary()
    branches = [lambda name=name: apply(ops, image, name, strength, fill, ranges) for name in OPERATIONS]
    return tf.ensure_shape(tf.switch_case(number, branches), image.shape)


def on_batch(ops: Any, images: Any, numbers: Any, strengths: Any, fill: int, ranges: Ranges = Ranges()) -> Any:
    """`keras.ops`, a float32 batch: every operation runs on all pictures, the geometric ones as one, and each picture takes its own."""
    zero = ops.zeros_like(strengths)
    chosen = {name: ops.where(numbers == OPERATIONS.index(name), strengths, zero) for name in GEOMETRY}
    result = ops.where(portable.spread(numbers >= OPERATIONS.index(GEOMETRY[0])), geometry(ops, images, chosen, fill, ranges), images)
    for number, name in enumerate(OPERATIONS):
        if name not in ("identity", *GEOMETRY):
            result = ops.where(portable.spread(numbers == number), apply(ops, images, name, strengths, fill, ranges), result)
    return result
