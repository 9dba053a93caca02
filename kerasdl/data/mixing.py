"""Mixing within a batch: `(images, targets, seed) -> (images, targets)`, after batching, inside the tf.data pipeline.

`images` are float32 (B,H,W,C), `targets` float32 (B,classes) that sum to 1, `seed` an int64 pair; every example has draws of its own.
The partner of an example is its neighbour in the batch, and the order is random. A recipe says `mix=partial(mixup, alpha=0.2)`;
`batch_augment` has the same names without TensorFlow.
"""

from __future__ import annotations

from typing import Any

from kerasdl.data import portable
from kerasdl.data.augment import _fold, check_share


def mixup(images: Any, targets: Any, seed: Any, alpha: float = 0.2) -> tuple[Any, Any]:
    """Pictures and targets averaged with the partner's, the share drawn from beta(alpha, alpha) (Zhang et al. 2017, arXiv:1710.09412)."""
    return portable.mix(portable.tensorflow_vocabulary(), images, targets, _beta(images, seed, alpha))


def cutmix(images: Any, targets: Any, seed: Any, alpha: float = 1.0) -> tuple[Any, Any]:
    """A box of the partner is pasted in; the targets are mixed by the exact areas (Yun et al. 2019, arXiv:1905.04899).

    The box has the picture's shape and `1 - beta(alpha, alpha)` of its area; its centre is anywhere, the border cuts it off.
    """
    import tensorflow as tf

    share = _beta(images, seed, alpha)
    centres = tf.random.stateless_uniform((tf.shape(images)[0], 2), _fold(seed, 3))  # pyright: ignore[reportArgumentType]
    return portable.paste(portable.tensorflow_vocabulary(), images, targets, share, centres)


def mixup_or_cutmix(
    images: Any, targets: Any, seed: Any, mixup_alpha: float = 0.8, cutmix_alpha: float = 1.0, cutmix_share: float = 0.5, rate: float = 1.0
) -> tuple[Any, Any]:
    """A share `rate` of the examples is mixed, `cutmix_share` of those by `cutmix` and the others by `mixup`."""
    import tensorflow as tf

    check_share("cutmix_share", cutmix_share)
    check_share("rate", rate)
    numbers = tf.random.stateless_uniform((tf.shape(images)[0], 2), _fold(seed, 4))  # pyright: ignore[reportArgumentType]
    pasted = cutmix(images, targets, _fold(seed, 5), cutmix_alpha)
    mixed = mixup(images, targets, _fold(seed, 6), mixup_alpha)
    return choose(portable.tensorflow_vocabulary(), numbers, (images, targets), mixed, pasted, cutmix_share, rate)


def choose(ops: Any, u: Any, plain: Any, mixed: Any, pasted: Any, cutmix_share: float, rate: float) -> tuple[Any, Any]:
    """Of each example one of the three; `u` (B,2) uniform."""
    chosen = []
    for old, first, second in zip(plain, mixed, pasted, strict=True):
        cuts, keeps = (_along(flags, old) for flags in (u[..., 0] < cutmix_share, u[..., 1] >= rate))
        chosen.append(ops.where(keeps, old, ops.where(cuts, second, first)))
    return chosen[0], chosen[1]


def _along(flags: Any, like: Any) -> Any:
    return flags[(..., *(None,) * (len(like.shape) - 1))]


def check_alpha(alpha: float) -> None:
    if not alpha > 0:
        raise ValueError(f"alpha must be above 0; without mixing, leave it out. Received: {alpha}")


def _beta(images: Any, seed: Any, alpha: float) -> Any:
    """(B,) draws from beta(alpha, alpha), as a gamma over the sum of two."""
    import tensorflow as tf

    check_alpha(alpha)
    count = tf.shape(images)[0]
    one, other = (tf.random.stateless_gamma((count,), _fold(seed, number), alpha) for number in (1, 2))  # pyright: ignore[reportArgumentType]
    return tf.where(one + other > 0, one / tf.maximum(one + other, 1e-30), 0.5)  # both underflow with a tiny alpha
