"""Augmentation: what each function does, against Pillow and hand-worked arrays; the same eagerly, in tf.data and in keras.ops."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from kerasdl.data import augment, batch_augment, mixing, portable, rand_augment
from kerasdl.data.batch_augment import twin_of
from kerasdl.data.pipeline import training_batches
from kerasdl.data.splits import ArraySplit

ROOT = Path(__file__).parents[2]
TF, OPS = portable.tensorflow_vocabulary(), portable.keras_vocabulary()
JITTER = partial(augment.color_jitter, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
FUNCTIONS = [
    augment.flip,
    augment.pad_crop,
    augment.random_resized_crop,
    augment.rotate,
    partial(augment.random_affine, degrees=10, shear=0.1, stretch=(0.8, 1.2), translate=0.1, fill="reflect"),
    augment.shear,
    augment.stretch,
    augment.translate,
    partial(augment.cutout, size=4),
    augment.random_erasing,
    JITTER,
    augment.pca_noise,
    augment.rand_augment,
    augment.trivial_augment,
    augment.stroke_width,
]


def name_of(function):
    return getattr(function, "func", function).__name__


def picture(height=12, width=10, channels=3, seed=0):
    """Smooth, so that one level more or less of a position stays one level more or less of a colour."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, channels), dtype=np.uint8)
    planes = [Image.fromarray(small[..., c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(channels)]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def seeds(count):
    return np.stack([np.full(count, 3), np.arange(count)], axis=1).astype(np.int64)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("function", FUNCTIONS, ids=name_of)
def test_eager_and_mapped_agree_keep_shape_and_dtype_and_differ_by_sample(function, dtype):
    image = tf.constant(picture().astype(dtype))
    eager = np.stack([function(image, seed).numpy() for seed in seeds(16)])
    stream = tf.data.Dataset.from_tensor_slices(seeds(16)).map(lambda seed: function(image, seed))
    spec: Any = stream.element_spec
    assert spec.shape == image.shape and spec.dtype == image.dtype
    np.testing.assert_allclose(np.stack(list(stream.as_numpy_iterator())), eager, atol=1e-3)
    assert len({x.tobytes() for x in eager}) >= 2 and eager.min() >= 0 and eager.max() <= 255


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if name_of(f) != "pca_noise"], ids=name_of)
def test_grey_pictures_and_their_twins_work(function):
    image = picture(channels=1)
    assert function(tf.constant(image), seeds(1)[0]).shape == image.shape
    batch = np.stack([image] * 12)
    twin = np.asarray(twin_of(function)(batch, 5))
    assert twin.shape == batch.shape and twin.dtype == np.uint8
    np.testing.assert_array_equal(twin, np.asarray(twin_of(function)(batch, 5)))
    assert len({x.tobytes() for x in twin}) >= 2 or name_of(function) == "color_jitter"


AFFINE = {"degrees": 20, "shear": 0.2, "stretch": (0.8, 1.2), "translate": 0.1}
PORTABLE = [
    (portable.flip, 1, {}),
    (portable.random_resized_crop, 4, {"scale": (0.1, 1.0), "ratio": (0.7, 1.4), "size": None}),
    (portable.random_resized_crop, 4, {"scale": (0.5, 1.0), "ratio": (0.7, 1.4), "size": (5, 4)}),
    (portable.random_affine, 7, {**AFFINE, "fill": 7}),
    (portable.random_affine, 7, {**AFFINE, "fill": "reflect"}),
    (portable.cutout, 2, {"size": 5, "fill": 9}),
    (portable.random_erasing, 5, {"noise": None, "probability": 0.7, "area": (0.1, 0.4), "ratio": (0.3, 3.3), "fill": 200}),
    (portable.pca_noise, 3, {"strength": 0.1, "eigenvalues": augment.IMAGENET_EIGENVALUES, "eigenvectors": augment.IMAGENET_EIGENVECTORS}),
    (portable.stroke_width, 1, {"thinner": 1.5, "thicker": 1.5}),
]


