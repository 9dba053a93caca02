"""Images a second of `kerasdl train` beside plain Keras on the same network and data, and how long a step waits for its input.

    python tests/bench/train.py [--recipe cifar10-resnet20] [--steps 30] [--rounds 3]

Ours: the recipe's pipeline and precision, the fused norms, XLA as `kerasdl.device` chooses. Plain: `model.fit` with Keras' defaults
(jit_compile="auto", float32) on `from_tensor_slices(...).shuffle(...).map(augment).batch(...).prefetch(...)`, flip and crop from
tf.image. Both call `fit`, in turns, round after round, so that a busy moment of the machine meets both; the best round of each
counts, without its first two steps (tracing, XLA, buffers).

The waiting share is the time inside `next(iterator)` over the whole, measured in a loop of `train_on_batch` over the same batches:
a step there is a little slower than in fit, so the batches have, if anything, more time to be ready.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np


def ours(recipe: Any, splits: Any) -> tuple[Any, Any]:
    """(compiled model, its batches) as `kerasdl.train.train` makes them."""
    from kerasdl import device
    from kerasdl.data.pipeline import training_batches
    from kerasdl.fused_norm import use_fused_norms
    from kerasdl.train import build, compile_model

    model = build(recipe, splits.spec, recipe.precision)
    compile_model(model, recipe, total_steps=10_000)
    if device.on_tensorflow_cpu():
        use_fused_norms(model)
    batches = training_batches(splits.train, recipe.batch_size, recipe.seed, recipe.augment)
    return model, batches


def plain(recipe: Any, splits: Any) -> tuple[Any, Any]:
    """(compiled model, its batches) as a user of Keras writes them."""
    import keras
    import tensorflow as tf

    model = recipe.task.build(recipe.model(image_shape=splits.spec.image_shape), splits.spec)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(recipe.optimizer(learning_rate=0.05), {"logits": loss}, metrics={"logits": ["accuracy"]})
    side, channels = splits.spec.image_shape[0], splits.spec.image_shape[-1]

    def augment(image: Any, label: Any) -> tuple[Any, Any]:
        image = tf.image.random_flip_left_right(tf.cast(image, tf.float32))
        image = tf.image.random_crop(tf.image.resize_with_crop_or_pad(image, side + 8, side + 8), (side, side, channels))
        return {"image": image}, {"logits": label}

    fields = splits.train.arrays()
    stream = tf.data.Dataset.from_tensor_slices((fields["image"], fields["label"])).shuffle(10_000).repeat()
    return model, stream.map(augment, tf.data.AUTOTUNE).batch(recipe.batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def images_per_second(model: Any, batches: Any, batch_size: int, steps: int) -> float:
    """Of a `fit` of so many steps after its first two."""
    import keras

    ends: list[float] = []
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()))
    model.fit(batches, steps_per_epoch=steps + 2, verbose=0, shuffle=False, callbacks=[watch])
    return steps * batch_size / (ends[-1] - ends[1])


def waiting_share(model: Any, batches: Any, steps: int) -> float:
    """Share of the time of `steps` steps that is spent in `next(iterator)`, after five that fill the buffers."""
    iterator = iter(batches)
    for _ in range(5):
        model.train_on_batch(*next(iterator))
    waited, start = 0.0, time.perf_counter()
    for _ in range(steps):
        before = time.perf_counter()
        batch = next(iterator)
        waited += time.perf_counter() - before
        model.train_on_batch(*batch)
    return waited / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="cifar10-resnet20")
    parser.add_argument("--noise", type=int, default=0, metavar="N", help="N pictures of noise in place of the data (no download)")
    parser.add_argument("--steps", type=int, default=30, help="steps a round (default: 30)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    from kerasdl import device
    from kerasdl.data.fake import fake
    from kerasdl.data.spec import Spec
    from kerasdl.recipe import find_recipe

    recipe = find_recipe(options.recipe)
    noise = Spec((32, 32, 3), tuple("0123456789"), (0.5,) * 3, (0.25,) * 3, (), "noise")
    splits = fake(noise, train=options.noise) if options.noise else recipe.data()
    sides = {"kerasdl": ours(recipe, splits), "plain Keras": plain(recipe, splits)}
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, side in sides.items():
            speeds[name].append(images_per_second(*side, recipe.batch_size, options.steps))
    print(f"{recipe.name}, {splits.spec.data_name}, batch {recipe.batch_size}, {device.describe()}")
    for name, values in speeds.items():
        print(f"{name:<12} {max(values):8.0f} images/s   rounds {np.round(values).astype(int).tolist()}")
    print(f"ratio        {max(speeds['kerasdl']) / max(speeds['plain Keras']):8.2f}")
    for name, side in sides.items():
        print(f"{name:<12} {100 * waiting_share(*side, options.steps):8.1f} % of the time waits for input")


if __name__ == "__main__":
    main()
