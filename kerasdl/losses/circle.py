"""Circle loss (Sun et al. 2020, arXiv:2002.10857, equation 6) on pairs, one value for each anchor as fast-reid computes it."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasdl.losses.pairs import FAR, cosine_similarity, identity_masks, mean_where


@keras.saving.register_keras_serializable(package="kerasdl")
class CircleLoss(keras.losses.Loss):
    """Of labels (B,) and embeddings (B,D), on cosine similarities s_p to the anchor's positives and s_n to its negatives.

    log(1 + sum_p exp(-scale a_p (s_p - 1 + margin)) * sum_n exp(scale a_n (s_n - margin))), where the weights
    a_p = max(0, 1 + margin - s_p) and a_n = max(0, s_n + margin) get no gradient. The mean over the anchors that have both.

    Args:
        margin, scale: 0.25 and 128 for re-identification.
    """

    def __init__(self, margin: float = 0.25, scale: float = 128.0, name: str = "circle", **options: Any) -> None:
        super().__init__(name=name, **options)
        if not 0 <= margin < 1 or not scale > 0:
            raise ValueError(f"circle loss needs a margin in [0, 1) and a positive scale. Received: margin={margin}, scale={scale}")
        self.margin, self.scale = margin, scale

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positive, negative = identity_masks(y_true)
        similarity = cosine_similarity(y_pred)
        fixed = ops.stop_gradient(similarity)
        far = -self.scale * ops.relu(1 + self.margin - fixed) * (similarity - 1 + self.margin)
        near = self.scale * ops.relu(fixed + self.margin) * (similarity - self.margin)
        values = ops.softplus(_log_sum(positive, far) + _log_sum(negative, near))
        return mean_where(ops.logical_and(ops.any(positive, axis=1), ops.any(negative, axis=1)), values)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin, "scale": self.scale}


def _log_sum(mask: Any, x: Any) -> Any:
    return ops.logsumexp(ops.where(mask, x, -FAR), axis=1)