@pytest.mark.parametrize(("function", "numbers", "settings"), PORTABLE, ids=lambda x: getattr(x, "__name__", ""))
def test_equal_draws_give_equal_pictures_in_tf_data_and_in_keras_ops(function, numbers, settings):
    images = np.stack([picture(seed=n) for n in range(8)])
    u = np.random.default_rng(1).random((8, numbers), dtype=np.float32)
    one_by_one = np.stack([function(TF, tf.constant(x), tf.constant(v), **settings).numpy() for x, v in zip(images, u, strict=True)])
    at_once = np.asarray(function(OPS, keras.ops.convert_to_tensor(images), keras.ops.convert_to_tensor(u), **settings))
    assert np.abs(one_by_one.astype(int) - at_once).max() <= 1


def test_equal_factors_jitter_alike_in_tf_data_and_in_keras_ops():
    images = np.stack([picture(seed=n) for n in range(8)])
    u = np.random.default_rng(1).random((8, 8), dtype=np.float32)
    ranges = augment.jitter_ranges(0.4, 0.4, 0.4, 0.2)
    factors, order = portable.jitter_factors(TF, tf.constant(u[:, :4]), ranges), portable.jitter_order(TF, tf.constant(u[:, 4:]))
    np.testing.assert_array_equal(order, np.argsort(u[:, 4:], axis=1))
    alone = np.stack([augment.adjust(tf.constant(x), f, o).numpy() for x, f, o in zip(images, factors, order, strict=True)])
    at_once = np.asarray(batch_augment.adjust(images, keras.ops.convert_to_tensor(factors.numpy()), order.numpy()))
    assert np.abs(alone.astype(int) - at_once).max() <= 1


def test_each_operation_of_rand_augment_is_the_same_in_tf_data_and_in_keras_ops():
    images = np.stack([picture(seed=n) for n in range(14)]).astype(np.float32)
    strengths = np.linspace(-1, 1, 14, dtype=np.float32)
    numbers = np.arange(14, dtype=np.int32)
    alone = [
        rand_augment.on_picture(tf.constant(x), tf.constant(n), tf.constant(s), 128).numpy()
        for x, n, s in zip(images, numbers, strengths, strict=True)
    ]
    at_once = rand_augment.on_batch(OPS, *map(keras.ops.convert_to_tensor, (images, numbers, strengths)), fill=128)
    np.testing.assert_allclose(np.stack(alone), np.asarray(at_once), atol=1e-2)


@pytest.mark.slow
def test_the_twins_are_the_same_on_jax_too():
    chosen = "equal_draws or jitter_alike or same_in_tf_data"
    command = [sys.executable, "-m", "pytest", "-q", __file__, "-k", chosen]
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0 and "11 passed" in done.stdout, done.stdout[-3000:]


# ---- independent truths


def close(ours, theirs, levels=1):
    assert np.abs(np.round(np.asarray(ours)).astype(int) - np.asarray(theirs).astype(int)).max() <= levels


def test_pad_crop_is_a_window_of_the_padded_picture():
    image = np.arange(1, 26, dtype=np.uint8).reshape(5, 5, 1)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
    windows = {padded[r : r + 5, c : c + 5].tobytes() for r in range(5) for c in range(5)}
    drawn = {augment.pad_crop(tf.constant(image), np.array([1, n]), pad=2).numpy().tobytes() for n in range(200)}
    assert drawn == windows


def test_cutout_fills_every_square_whose_centre_lies_in_the_picture():
    seen = set()
    for n in range(300):
        filled = augment.cutout(tf.zeros((4, 5, 1), tf.uint8), np.array([1, n]), size=2, fill=7).numpy()[..., 0]
        rows, columns = np.nonzero(filled == 7)
        assert set(np.unique(filled)) == {0, 7}
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)  # one full rectangle
        seen.add((rows.min(), columns.min(), len(rows)))
    whole = {(top, left, 4) for top in range(3) for left in range(4)}
    assert whole <= seen and {size for *_, size in seen} == {1, 2, 4}  # a corner, an edge, the whole square


