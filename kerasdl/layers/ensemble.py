"""Several models as one (Huang et al. 2017, arXiv:1704.00109, section 3): the mean of their probabilities."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasdl")
class MeanProbability(keras.layers.Layer):
    """Logits of M members, a list of (B,classes), to the logarithm of their mean probability (B,classes), float32."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"dtype": "float32", **options})

    def call(self, logits: list[Any]) -> Any:
        log_p = ops.stack([ops.log_softmax(ops.cast(x, "float32")) for x in logits])  # (M, B, classes)
        return ops.logsumexp(log_p, axis=0) - math.log(len(logits))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape[0]


def ensemble(members: list[keras.Model]) -> keras.Model:
    """One model of several that have the same named input and an output `logits`; its `logits` give the mean of their probabilities."""
    inputs = {name: keras.Input(x.shape[1:], dtype=x.dtype, name=name) for name, x in members[0].input.items()}
    logits = []
    for number, member in enumerate(members, start=1):
        one = keras.Model(member.input, {"logits": member.output["logits"]}, name=f"member{number}")
        logits.append(one(inputs)["logits"])
    return keras.Model(inputs, {"logits": MeanProbability(name="logits")(logits)}, name=members[0].name)
