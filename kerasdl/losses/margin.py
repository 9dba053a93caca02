"""Hinge losses: a score that is right by a margin of one costs nothing (course rows B15, B16)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasdl")
class MulticlassHinge(keras.losses.Loss):
    """Sum over the wrong classes j of max(0, s_j - s_y + 1), of scores (B,classes) against labels (B,) (Weston and Watkins 1999, ESANN).

    Equal scores cost classes - 1. With L2 on the kernel it is the soft-margin SVM of several classes.
    """

    def __init__(self, name: str = "multiclass_hinge", **options: Any) -> None:
        super().__init__(name=name, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        truth = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), y_pred.shape[-1], dtype=y_pred.dtype)
        own = ops.sum(truth * y_pred, axis=-1, keepdims=True)
        return ops.sum((1 - truth) * ops.relu(y_pred - own + 1), axis=-1)
