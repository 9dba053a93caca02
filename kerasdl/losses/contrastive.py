"""Contrastive loss (Hadsell, Chopra, LeCun 2006, equation 4): the same identity together, different ones at least a margin apart."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasdl.losses.pairs import identity_masks, mean_over_pairs, pairwise_distance

MARGINS = {"squared": 0.7, "linear": 1.0}


@keras.saving.register_keras_serializable(package="kerasdl")
class ContrastiveLoss(keras.losses.Loss):
    """Of labels (B,) and embeddings (B,D), over all pairs of the batch. Two losses carry the name, so that `form` says which:

    - "squared", of the paper and of cirtorch: d^2 / 2 of the same identity, max(0, margin - d)^2 / 2 of different ones;
    - "linear", of pytorch-metric-learning: d, and max(0, margin - d).

    Args:
        form: as above.
        margin: None is that of the library named above, 0.7 or 1.0.
        normalise: whether embeddings are scaled to length 1 first, as both do.
        balanced: the mean over positive pairs plus that over negative pairs, instead of the mean over all pairs, of which few are positive.
    """

    def __init__(
        self,
        form: str = "squared",
        margin: float | None = None,
        normalise: bool = True,
        balanced: bool = False,
        name: str = "contrastive",
        **options: Any,
    ) -> None:
        super().__init__(name=name, **options)
        if form not in MARGINS:
            raise ValueError(f"the form of a contrastive loss is one of {', '.join(MARGINS)}. Received: {form!r}")
        self.form, self.normalise, self.balanced = form, normalise, balanced
        self.margin = MARGINS[form] if margin is None else margin
        if not self.margin > 0:
            raise ValueError(f"the margin of a contrastive loss must be positive. Received: {margin}")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positive, negative = identity_masks(y_true)
        distance = pairwise_distance(y_pred, normalise=self.normalise)
        wrong = ops.where(positive, distance, ops.relu(self.margin - distance))
        values = ops.square(wrong) / 2 if self.form == "squared" else wrong
        return mean_over_pairs(positive, negative, values, self.balanced)

    def get_config(self) -> dict[str, Any]:
        own = {"form": self.form, "margin": self.margin, "normalise": self.normalise, "balanced": self.balanced}
        return {**super().get_config(), **own}
