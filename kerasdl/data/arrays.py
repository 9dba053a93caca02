"""Training batches as NumPy arrays, for backends without TensorFlow. Order and draws are functions of (seed, examples consumed)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kerasdl.data.attributes import attribute_fields
from kerasdl.data.fields import held_against, seen
from kerasdl.data.pipeline import started, wishes
from kerasdl.data.splits import Splits


def array_batches(splits: Splits, recipe: Any, start: int = 0) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Endless `({"image": float32 (B,H,W,C)}, {"logits": int64 (B,)})`, full batches only, every example once in each pass.

    Of a table it is `({"features": float32 (B,D)}, {"value": float32 (B,T)})`, which is neither augmented nor mixed.
    Examples with attributes give the target `attributes` int64 (B,M) besides, those with captions `tokens` int32 (B,T), but with `mix`.
    `recipe.augment` and `recipe.mix` run as their twins in `kerasdl.data.batch_augment`; with `mix` the labels are float32
    (B,classes); `recipe.sampler` chooses the examples where there is one, and then they are those of the tf.data pipeline.
    `start` counts the examples consumed before: the batches go on as if there had been no interruption. The draws, and
    without a sampler the order, are not those of the tf.data pipeline.
    """
    from kerasdl.data.batch_augment import twin_of

    size, count = recipe.batch_size, len(splits.train)
    if count < size:
        raise ValueError(f"batch_size must not exceed the number of training examples. Received: {size}, there are {count}")
    if seen(splits.train.arrays([0])) != "image" and (recipe.augment or getattr(recipe, "mix", None)):
        raise ValueError("augmentation and mixing are of pictures. Received: a table with either")
    steps = [twin_of(step) for step in recipe.augment]
    mix = twin_of(recipe.mix) if getattr(recipe, "mix", None) else None
    sampler = getattr(recipe, "sampler", None)
    choose = started(sampler, splits.train, size, recipe.seed, start) if sampler else functools.partial(_shuffled, count, recipe.seed)
    return _batches(splits, steps, mix, choose, size, recipe.seed, start)


def _batches(
    splits: Splits, steps: list[Callable], mix: Callable | None, choose: Callable, size: int, seed: int, start: int
) -> Iterator[Any]:
    while True:
        position = np.arange(start, start + size)
        epoch = position // len(splits.train)
        index = choose(position)
        fields = splits.train.arrays(index)
        look, targets = seen(fields), held_against(fields)
        x = fields[look]
        for number, step in enumerate(steps):
            known = {"index": index, "epoch": epoch}
            x = step(x, _draw(seed, start, number), **{name: known[name] for name in wishes(step)})
        x = np.asarray(x, np.float32)
        if mix:
            labels = np.eye(splits.spec.classes, dtype=np.float32)[targets["logits"]]
            images, labels = (np.asarray(mixed) for mixed in mix(x, labels, _draw(seed, start, len(steps))))
            yield {"image": images}, {"logits": labels}
        else:
            yield {look: x}, {**targets, **_further(fields)}
        start += size


def _further(fields: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    worn = attribute_fields(fields)
    captions = {"tokens": fields["tokens"]} if "tokens" in fields else {}
    return {**captions, **({"attributes": np.stack([fields[name] for name in worn], axis=-1)} if worn else {})}


def _shuffled(count: int, seed: int, position: np.ndarray) -> np.ndarray:
    """The examples at those positions of passes in random order."""
    return np.array([_order(count, seed, int(p // count))[p % count] for p in position])


@functools.lru_cache(maxsize=2)  # a batch may reach over the end of a pass
def _order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The permutation of one pass."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def _draw(seed: int, consumed: int, number: int) -> int:
    """A seed below 2**31 for one step of one batch."""
    return int(np.random.SeedSequence((seed, consumed, number)).generate_state(1)[0]) >> 1
