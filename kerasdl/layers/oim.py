"""Online instance matching (Xiao et al. 2017, arXiv:1604.01850, section 3.2): a softmax over remembered people instead of a classifier."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasdl")
class OnlineInstanceMatching(keras.layers.Layer):
    """[embedding (B,D), label (B,) of integers] to -log p of the label, (B,), float32: a loss as it is.

    Logits are scale * cosine of the embedding with a lookup table (identities,D) and with a circular queue (queue,D) of people without
    a label, both scaled to length 1 and at zero until somebody is remembered; a row of zeros still counts as exp(0) in the softmax, as
    in the authors' code. Nothing flows back to them. After its loss each training step remembers, in the order of the batch: the row of
    a label becomes momentum * row + (1 - momentum) * embedding, scaled to length 1; an example whose label is negative takes the oldest
    place of the queue. It has loss 0, as has a label from `identities` on, which is not remembered. The mean over the batch is the mean
    over its labelled examples.

    On several devices of TensorFlow only what the first one has seen is remembered.

    Args:
        identities: rows of the table.
        queue: places for people without a label; 0 for data that has none.
        momentum: share of the old row.
        scale: 1 / the paper's temperature of 0.1.
    """

    def __init__(self, identities: int, queue: int = 0, momentum: float = 0.5, scale: float = 10.0, **options: Any) -> None:
        super().__init__(**{"dtype": "float32", **options})
        if identities < 1 or queue < 0:
            raise ValueError(f"the table needs at least 1 identity, the queue 0 places. Received: identities={identities}, queue={queue}")
        if not 0 <= momentum < 1 or not scale > 0:
            raise ValueError(f"momentum must be in [0, 1), the scale positive. Received: momentum={momentum}, scale={scale}")
        self.identities, self.queue, self.momentum, self.scale = identities, queue, momentum, scale

    def build(self, input_shape: Any) -> None:
        width = input_shape[0][-1]
        state: dict[str, Any] = {"initializer": "zeros", "trainable": False, "aggregation": "only_first_replica"}
        self.table = self.add_weight(shape=(self.identities, width), name="table", **state)
        if self.queue:
            self.unlabelled = self.add_weight(shape=(self.queue, width), name="unlabelled", **state)
            self.oldest = self.add_weight(shape=(), dtype="int32", name="oldest", **state)

    def call(self, inputs: list[Any], training: bool | None = None) -> Any:
        embedding, label = inputs
        embedding = ops.normalize(embedding, axis=-1)
        label = ops.cast(ops.reshape(label, (-1,)), "int32")
        labelled = ops.logical_and(label >= 0, label < self.identities)
        logits = self.scale * ops.matmul(embedding, ops.transpose(self._remembered()))  # (B, identities + queue)
        wrong = -ops.sum(ops.one_hot(label, self.identities + self.queue) * ops.log_softmax(logits), axis=-1)
        if training:
            self._remember(ops.stop_gradient(embedding), label, labelled)
        counts = ops.cast(labelled, wrong.dtype)
        return wrong * counts * ops.cast(ops.shape(label)[0], wrong.dtype) / ops.maximum(ops.sum(counts), 1)

    def _remembered(self) -> Any:
        memories = [self.table, self.unlabelled] if self.queue else [self.table]
        return ops.stop_gradient(ops.concatenate([ops.convert_to_tensor(memory) for memory in memories]))

    def _remember(self, embedding: Any, label: Any, labelled: Any) -> None:
        self.table.assign(self._updated_table(embedding, ops.where(labelled, label, 0), labelled))
        if self.queue:
            self._enqueue(embedding, label < 0)

    def _updated_table(self, embedding: Any, label: Any, labelled: Any) -> Any:
        """As if one example came after the other: the first pictures of all identities together, then their second ones, and so on."""
        again = ops.logical_and(label[:, None] == label[None, :], labelled[None, :])
        turn = ops.sum(ops.cast(ops.tril(again, -1), "int32"), axis=1)  # how many of the identity come before in the batch
        turns = ops.max(ops.where(labelled, turn + 1, 0))

        def take_turn(now: Any, table: Any) -> Any:
            old = ops.take(table, label, axis=0)
            new = ops.normalize(self.momentum * old + (1 - self.momentum) * embedding, axis=-1)
            moves = ops.cast(ops.logical_and(labelled, turn == now), table.dtype)[:, None]
            return table + ops.segment_sum((new - old) * moves, label, num_segments=self.identities)

        return ops.fori_loop(0, turns, take_turn, ops.convert_to_tensor(self.table))

    def _enqueue(self, embedding: Any, unlabelled: Any) -> None:
        position = ops.cumsum(ops.cast(unlabelled, "int32")) - 1  # among the unlabelled of the batch
        count = ops.sum(ops.cast(unlabelled, "int32"))
        stays = ops.logical_and(unlabelled, position >= count - self.queue)  # a batch may be longer than the queue
        oldest, queue = ops.convert_to_tensor(self.oldest), ops.convert_to_tensor(self.unlabelled)
        place = ops.mod(oldest + position, self.queue)
        weight = ops.cast(stays, embedding.dtype)
        new = ops.segment_sum(embedding * weight[:, None], place, num_segments=self.queue)
        taken = ops.segment_sum(weight, place, num_segments=self.queue) > 0
        self.unlabelled.assign(ops.where(taken[:, None], new, queue))
        self.oldest.assign(ops.mod(oldest + count, self.queue))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape[0][:1]

    def get_config(self) -> dict[str, Any]:
        own = {"identities": self.identities, "queue": self.queue, "momentum": self.momentum, "scale": self.scale}
        return {**super().get_config(), **own}
