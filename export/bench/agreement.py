"""How far the answers of a runtime are those of Keras, and what is wrong with them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from export import captions, parity, tables
from export.parity import Arrays

MAIN = {  # of each task the score that a row shows, and its full scale
    "classification": ("accuracy", 1.0),
    "embedding": ("mAP", 1.0),
    "captioning": ("CIDEr-D", 10.0),
    "regression": ("R2", 1.0),
}
FALL = 0.005  # of the full scale, that a smaller precision may cost
EXAMPLES = 2  # or as much as so many of the examples are worth, where they are few
ROUNDING = 1e-9


@dataclass(frozen=True)
class Agreement:
    """Of `count` examples `equal` are decided alike and `tied` otherwise, but nearly tied; `error` is the largest difference of a number.

    Of a table, where nothing is decided, the equal ones are the rows that are right, and errors are in standard deviations.
    """

    count: int
    equal: int
    tied: int
    error: float
    tolerance: float


def agreement(task: Any, card: dict[str, Any], wanted: Arrays, found: Arrays, nudged: Arrays | None = None) -> Agreement:
    """`wanted` is what Keras answered to the same examples, `nudged` what it answers to them after `nudge`, where they are a table."""
    if task.name == tables.TASK:
        return of_rows(task, card["table"]["targets"], wanted, found, nudged)
    compare = captions.compare if task.name == captions.TASK else parity.compare
    error, _, _ = compare(task, wanted, found)
    choice, margin = task.decide(wanted)
    other, _ = task.decide(found)
    same, near = np.asarray(choice) == np.asarray(other), np.asarray(margin) < 2 * task.tolerance
    return Agreement(len(same), int(same.sum()), int((~same & near).sum()), error, task.tolerance)


def nudge(feeds: Arrays) -> Arrays:
    """Every number one step of float32 higher. Another order of operations is as good as such a step: a longitude of 122 degrees that is
    scaled before it is centred has lost it."""
    return {name: np.nextafter(values, np.float32(np.inf)) for name, values in feeds.items()}


def of_rows(task: Any, targets: list[dict[str, Any]], wanted: Arrays, found: Arrays, nudged: Arrays | None) -> Agreement:
    """A row is right within the task's tolerance, or as near as Keras' own answer stays when the row is nudged."""
    least = tables.tolerance(task.tolerance, targets)
    errors = row_errors(targets, wanted, found)
    allowed = np.maximum(least, row_errors(targets, wanted, nudged)) if nudged else np.full(len(errors), least)
    return Agreement(len(errors), int((errors <= allowed).sum()), 0, float(errors.max()), float(allowed.max()))


def row_errors(targets: list[dict[str, Any]], wanted: Arrays, found: Arrays) -> np.ndarray:
    """The largest difference in each row (N,), in standard deviations of its target."""
    difference, count = tables.difference_of(targets), len(wanted["value"])
    if any(found[name].shape != values.shape for name, values in wanted.items()):
        return np.full(count, math.inf)
    rows = [max(difference(wanted[name][i : i + 1], found[name][i : i + 1]) for name in wanted) for i in range(count)]
    return np.array(rows)


def problem(precision: str, found: Agreement, score: float | None, reference: float | None, scale: float, trials: int) -> str:
    """What is wrong with a row, in a sentence part; nothing where all is well.

    float32 must be Keras. A smaller precision decides some examples otherwise, and is judged by what that costs.
    """
    if not math.isfinite(found.error):
        return "numbers that are missing or none"
    if precision == "float32":
        return of_float32(found)
    if score is None or reference is None:
        return "not judged: its score needs the data"
    allowed = scale * max(FALL, EXAMPLES / trials)
    fall = reference - score
    return "" if fall <= allowed + ROUNDING else f"the score falls by {fall:.4f}, and may by {allowed:.4f}"


def of_float32(found: Agreement) -> str:
    others, beyond = found.count - found.equal - found.tied, f"an error of {found.error:.1e} beyond {found.tolerance:g}"
    if others:
        return f"{others:,} of {found.count:,} examples are answered otherwise, with {beyond}"
    return "" if found.error <= found.tolerance else beyond
