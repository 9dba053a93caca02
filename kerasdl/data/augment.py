"""Augmentation as functions `(image, seed) -> image` of one picture, inside the tf.data pipeline and nowhere else.

`image` is (H,W,C) uint8 or float32 on 0..255 and keeps shape and dtype; `seed` is an int64 pair, the only source of chance.
A recipe lists them as `augment=(partial(pad_crop, pad=4), flip)`. A function that has parameters `index` or `epoch` is given the
number of the example in its split and the number of the pass. `batch_augment` has the same names for batches without TensorFlow.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from kerasdl.data import portable
from kerasdl.data import rand_augment as _rand_augment
from kerasdl.data.portable import Fill

# Of ImageNet's RGB on 0..1 (facebookarchive/fb.resnet.torch: datasets/imagenet.lua).
IMAGENET_EIGENVALUES = (0.2175, 0.0188, 0.0045)
IMAGENET_EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


def flip(image: Any, seed: Any) -> Any:
    """Left and right exchanged with probability one half."""
    import tensorflow as tf

    return tf.where(tf.random.stateless_uniform((), seed) < 0.5, tf.reverse(image, [1]), image)


def alternating_flip(image: Any, seed: Any, index: Any, epoch: Any, key: int = 42) -> Any:
    """A random half of the examples flipped in the first pass, then each in every other pass (Jordan 2024, arXiv:2404.00498).

    Two passes in a row show every picture both ways, where independent coins show a quarter of them twice the same way round.
    The half is a function of `index` and `key` alone, as in the paper.
    """
    return portable.alternating_flip(portable.tensorflow_vocabulary(), image, index, epoch, key)


def pad_crop(image: Any, seed: Any, pad: int = 4, mode: Literal["CONSTANT", "REFLECT"] = "CONSTANT") -> Any:
    """`pad` pixels on every side (zeros, or "REFLECT"), then a window of the old size at a random place (He et al. 2015, section 4.2)."""
    import tensorflow as tf

    height, width, channels = image.shape
    padded = tf.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode=mode)
    corner = tf.random.stateless_uniform((2,), seed, maxval=2 * pad + 1, dtype=tf.int32)
    return tf.slice(padded, [corner[0], corner[1], 0], [height, width, channels])


def random_resized_crop(
    image: Any,
    seed: Any,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    size: tuple[int, int] | None = None,
) -> Any:
    """The Inception crop (Szegedy et al. 2014, arXiv:1409.4842): a window of random area and shape, resampled to the old size.

    Args:
        scale: limits of the window's share of the area.
        ratio: limits of width / height, uniform in the logarithm; only those are drawn whose window fits.
        size: (height, width) of the result in place of the picture's own.
    """
    check_range("scale", scale, 0, 1)
    check_range("ratio", ratio)
    return _one(portable.random_resized_crop, image, seed, 4, scale=scale, ratio=ratio, size=size)


def rotate(image: Any, seed: Any, degrees: float = 15.0, fill: Fill = 0) -> Any:
    """Turned about its centre by up to `degrees` either way; what comes from outside is `fill`, or "reflect" mirrors the picture."""
    return random_affine(image, seed, degrees=degrees, fill=fill)


def shear(image: Any, seed: Any, amount: float = 0.1, fill: Fill = 0) -> Any:
    """Each axis slanted by up to `amount` pixels a pixel, either way."""
    return random_affine(image, seed, shear=amount, fill=fill)


def stretch(image: Any, seed: Any, limits: tuple[float, float] = (0.9, 1.1), fill: Fill = 0) -> Any:
    """Each axis scaled by a factor between `limits`, uniform in the logarithm."""
    return random_affine(image, seed, stretch=limits, fill=fill)


def translate(image: Any, seed: Any, share: float = 0.1, fill: Fill = 0) -> Any:
    """Moved by up to `share` of the side in each axis, either way, also by parts of a pixel."""
    return random_affine(image, seed, translate=share, fill=fill)


def random_affine(
    image: Any,
    seed: Any,
    degrees: float = 0.0,
    shear: float = 0.0,
    stretch: tuple[float, float] = (1.0, 1.0),
    translate: float = 0.0,
    fill: Fill = 0,
) -> Any:
    """`rotate`, `shear`, `stretch` and `translate` with one bilinear resampling, which blurs less than one after the other."""
    check_affine(degrees, shear, stretch, translate, fill)
    return _one(portable.random_affine, image, seed, 7, degrees=degrees, shear=shear, stretch=stretch, translate=translate, fill=fill)


def affine(image: Any, matrix: Any, fill: Fill = 0) -> Any:
    """Each pixel (x, y), counted from the picture's centre, read bilinearly at (ax + by + c, dx + ey + f); `matrix` is a..f."""
    import tensorflow as tf

    return portable.affine(portable.tensorflow_vocabulary(), image, tf.cast(matrix, tf.float32), fill)


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


