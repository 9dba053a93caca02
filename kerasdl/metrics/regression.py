"""How far predicted numbers lie from the true ones, with bootstrap intervals; numpy in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerasdl.metrics.intervals import wilson_interval

RESAMPLES = 2000


class Scores(dict[str, float]):
    """Scores that bring their own 95 % intervals, by name: those that no formula gives from the score and the count alone."""

    def __init__(self, values: dict[str, float], intervals: dict[str, tuple[float, float]]) -> None:
        super().__init__(values)
        self.intervals = intervals


def regression_scores(
    truth: np.ndarray, value: np.ndarray, interval: np.ndarray | None = None, names: Sequence[str] = (), seed: int = 0
) -> Scores:
    """MAE and RMSE in the targets' units, R2 and coverage, of each target.

    Args:
        truth, value: (N,T).
        interval: (N,T,2) prediction intervals; "coverage" is the share of true values inside.
        names: of the T targets; scores are called "MAE price", or "MAE" where there is one target.
        seed: of the resampling.

    The intervals of MAE, RMSE and R2 are percentiles 2.5 and 97.5 of the score over RESAMPLES resamplings of the N examples (Efron 1979,
    doi:10.1214/aos/1176344552), that of coverage is Wilson's. They say how well these N examples tell the score, nothing of another
    training. R2 = 1 - sum e² / sum (t - mean t)² has its mean from the same examples and may be negative; of equal true values it is NaN.

    Raises ValueError for fewer than 2 examples, or shapes that differ.
    """
    if truth.shape != value.shape or truth.ndim != 2 or len(truth) < 2:
        raise ValueError(f"scores need at least 2 examples, truth and value (N,T). Received: {truth.shape} and {value.shape}")
    values, intervals = {}, {}
    for number in range(truth.shape[1]):
        suffix = f" {names[number]}" if truth.shape[1] > 1 and names else ""
        t, e = (x[:, number].astype(np.float64) for x in (truth, value))
        found, drawn = _scores(t, t - e), _resampled(t, t - e, seed)
        for name, score in found.items():
            values[name + suffix] = score
            intervals[name + suffix] = _middle(drawn[name])
        if interval is not None:
            inside = (interval[:, number, 0] <= t) & (t <= interval[:, number, 1])
            values["coverage" + suffix] = float(inside.mean())
            intervals["coverage" + suffix] = wilson_interval(float(inside.mean()), len(t))
    return Scores(values, intervals)


def _middle(drawn: np.ndarray, share: float = 0.95) -> tuple[float, float]:
    """Between which values that share of a score lies, of the resamplings in which it is a number."""
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def _scores(truth: np.ndarray, error: np.ndarray) -> dict[str, float]:
    """Of one target (N,); of resamplings (R,N) an array (R,) each."""
    square = np.mean(error**2, axis=-1)
    spread = np.var(truth, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(spread > 0, 1 - square / spread, np.nan)
    found = {"MAE": np.mean(np.abs(error), axis=-1), "RMSE": np.sqrt(square), "R2": share}
    return {name: float(score) if np.ndim(score) == 0 else score for name, score in found.items()}


def _resampled(truth: np.ndarray, error: np.ndarray, seed: int, at_once: int = 2_000_000) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    rows = max(at_once // len(truth), 1)
    parts = []
    for start in range(0, RESAMPLES, rows):
        index = random.integers(len(truth), size=(min(rows, RESAMPLES - start), len(truth)))
        parts.append(_scores(truth[index], error[index]))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
