"""The arithmetic of augmentation, written once for TensorFlow inside tf.data (one picture) and for `keras.ops` (a batch).

`ops` is one of the two vocabularies below; pictures are (...,H,W,C) and their parameters (...): () for one picture, (B,) for a batch.
Every function keeps shape and dtype, uint8 or float32 on 0..255. `u` holds the picture's random numbers, uniform on [0, 1),
along its last axis: `augment` and `batch_augment` draw them, everything after the draw is here.
"""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace
from typing import Any, Literal

Fill = int | Literal["reflect"]
GREY = (0.299, 0.587, 0.114)  # ITU-R 601, as in Pillow and torchvision


@functools.cache
def tensorflow_vocabulary() -> Any:
    """TensorFlow's operations under the names of `keras.ops`; they stay TensorFlow's whatever Keras runs on."""
    import tensorflow as tf

    def affine_transform(image: Any, transform: Any, fill_mode: str, fill_value: float) -> Any:
        moved = tf.raw_ops.ImageProjectiveTransformV3(
            images=image[None],
            transforms=transform[None],
            output_shape=image.shape[:2],
            fill_value=float(fill_value),
            interpolation="BILINEAR",
            fill_mode=fill_mode.upper(),
        )
        return tf.ensure_shape(moved[0], image.shape)

    def resample(image: Any, window: Any, size: tuple[int, int]) -> Any:
        scale = tf.cast(size, tf.float32) / window[2:]
        resampled = tf.raw_ops.ScaleAndTranslate(
            images=image[None], size=size, scale=scale, translation=-window[:2] * scale, kernel_type="triangle", antialias=True
        )
        return tf.ensure_shape(resampled[0], (*size, image.shape[-1]))

    return SimpleNamespace(
        **{name: getattr(tf, name) for name in ("abs", "cast", "concat", "cos", "exp", "floor", "maximum", "minimum", "ones_like")},
        **{name: getattr(tf, name) for name in ("pad", "reshape", "round", "sin", "sqrt", "stack", "where", "zeros_like")},
        affine_transform=affine_transform,
        arange=tf.range,
        cumsum=tf.cumsum,
        erfinv=tf.math.erfinv,
        hsv_to_rgb=tf.image.hsv_to_rgb,
        log=tf.math.log,
        max=tf.reduce_max,
        max_pool=lambda image: tf.nn.max_pool2d(image[None], 3, 1, "SAME")[0],
        mean=tf.reduce_mean,
        min=tf.reduce_min,
        resample=resample,
        rgb_to_hsv=tf.image.rgb_to_hsv,
        roll=tf.roll,
        segment_sum=tf.math.unsorted_segment_sum,
        sum=tf.reduce_sum,
        swapaxes=lambda x, a, b: tf.transpose(x, _swapped(len(x.shape), a, b)),
        take=tf.gather,
    )


@functools.cache
def keras_vocabulary() -> Any:
    """`keras.ops`, with what it keeps elsewhere or not at all."""
    from keras import ops

    def resample(images: Any, windows: Any, size: tuple[int, int]) -> Any:
        rows = _triangle_weights(windows[:, 0], windows[:, 2], images.shape[-3], size[0])  # (B,h,H)
        columns = _triangle_weights(windows[:, 1], windows[:, 3], images.shape[-2], size[1])  # (B,w,W)
        return ops.einsum("bhr,bwc,brck->bhwk", rows, columns, images)

    names = "abs arange cast cos cumsum erfinv exp floor log max maximum mean min minimum ones_like pad reshape roll round segment_sum"
    return SimpleNamespace(
        **{name: getattr(ops, name) for name in f"{names} sin sqrt stack sum swapaxes take where zeros_like".split()},
        affine_transform=lambda images, transform, fill_mode, fill_value: ops.image.affine_transform(
            images, transform, "bilinear", fill_mode, fill_value, "channels_last"
        ),
        concat=ops.concatenate,
        hsv_to_rgb=lambda images: ops.image.hsv_to_rgb(images, "channels_last"),
        max_pool=lambda images: ops.max_pool(images, 3, 1, "same", "channels_last"),
        resample=resample,
        rgb_to_hsv=lambda images: ops.image.rgb_to_hsv(images, "channels_last"),
    )


