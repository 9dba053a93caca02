"""The perceptron (Rosenblatt 1958, doi:10.1037/h0042519): a threshold unit that learns from its mistakes alone (course row B2)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops


def perceptron(columns: int) -> keras.Model:
    """`features` (B,D) to `decision` (B,), 1 where w·x + b > 0 and else 0; the Dense layer `score` holds w and b, zero at first.

    No gradient passes the threshold: `learn_perceptron` trains it.
    """
    features = keras.Input((columns,), name="features")
    score = layers.Dense(1, kernel_initializer="zeros", name="score")(features)
    decision = ops.cast(ops.greater(ops.squeeze(score, -1), 0.0), "float32")
    return keras.Model(features, decision, name="perceptron")


def learn_perceptron(model: keras.Model, features: Any, labels: Any, passes: int = 100) -> list[int]:
    """Passes over the examples until one is without a mistake, `passes` at most; gives the mistakes of each.

    At a mistake w grows by (label - decision) x, and b by (label - decision). Where a hyperplane separates the classes the mistakes end
    after at most (R / margin)² of them (Novikoff 1962); where none does, they never do.

    Args:
        model: of `perceptron`.
        features: (N,D).
        labels: (N,), 0 or 1; ValueError for others.
    """
    x, t = np.asarray(features, np.float64), np.asarray(labels)
    if not set(np.unique(t).tolist()) <= {0, 1}:
        raise ValueError(f"a perceptron tells 0 from 1. Received: the labels {np.unique(t)[:5].tolist()}")
    kernel, bias = (w.astype(np.float64) for w in model.get_layer("score").get_weights())
    weights, mistakes = kernel[:, 0], []
    while len(mistakes) < passes and (not mistakes or mistakes[-1]):
        mistakes.append(0)
        for example, label in zip(x, t, strict=True):
            wrong = label - float(example @ weights + bias[0] > 0)
            weights, bias = weights + wrong * example, bias + wrong
            mistakes[-1] += int(wrong != 0)
    model.get_layer("score").set_weights([weights[:, None], bias])
    return mistakes