def test_enhancements_equal_pillow():
    image = picture(20, 16)
    pil, x, factor = Image.fromarray(image), tf.constant(image, tf.float32), tf.constant(1.7)
    close(portable.brightness(TF, x, factor), ImageEnhance.Brightness(pil).enhance(1.7))
    close(portable.contrast(TF, x, factor), ImageEnhance.Contrast(pil).enhance(1.7))
    close(portable.saturation(TF, x, factor), ImageEnhance.Color(pil).enhance(1.7))
    close(portable.sharpness(TF, x, factor), ImageEnhance.Sharpness(pil).enhance(1.7), levels=2)  # Pillow rounds the smooth picture


def test_tables_of_levels_equal_pillow():
    image = np.random.default_rng(0).normal(90, 30, (40, 30, 3)).clip(3, 250).astype(np.uint8)
    pil, x = Image.fromarray(image), tf.constant(image, tf.float32)
    np.testing.assert_array_equal(portable.equalize(TF, x), np.asarray(ImageOps.equalize(pil)))
    close(portable.autocontrast(TF, x), ImageOps.autocontrast(pil))
    np.testing.assert_array_equal(portable.posterize(TF, x, tf.constant(3)), np.asarray(ImageOps.posterize(pil, 3)))
    np.testing.assert_array_equal(portable.solarize(TF, x, tf.constant(100.0)), np.asarray(ImageOps.solarize(pil, 100)))


def test_a_picture_of_one_level_stays_under_equalize_and_autocontrast():
    flat = tf.fill((6, 5, 3), 77.0)
    np.testing.assert_array_equal(portable.equalize(TF, flat), flat)
    np.testing.assert_array_equal(portable.autocontrast(TF, flat), flat)


def test_a_third_of_the_hue_circle_makes_red_green():
    red = tf.constant([[[255.0, 0, 0]]])
    np.testing.assert_allclose(portable.hue(TF, red, tf.constant(1 / 3)), [[[0, 255, 0]]], atol=1e-2)


def test_a_rotation_equals_pillow_inside_the_picture():
    image = picture(31, 31)
    zero, one = tf.constant(0.0), tf.constant(1.0)
    matrix = portable.distortion(TF, tf.constant(np.float32(np.radians(20))), (zero, zero), (one, one), (zero, zero))
    theirs = np.asarray(Image.fromarray(image).rotate(20, Image.Resampling.BILINEAR))
    close(augment.affine(tf.constant(image), matrix)[6:-6, 6:-6], theirs[6:-6, 6:-6])


def test_affine_moves_and_mirrors_as_its_matrix_says():
    image = tf.constant(np.arange(1, 10, dtype=np.uint8).reshape(3, 3, 1))
    right = augment.affine(image, (1, 0, -1, 0, 1, 0), fill=0).numpy()[..., 0]
    assert right.tolist() == [[0, 1, 2], [0, 4, 5], [0, 7, 8]]
    mirrored = augment.affine(image, (1, 0, -1, 0, 1, 0), fill="reflect").numpy()[..., 0]
    assert mirrored.tolist() == [[1, 1, 2], [4, 4, 5], [7, 7, 8]]


def test_crop_resamples_a_window_as_pillow_does():
    image = picture(40, 30)
    for top, left, height, width, size in ((3, 5, 20, 10, (40, 30)), (0, 0, 40, 30, (9, 7)), (10.5, 4.25, 17.5, 20, (12, 12))):
        box = (left, top, left + width, top + height)
        theirs = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box)
        close(portable.crop(TF, tf.constant(image), tf.constant([top, left, height, width], tf.float32), size), theirs)


