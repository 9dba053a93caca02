"""K-fold cross-validation (Stone 1974, doi:10.1111/j.2517-6161.1974.tb00994.x): every example is held out once (course row L30)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kerasdl.linear.ridge import solve_ridge


def folds(count: int, k: int = 5, seed: int = 0, labels: Any = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """(kept, held out) sorted example numbers of each of k folds, whose sizes differ by one at most.

    With `labels` (N,) stratified: of every class each fold holds out as many as of any other fold, give or take one.
    Raises ValueError for a k that is not in 2..count.
    """
    if not 2 <= k <= count:
        raise ValueError(f"k must be from 2 to the number of examples. Received: k={k} for {count} examples")
    order = np.random.default_rng(seed).permutation(count)
    if labels is not None:
        order = order[np.argsort(np.asarray(labels)[order], kind="stable")]  # a class after the other, each in random order
    dealt = np.empty(count, np.int64)
    dealt[order] = np.arange(count) % k  # like cards
    return [(np.flatnonzero(dealt != fold), np.flatnonzero(dealt == fold)) for fold in range(k)]


class Errors(NamedTuple):
    """Root mean squared errors of the folds, (..., k) each: of the examples that were fitted, and of those held out."""

    train: np.ndarray
    valid: np.ndarray


def cross_validate(features: Any, targets: Any, ridge: float = 0.0, k: int = 5, seed: int = 0) -> Errors:
    """Ridge regression of (N,K) on (N,) or (N,T), k times on k - 1 folds; what is chosen by it has never seen the test split.

    Raises ValueError as `folds` and `solve_ridge`.
    """
    x, t = np.asarray(features, np.float64), np.asarray(targets, np.float64).reshape(len(features), -1)
    fitted, held = [], []
    for kept, out in folds(len(x), k, seed):
        found = solve_ridge(x[kept], t[kept], ridge)
        fitted.append(_rmse(t[kept] - found.predict(x[kept])))
        held.append(_rmse(t[out] - found.predict(x[out])))
    return Errors(np.array(fitted), np.array(held))


def _rmse(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(errors**2)))
