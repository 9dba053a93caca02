"""tf.data pipelines. The order and every random draw are functions of (seed, examples consumed), and of nothing else.

A run that stops after k examples and goes on with `start=k` therefore sees what the uninterrupted run would have seen.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kerasdl.data.attributes import attribute_fields
from kerasdl.data.fields import held_against, seen
from kerasdl.data.samplers import Builder
from kerasdl.data.splits import Split, facts


def training_batches(
    split: Split,
    batch_size: int,
    seed: int,
    augment: Sequence[Callable] = (),
    start: int = 0,
    deterministic: bool = True,
    mix: Callable | None = None,
    classes: int | None = None,
    sampler: Builder | None = None,
) -> Any:
    """Endless tf.data.Dataset of `({"image": float32 (B,H,W,C)}, {"logits": int64 (B,)})`, shuffled anew each epoch.

    Of a table it is `({"features": float32 (B,D)}, {"value": float32 (B,T)})`, which is neither augmented nor mixed.
    Examples with attributes give the target `attributes` int64 (B,M) besides, those with captions `tokens` int32 (B,T); but not with
    `mix`, where a picture is of two.
    Only full batches; one epoch is `len(split) // batch_size` of them. Several passes run into each other, so that within
    each pass of `len(split)` examples every picture comes exactly once. With `mix` the labels are float32 (B,classes), one-hot
    before `mix(images, targets, seed)`, and the seed of a batch depends on `seed` and the examples consumed before it.
    With a `sampler` (`kerasdl.data.samplers`) that one says which examples make up a batch, in place of the shuffled passes.
    """
    import tensorflow as tf

    count = len(split)
    if count < batch_size:
        raise ValueError(f"batch_size must not exceed the number of training examples. Received: {batch_size}, there are {count}")
    if mix and not classes:
        raise ValueError(f"mix needs the number of classes, for one-hot labels. Received: classes={classes}")
    read, look, further = _reader(split), seen(split.arrays([0])), further_fields(split)
    if look != "image" and (augment or mix):
        raise ValueError("augmentation and mixing are of pictures. Received: a table with either")
    choose = _chooser(split, batch_size, seed, start, sampler)
    # What has to be decoded comes a few at a time, so that many threads share a batch; what is in memory comes a batch at a time.
    chunk = batch_size if split.fields_in_memory() is not None else min(batch_size, 8)

    def examples(first: Any) -> dict[str, Any]:
        position = first + tf.range(chunk, dtype=tf.int64)
        index, draw = choose(position)
        return {**read(index), "index": index, "epoch": position // count, "draw": draw}

    def augmented(fields: dict[str, Any]) -> dict[str, Any]:
        image = fields["image"]
        for number, step in enumerate(augment):
            drawn = tf.random.experimental.stateless_fold_in(fields["draw"], number)  # pyright: ignore[reportAttributeAccessIssue]
            image = step(image, drawn, **{name: fields[name] for name in wishes(step)})
        return {"image": image, **{name: fields[name] for name in ("label", *further)}}

    def finished(first: Any, fields: dict[str, Any]) -> tuple[Any, Any]:
        x, targets = tf.cast(fields[look], tf.float32), held_against(fields)
        if not mix:
            return {look: x}, {**targets, **further_targets(fields)}
        images, labels = mix(x, tf.one_hot(targets["logits"], classes), tf.stack([tf.constant(seed, tf.int64) + 2, first]))
        return {"image": images}, {"logits": labels}

    threads = tf.data.AUTOTUNE if sampler is None else min(os.cpu_count() or 1, MANY_THREADS)
    parallel = {"num_parallel_calls": threads, "deterministic": deterministic}
    stream = tf.data.Dataset.counter(np.int64(start), np.int64(chunk)).map(examples, **parallel)
    if augment:
        stream = stream.unbatch().map(augmented, **parallel).batch(batch_size, drop_remainder=True)
    elif chunk < batch_size:
        stream = stream.unbatch().batch(batch_size, drop_remainder=True)
    firsts = tf.data.Dataset.counter(np.int64(start), np.int64(batch_size))
    return tf.data.Dataset.zip((firsts, stream)).map(finished, **parallel).prefetch(tf.data.AUTOTUNE if sampler is None else FEW_AHEAD)


def further_fields(split: Split) -> list[str]:
    """The fields of examples that become targets beside the label."""
    names = split.arrays([0])
    return [*attribute_fields(names), *(name for name in ("tokens",) if name in names)]


def further_targets(fields: dict[str, Any]) -> dict[str, Any]:
    import tensorflow as tf

    worn = attribute_fields(fields)
    attributes = {"attributes": tf.stack([fields[name] for name in worn], axis=-1)} if worn else {}
    return {**attributes, **({"tokens": fields["tokens"]} if "tokens" in fields else {})}


def _chooser(split: Split, batch_size: int, seed: int, start: int, sampler: Builder | None) -> Callable[[Any], tuple[Any, Any]]:
    """From positions to example numbers and the pairs that seed their draws."""
    import tensorflow as tf

    if sampler is None:
        return lambda position: place(position, len(split), seed)
    sample = started(sampler, split, batch_size, seed, start)

    def choose(position: Any) -> tuple[Any, Any]:
        index = tf.ensure_shape(tf.numpy_function(sample, [position], tf.int64, stateful=False), position.shape)
        return index, tf.stack([tf.zeros_like(position) + seed + 1, position], axis=-1)

    return choose


def started(sampler: Builder, split: Split, batch_size: int, seed: int, start: int) -> Callable[[np.ndarray], np.ndarray]:
    """The sampler of a split; ValueError where the batches would not be those that it puts together."""
    if start % batch_size:
        raise ValueError(f"with a sampler, start must be a multiple of batch_size. Received: {start} and {batch_size}")
    return sampler(facts(split), batch_size, seed)


FEW_AHEAD = 2  # batches: what a sampler has learnt of the training counts all the sooner
MANY_THREADS = 8  # for a sampler, as each thread holds a batch of its own: AUTOTUNE takes ever more of them on a busy machine


def wishes(step: Callable) -> list[str]:
    """What an augmentation wants to know beyond picture and seed."""
    return [name for name in ("index", "epoch") if name in inspect.signature(step).parameters]


SHUFFLE_KEY = 498247692  # tf.random.experimental.index_shuffle puts it before a seed; that function takes no seed for each index


def place(position: Any, count: int, seed: int) -> tuple[Any, Any]:
    """The examples that stand at `position` (...) of the endless stream, and the int64 pairs (...,2) that seed their draws."""
    import tensorflow as tf

    position = tf.convert_to_tensor(position)
    epoch, within = position // count, position % count
    same = tf.zeros_like(position) + seed
    key = tf.stack([tf.zeros_like(position) + SHUFFLE_KEY, same, epoch], axis=-1)
    index = tf.raw_ops.RandomIndexShuffle(index=within, seed=key, max_index=np.int64(count - 1), rounds=4)
    return index, tf.stack([same + 1, position], axis=-1)


def evaluation_batches(split: Split, batch_size: int, limit: int | None = None) -> Any:
    """Finite tf.data.Dataset of the same pairs in order, not augmented, the last batch short where it must be."""
    import tensorflow as tf

    read, look = _reader(split), seen(split.arrays([0]))

    def example(index: Any) -> tuple[Any, Any]:
        fields = read(index)
        return {look: tf.cast(fields[look], tf.float32)}, {**held_against(fields), **further_targets(fields)}

    count = len(split) if limit is None else min(limit, len(split))
    numbers = tf.data.Dataset.range(count)
    return numbers.map(example, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _reader(split: Split) -> Callable[[Any], dict[str, Any]]:
    """A function from example numbers, one or a vector, to their fields as tensors: from memory where they are, else decoded."""
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
        some = split.arrays(np.reshape(index, -1))
        return [some[name].reshape(np.shape(index) + some[name].shape[1:]) for name in names]

    def read(index: Any) -> dict[str, Any]:
        values = tf.numpy_function(load, [index], types, stateful=False)
        for name, value in zip(names, values, strict=True):
            value.set_shape((*index.shape, *first[name].shape[1:]))
        return dict(zip(names, values, strict=True))

    return read
