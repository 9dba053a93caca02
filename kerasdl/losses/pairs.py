"""What the losses on pairs share: who belongs together, how far apart they are, and the mean over those that count."""

from __future__ import annotations

from typing import Any

from keras import ops

FAR = 1e9  # finite, for the gradient of a masked infinity is no number


def identity_masks(labels: Any) -> tuple[Any, Any]:
    """Labels (B,) to two bool (B,B): another picture of the same identity; one of another identity. Negative labels are in neither."""
    labels = ops.cast(ops.reshape(labels, (-1,)), "int32")
    labelled = labels >= 0
    both = ops.logical_and(labelled[:, None], labelled[None, :])
    same = labels[:, None] == labels[None, :]
    itself = ops.eye(ops.shape(labels)[0], dtype="bool")
    positive = ops.logical_and(ops.logical_and(same, both), ops.logical_not(itself))
    return positive, ops.logical_and(ops.logical_not(same), both)


def pairwise_distance(embedding: Any, squared: bool = False, normalise: bool = False) -> Any:
    """(B,D) to Euclidean distances (B,B), or their squares; with `normalise` between the vectors scaled to length 1.

    The root is of at least 1e-12, so that the gradient at distance zero is zero and not infinite.
    """
    x = ops.normalize(embedding, axis=-1) if normalise else embedding
    x = x - ops.stop_gradient(ops.mean(x, axis=0))  # no distance changes, and near pairs lose fewer digits in the next line
    lengths = ops.sum(ops.square(x), axis=-1)
    squares = ops.maximum(lengths[:, None] + lengths[None, :] - 2 * ops.matmul(x, ops.transpose(x)), 1e-12)
    return squares if squared else ops.sqrt(squares)


def cosine_similarity(embedding: Any) -> Any:
    """(B,D) to (B,B)."""
    x = ops.normalize(embedding, axis=-1)
    return ops.matmul(x, ops.transpose(x))


def mean_where(mask: Any, values: Any) -> Any:
    """Values (B,) or (B,B) to (B,): what each row adds to the mean of the values under the mask. Zeros where the mask is empty.

    The rows are scaled so that their mean over the batch, which Keras takes, is the mean under the mask.
    """
    share = ops.cast(mask, values.dtype)
    count = ops.maximum(ops.sum(share), 1)
    kept = values * share
    rows = ops.sum(kept, axis=-1) if len(kept.shape) == 2 else kept
    return rows * ops.cast(ops.shape(values)[0], values.dtype) / count


def mean_over_pairs(positive: Any, negative: Any, values: Any, balanced: bool) -> Any:
    """Values (B,B) to (B,): the mean over all pairs or, `balanced`, that of positive pairs plus that of negative pairs."""
    if balanced:
        return mean_where(positive, values) + mean_where(negative, values)
    return mean_where(ops.logical_or(positive, negative), values)
