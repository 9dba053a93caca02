"""K nearest neighbours (Cover and Hart 1967, doi:10.1109/TIT.1967.1053964): the stored examples are the model, and nothing trains."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

METRICS = ("l1", "l2")


@keras.saving.register_keras_serializable(package="kerasdl")
class NearestNeighbours(layers.Layer):
    """Votes of the K stored examples that are nearest, by d1 = sum |x - e| or d2 = sqrt(sum (x - e)²).

    Each neighbour has one vote and, by its rank, a share of less than one that only parts equal counts: the class with the largest
    number is the one with most votes, of equal ones that of the nearest neighbour. Of examples at one distance the first stored counts
    as the nearer. `votes` rounded down are the plain counts.

    Args:
        examples: N, how many are stored.
        classes: C.
        k: neighbours that vote, at most N.
        metric: "l1" or "l2".

    Shapes: (B, D) to float32 (B, C). The weights are `examples` (N, D) and `labels` (N,), whole numbers, to be set by `remember`.
    L1 holds all B x N x D differences at once. Raises ValueError for another metric or a k that is not in 1..N.
    """

    def __init__(self, examples: int, classes: int, k: int = 5, metric: str = "l2", **options: Any) -> None:
        super().__init__(**options)
        if metric not in METRICS:
            raise ValueError(f"metric is one of {', '.join(METRICS)}. Received: {metric!r}")
        if not 1 <= k <= examples:
            raise ValueError(f"k must be from 1 to the number of stored examples. Received: k={k} of {examples}")
        self.count, self.classes, self.k, self.metric = examples, classes, k, metric

    def build(self, input_shape: Any) -> None:
        self.examples = self.add_weight(shape=(self.count, input_shape[-1]), initializer="zeros", trainable=False, name="examples")
        self.labels = self.add_weight(shape=(self.count,), initializer="zeros", trainable=False, name="labels")
        self.built = True

    def remember(self, examples: Any, labels: Any) -> None:
        """Stores examples (N, D) and their class numbers (N,) in 0..C-1; ValueError for other shapes or numbers."""
        if tuple(examples.shape) != tuple(self.examples.shape) or tuple(labels.shape) != tuple(self.labels.shape):
            raise ValueError(
                f"there must be examples {tuple(self.examples.shape)} and a label for each. "
                f"Received: {tuple(examples.shape)} and {tuple(labels.shape)}"
            )
        if labels.min() < 0 or labels.max() >= self.classes:
            raise ValueError(f"labels must be from 0 to {self.classes - 1}. Received: {labels.min()} to {labels.max()}")
        self.examples.assign(examples)
        self.labels.assign(labels)

    def call(self, x: Any) -> Any:
        _, nearest = ops.top_k(-self._distances(x), self.k)  # (B, K), the nearest first
        who = ops.one_hot(ops.cast(ops.take(self.labels, nearest, axis=0), "int32"), self.classes)  # (B, K, C)
        nearer = ops.reshape((self.k - ops.arange(self.k, dtype="float32")) / (self.k + 1), (1, self.k, 1))
        return ops.sum(who, axis=1) + ops.max(who * nearer, axis=1)

    def _distances(self, x: Any) -> Any:
        """(B, N): d1, or the square of d2, which has the same order."""
        if self.metric == "l1":
            return ops.sum(ops.abs(x[:, None] - self.examples[None]), axis=-1)
        return ops.sum(ops.square(self.examples), axis=-1)[None] - 2 * ops.matmul(x, ops.transpose(self.examples))  # and |x|², a constant

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (input_shape[0], self.classes)

    def get_config(self) -> dict[str, Any]:
        own = {"examples": self.count, "classes": self.classes, "k": self.k, "metric": self.metric}
        return {**super().get_config(), **own}