def test_crops_have_the_area_and_the_shape_that_were_asked_for():
    u = tf.constant(np.random.default_rng(0).random((4000, 2), dtype=np.float32))
    area = portable.between(u[:, 0], 0.08, 1.0)
    tall, wide = (x.numpy() for x in portable.sides(TF, area, u[:, 1], (3 / 4, 4 / 3), 30, 40))
    np.testing.assert_allclose(tall * wide / 1200, area, rtol=1e-4)
    assert tall.max() <= 30 and wide.max() <= 40 and (wide / tall).min() >= 0.749 and (wide / tall).max() <= 1.334
    assert (wide / tall < 0.8).any() and (wide / tall > 1.25).any()


def test_erasing_fills_one_box_within_the_limits_as_often_as_it_should():
    image, shares = tf.zeros((20, 20, 1), tf.uint8), []
    erase = tf.function(lambda s: augment.random_erasing(image, s, probability=0.5, area=(0.1, 0.3), fill=9))
    for seed in seeds(200):
        rows, columns, _ = np.nonzero(erase(tf.constant(seed)).numpy())
        if len(rows):
            assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
            shares.append(len(rows) / 400)
    assert 70 <= len(shares) <= 130  # 200 halves: 4 standard deviations are 28
    assert min(shares) > 0.08 and max(shares) < 0.33


def test_colour_noise_is_one_colour_along_the_axes():
    values, vectors = augment.principal_colors(np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8))
    assert values[0] >= values[1] >= values[2] > 0
    np.testing.assert_allclose(np.transpose(vectors) @ vectors, np.eye(3), atol=1e-9)
    image = tf.fill((4, 4, 3), 128.0)
    shifts = np.stack([augment.pca_noise(image, seed).numpy() - 128 for seed in seeds(300)])
    assert np.ptp(shifts, axis=(1, 2)).max() == 0
    along = shifts[:, 0, 0] @ np.array(augment.IMAGENET_EIGENVECTORS) / 255 / augment.IMAGENET_EIGENVALUES
    np.testing.assert_allclose(along.std(axis=0), 0.1, rtol=0.2)


def test_principal_colours_equal_numpy():
    images = picture(30, 30).reshape(1, 30, 30, 3)
    values, _ = augment.principal_colors(images)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(np.cov(images.reshape(-1, 3).T / 255, bias=True))[::-1], rtol=1e-6)


def test_strokes_grow_and_shrink_by_whole_and_half_pixels():
    line = np.zeros((7, 7, 1), np.uint8)
    line[:, 3] = 200
    width = lambda u: portable.stroke_width(TF, tf.constant(line), tf.constant([u]), 1.0, 1.0).numpy()[3, :, 0].tolist()  # noqa: E731
    assert width(0.5) == [0, 0, 0, 200, 0, 0, 0]
    assert width(0.75) == [0, 0, 100, 200, 100, 0, 0]
    assert width(1.0) == [0, 0, 200, 200, 200, 0, 0]
    assert width(0.25) == [0, 0, 0, 100, 0, 0, 0]


def test_rand_augment_reaches_the_papers_ranges_at_magnitude_30():
    x = tf.constant(picture(331, 331), tf.float32)
    move = lambda name, s: rand_augment.apply(TF, x, name, tf.constant(s), 128).numpy()  # noqa: E731
    np.testing.assert_allclose(move("translate_x", 1.0)[:, 150:], x[:, :-150], atol=1e-2)
    np.testing.assert_allclose(move("translate_y", -1.0)[:-150], x[150:], atol=1e-2)
    turned = Image.fromarray(x.numpy().astype(np.uint8)).rotate(30, Image.Resampling.BILINEAR)
    close(move("rotate", 1.0)[80:-80, 80:-80], np.asarray(turned)[80:-80, 80:-80])
    assert set(np.unique(move("posterize", 1.0))) <= set(range(0, 256, 16))
    np.testing.assert_array_equal(move("solarize", 1.0), 255 - x)
    np.testing.assert_allclose(move("brightness", -1.0), 0.1 * x, rtol=1e-5)
    sheared = move("shear_x", 1.0)
    np.testing.assert_allclose(sheared[175, :-3], x[175, 3:], atol=3)  # 10 rows below the middle: 0.3 * 10 pixels
    for name in rand_augment.OPERATIONS:
        if name not in ("autocontrast", "equalize", "solarize"):
            np.testing.assert_allclose(move(name, 0.0), np.floor(x) if name == "posterize" else x, atol=1e-2)
    np.testing.assert_array_equal(move("solarize", 0.0), x)


