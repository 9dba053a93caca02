"""Several losses on one output, for Keras takes one loss for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="kerasdl")
class WeightedSum(keras.losses.Loss):
    """The sum of weight * loss, of labels and predictions as all of its losses take them: `WeightedSum([(TripletLoss(), 1), ...])`."""

    def __init__(self, parts: Sequence[tuple[keras.losses.Loss, float]], name: str = "weighted_sum", **options: Any) -> None:
        super().__init__(name=name, **options)
        if not parts:
            raise ValueError(f"a weighted sum needs at least one (loss, weight). Received: {parts!r}")
        self.parts = [(loss, float(weight)) for loss, weight in parts]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return sum(weight * loss.call(y_true, y_pred) for loss, weight in self.parts)

    def get_config(self) -> dict[str, Any]:
        parts = [[keras.losses.serialize(loss), weight] for loss, weight in self.parts]
        return {**super().get_config(), "parts": parts}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WeightedSum:
        parts = [(keras.losses.deserialize(loss), weight) for loss, weight in config["parts"]]
        return cls(**{**config, "parts": parts})