def random_erasing(
    image: Any,
    seed: Any,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    ratio: tuple[float, float] = (0.3, 1 / 0.3),
    fill: int | Literal["noise"] = "noise",
) -> Any:
    """With `probability` a box of random area, shape and place becomes noise or `fill` (Zhong et al. 2017, arXiv:1708.04896).

    Args:
        area: limits of the box's share of the picture.
        ratio: limits of width / height, uniform in the logarithm; only those are drawn whose box fits.
        fill: "noise" is 0..255 for each pixel and channel; else one level.
    """
    import tensorflow as tf

    check_share("probability", probability)
    check_range("area", area, 0, 1)
    check_range("ratio", ratio)
    noise = tf.random.stateless_uniform(image.shape, _fold(seed, 1)) if fill == "noise" else None
    return _one(portable.random_erasing, image, seed, 5, noise=noise, probability=probability, area=area, ratio=ratio, fill=fill)


def color_jitter(
    image: Any,
    seed: Any,
    brightness: float | tuple[float, float] = 0.0,
    contrast: float | tuple[float, float] = 0.0,
    saturation: float | tuple[float, float] = 0.0,
    hue: float | tuple[float, float] = 0.0,
) -> Any:
    """Brightness, contrast, saturation and hue changed in a random order, with torchvision's ranges.

    Args:
        brightness, contrast, saturation: a number b draws a factor from max(0, 1 - b) .. 1 + b; or the two limits.
        hue: a number h <= 0.5 turns the colours by -h .. h of the circle; or the two limits.

    A grey picture keeps saturation and hue.
    """
    import tensorflow as tf

    ops = portable.tensorflow_vocabulary()
    ranges = jitter_ranges(brightness, contrast, saturation, hue)
    numbers = tf.random.stateless_uniform((8,), seed)
    factors, order = portable.jitter_factors(ops, numbers[:4], ranges), portable.jitter_order(ops, numbers[4:])
    return adjust(image, factors, order, used=[limits != NO_JITTER[i] for i, limits in enumerate(ranges)])


def adjust(image: Any, factors: Any, order: Any, used: Any = (True,) * 4) -> Any:
    """Brightness, contrast, saturation (factors) and hue (a turn) in `order`; those not `used` are left out."""
    import tensorflow as tf

    ops = portable.tensorflow_vocabulary()
    pixels = portable.floats(ops, image)
    for place in range(4):
        branches = [
            (lambda kind=kind, now=pixels: portable.JITTERS[kind](ops, now, factors[kind])) if used[kind] else (lambda now=pixels: now)
            for kind in range(4)
        ]
        pixels = tf.ensure_shape(tf.switch_case(order[place], branches), image.shape)
    return portable.finish(ops, pixels, image)


def pca_noise(
    image: Any,
    seed: Any,
    strength: float = 0.1,
    eigenvalues: Any = IMAGENET_EIGENVALUES,
    eigenvectors: Any = IMAGENET_EIGENVECTORS,
) -> Any:
    """AlexNet's colour noise (Krizhevsky et al. 2012, section 4.1): one colour added to all pixels, along the set's own colour axes.

    Each axis (a column of `eigenvectors`) is taken `eigenvalue * normal(0, strength)` times, on the scale 0..1; `principal_colors`
    computes both from pictures, the defaults are ImageNet's.
    """
    check_pca(image, strength, eigenvalues, eigenvectors)
    return _one(portable.pca_noise, image, seed, 3, strength=strength, eigenvalues=eigenvalues, eigenvectors=eigenvectors)


def principal_colors(images: np.ndarray) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
    """Eigenvalues (largest first) and eigenvectors (columns) of the covariance of RGB on 0..1 over uint8 pictures (N,H,W,3)."""
    pixels = images.reshape(-1, images.shape[-1])
    covariance = np.zeros((pixels.shape[1],) * 2)
    mean = pixels.mean(axis=0, dtype=np.float64)
    for start in range(0, len(pixels), 1 << 20):  # a million at a time: all at once would take eight bytes a channel
        part = pixels[start : start + (1 << 20)] - mean
        covariance += part.T @ part
    values, vectors = np.linalg.eigh(covariance / len(pixels) / 255**2)
    return tuple(values[::-1].tolist()), tuple(map(tuple, vectors[:, ::-1].tolist()))


def rand_augment(image: Any, seed: Any, count: int = 2, magnitude: float = 9, fill: int = 128) -> Any:
    """`count` operations of RandAugment's 14, each drawn for this picture, at `magnitude` of 30 (table in `kerasdl.data.rand_augment`)."""
    import tensorflow as tf

    check_rand_augment(count, magnitude)
    ops = portable.tensorflow_vocabulary()
    numbers = tf.random.stateless_uniform((count, 2), seed)
    pixels = portable.floats(ops, image)
    for step in range(count):
        operation, sign = _rand_augment.choice(ops, numbers[step])
        pixels = _rand_augment.on_picture(pixels, operation, sign * (magnitude / _rand_augment.MAGNITUDES), fill)
    return portable.finish(ops, pixels, image)