def test_rand_augment_draws_every_operation_equally():
    u = tf.constant(np.random.default_rng(0).random((14000, 2), dtype=np.float32))
    numbers, signs = rand_augment.choice(TF, u)
    counts = np.bincount(numbers, minlength=14)
    assert len(rand_augment.OPERATIONS) == 14 and counts.min() > 850 and counts.max() < 1150 and abs(signs.numpy().mean()) < 0.04


def test_alternating_flip_shows_each_picture_both_ways_in_two_passes():
    image = np.arange(4, dtype=np.uint8).reshape(1, 4, 1) + np.zeros((2, 1, 1), np.uint8)
    split = ArraySplit({"image": np.stack([image] * 40), "label": np.arange(40)})
    flipped = np.zeros((4, 40), int)
    batches = training_batches(split, 40, 3, (augment.alternating_flip,))
    for epoch, (inputs, targets) in zip(range(4), batches, strict=False):
        flipped[epoch, targets["logits"]] = inputs["image"].numpy()[:, 0, 0, 0] == 3
    assert 10 <= flipped[0].sum() <= 30
    np.testing.assert_array_equal(flipped[1], 1 - flipped[0])
    np.testing.assert_array_equal(flipped[2:], flipped[:2])
    twin = batch_augment.alternating_flip(split.fields["image"], 0, index=np.arange(40), epoch=np.zeros(40, int))
    np.testing.assert_array_equal(np.asarray(twin)[:, 0, 0, 0] == 3, flipped[0])


def test_the_coin_of_an_example_is_fair_and_follows_no_pattern():
    coins = portable.coin(np.arange(50000), 42)
    assert abs(coins.mean() - 0.5) < 0.01 and set(coins) == {0, 1}
    for lag in (1, 2, 10, 256):
        assert abs((coins[lag:] == coins[:-lag]).mean() - 0.5) < 0.015


def test_batch_pad_crop_takes_windows_of_the_padded_pictures():
    images = np.arange(1, 26, dtype=np.uint8).reshape(1, 5, 5, 1).repeat(200, axis=0)
    padded = np.pad(images[0], ((1, 1), (1, 1), (0, 0)))
    windows = {padded[r : r + 5, c : c + 5].tobytes() for r in range(3) for c in range(3)}
    assert {x.tobytes() for x in np.asarray(batch_augment.pad_crop(images, 1, pad=1))} == windows


BAD = [
    (partial(augment.random_resized_crop, scale=(0, 1)), "scale is .smallest, largest."),
    (partial(augment.random_erasing, probability=2), "probability must be in .0, 1.. Received: 2"),
    (partial(augment.color_jitter, hue=0.6), "hue draws between two limits in .-0.5, 0.5.. Received: 0.6"),
    (partial(augment.color_jitter, contrast=-1), "contrast must not be negative"),
    (partial(augment.rand_augment, magnitude=31), "magnitude in .0, 30.. Received: 2 at 31"),
    (partial(augment.stretch, limits=(1.2, 0.8)), "stretch is"),
    (partial(augment.rotate, **{"fill": "mirror"}), "fill is a level"),
    (partial(augment.stroke_width, thicker=9), "pixels in .0, 4."),
    (partial(augment.pca_noise, eigenvalues=(1.0,)), "eigenvalues are 3 numbers"),
]


@pytest.mark.parametrize(("function", "sentence"), BAD, ids=lambda x: name_of(x) if callable(x) else "")
def test_bad_settings_get_a_sentence_in_both_forms(function, sentence):
    with pytest.raises(ValueError, match=sentence):
        function(tf.constant(picture()), seeds(1)[0])
    with pytest.raises(ValueError, match=sentence):
        twin_of(function)(picture()[None], 0)


