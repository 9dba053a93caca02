"""What people wear, beside who they are: the loss, the metric and the score of an attribute head (APR, Lin et al. 2017, arXiv:1703.07220).

Attributes stand side by side in the alphabetical order of their names. Targets (B,M) are numbers of values, -1 where unknown, which
neither teaches nor counts; predictions (B,M,V) are padded to the V values of the largest attribute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasdl.data.attributes import attribute_fields


@keras.saving.register_keras_serializable(package="kerasdl")
class AttributeCrossEntropy(keras.losses.Loss):
    """The mean over a picture's known attributes of the softmax cross-entropy of their logits; 0 for none."""

    def __init__(self, name: str = "attribute_cross_entropy", **options: Any) -> None:
        super().__init__(name=name, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        truth = ops.one_hot(ops.cast(y_true, "int32"), y_pred.shape[-1])  # (B, M, V), zeros for -1
        losses = -ops.sum(truth * ops.log_softmax(y_pred), axis=-1)  # (B, M)
        return ops.sum(losses, axis=-1) / ops.maximum(ops.sum(_is_known(y_true), axis=-1), 1.0)


@keras.saving.register_keras_serializable(package="kerasdl")
class AttributeAccuracy(keras.metrics.Mean):
    """The share of known attributes whose largest prediction is the true value."""

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        right = ops.equal(ops.cast(y_true, "int32"), ops.cast(ops.argmax(y_pred, axis=-1), "int32"))
        return super().update_state(ops.cast(right, "float32"), sample_weight=_is_known(y_true))


def attributes_right(predicted: np.ndarray, examples: Mapping[str, np.ndarray]) -> np.ndarray:
    """(B,M) float64: 1 where the largest of `predicted` (B,M,V) is what the fields `attribute_NAME` say, 0 where not, NaN where unknown."""
    fields = attribute_fields(examples)
    if len(fields) != predicted.shape[1]:
        raise ValueError(f"the pictures must have the {predicted.shape[1]} attributes of the model. Received: {fields}")
    truth = np.stack([examples[field] for field in fields], axis=-1)
    return np.where(truth < 0, np.nan, predicted.argmax(axis=-1) == truth)


def mean_accuracy(right: Sequence[np.ndarray]) -> float | None:
    """The mean over attributes of the share of pictures that were right, as APR counts; None where nothing is known."""
    if not right:
        return None
    together = np.concatenate(right)
    known = ~np.isnan(together)
    shares = np.nansum(together, axis=0)[known.any(axis=0)] / known.sum(axis=0)[known.any(axis=0)]
    return float(shares.mean()) if len(shares) else None


def _is_known(y_true: Any) -> Any:
    return ops.cast(ops.greater_equal(y_true, 0), "float32")
