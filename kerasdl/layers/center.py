"""Center loss (Wen et al. 2016, "A Discriminative Feature Learning Approach for Deep Face Recognition"): stay near your class."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasdl")
class CenterDistance(keras.layers.Layer):
    """[embedding (B,D), label (B,) of integers] to the squared distance from the label's centre, (B,), float32: a loss as it is.

    The centres are state, not parameters: each training step moves those of its batch by the paper's equations 3 and 4,
    c_j <- c_j - rate * sum_i (c_j - x_i) / (1 + n_j) over the n_j examples of identity j, whatever the weight of the loss. They start
    at zero. Labels outside 0..identities-1 are unlabelled examples: distance 0, no centre moves. The mean over the batch is the mean
    over its labelled examples, which re-identification takes (bag of tricks) where the paper has half the sum.

    On several devices of TensorFlow each moves the centres by its own examples, and their mean is kept.

    Args:
        identities: number of centres.
        rate: the paper's alpha.
    """

    def __init__(self, identities: int, rate: float = 0.5, **options: Any) -> None:
        super().__init__(**{"dtype": "float32", **options})
        if identities < 1 or not 0 < rate <= 1:
            raise ValueError(f"centres need at least 1 identity and a rate in (0, 1]. Received: identities={identities}, rate={rate}")
        self.identities, self.rate = identities, rate

    def build(self, input_shape: Any) -> None:
        shape = (self.identities, input_shape[0][-1])
        self.centres = self.add_weight(shape=shape, initializer="zeros", trainable=False, aggregation="mean", name="centres")

    def call(self, inputs: list[Any], training: bool | None = None) -> Any:
        embedding, label = inputs
        label = ops.cast(ops.reshape(label, (-1,)), "int32")
        labelled = ops.cast(ops.logical_and(label >= 0, label < self.identities), embedding.dtype)  # (B,)
        label = ops.clip(label, 0, self.identities - 1)
        away = embedding - ops.take(ops.stop_gradient(ops.convert_to_tensor(self.centres)), label, axis=0)  # (B, D)
        if training:
            self._move_centres(ops.stop_gradient(away) * labelled[:, None], label, labelled)
        share = ops.cast(ops.shape(label)[0], embedding.dtype) / ops.maximum(ops.sum(labelled), 1)
        return ops.sum(ops.square(away), axis=-1) * labelled * share

    def _move_centres(self, away: Any, label: Any, labelled: Any) -> None:
        total = ops.segment_sum(away, label, num_segments=self.identities)
        count = ops.segment_sum(labelled, label, num_segments=self.identities)
        self.centres.assign_add(self.rate * total / (1 + count)[:, None])

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape[0][:1]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "identities": self.identities, "rate": self.rate}