def test_a_function_of_the_users_has_no_twin():
    with pytest.raises(ValueError, match="without TensorFlow a recipe augments with the functions of .* Received: .*picture"):
        twin_of(picture)


# ---- mixing

MIXES = [mixing.mixup, mixing.cutmix, mixing.mixup_or_cutmix]


def batch(count=16, side=8):
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3)).astype(np.float32)
    return images, np.eye(count, dtype=np.float32)


@pytest.mark.parametrize("mix", [*MIXES, *map(twin_of, MIXES)], ids=lambda f: f"{f.__module__.split('.')[-1]}-{f.__name__}")
def test_mixing_keeps_target_sums_and_leaves_identical_pictures(mix):
    images, targets = batch()
    seed = 7 if "batch" in mix.__module__ else seeds(1)[0]
    mixed, mixed_targets = (np.asarray(x) for x in mix(images, targets, seed))
    np.testing.assert_allclose(mixed_targets.sum(axis=1), 1, atol=1e-6)
    assert mixed.shape == images.shape and mixed.dtype == mixed_targets.dtype == np.float32 and not np.array_equal(mixed, images)
    assert len(np.unique(np.round(np.diag(mixed_targets), 5))) > 4  # a draw for each example
    same = np.repeat(images[:1], 16, axis=0)
    np.testing.assert_allclose(np.asarray(mix(same, targets, seed)[0]), same, atol=1e-3)


def test_mixup_follows_its_formula():
    images, targets = batch()
    mixed, shares = (np.asarray(x) for x in mixing.mixup(images, targets, seeds(1)[0], alpha=0.8))
    own = np.diag(shares)[:, None, None, None]
    np.testing.assert_allclose(mixed, own * images + (1 - own) * np.roll(images, 1, axis=0), atol=1e-3)


def test_mixup_draws_from_the_beta_distribution():
    shares = np.diag(np.asarray(mixing.mixup(tf.zeros((2000, 1, 1, 1)), tf.eye(2000), seeds(1)[0], alpha=0.5)[1]))
    np.testing.assert_allclose(shares.mean(), 0.5, atol=0.04)
    np.testing.assert_allclose(shares.var(), 1 / (4 * (2 * 0.5 + 1)), atol=0.01)  # 1 / (4 (2 alpha + 1))


@pytest.mark.parametrize("mix", [mixing.cutmix, batch_augment.cutmix], ids=["pipeline", "twin"])
def test_the_targets_of_cutmix_are_the_pasted_shares(mix):
    count = 24
    images = np.arange(count, dtype=np.float32)[:, None, None, None] + np.zeros((1, 9, 11, 1), np.float32)
    seed = 7 if mix is batch_augment.cutmix else seeds(1)[0]
    mixed, targets = (np.asarray(x) for x in mix(images, np.eye(count, dtype=np.float32), seed))
    for n in range(count):
        own = mixed[n] == n
        np.testing.assert_allclose(targets[n, n], own.mean(), atol=1e-6)
        np.testing.assert_allclose(targets[n, n - 1], (mixed[n] == (n - 1) % count).mean(), atol=1e-6)


def test_the_pipeline_mixes_one_hot_labels_and_resumes_exactly():
    images, _ = batch(40)
    split = ArraySplit({"image": images.astype(np.uint8), "label": np.arange(40) % 4})
    options = {"augment": (augment.flip,), "mix": mixing.mixup_or_cutmix, "classes": 4}
    whole = [
        (x["image"].numpy(), y["logits"].numpy()) for _, (x, y) in zip(range(7), training_batches(split, 8, 1, **options), strict=False)
    ]
    later = training_batches(split, 8, 1, start=24, **options)
    for (image, label), (x, y) in zip(whole[3:], later, strict=False):
        np.testing.assert_array_equal(image, x["image"])
        np.testing.assert_array_equal(label, y["logits"])
    assert whole[0][1].shape == (8, 4) and not np.array_equal(whole[0][0], whole[5][0])
    with pytest.raises(ValueError, match="mix needs the number of classes"):
        training_batches(split, 8, 1, mix=mixing.mixup)


