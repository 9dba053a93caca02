"""Learning rates as functions of the step. A recipe's `schedule` is a number or a callable `total_steps -> schedule`."""

from __future__ import annotations

import keras


def constant(total_steps: int, rate: float = 1e-3) -> float:
    return rate


def one_cycle(total_steps: int, peak: float, warmup: float = 0.25, start: float = 0.04) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear rise from `start * peak` to `peak` over the first `warmup` of all steps, then half a cosine to zero.

    Smith 2018, arXiv:1803.09820.
    """
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup is the share of steps spent rising and must be in [0, 1). Received: {warmup}")
    rising = round(total_steps * warmup)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=start * peak if rising else peak,
        warmup_target=peak if rising else None,
        warmup_steps=rising,
        decay_steps=max(total_steps - rising, 1),
        alpha=0.0,
    )


def cosine(total_steps: int, peak: float) -> keras.optimizers.schedules.LearningRateSchedule:
    """Half a cosine from `peak` to zero (Loshchilov and Hutter 2017, arXiv:1608.03983), without restarts."""
    return keras.optimizers.schedules.CosineDecay(peak, max(total_steps, 1))
