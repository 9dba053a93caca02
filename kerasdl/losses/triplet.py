"""Triplet losses: an anchor is nearer to its own identity than to another one, by a margin.

Batch-hard and the soft margin are Hermans et al. 2017 (arXiv:1703.07737, section 2), semi-hard is Schroff et al. 2015 (FaceNet,
arXiv:1503.03832, section 3.2), weighted is Ye et al. 2020 (AGW, arXiv:2001.04193, section 4).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasdl.losses.pairs import FAR, identity_masks, mean_where, pairwise_distance


@keras.saving.register_keras_serializable(package="kerasdl")
class TripletLoss(keras.losses.Loss):
    """max(0, d(a,p) - d(a,n) + margin) of labels (B,) and embeddings (B,D), which triplets count being the choice of `mining`.

    Args:
        margin: or None for the soft margin, log(1 + exp(d(a,p) - d(a,n))).
        mining: "batch-hard", for each anchor its farthest positive and its nearest negative, the mean over the anchors that have both;
            "semi-hard", for each positive pair the nearest negative farther than the positive, and where there is none the farthest
            negative, the mean over the pairs; memory grows with the cube of the batch;
            "weighted", for each anchor the mean distance of positives with weights softmax(d) and of negatives with softmax(-d). The
            paper takes the soft margin with it.
        squared: whether d is the squared distance, as in FaceNet and in the ranking loss of Gordo et al. 2016.
        normalise: whether embeddings are scaled to length 1 first.
    """

    def __init__(
        self,
        margin: float | None = 0.3,
        mining: str = "batch-hard",
        squared: bool = False,
        normalise: bool = False,
        name: str = "triplet",
        **options: Any,
    ) -> None:
        super().__init__(name=name, **options)
        if margin is not None and margin < 0:
            raise ValueError(f"the margin must not be negative; None is the soft margin. Received: {margin}")
        if mining not in MINING:
            raise ValueError(f"mining is one of {', '.join(MINING)}. Received: {mining!r}")
        self.margin, self.mining, self.squared, self.normalise = margin, mining, squared, normalise

    def call(self, y_true: Any, y_pred: Any) -> Any:
        distance = pairwise_distance(y_pred, self.squared, self.normalise)
        counts, gap = MINING[self.mining](distance, *identity_masks(y_true))
        excess = ops.softplus(gap) if self.margin is None else ops.relu(gap + self.margin)
        return mean_where(counts, excess)

    def get_config(self) -> dict[str, Any]:
        own = {"margin": self.margin, "mining": self.mining, "squared": self.squared, "normalise": self.normalise}
        return {**super().get_config(), **own}


def _batch_hard(distance: Any, positive: Any, negative: Any) -> tuple[Any, Any]:
    """(B,B) three times to (B,) twice: which anchors count, and d(a,p) - d(a,n)."""
    farthest = ops.max(ops.where(positive, distance, 0.0), axis=1)
    nearest = ops.min(ops.where(negative, distance, FAR), axis=1)
    return _has_both(positive, negative), farthest - nearest


def _weighted(distance: Any, positive: Any, negative: Any) -> tuple[Any, Any]:
    near, far = _softmax(ops.where(positive, distance, -FAR)), _softmax(ops.where(negative, -distance, -FAR))
    return _has_both(positive, negative), ops.sum((near - far) * distance, axis=1)


def _softmax(x: Any) -> Any:
    return ops.exp(x - ops.logsumexp(x, axis=1, keepdims=True))  # that of Keras warns of a batch of one


def _semi_hard(distance: Any, positive: Any, negative: Any) -> tuple[Any, Any]:
    """(B,B) three times to (B,B) twice: which pairs of anchor and positive count, and d(a,p) - d(a,n)."""
    others = distance[:, None, :]  # (anchor, 1, negative)
    farther = ops.logical_and(negative[:, None, :], others > distance[:, :, None])  # (anchor, positive, negative)
    outside = ops.min(ops.where(farther, others, FAR), axis=2)
    inside = ops.max(ops.where(negative, distance, 0.0), axis=1)[:, None]
    counts = ops.logical_and(positive, ops.any(negative, axis=1)[:, None])
    return counts, distance - ops.where(ops.any(farther, axis=2), outside, inside)


def _has_both(positive: Any, negative: Any) -> Any:
    return ops.logical_and(ops.any(positive, axis=1), ops.any(negative, axis=1))


MINING = {"batch-hard": _batch_hard, "semi-hard": _semi_hard, "weighted": _weighted}
