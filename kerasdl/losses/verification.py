"""Binary verification loss: same person or not, asked of every pair of a batch (Zheng, Zheng, Yang 2016, arXiv:1611.05666, section 3.2)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasdl.losses.pairs import identity_masks, mean_over_pairs


@keras.saving.register_keras_serializable(package="kerasdl")
class VerificationLoss(keras.losses.Loss):
    """-log p of the same identity and -log(1 - p) of different ones, with p = sigmoid of the pair's logit.

    Labels (B,) and logits (B,B) as `kerasdl.layers.PairVerification` gives them.

    Args:
        balanced: the mean over positive pairs plus that over negative pairs, instead of the mean over all pairs, of which few are positive.
    """

    def __init__(self, balanced: bool = False, name: str = "verification", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.balanced = balanced

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positive, negative = identity_masks(y_true)
        values = ops.softplus(ops.where(positive, -y_pred, y_pred))
        return mean_over_pairs(positive, negative, values, self.balanced)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "balanced": self.balanced}