def _swapped(rank: int, a: int, b: int) -> list[int]:
    order = list(range(rank))
    order[a], order[b] = order[b], order[a]
    return order


def _triangle_weights(start: Any, length: Any, old: int, new: int) -> Any:
    """(B,new,old): bilinear weights of `new` samples over start .. start + length, widened where that is smaller (antialiased)."""
    from keras import ops

    step = length[:, None, None] / new
    centre = start[:, None, None] + (ops.arange(new, dtype="float32")[:, None] + 0.5) * step - 0.5  # (B,new,1)
    distance = ops.abs(centre - ops.arange(old, dtype="float32")) / ops.maximum(step, 1.0)
    weights = ops.maximum(1 - distance, 0.0)
    return weights / ops.sum(weights, axis=-1, keepdims=True)


# ---- small pieces


def spread(parameter: Any) -> Any:
    """(...) to (...,1,1,1), so that it meets the pictures."""
    return parameter[..., None, None, None]


def floats(ops: Any, image: Any) -> Any:
    return ops.cast(image, "float32")


def finish(ops: Any, image: Any, like: Any) -> Any:
    """Back to 0..255 and the dtype of `like`, rounded where that is an integer."""
    image = ops.minimum(ops.maximum(image, 0.0), 255.0)
    return ops.cast(ops.round(image) if _is_integer(like) else image, like.dtype)


def _is_integer(image: Any) -> bool:
    return "int" in str(getattr(image.dtype, "name", image.dtype))


def between(u: Any, low: float, high: float) -> Any:
    return low + u * (high - low)


def between_logs(ops: Any, u: Any, low: Any, high: Any) -> Any:
    """Uniform in the logarithm, so that 1/2 is as likely as 2."""
    return ops.exp(ops.log(low) + u * (ops.log(high) - ops.log(low)))


def sides(ops: Any, area: Any, u: Any, ratio: tuple[float, float], height: int, width: int) -> tuple[Any, Any]:
    """Height and width of a box of `area` (a share of the picture) and of random width / height.

    Only ratios of boxes that fit into the picture are drawn: papers draw again until the box fits, with the same ratios.
    """
    square = width / height  # of a box with the picture's own shape
    low = ops.minimum(ops.maximum(area * square, ratio[0]), ratio[1])
    high = ops.maximum(ops.minimum(square / area, ratio[1]), ratio[0])
    chosen = between_logs(ops, u, low, high)
    pixels = area * (height * width)
    return ops.minimum(ops.sqrt(pixels / chosen), float(height)), ops.minimum(ops.sqrt(pixels * chosen), float(width))


def inside(ops: Any, shape: Any, top: Any, left: Any, height: Any, width: Any) -> Any:
    """Boolean (...,H,W,1): the pixels of a box with integer corners (as float32)."""
    rows, columns = (ops.cast(ops.arange(n), "float32") for n in (shape[-3], shape[-2]))
    in_rows = (rows >= top[..., None]) & (rows < (top + height)[..., None])
    in_columns = (columns >= left[..., None]) & (columns < (left + width)[..., None])
    return (in_rows[..., :, None] & in_columns[..., None, :])[..., None]


# ---- places


def flip(ops: Any, image: Any, u: Any) -> Any:
    return ops.where(spread(u[..., 0] < 0.5), image[..., ::-1, :], image)


def alternating_flip(ops: Any, image: Any, index: Any, epoch: Any, key: int) -> Any:
    return ops.where(spread((coin(index, key) + epoch) % 2 == 1), image[..., ::-1, :], image)


def coin(index: Any, key: int) -> Any:
    """0 or 1 for each example number, always the same: two rounds of squaring modulo a prime, in int64."""
    prime = 2**31 - 1
    mixed = (index % prime + 48271 * (key + 1)) % prime
    mixed = (mixed * mixed + index % prime + 69621) % prime
    return (mixed * mixed % prime) // 8 % 2


