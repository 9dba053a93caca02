"""Learning rates as functions of the step. A recipe's `schedule` is a function `(total_steps, ...) -> rate or LearningRateSchedule`.

Every one rises linearly from `start * peak` to `peak` over the first `warmup` of all steps (a share in [0, 1)) and then falls as its name
says, over the steps that remain. Steps count from 0: the first has `start * peak`, and the end value would belong to the step after the
last. All are Keras' own schedules, or serialisable classes of this file, because a saved model holds its optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops
from keras.optimizers import schedules as of_keras
from keras.optimizers.schedules import LearningRateSchedule as Schedule


@keras.saving.register_keras_serializable(package="kerasdl")
class WarmUp(Schedule):
    """A linear rise to the first rate of another schedule, for what has none in Keras (CosineDecay has its own).

    Args:
        after: a number, or the schedule that follows.
        steps: of the rise, at least 1.
        start: what the first step has of the first rate of `after`.
        wait: `after` begins when the rise has ended. Else it runs from step 0 and the rise multiplies it, so that the places where
            it changes do not move.
    """

    def __init__(self, after: Any, steps: int, start: float = 0.0, wait: bool = True) -> None:
        super().__init__()
        self.after, self.steps, self.start, self.wait = after, steps, start, wait

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        risen = self.start + (1.0 - self.start) * ops.minimum(step / self.steps, 1.0)
        if not isinstance(self.after, Schedule):
            return self.after * risen
        return self.after(ops.maximum(step - self.steps, 0.0) if self.wait else step) * risen

    def get_config(self) -> dict[str, Any]:
        after = keras.saving.serialize_keras_object(self.after)
        return {"after": after, "steps": self.steps, "start": self.start, "wait": self.wait}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WarmUp:
        return cls(**{**config, "after": keras.saving.deserialize_keras_object(config["after"])})


@keras.saving.register_keras_serializable(package="kerasdl")
class InverseSquareRoot(Schedule):
    """peak * sqrt(unit / (step + unit)): half the peak after three units."""

    def __init__(self, peak: float, unit: int = 1) -> None:
        super().__init__()
        self.peak, self.unit = peak, unit

    def __call__(self, step: Any) -> Any:
        return self.peak * ops.sqrt(self.unit / (ops.cast(step, "float32") + self.unit))

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "unit": self.unit}


def constant(total_steps: int, rate: float = 1e-3, warmup: float = 0.0, start: float = 0.0) -> float | Schedule:
    """The same rate at every step; a plain number where there is no warm-up."""
    rising, _ = _parts(total_steps, rate, warmup, start)
    return _after_warmup(float(rate), rising, start)


def step(
    total_steps: int, peak: float, at: Sequence[float] = (0.5, 0.75), factor: float = 0.1, warmup: float = 0.0, start: float = 0.0
) -> Schedule:
    """The rate is multiplied by `factor` at each of `at`, shares of the whole run: by default ResNet's 32,000 and 48,000 of 64,000."""
    rising, _ = _parts(total_steps, peak, warmup, start)
    if not at or not all(a < b for a, b in zip((warmup, *at), (*at, 1), strict=True)):
        raise ValueError(f"at is increasing shares of the run, after the warm-up and before the end. Received: {at} with {warmup=}")
    if not 0 < factor < 1:
        raise ValueError(f"factor is what a step leaves of the rate, in (0, 1). Received: {factor}")
    boundaries = [max(round(share * total_steps), 1) - rising - 1 for share in at]  # Keras' are the last steps of the old value
    return _after_warmup(of_keras.PiecewiseConstantDecay(boundaries, [peak * factor**n for n in range(len(at) + 1)]), rising, start)


def exponential(total_steps: int, peak: float, end: float = 0.01, warmup: float = 0.0, start: float = 0.0) -> Schedule:
    """peak * e^(-k t), with k such that `end * peak` is left after the last of the T falling steps: k = ln(1 / end) / T."""
    rising, falling = _parts(total_steps, peak, warmup, start, end, least=1e-12)
    return _after_warmup(of_keras.ExponentialDecay(float(peak), falling, end), rising, start)


def inverse_time(total_steps: int, peak: float, end: float = 0.01, warmup: float = 0.0, start: float = 0.0) -> Schedule:
    """peak / (1 + k t), with k such that `end * peak` is left after the last of the T falling steps: k = (1 / end - 1) / T."""
    rising, falling = _parts(total_steps, peak, warmup, start, end, least=1e-12)
    return _after_warmup(of_keras.InverseTimeDecay(float(peak), falling, 1 / end - 1), rising, start)


