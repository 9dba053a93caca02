"""Distillation (Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 2): how far a student is from its teacher."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasdl")
class DistillationDistance(keras.layers.Layer):
    """[student logits, teacher logits], each (B,classes), to T^2 KL(teacher at T || student at T), (B,), float32.

    T is the temperature: probabilities are softmax(logits / T). The factor T^2 keeps the size of the gradient when T changes (the
    end of the paper's section 2). Nothing flows back to the teacher.
    """

    def __init__(self, temperature: float, **options: Any) -> None:
        super().__init__(**{"dtype": "float32", **options})
        if not temperature > 0:
            raise ValueError(f"the temperature must be positive. Received: {temperature}")
        self.temperature = temperature

    def call(self, logits: list[Any]) -> Any:
        student, teacher = (ops.log_softmax(ops.cast(x, "float32") / self.temperature) for x in logits)
        teacher = ops.stop_gradient(teacher)
        return self.temperature**2 * ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape[0][:1]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}
