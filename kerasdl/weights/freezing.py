"""Fine-tuning with the first stages as they were: no gradient, and BatchNormalization by its stored statistics."""

from __future__ import annotations

import math

import keras

from kerasdl.models import features


def freeze(model: keras.Model, stage: str) -> int:
    """Makes every layer up to and including `stage` ("stage2") untrainable, inside nested models too; call it before `compile`.

    Keras runs an untrainable BatchNormalization in inference mode, so that its statistics stay too.

    Returns:
        The number of parameters that no longer train.

    Raises:
        ValueError: with the stages that there are, when the model has no layer of that name.
    """
    before = _trainable(model)
    for layer in features(model, stage).layers:  # what the stage is computed from, whatever the order of the other branches
        layer.trainable = False
    return before - _trainable(model)


def _trainable(model: keras.Model) -> int:
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)