def inverse_sqrt(total_steps: int, peak: float, warmup: float = 0.0, start: float = 0.0) -> Schedule:
    """peak / sqrt(t), t counted from 1; after a warm-up of w steps peak * sqrt(w / t), without a jump.

    Vaswani et al. 2017, arXiv:1706.03762, section 5.3. Without a warm-up the rate is half the peak after three steps.
    """
    rising, _ = _parts(total_steps, peak, warmup, start)
    return _after_warmup(InverseSquareRoot(float(peak), max(rising, 1)), rising, start)


def linear(total_steps: int, peak: float, end: float = 0.0, warmup: float = 0.0, start: float = 0.0) -> Schedule:
    """A straight line from `peak` to `end * peak`."""
    rising, falling = _parts(total_steps, peak, warmup, start, end)
    return _after_warmup(of_keras.PolynomialDecay(float(peak), falling, float(end * peak), power=1.0), rising, start)


def triangular(total_steps: int, peak: float, warmup: float = 0.23, start: float = 0.2, end: float = 0.07) -> Schedule:
    """Up and down in straight lines; with the shares of airbench94 (Jordan 2024, arXiv:2404.00498)."""
    return linear(total_steps, peak, end, warmup, start)


def cosine(total_steps: int, peak: float, end: float = 0.0, warmup: float = 0.0, start: float = 0.0) -> Schedule:
    """Half a cosine from `peak` to `end * peak` (Loshchilov and Hutter 2017, arXiv:1608.03983), without restarts."""
    rising, falling = _parts(total_steps, peak, warmup, start, end)
    if not rising:
        return of_keras.CosineDecay(float(peak), falling, alpha=end)
    return of_keras.CosineDecay(float(start * peak), falling, alpha=end, warmup_target=float(peak), warmup_steps=rising)


def one_cycle(total_steps: int, peak: float, warmup: float = 0.25, start: float = 0.04) -> Schedule:
    """Linear rise from `start * peak` to `peak` over the first `warmup` of all steps, then half a cosine to zero.

    Smith 2018, arXiv:1803.09820.
    """
    return cosine(total_steps, peak, warmup=warmup, start=start)


def cosine_cycles(total_steps: int, peak: float, cycles: int = 5, warmup: float = 0.0, start: float = 0.0) -> Schedule:
    """`cycles` halves of a cosine in a row, each from `peak` to zero; a snapshot at the end of each is a member of an ensemble.

    Huang et al. 2017, arXiv:1704.00109, equation 2. A cycle is as many steps as the whole run divided by `cycles`, rounded up; the
    warm-up multiplies the first and moves none.
    """
    rising, _ = _parts(total_steps, peak, warmup, start)
    if not 1 <= cycles <= max(total_steps, 1):
        raise ValueError(f"cycles is at least 1, and no more than there are steps. Received: {cycles} in {total_steps} steps")
    if warmup > 1 / cycles:
        raise ValueError(f"the warm-up must end in the first of {cycles} cycles. Received: {warmup=}")
    return _after_warmup(
        of_keras.CosineDecayRestarts(float(peak), max(math.ceil(total_steps / cycles), 1), t_mul=1.0), rising, start, False
    )


def _after_warmup(after: float | Schedule, rising: int, start: float, wait: bool = True) -> Any:
    return WarmUp(after, rising, start, wait) if rising else after


def _parts(total_steps: int, peak: float, warmup: float, start: float, end: float = 0.0, least: float = 0.0) -> tuple[int, int]:
    """Steps of the rise and of the fall (at least 1), once all shares make sense."""
    if peak <= 0:
        raise ValueError(f"the peak of a learning rate must be above zero. Received: {peak}")
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup is the share of steps spent rising and must be in [0, 1). Received: {warmup}")
    if not 0 <= start <= 1:
        raise ValueError(f"start is the share of the peak that a warm-up begins with, in [0, 1]. Received: {start}")
    if not least <= end <= 1:
        interval = "(0, 1]" if least else "[0, 1]"
        raise ValueError(f"end is the share of the peak that is left at the end, in {interval}. Received: {end}")
    rising = round(total_steps * warmup)
    return rising, max(total_steps - rising, 1)