def random_resized_crop(
    ops: Any, image: Any, u: Any, scale: tuple[float, float], ratio: tuple[float, float], size: tuple[int, int] | None
) -> Any:
    height, width = image.shape[-3], image.shape[-2]
    tall, wide = sides(ops, between(u[..., 0], *scale), u[..., 1], ratio, height, width)
    window = ops.stack([u[..., 2] * (height - tall), u[..., 3] * (width - wide), tall, wide], axis=-1)
    return crop(ops, image, window, size or (height, width))


def crop(ops: Any, image: Any, window: Any, size: tuple[int, int]) -> Any:
    """The window (top, left, height, width; fractions of pixels allowed) resampled to `size`, bilinear with antialiasing."""
    return finish(ops, ops.resample(floats(ops, image), window, tuple(size)), image)


def affine(ops: Any, image: Any, matrix: Any, fill: Fill) -> Any:
    """Each pixel (x, y), counted from the picture's centre, is read at (ax + by + c, dx + ey + f); `matrix` (...,6) is a..f."""
    a, b, c, d, e, f = (matrix[..., i] for i in range(6))
    x, y = (image.shape[-2] - 1) / 2, (image.shape[-3] - 1) / 2
    zero = ops.zeros_like(a)
    transform = ops.stack([a, b, c + x - a * x - b * y, d, e, f + y - d * x - e * y, zero, zero], axis=-1)
    mode, value = ("reflect", 0.0) if fill == "reflect" else ("constant", float(fill))
    return finish(ops, ops.affine_transform(floats(ops, image), transform, mode, value), image)


def distortion(ops: Any, angle: Any, shear: tuple[Any, Any], stretch: tuple[Any, Any], shift: tuple[Any, Any]) -> Any:
    """The matrix of `affine`: stretched and sheared, turned (radians, anticlockwise), then moved by `shift` pixels (x, y)."""
    c, s = ops.cos(angle), ops.sin(angle)
    (kx, ky), (sx, sy) = shear, stretch
    a, b, d, e = (c - s * ky) / sx, (c * kx - s) / sy, (s + c * ky) / sx, (s * kx + c) / sy
    return ops.stack([a, b, -a * shift[0] - b * shift[1], d, e, -d * shift[0] - e * shift[1]], axis=-1)


def random_affine(
    ops: Any, image: Any, u: Any, degrees: float, shear: float, stretch: tuple[float, float], translate: float, fill: Fill
) -> Any:
    signed = 2 * u - 1
    matrix = distortion(
        ops,
        signed[..., 0] * math.radians(degrees),
        (signed[..., 1] * shear, signed[..., 2] * shear),
        (_stretch(ops, u[..., 3], stretch), _stretch(ops, u[..., 4], stretch)),
        (signed[..., 5] * (translate * image.shape[-2]), signed[..., 6] * (translate * image.shape[-3])),
    )
    return affine(ops, image, matrix, fill)


def _stretch(ops: Any, u: Any, limits: tuple[float, float]) -> Any:
    return ops.exp(between(u, math.log(limits[0]), math.log(limits[1])))


# ---- boxes


def cutout(ops: Any, image: Any, u: Any, size: int, fill: int) -> Any:
    top = ops.floor(u[..., 0] * image.shape[-3]) - size // 2
    left = ops.floor(u[..., 1] * image.shape[-2]) - size // 2
    side = ops.ones_like(top) * size
    return ops.where(inside(ops, image.shape, top, left, side, side), ops.cast(fill, image.dtype), image)


def random_erasing(
    ops: Any,
    image: Any,
    u: Any,
    noise: Any,
    probability: float,
    area: tuple[float, float],
    ratio: tuple[float, float],
    fill: int | Literal["noise"],
) -> Any:
    """`noise` is uniform on [0, 1) with the picture's shape; None with a number as `fill`."""
    height, width = image.shape[-3], image.shape[-2]
    tall, wide = sides(ops, between(u[..., 0], *area), u[..., 1], ratio, height, width)
    tall, wide = ops.maximum(ops.round(tall), 1.0), ops.maximum(ops.round(wide), 1.0)
    top, left = ops.floor(u[..., 2] * (height + 1 - tall)), ops.floor(u[..., 3] * (width + 1 - wide))
    box = inside(ops, image.shape, top, left, tall, wide) & spread(u[..., 4] < probability)
    filling = ops.cast(ops.floor(noise * 256) if fill == "noise" else fill, image.dtype)
    return ops.where(box, filling, image)