def test_bad_mixing_settings_get_a_sentence():
    images, targets = batch()
    for mix, seed in ((mixing.mixup, seeds(1)[0]), (batch_augment.mixup, 1)):
        with pytest.raises(ValueError, match="alpha must be above 0"):
            mix(images, targets, seed, alpha=0)


# ---- without TensorFlow

CODE = """
import json, sys, dataclasses
from functools import partial
for absent in ("tensorflow", "tensorflow_datasets"):
    sys.modules[absent] = None
import keras, numpy as np
from types import SimpleNamespace
from kerasdl.data import augment as a, mixing
from kerasdl.data.arrays import array_batches
from kerasdl.data.splits import ArraySplit
images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
splits = SimpleNamespace(train=ArraySplit({"image": images, "label": np.arange(20)}), spec=SimpleNamespace(classes=20))
plain = SimpleNamespace(batch_size=6, seed=3, augment=(), mix=None)
def take(recipe, count, start=0):
    return [(x["image"], y["logits"]) for _, (x, y) in zip(range(count), array_batches(splits, recipe, start))]
order = np.concatenate([y for _, y in take(plain, 10)])
full = SimpleNamespace(batch_size=6, seed=3, mix=mixing.mixup_or_cutmix, augment=(
    a.pad_crop, a.alternating_flip, a.flip, partial(a.cutout, size=2), a.random_resized_crop, a.rotate,
    partial(a.color_jitter, brightness=.4, hue=.1), a.pca_noise, a.random_erasing, a.rand_augment, a.stroke_width))
whole, later = take(full, 5), take(full, 2, start=18)
print(json.dumps({
    "backend": keras.backend.backend(),
    "passes": [sorted(order[i:i + 20].tolist()) == list(range(20)) for i in (0, 20, 40)],
    "another_order": order[:20].tolist() != order[20:40].tolist(),
    "raw": bool(np.array_equal(take(plain, 1)[0][0], images[order[:6]])),
    "resumed": all(np.array_equal(p, q) for old, new in zip(whole[3:], later) for p, q in zip(old, new)),
    "shape": [list(whole[0][0].shape), str(whole[0][0].dtype), list(whole[0][1].shape)],
    "sums": float(np.abs(whole[0][1].sum(1) - 1).max()),
}))
"""


@pytest.mark.slow
def test_batches_without_tensorflow_are_functions_of_seed_and_examples_consumed():
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["backend"] == "jax" and seen["passes"] == [True] * 3 and seen["another_order"] and seen["raw"]
    assert seen["resumed"] and seen["shape"] == [[6, 8, 8, 3], "float32", [6, 20]] and seen["sums"] < 1e-5


# ---- the contact sheet


def test_show_augment_writes_a_contact_sheet(tmp_path, monkeypatch, capsys):
    from kerasdl.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["show", "digits-lenet5", "--augment"]) == 0
    assert "wrote digits-lenet5-augment.png: 8 training pictures" in capsys.readouterr().out
    with Image.open(tmp_path / "digits-lenet5-augment.png") as sheet:
        assert sheet.width > 800 and sheet.height > 600
    assert main(["show", "digits-lenet5", "--augment", "sheet.txt"]) == 1
    assert "writes a .png file" in capsys.readouterr().err


def test_the_preview_is_what_the_pipeline_feeds():
    from dataclasses import replace

    from kerasdl.data.preview import preview
    from kerasdl.recipe import list_recipes

    recipe = replace(list_recipes()["digits-lenet5"], augment=(augment.alternating_flip,))
    seen = preview(recipe.data(), recipe, count=6, passes=2)
    assert len(set(seen.labels)) == 6
    for original, (first, second) in zip(seen.originals, seen.images, strict=True):
        pair = {first.tobytes(), second.tobytes()}
        assert pair == {x.astype(np.float32).tobytes() for x in (original, original[:, ::-1])}
