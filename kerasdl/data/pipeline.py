"""tf.data pipelines. The order and every random draw are functions of (seed, examples consumed), and of nothing else.

A run that stops after k examples and goes on with `start=k` therefore sees what the uninterrupted run would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kerasdl.data.splits import Split


def training_batches(
    split: Split, batch_size: int, seed: int, augment: Sequence[Callable] = (), start: int = 0, deterministic: bool = True
) -> Any:
    """Endless tf.data.Dataset of `({"image": float32 (B,H,W,C)}, {"logits": int64 (B,)})`, shuffled anew each epoch.

    Only full batches; one epoch is `len(split) // batch_size` of them. Several passes run into each other, so that within
    each pass of `len(split)` examples every picture comes exactly once.
    """
    import tensorflow as tf

    count = len(split)
    if count < batch_size:
        raise ValueError(f"batch_size must not exceed the number of training examples. Received: {batch_size}, there are {count}")
    read = _reader(split)

    def example(position: Any) -> tuple[Any, Any]:
        index, draw = place(position, count, seed)
        fields = read(index)
        image = fields["image"]
        for number, step in enumerate(augment):
            image = step(image, tf.random.experimental.stateless_fold_in(draw, number))  # pyright: ignore[reportAttributeAccessIssue]
        return {"image": tf.cast(image, tf.float32)}, {"logits": fields["label"]}

    stream = tf.data.Dataset.counter(np.int64(start))
    stream = stream.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=deterministic)
    return stream.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def place(position: Any, count: int, seed: int) -> tuple[Any, Any]:
    """The example that stands at `position` of the endless stream, and the int64 pair that seeds its draws."""
    import tensorflow as tf

    epoch, within = position // count, position % count
    key = tf.stack([tf.constant(seed, tf.int64), epoch])
    index = tf.random.experimental.index_shuffle(within, seed=key, max_index=np.int64(count - 1))  # pyright: ignore[reportAttributeAccessIssue]
    return index, tf.stack([tf.constant(seed, tf.int64) + 1, position])


def evaluation_batches(split: Split, batch_size: int, limit: int | None = None) -> Any:
    """Finite tf.data.Dataset of the same pairs in order, not augmented, the last batch short where it must be."""
    import tensorflow as tf

    read = _reader(split)

    def example(index: Any) -> tuple[Any, Any]:
        fields = read(index)
        return {"image": tf.cast(fields["image"], tf.float32)}, {"logits": fields["label"]}

    count = len(split) if limit is None else min(limit, len(split))
    numbers = tf.data.Dataset.range(count)
    return numbers.map(example, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _reader(split: Split) -> Callable[[Any], dict[str, Any]]:
    """A function from an example's number to its fields as tensors: from memory where they are, else one decoded at a time."""
    import tensorflow as tf

    memory = split.fields_in_memory()
    if memory is not None:
        with tf.device("CPU:0"):
            tensors = {name: tf.constant(values) for name, values in memory.items()}
        return lambda index: {name: tf.gather(values, index) for name, values in tensors.items()}

    first = split.arrays([0])
    names = sorted(first)
    types = [tf.as_dtype(first[name].dtype) for name in names]

    def load(index: np.ndarray) -> list[np.ndarray]:
        one = split.arrays([int(index)])
        return [one[name][0] for name in names]

    def read(index: Any) -> dict[str, Any]:
        values = tf.numpy_function(load, [index], types, stateful=False)
        for name, value in zip(names, values, strict=True):
            value.set_shape(first[name].shape[1:])
        return dict(zip(names, values, strict=True))

    return read