# ---- colours


def grey(image: Any) -> Any:
    """(...,H,W,1): brightness as the eye weighs the channels."""
    if image.shape[-1] == 1:
        return image
    return sum(weight * image[..., i : i + 1] for i, weight in enumerate(GREY))


def blend(ops: Any, image: Any, degenerate: Any, factor: Any) -> Any:
    """Factor 0 gives `degenerate`, 1 the picture, above 1 more than the picture, cut off at 0 and 255."""
    return ops.minimum(ops.maximum(degenerate + spread(factor) * (image - degenerate), 0.0), 255.0)


def brightness(ops: Any, image: Any, factor: Any) -> Any:
    return blend(ops, image, 0.0, factor)


def contrast(ops: Any, image: Any, factor: Any) -> Any:
    return blend(ops, image, ops.mean(grey(image), axis=(-3, -2, -1), keepdims=True), factor)


def saturation(ops: Any, image: Any, factor: Any) -> Any:
    return blend(ops, image, grey(image), factor)


def hue(ops: Any, image: Any, turn: Any) -> Any:
    """`turn` is a share of the colour circle; a grey picture has no hue."""
    if image.shape[-1] == 1:
        return image
    hsv = ops.rgb_to_hsv(image / 255)
    turned = (hsv[..., 0:1] + spread(turn)) % 1.0
    return 255 * ops.hsv_to_rgb(ops.concat([turned, hsv[..., 1:]], axis=-1))


def sharpness(ops: Any, image: Any, factor: Any) -> Any:
    return blend(ops, image, smooth(ops, image), factor)


def smooth(ops: Any, image: Any) -> Any:
    """Pillow's SMOOTH: 1 1 1, 1 5 1, 1 1 1 over 13; the pixels of the border stay."""
    height, width = image.shape[-3], image.shape[-2]
    padded = ops.pad(image, [(0, 0)] * (len(image.shape) - 3) + [(1, 1), (1, 1), (0, 0)])
    around = sum(padded[..., r : r + height, c : c + width, :] for r in range(3) for c in range(3))
    one = ops.zeros_like(image[..., 0, 0, 0]) + 1
    return ops.where(inside(ops, image.shape, one, one, one * (height - 2), one * (width - 2)), (around + 4 * image) / 13, image)


def autocontrast(ops: Any, image: Any) -> Any:
    low, high = (reduce(image, axis=(-3, -2), keepdims=True) for reduce in (ops.min, ops.max))
    return ops.where(high > low, (image - low) * (255 / ops.maximum(high - low, 1e-3)), image)


