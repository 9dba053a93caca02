"""What the learning curves say, in sentences: the reading of Ficarra's notes (2020, section 8.8; rows L30 to L32 of the course).

A history is measured once an epoch. Training figures are averages over the epoch, while the weights still change, under
augmentation and dropout; validation figures are not. Validation a little above training is therefore no fault.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

GAP = 0.03  # of accuracy: 1,000 validation pictures at 90 % are uncertain by 0.02, so less than this may be chance
WIDE_GAP = 0.10
RISE = 1.10  # of the smoothed validation loss over its lowest value; from epoch to epoch it wavers by about 5 %
FALL = 0.95  # of the training loss in the same epochs: it must really go on falling
LOW = 0.90  # accuracy below which a flat curve is called underfitting; above, the data's own errors are near
FLAT = 0.02  # share of the training loss that a flat last quarter loses at most
IMPROVES = 0.97  # of the validation loss, last fifth of the epochs over the fifth before
JUMP, JUMP_AT_LEAST = 1.3, 0.1  # of the training loss from one epoch to the next; a mean over an epoch wavers by a few percent
CHANCE = 0.05  # how near loss and -ln(accuracy) are for a network that answers the class frequencies
SLOW = 0.8  # of the first epoch's loss, left at the end
BEST = 0.01  # of accuracy, lost since the best epoch
ENOUGH = 5  # epochs, before which the course of a curve says nothing


@dataclasses.dataclass(frozen=True)
class Curves:
    """Columns of a history as float arrays, NaN where a value is missing."""

    epoch: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    val_loss: np.ndarray
    val_accuracy: np.ndarray
    learning_rate: np.ndarray

    @property
    def gap(self) -> float:
        return float(self.accuracy[-1] - self.val_accuracy[-1])


def diagnose(history: Sequence[Mapping[str, Any]], mixed: bool = False) -> list[str]:
    """Sentences on a training, the gravest first.

    Args:
        history: one row an epoch with epoch, loss and, where they were measured, accuracy, val_loss, val_accuracy, learning_rate.
        mixed: the training pictures were mixed (mixup, CutMix): their accuracy then is no measure of fit, and is not compared.

    Returns:
        At least one sentence; "nothing wrong seen" is one too.
    """
    if not history:
        return ["No epoch was finished: there is nothing to judge."]
    curves = _curves(history, mixed)
    broken = _not_a_number(curves) or _at_chance(curves)
    if broken:
        return [broken]
    found = [_loss_jumps(curves), _overfits(curves), _validation_loss_rises(curves)]
    if not any(found[1:]):
        found += [_too_slow(curves) or _still_improves(curves) or _underfits(curves)]
    found += [_best_is_past(curves)]
    sentences = [sentence for sentence in found if sentence]
    if len(history) < ENOUGH:
        few = "One epoch is" if len(history) == 1 else f"{len(history)} epochs are"
        sentences.append(f"{few} too few to judge the course of the curves: it takes {ENOUGH}.")
    elif not sentences:
        sentences.append("Nothing wrong seen in the curves.")
    return sentences + [note for note in _notes(curves, mixed) if note]


def _curves(history: Sequence[Mapping[str, Any]], mixed: bool) -> Curves:
    def column(name: str) -> np.ndarray:
        values = [row.get(name) for row in history]
        return np.array([math.nan if value in (None, "") else float(value) for value in values])

    columns = {field.name: column(field.name) for field in dataclasses.fields(Curves)}
    if np.isnan(columns["epoch"]).any():
        columns["epoch"] = np.arange(1.0, len(history) + 1)
    if mixed:
        columns["accuracy"] = np.full(len(history), math.nan)
    return Curves(**columns)


def _not_a_number(c: Curves) -> str | None:
    bad = np.flatnonzero(~np.isfinite(c.loss))
    if len(bad):
        after = "from the first epoch" if bad[0] == 0 else f"in epoch {c.epoch[bad[0]]:.0f}"
        return (
            f"The loss is no number any more {after}{_rate(c, bad[0])}: the rate is too high, or there is a division or logarithm "
            "of zero. Try a tenth of the rate, a longer warm-up, clipped gradients (optimizer.global_clipnorm=1)."
        )
    bad = np.flatnonzero(~np.isfinite(c.val_loss))
    if 0 < len(bad) < len(c.epoch):
        return (
            f"The validation loss is no number in epoch {c.epoch[bad[0]]:.0f}, though the training loss is: the network is close to "
            "overflow. Try a lower rate, or float32."
        )
    return None


def _at_chance(c: Curves) -> str | None:
    """A constant answer over C equal classes has loss ln C and accuracy 1 / C, so that loss = -ln(accuracy)."""
    known = c.accuracy if np.isfinite(c.accuracy[-1]) else c.val_accuracy
    flat = len(c.loss) > 1 and np.ptp(c.loss) <= CHANCE * c.loss.mean()
    if not flat or not np.isfinite(known).all() or known.max() > 0.6 or known.min() <= 0:
        return None
    if abs(c.loss[-1] + math.log(known[-3:].mean())) > 2 * CHANCE * c.loss[-1]:
        return None
    return (
        f"Nothing was learned: the loss stayed at {c.loss[-1]:.3f} and the accuracy at {known[-1]:.3f}, which a constant answer reaches "
        f"(ln of {math.exp(c.loss[-1]):.0f} classes){_rate(c, int(np.nanargmax(_or_zero(c.learning_rate))))}. The rate is far too high "
        "or far too low, or the labels do not belong to the pictures: try to overfit a few pictures first."
    )


def _loss_jumps(c: Curves) -> str | None:
    ratio = c.loss[1:] / c.loss[:-1]
    jumps = np.flatnonzero((ratio >= JUMP) & (np.diff(c.loss) >= JUMP_AT_LEAST)) + 1
    jumps = [int(at) for at in jumps if not _restarts(c, int(at))]
    if not jumps:
        return None
    worst = max(jumps, key=lambda at: c.loss[at] / c.loss[at - 1])
    times = "once" if len(jumps) == 1 else f"{len(jumps)} times"
    return (
        f"The training loss jumped {times}, from {c.loss[worst - 1]:.3f} to {c.loss[worst]:.3f} in epoch {c.epoch[worst]:.0f}"
        f"{_rate(c, worst)}: the rate is too high. Try a half or a third of it, a longer warm-up, or clipped gradients."
    )


def _restarts(c: Curves, at: int) -> bool:
    """A cycle of the schedule begins anew there: the loss is meant to jump."""
    rate = _or_zero(c.learning_rate)
    return bool(rate[at - 1] < 0.1 * rate.max() and rate[at] > 0.5 * rate.max())


def _overfits(c: Curves) -> str | None:
    if not c.gap >= GAP:  # also where it is unknown
        return None
    widened = np.flatnonzero(_smooth(c.accuracy - c.val_accuracy) < GAP)
    since = c.epoch[min(widened[-1] + 1, len(c.epoch) - 1)] if len(widened) else c.epoch[0]
    much = "It overfits clearly" if c.gap >= WIDE_GAP else "It overfits"
    return (
        f"{much}: accuracy is {c.accuracy[-1]:.3f} in training and {c.val_accuracy[-1]:.3f} in validation, a gap of "
        f"{100 * c.gap:.1f} points (above {100 * GAP:.0f} since epoch {since:.0f}). More augmentation, weight decay, dropout or "
        "label smoothing, a smaller model, or more data close it."
    )


def _validation_loss_rises(c: Curves) -> str | None:
    if len(c.epoch) < ENOUGH or not np.isfinite(c.val_loss).all():
        return None
    smooth, loss = _smooth(c.val_loss), _smooth(c.loss)
    lowest = int(smooth.argmin())
    if lowest > len(smooth) - 3 or smooth[-1] < RISE * smooth[lowest] or loss[-1] > FALL * loss[lowest]:
        return None
    return (
        f"From epoch {c.epoch[lowest]:.0f} on the validation loss rises ({smooth[lowest]:.3f} to {smooth[-1]:.3f}) while the training "
        f"loss falls ({loss[lowest]:.3f} to {loss[-1]:.3f}): it learns the training pictures by heart. Fewer epochs, early stopping, "
        "or label smoothing if only the confidence grows."
    )


def _too_slow(c: Curves) -> str | None:
    if len(c.epoch) < ENOUGH:
        return None
    steps = -np.diff(c.loss)
    quarter = max(len(steps) // 4, 1)
    steady = (steps > 0).mean() >= 0.9 and steps[-quarter:].mean() >= 0.5 * steps[:quarter].mean()
    if not steady or c.loss[-1] < SLOW * c.loss[0]:
        return None
    return (
        f"It learns slowly and steadily: {len(c.epoch)} epochs took the loss from {c.loss[0]:.3f} to {c.loss[-1]:.3f} without slowing "
        f"down{_rate(c, len(c.epoch) - 1)}. The rate is too low: try three to ten times as much."
    )


def _still_improves(c: Curves) -> str | None:
    curve, name = (c.val_loss, "validation") if np.isfinite(c.val_loss).all() else (c.loss, "training")
    fifth = len(curve) // 5
    if not fifth:
        return None
    before, last = curve[-2 * fifth : -fifth].mean(), curve[-fifth:].mean()
    if last > IMPROVES * before or before - last < 0.02:  # small losses halve without one more picture being right
        return None
    rate = _or_zero(c.learning_rate)
    annealed = rate.max() > 0 and rate[-1] <= 0.01 * rate.max()
    how = "Its rate had come down to zero, so run it anew with more epochs" if annealed else "Train longer"
    fell = f"from one fifth of the epochs to the last the {name} loss fell from {before:.3f} to {last:.3f}"
    return f"It still improved at the end: {fell}. {how}."


def _underfits(c: Curves) -> str | None:
    reached = np.nanmax([c.accuracy[-1], c.val_accuracy[-1], 0.0])
    if len(c.epoch) < ENOUGH or reached in (0.0,) or reached >= LOW:
        return None
    quarter = max(len(c.loss) // 4, 2)
    if c.loss[-1] < (1 - FLAT) * c.loss[-quarter]:
        return None
    return (
        f"It underfits: accuracy is {reached:.3f} at best, without a gap, and the training loss is flat since epoch "
        f"{c.epoch[-quarter]:.0f} ({c.loss[-1]:.3f}). A bigger model, a higher rate, more epochs, or less augmentation and decay."
    )


def _best_is_past(c: Curves) -> str | None:
    if len(c.epoch) < ENOUGH or not np.isfinite(c.val_accuracy).any():
        return None
    best = int(np.nanargmax(c.val_accuracy))
    lost = c.val_accuracy[best] - c.val_accuracy[-1]
    if not lost >= BEST:
        return None
    return (
        f"The best validation accuracy, {c.val_accuracy[best]:.3f}, was in epoch {c.epoch[best]:.0f}; the last epoch has "
        f"{c.val_accuracy[-1]:.3f}. A rate that falls to zero, averaged weights or early stopping end nearer to it; the best of "
        "many epochs is also a little luck."
    )


def _notes(c: Curves, mixed: bool) -> list[str | None]:
    if mixed:
        return ["Training accuracy was measured on mixed pictures, so it is not compared with validation."]
    above = -c.gap
    if not above >= 0.005:
        return []
    return [
        f"Validation accuracy stands {100 * above:.1f} points above training: normal, for training is measured under augmentation and "
        "dropout, over the whole epoch."
    ]


def _rate(c: Curves, at: int) -> str:
    rate = c.learning_rate[at]
    return f" (rate {rate:.3g})" if np.isfinite(rate) and rate > 0 else ""


def _or_zero(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values, nan=0.0)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Mean over a tenth of the epochs, at least three, fewer at the ends."""
    reach = max(len(values) // 20, 1)
    return np.array([values[max(i - reach, 0) : i + reach + 1].mean() for i in range(len(values))])