def trivial_augment(image: Any, seed: Any, fill: int = 128) -> Any:
    """One of the 14 operations at a random magnitude of TrivialAugment's wide ranges (table in `kerasdl.data.rand_augment`)."""
    import tensorflow as tf

    ops = portable.tensorflow_vocabulary()
    numbers = tf.random.stateless_uniform((3,), seed)
    operation, sign = _rand_augment.choice(ops, numbers)
    strength = sign * tf.floor(numbers[2] * (_rand_augment.MAGNITUDES + 1)) / _rand_augment.MAGNITUDES
    pixels = _rand_augment.on_picture(portable.floats(ops, image), operation, strength, fill, _rand_augment.WIDE)
    return portable.finish(ops, pixels, image)


def stroke_width(image: Any, seed: Any, thinner: float = 0.5, thicker: float = 1.0) -> Any:
    """Strokes, light on black, up to `thinner` pixels eroded or `thicker` pixels dilated on each side (3x3 windows), uniformly between."""
    check_strokes(thinner, thicker)
    return _one(portable.stroke_width, image, seed, 1, thinner=thinner, thicker=thicker)


def _one(function: Any, image: Any, seed: Any, numbers: int, **settings: Any) -> Any:
    """A portable function on one picture, with so many uniform numbers."""
    import tensorflow as tf

    image = tf.convert_to_tensor(image)
    return function(portable.tensorflow_vocabulary(), image, tf.random.stateless_uniform((numbers,), seed), **settings)


def _fold(seed: Any, number: int) -> Any:
    import tensorflow as tf

    return tf.random.experimental.stateless_fold_in(seed, number)  # pyright: ignore[reportAttributeAccessIssue]


# ---- settings, checked here for pictures and batches alike

NO_JITTER = ((1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (0.0, 0.0))


def check_range(name: str, limits: Any, low: float = 0, high: float = float("inf")) -> None:
    if len(limits) != 2 or not low < limits[0] <= limits[1] <= high:
        raise ValueError(f"{name} is (smallest, largest), in ({low:g}, {high:g}]. Received: {limits}")


def check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1]. Received: {value}")


def check_affine(degrees: float, shear: float, stretch: tuple[float, float], translate: float, fill: Fill) -> None:
    if min(degrees, shear) < 0:
        raise ValueError(f"degrees and shear are the largest either way and not negative. Received: {degrees} and {shear}")
    check_range("stretch", stretch)
    check_share("translate", translate)
    if isinstance(fill, str) and fill != "reflect":
        raise ValueError(f'fill is a level of 0..255 or "reflect". Received: {fill!r}')


def jitter_ranges(*settings: float | tuple[float, float]) -> tuple[tuple[float, float], ...]:
    """The limits of the factors of brightness, contrast and saturation, and of the turn of the hue."""
    names = ("brightness", "contrast", "saturation", "hue")
    return tuple(_jitter_range(name, setting) for name, setting in zip(names, settings, strict=True))


def _jitter_range(name: str, setting: float | tuple[float, float]) -> tuple[float, float]:
    middle, low, high = (0.0, -0.5, 0.5) if name == "hue" else (1.0, 0.0, float("inf"))
    if isinstance(setting, int | float):
        if setting < 0:
            raise ValueError(f"{name} must not be negative. Received: {setting}")
        limits = (middle - setting if name == "hue" else max(0.0, middle - setting), middle + setting)
    else:
        limits = (float(setting[0]), float(setting[1]))
    if not low <= limits[0] <= limits[1] <= high:
        raise ValueError(f"{name} draws between two limits in [{low:g}, {high:g}]. Received: {setting}")
    return limits


def check_pca(image: Any, strength: float, eigenvalues: Any, eigenvectors: Any) -> None:
    if image.shape[-1] != 3:
        raise ValueError(f"pca_noise needs RGB pictures. Received: {image.shape[-1]} channels")
    if strength < 0:
        raise ValueError(f"strength must not be negative. Received: {strength}")
    if np.shape(eigenvalues) != (3,) or np.shape(eigenvectors) != (3, 3):
        shapes = f"{np.shape(eigenvalues)} and {np.shape(eigenvectors)}"
        raise ValueError(f"eigenvalues are 3 numbers, eigenvectors the 3 x 3 matrix with one in each column. Received: {shapes}")


def check_rand_augment(count: int, magnitude: float) -> None:
    if count < 1 or not 0 <= magnitude <= _rand_augment.MAGNITUDES:
        raise ValueError(f"rand_augment does at least 1 operation at a magnitude in [0, 30]. Received: {count} at {magnitude}")


def check_strokes(thinner: float, thicker: float) -> None:
    if min(thinner, thicker) < 0 or max(thinner, thicker) > 4:
        raise ValueError(f"thinner and thicker are pixels in [0, 4]. Received: {thinner} and {thicker}")