def equalize(ops: Any, image: Any) -> Any:
    """Levels spread so that each is about as frequent as any other, channel by channel, by Pillow's table."""
    shape = tuple(image.shape)
    pixels = shape[-3] * shape[-2]
    channels = ops.reshape(ops.swapaxes(ops.reshape(image, (-1, pixels, shape[-1])), 1, 2), (-1, pixels))  # (B*C, H*W)
    levels = ops.cast(ops.round(channels), "int32")
    rows = math.prod(shape) // pixels
    places = levels + 256 * ops.arange(rows)[:, None]
    counts = ops.segment_sum(ops.reshape(ops.ones_like(places), (-1,)), ops.reshape(places, (-1,)), rows * 256)
    counts = ops.reshape(counts, (rows, 256))
    brightest = ops.take(ops.reshape(counts, (-1,)), ops.max(places, axis=1))
    step = ((pixels - brightest) // 255)[:, None]
    table = (step // 2 + ops.cumsum(counts, axis=1) - counts) // ops.maximum(step, 1)
    table = ops.where(step > 0, ops.minimum(table, 255), ops.arange(256)[None])
    spread_out = ops.reshape(ops.take(ops.reshape(table, (-1,)), places), (-1, shape[-1], pixels))
    return ops.cast(ops.reshape(ops.swapaxes(spread_out, 1, 2), shape), "float32")


def posterize(ops: Any, image: Any, bits: Any) -> Any:
    """Only the upper `bits` of eight remain."""
    level = spread(ops.exp(ops.cast(8 - bits, "float32") * math.log(2.0)))
    level = ops.round(level)
    return ops.floor(ops.floor(image) / level) * level


def solarize(ops: Any, image: Any, threshold: Any) -> Any:
    """Levels from `threshold` on are inverted."""
    return ops.where(image < spread(threshold), image, 255 - image)


JITTERS = (brightness, contrast, saturation, hue)


def jitter_factors(ops: Any, u: Any, ranges: tuple[tuple[float, float], ...]) -> Any:
    """(...,4) factors of brightness, contrast and saturation, and the turn of the hue."""
    return ops.stack([between(u[..., i], *limits) for i, limits in enumerate(ranges)], axis=-1)


def jitter_order(ops: Any, u: Any) -> Any:
    """(...,4) integers: which of the four comes first, second ... One of 24 orders, the ranks of four uniform numbers."""
    numbers = [u[..., i] for i in range(4)]
    ranks = [sum(ops.cast(other < mine, "int32") for other in numbers if other is not mine) for mine in numbers]
    return ops.stack(
        [sum(ops.cast(ranks[kind] == place, "int32") * kind for kind in range(4)) for place in range(4)],
        axis=-1,
    )


def pca_noise(ops: Any, image: Any, u: Any, strength: float, eigenvalues: Any, eigenvectors: Any) -> Any:
    normal = math.sqrt(2) * ops.erfinv(2 * ops.maximum(u, 1e-6) - 1)
    shift = sum(
        (normal[..., i] * (strength * value))[..., None] * ops.cast([row[i] for row in eigenvectors], "float32")
        for i, value in enumerate(eigenvalues)
    )
    return finish(ops, floats(ops, image) + 255 * shift[..., None, None, :], image)  # pyright: ignore[reportIndexIssue]


# ---- strokes


def stroke_width(ops: Any, image: Any, u: Any, thinner: float, thicker: float) -> Any:
    """Dilated or eroded by up to so many pixels a side; a part of a pixel is that share of the next step."""
    amount = between(u[..., 0], -thinner, thicker)
    pixels = floats(ops, image)
    for step in range(math.ceil(max(thinner, thicker))):
        share = spread(ops.minimum(ops.maximum(ops.abs(amount) - step, 0.0), 1.0))
        grown = ops.where(spread(amount > 0), ops.max_pool(pixels), -ops.max_pool(-pixels))
        pixels = pixels + share * (grown - pixels)
    return finish(ops, pixels, image)


# ---- mixing


def mix(ops: Any, images: Any, targets: Any, share: Any) -> tuple[Any, Any]:
    """`share` (B,) of each example, the rest of its neighbour in the batch, which the shuffled order makes a random one."""
    partner, partner_targets = ops.roll(images, 1, axis=0), ops.roll(targets, 1, axis=0)
    kept = spread(share)
    return partner + kept * (images - partner), partner_targets + share[:, None] * (targets - partner_targets)


def paste(ops: Any, images: Any, targets: Any, share: Any, u: Any) -> tuple[Any, Any]:
    """A box of the neighbour with about `1 - share` of the area and the picture's shape; targets by the exact area."""
    height, width = images.shape[-3], images.shape[-2]
    side = ops.sqrt(1 - share)
    middle_row, middle_column = ops.floor(u[..., 0] * height), ops.floor(u[..., 1] * width)
    top, bottom = _cut(ops, middle_row, side, height)
    left, right = _cut(ops, middle_column, side, width)
    box = inside(ops, images.shape, top, left, bottom - top, right - left)
    kept = 1 - (bottom - top) * (right - left) / (height * width)
    partner_targets = ops.roll(targets, 1, axis=0)
    mixed = ops.where(box, ops.roll(images, 1, axis=0), images)
    return mixed, partner_targets + kept[:, None] * (targets - partner_targets)


def _cut(ops: Any, middle: Any, side: Any, length: int) -> tuple[Any, Any]:
    extent = ops.floor(side * length)
    low = ops.maximum(middle - ops.floor(extent / 2), 0.0)
    return low, ops.maximum(ops.minimum(middle - ops.floor(extent / 2) + extent, float(length)), low)
