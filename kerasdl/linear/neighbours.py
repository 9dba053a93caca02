"""K nearest neighbours as a Keras model, so that it is saved, exported and served like any other (course row B13)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from kerasdl.layers.neighbours import NearestNeighbours


def nearest_neighbours(
    examples: Any, labels: Any, k: int = 5, metric: str = "l2", classes: int | None = None, name: str = "nearest_neighbours"
) -> keras.Model:
    """A model that knows those examples (N,...) and their class numbers (N,), flat inside.

    Args:
        k: neighbours that vote; among classes with equally many votes that of the nearest neighbour wins.
        metric: "l1" or "l2".
        classes: how many there are; one more than the largest label by default.

    Returns:
        `features` float32 (B,D) to `label` int32 (B,) and `shares` float32 (B,classes), the share of the k votes that each class got.

    Raises ValueError as `kerasdl.layers.NearestNeighbours`.
    """
    examples = np.asarray(examples, np.float32).reshape(len(examples), -1)
    labels = np.asarray(labels)
    layer = NearestNeighbours(len(examples), classes or int(labels.max()) + 1, k, metric, name="votes")
    features = keras.Input((examples.shape[1],), name="features")
    votes = layer(features)
    layer.remember(examples, labels)
    _, most = ops.top_k(votes, 1)  # and not argmax, which on TensorFlow looks at the bits of floats: no operator of ONNX does
    outputs = {"label": ops.cast(ops.squeeze(most, -1), "int32"), "shares": ops.floor(votes) / k}
    return keras.Model(features, outputs, name=name)
