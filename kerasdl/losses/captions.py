"""Losses of captions: cross-entropy of the words that are there, and attention that leaves no place of the picture out."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

PAD = 0


@keras.saving.register_keras_serializable(package="kerasdl")
class CaptionCrossEntropy(keras.losses.Loss):
    """Softmax cross-entropy of next tokens (B,T) int and logits (B,T,V), `<pad>` left out: the mean over the batch's tokens.

    The values (B,) are sums over a caption's tokens by the mean number of tokens of the batch's captions, so that their mean is that one.
    With smoothing s the target is `(1 - s) * truth + s / V` (Szegedy et al. 2015, arXiv:1512.00567, section 7).
    """

    def __init__(self, smoothing: float = 0.0, name: str = "caption_cross_entropy", **options: Any) -> None:
        super().__init__(name=name, **options)
        if not 0 <= smoothing < 1:
            raise ValueError(f"label smoothing must be in [0, 1). Received: {smoothing}")
        self.smoothing = smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        words = ops.cast(y_true, "int32")
        logp = ops.log_softmax(y_pred)  # (B, T, V)
        picked = ops.squeeze(ops.take_along_axis(logp, words[:, :, None], axis=-1), -1)
        return mean_over_words(words, -(1 - self.smoothing) * picked - self.smoothing * ops.mean(logp, axis=-1))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "smoothing": self.smoothing}


@keras.saving.register_keras_serializable(package="kerasdl")
class DoublyStochastic(keras.losses.Loss):
    """Of the attention that each place got over a caption (B,N), the mean over the places of (1 - attention)^2; targets are not read.

    The second term of equation 14 of Xu et al. 2015 (arXiv:1502.03044), which sums over the places, beside a sum over the words: here both
    are means.
    """

    def __init__(self, name: str = "doubly_stochastic", **options: Any) -> None:
        super().__init__(name=name, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return ops.mean(ops.square(1 - y_pred), axis=-1)


@keras.saving.register_keras_serializable(package="kerasdl")
def word_is_right(y_true: Any, y_pred: Any) -> Any:
    """(B,) whose mean is the share of next tokens (B,T), `<pad>` left out, that have the largest logit (B,T,V), the true words before them
    given."""
    words = ops.cast(y_true, "int32")
    right = ops.equal(words, ops.cast(ops.argmax(y_pred, axis=-1), "int32"))
    return mean_over_words(words, ops.cast(right, "float32"))


def mean_over_words(words: Any, values: Any) -> Any:
    """Values (B,T) to (B,) whose mean over the batch is the mean over all tokens that are not `<pad>`."""
    real = ops.cast(ops.not_equal(words, PAD), values.dtype)
    mean_length = ops.mean(ops.sum(real, axis=-1))
    return ops.sum(real * values, axis=-1) / ops.where(mean_length > 0, mean_length, 1.0)
