"""Instance loss (Zheng et al. 2017, arXiv:1711.05535) within a batch, as in layumi/Person_reID_baseline_pytorch: everyone is a class."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasdl.losses.pairs import mean_where


@keras.saving.register_keras_serializable(package="kerasdl")
class InstanceLoss(keras.losses.Loss):
    """Labels (B,) and embeddings (B,D): each identity's mean embedding finds itself among those of the batch.

    Softmax cross-entropy of scale * cosine between the mean embeddings, the mean over the identities of the batch. With one picture of
    each, or labels that are negative (unlabelled: each picture is an identity of its own), every picture has to find itself.

    Args:
        scale: of the cosines, layumi's gamma.
    """

    def __init__(self, scale: float = 32.0, name: str = "instance", **options: Any) -> None:
        super().__init__(name=name, **options)
        if not scale > 0:
            raise ValueError(f"the scale of instance loss must be positive. Received: {scale}")
        self.scale = scale

    def call(self, y_true: Any, y_pred: Any) -> Any:
        same = ops.cast(_same(y_true), y_pred.dtype)  # (B, B)
        count = ops.sum(same, axis=1)  # pictures of the identity of each
        means = ops.normalize(ops.matmul(same, y_pred), axis=-1)  # (B, D), equal rows for an identity
        logits = self.scale * ops.matmul(means, ops.transpose(means))
        wrong = ops.logsumexp(logits - ops.log(count), axis=1) - ops.diagonal(logits)  # each identity counts once in the sum
        first = ops.sum(ops.tril(same, -1), axis=1) == 0  # one picture speaks for its identity
        return mean_where(first, wrong)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


def _same(labels: Any) -> Any:
    labels = ops.cast(ops.reshape(labels, (-1,)), "int32")
    same = ops.logical_and(labels[:, None] == labels[None, :], labels[:, None] >= 0)
    return ops.logical_or(same, ops.eye(ops.shape(labels)[0], dtype="bool"))
