"""The functions of `augment` and `mixing` for a whole batch in `keras.ops`, where TensorFlow is absent.

Same names and settings: `f(images, seed, **settings) -> images` with (B,H,W,C) uint8 or float32, `f(images, targets, seed, ...)` for
mixing; `seed` is an integer. Each picture has draws of its own; they are not those of the tf.data functions, the arithmetic is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from kerasdl.data import augment, mixing, portable
from kerasdl.data import rand_augment as _rand_augment
from kerasdl.data.portable import Fill


def flip(images: Any, seed: int) -> Any:
    return portable.flip(ops, images, _uniform(images, seed, 1))


def alternating_flip(images: Any, seed: int, index: np.ndarray, epoch: np.ndarray, key: int = 42) -> Any:
    flips = (portable.coin(np.asarray(index, np.int64), key) + np.asarray(epoch, np.int64)) % 2 == 1  # JAX has no int64
    return ops.where(ops.convert_to_tensor(portable.spread(flips)), images[..., ::-1, :], images)


def pad_crop(images: Any, seed: int, pad: int = 4, mode: Literal["CONSTANT", "REFLECT"] = "CONSTANT") -> Any:
    corners = keras.random.randint((len(images), 2), 0, 2 * pad + 1, seed=seed)
    return windows(ops.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode.lower()), corners, images.shape[1:3])


def windows(images: Any, corners: Any, size: tuple[int, int]) -> Any:
    """The window of `size` at `corners` (B,2) = (top, left) of each picture."""
    rows = corners[:, :1] + ops.arange(size[0], dtype=corners.dtype)
    columns = corners[:, 1:] + ops.arange(size[1], dtype=corners.dtype)
    images = ops.take_along_axis(images, rows[:, :, None, None], axis=1)
    return ops.take_along_axis(images, columns[:, None, :, None], axis=2)


def random_resized_crop(
    images: Any,
    seed: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    size: tuple[int, int] | None = None,
) -> Any:
    augment.check_range("scale", scale, 0, 1)
    augment.check_range("ratio", ratio)
    return portable.random_resized_crop(portable.keras_vocabulary(), images, _uniform(images, seed, 4), scale, ratio, size)


def rotate(images: Any, seed: int, degrees: float = 15.0, fill: Fill = 0) -> Any:
    return random_affine(images, seed, degrees=degrees, fill=fill)


def shear(images: Any, seed: int, amount: float = 0.1, fill: Fill = 0) -> Any:
    return random_affine(images, seed, shear=amount, fill=fill)


def stretch(images: Any, seed: int, limits: tuple[float, float] = (0.9, 1.1), fill: Fill = 0) -> Any:
    return random_affine(images, seed, stretch=limits, fill=fill)


def translate(images: Any, seed: int, share: float = 0.1, fill: Fill = 0) -> Any:
    return random_affine(images, seed, translate=share, fill=fill)


def random_affine(
    images: Any,
    seed: int,
    degrees: float = 0.0,
    shear: float = 0.0,
    stretch: tuple[float, float] = (1.0, 1.0),
    translate: float = 0.0,
    fill: Fill = 0,
) -> Any:
    augment.check_affine(degrees, shear, stretch, translate, fill)
    numbers = _uniform(images, seed, 7)
    return portable.random_affine(portable.keras_vocabulary(), images, numbers, degrees, shear, stretch, translate, fill)


def cutout(images: Any, seed: int, size: int = 16, fill: int = 128) -> Any:
    return portable.cutout(ops, images, _uniform(images, seed, 2), size, fill)


def random_erasing(
    images: Any,
    seed: int,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    ratio: tuple[float, float] = (0.3, 1 / 0.3),
    fill: int | Literal["noise"] = "noise",
) -> Any:
    augment.check_share("probability", probability)
    augment.check_range("area", area, 0, 1)
    augment.check_range("ratio", ratio)
    noise = keras.random.uniform(images.shape, seed=seed + 1) if fill == "noise" else None
    return portable.random_erasing(ops, images, _uniform(images, seed, 5), noise, probability, area, ratio, fill)


def color_jitter(
    images: Any,
    seed: int,
    brightness: float | tuple[float, float] = 0.0,
    contrast: float | tuple[float, float] = 0.0,
    saturation: float | tuple[float, float] = 0.0,
    hue: float | tuple[float, float] = 0.0,
) -> Any:
    ranges = augment.jitter_ranges(brightness, contrast, saturation, hue)
    numbers = _uniform(images, seed, 8)
    factors, order = portable.jitter_factors(ops, numbers[:, :4], ranges), portable.jitter_order(ops, numbers[:, 4:])
    return adjust(images, factors, order, used=[limits != augment.NO_JITTER[i] for i, limits in enumerate(ranges)])


def adjust(images: Any, factors: Any, order: Any, used: Any = (True,) * 4) -> Any:
    """`augment.adjust` with (B,4) factors and orders: each of the four in each of four places, and every picture takes its own."""
    vocabulary = portable.keras_vocabulary()
    pixels = portable.floats(ops, images)
    for place in range(4):
        result = pixels
        for kind in np.flatnonzero(used):
            changed = portable.JITTERS[kind](vocabulary, pixels, factors[:, kind])
            result = ops.where(portable.spread(order[:, place] == int(kind)), changed, result)
        pixels = result
    return portable.finish(ops, pixels, images)


def pca_noise(
    images: Any,
    seed: int,
    strength: float = 0.1,
    eigenvalues: Any = augment.IMAGENET_EIGENVALUES,
    eigenvectors: Any = augment.IMAGENET_EIGENVECTORS,
) -> Any:
    augment.check_pca(images, strength, eigenvalues, eigenvectors)
    return portable.pca_noise(ops, images, _uniform(images, seed, 3), strength, eigenvalues, eigenvectors)


def rand_augment(images: Any, seed: int, count: int = 2, magnitude: float = 9, fill: int = 128) -> Any:
    augment.check_rand_augment(count, magnitude)
    numbers = _uniform(images, seed, 2 * count)
    pixels = portable.floats(ops, images)
    for step in range(count):
        operations, signs = _rand_augment.choice(ops, numbers[:, 2 * step : 2 * step + 2])
        strengths = signs * (magnitude / _rand_augment.MAGNITUDES)
        pixels = _rand_augment.on_batch(portable.keras_vocabulary(), pixels, operations, strengths, fill)
    return portable.finish(ops, pixels, images)


def trivial_augment(images: Any, seed: int, fill: int = 128) -> Any:
    numbers = _uniform(images, seed, 3)
    operations, signs = _rand_augment.choice(ops, numbers)
    strengths = signs * ops.floor(numbers[:, 2] * (_rand_augment.MAGNITUDES + 1)) / _rand_augment.MAGNITUDES
    vocabulary = portable.keras_vocabulary()
    pixels = _rand_augment.on_batch(vocabulary, portable.floats(ops, images), operations, strengths, fill, _rand_augment.WIDE)
    return portable.finish(ops, pixels, images)


def stroke_width(images: Any, seed: int, thinner: float = 0.5, thicker: float = 1.0) -> Any:
    augment.check_strokes(thinner, thicker)
    return portable.stroke_width(portable.keras_vocabulary(), images, _uniform(images, seed, 1), thinner, thicker)


def mixup(images: Any, targets: Any, seed: int, alpha: float = 0.2) -> tuple[Any, Any]:
    mixing.check_alpha(alpha)
    return portable.mix(ops, images, targets, keras.random.beta((len(images),), alpha, alpha, seed=seed))


def cutmix(images: Any, targets: Any, seed: int, alpha: float = 1.0) -> tuple[Any, Any]:
    mixing.check_alpha(alpha)
    share = keras.random.beta((len(images),), alpha, alpha, seed=seed)
    return portable.paste(ops, images, targets, share, _uniform(images, seed + 1, 2))


def mixup_or_cutmix(
    images: Any, targets: Any, seed: int, mixup_alpha: float = 0.8, cutmix_alpha: float = 1.0, cutmix_share: float = 0.5, rate: float = 1.0
) -> tuple[Any, Any]:
    augment.check_share("cutmix_share", cutmix_share)
    augment.check_share("rate", rate)
    mixed, pasted = mixup(images, targets, seed + 2, mixup_alpha), cutmix(images, targets, seed + 3, cutmix_alpha)
    return mixing.choose(ops, _uniform(images, seed, 2), (images, targets), mixed, pasted, cutmix_share, rate)


def twin_of(function: Callable) -> Callable:
    """The batch twin of a function of `augment` or `mixing`, with the settings of a partial.

    ValueError for a function of the user's: a batch function of the same name must be given in its place.
    """
    inner = function.func if isinstance(function, partial) else function
    module, name = inner.__module__, inner.__name__
    if module == __name__:
        return function
    if module not in (augment.__name__, mixing.__name__) or name not in globals():
        raise ValueError(
            "without TensorFlow a recipe augments with the functions of kerasdl.data.augment, kerasdl.data.mixing and "
            f"kerasdl.data.batch_augment. Received: {module}.{name}"
        )
    twin = globals()[name]
    return partial(twin, *function.args, **function.keywords) if isinstance(function, partial) else twin


def _uniform(images: Any, seed: int, numbers: int) -> Any:
    return keras.random.uniform((len(images), numbers), seed=seed)
