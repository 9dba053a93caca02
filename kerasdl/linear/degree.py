"""The degree of a polynomial by cross-validation on the training rows alone: neither validation nor test split is asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from kerasdl.linear.cross_validation import Errors, cross_validate
from kerasdl.models.basis import polynomial


def choose_degree(splits: Any, degrees: Iterable[int] = range(1, 13), k: int = 5, repeats: int = 10) -> tuple[int, dict[int, Errors]]:
    """The degree whose held-out error is least in the mean over `repeats` drawings of k folds, and the errors of each.

    The features are those of `kerasdl.models.polynomial` on columns standardised by the training statistics, as the task
    `Regression` standardises them; each drawing is one row of `Errors`, (repeats, k).
    """
    rows, columns = splits.train.arrays(), splits.spec.columns
    standard = (rows["features"] - [column.mean for column in columns]) / [column.std for column in columns]
    pixels = standard.astype(np.float32).reshape(len(standard), *splits.spec.image_shape)
    errors = {}
    for degree in degrees:
        powers = polynomial(splits.spec.image_shape, degree).predict_on_batch(pixels)
        drawn = [cross_validate(powers, rows["target"], k=k, seed=seed) for seed in range(repeats)]
        errors[degree] = Errors(np.array([one.train for one in drawn]), np.array([one.valid for one in drawn]))
    return min(errors, key=lambda degree: errors[degree].valid.mean()), errors
