"""From features to what tells one person from another: a global head with BNNeck, part-based strips, and attributes that help.

Every head is a function of a backbone's output and returns a dict of outputs, of which a task takes those that its losses name:

- `feature` (B,D): for losses by Euclidean distance (triplet, center);
- `embedding` (B,D): what is compared and served, by cosine, for losses by cosine (circle, OIM); of no particular length before serving;
- `logits` (B,classes) float32: for the identity loss; `logits1`, ... of each part;
- `attribute_NAME` (B,values) float32 of each attribute, and `attributes` (B,M,V) of all of them.

BNNeck (Luo, Gu, Liao, Lai, Jiang 2019, arXiv:1903.07071, section 3.5) puts a BatchNormalization without beta between the first two,
because one loss wants spread along rays and the other in balls, and a classifier without bias on top. Parts are those of PCB (Sun,
Zheng, Yang, Tian, Wang 2018, arXiv:1711.09349, section 3). Attributes follow APR (Lin et al. 2017, arXiv:1703.07220).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

from kerasdl.layers.adaptive_pooling import AdaptiveAveragePooling2D
from kerasdl.layers.gem import GeM
from kerasdl.models.conv import conv_bn

POOLS = ("gap", "gmp", "gem")
PADDING = -1e9  # a logit whose probability is 0


def pooled(x: Any, pool: str = "gap", name: str = "pool") -> Any:
    """A map (B,H,W,C) or tokens (B,N,C) to (B,C) by their average (gap), maximum (gmp) or generalised mean (gem); (B,D) stays."""
    if pool not in POOLS:
        raise ValueError(f"pool is one of {', '.join(POOLS)}. Received: {pool!r}")
    if len(x.shape) == 2:
        return x
    if pool == "gem":
        return GeM(name=name)(x)
    kinds = {
        ("gap", 4): layers.GlobalAveragePooling2D,
        ("gap", 3): layers.GlobalAveragePooling1D,
        ("gmp", 4): layers.GlobalMaxPooling2D,
        ("gmp", 3): layers.GlobalMaxPooling1D,
    }
    return kinds[pool, len(x.shape)](name=name)(x)


def reduced(x: Any, size: int) -> Any:
    """(B,D) to (B,size) without a bias, which the neck would take away again; as it is with size 0."""
    if size < 0:
        raise ValueError(f"size of an embedding must be at least 0, where 0 is that of the features. Received: {size}")
    return layers.Dense(size, use_bias=False, kernel_initializer="he_normal", name="reduce")(x) if size else x


def bn_neck(x: Any, name: str = "neck") -> Any:
    """BatchNormalization whose beta stays zero: the classes' borders go through the origin, as those of a cosine do."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, center=False, name=name)(x)


def identity_logits(x: Any, classes: int, bias: bool, name: str = "logits") -> Any:
    """(B,D) to float32 (B,classes), kernel of standard deviation 0.001 as published: all identities begin as likely."""
    initial = keras.initializers.RandomNormal(stddev=0.001)
    return layers.Dense(classes, use_bias=bias, kernel_initializer=initial, dtype="float32", name=name)(x)


def global_head(features: Any, classes: int | None, size: int = 0, pool: str = "gap", neck: bool = True) -> dict[str, Any]:
    """One vector for the whole picture.

    Args:
        features: (B,H,W,C), (B,N,C) or (B,D), a backbone's output.
        classes: training identities; None for no classifier, where every loss is one of distances.
        size: of the embedding; 0 for that of the features.
        pool: "gap", "gmp" or "gem", with a learnable exponent.
        neck: whether BatchNormalization without beta stands between `feature` and `embedding`, which are the same without it; the
            classifier has a bias only then.

    Returns:
        `feature` (B,D), `embedding` (B,D) and, with classes, `logits` (B,classes).
    """
    return embedded(reduced(pooled(features, pool), size), classes, neck)


def embedded(feature: Any, classes: int | None, neck: bool) -> dict[str, Any]:
    embedding = bn_neck(feature) if neck else feature
    outputs = {"feature": feature, "embedding": embedding}
    return {**outputs, "logits": identity_logits(embedding, classes, bias=not neck)} if classes else outputs


def part_head(features: Any, classes: int, parts: int = 6, size: int = 256) -> dict[str, Any]:
    """PCB: the map is cut into horizontal strips, each of which has to tell identities by itself.

    Args:
        features: (B,H,W,C), H at least `parts`; strips overlap by a row where parts does not divide H.
        classes: training identities.
        parts: horizontal strips.
        size: of a strip's vector before its classifier, from a 1x1 convolution, BatchNormalization and ReLU that all strips share.

    Returns:
        `embedding` (B,parts C), of length 1: the averages of the strips, each divided by its length and the root of `parts`, as the
        paper tests; and `logits1` at the top to `logits{parts}`, whose cross-entropies are added up.
    """
    height = map_of(features, "parts are strips of a map").shape[1]
    if not 1 <= parts <= height:
        raise ValueError(f"parts must be at least 1 and at most the rows of the map. Received: parts={parts}, rows={height}")
    strips = AdaptiveAveragePooling2D((parts, 1), name="strips")(features)  # (B, P, 1, C)
    columns = conv_bn(strips, size, 1, name="part")  # (B, P, 1, size)
    columns = [layers.Flatten(name=f"part{i}")(x) for i, x in enumerate(ops.split(columns, parts, axis=1), start=1)]
    unit = layers.UnitNormalization(name="unit_strips")(strips)
    unit = layers.Rescaling(parts**-0.5, name="embedding")(layers.Flatten(name="all_strips")(unit))  # (B, P C)
    logits = {f"logits{i}": identity_logits(x, classes, bias=True, name=f"logits{i}") for i, x in enumerate(columns, start=1)}
    return {"embedding": unit, **logits}


def attribute_head(
    features: Any, classes: int | None, attributes: Mapping[str, int], size: int = 0, pool: str = "gap", neck: bool = True
) -> dict[str, Any]:
    """The global head, told what people wear: attributes are classified too, and their probabilities p become part of the vector.

    Attributes that are hard to see must not count as much as others: p goes on as sigmoid(W p + b) * p (APR's re-weighting).

    Args:
        features, classes, size, pool, neck: those of `global_head`.
        attributes: how many values each has, by name.

    Returns:
        The outputs of `global_head` with D greater by the number of all values, `attribute_NAME` (B,values), float32 logits, and
        `attributes` (B,M,V), all of them in alphabetical order and padded with PADDING to the V values of the largest.
    """
    if not attributes or min(attributes.values()) < 2:
        raise ValueError(f"attributes are at least one name with at least 2 values. Received: {dict(attributes)}")
    feature = reduced(pooled(features, pool), size)
    attributes = dict(sorted(attributes.items()))
    logits = {f"attribute_{name}": layers.Dense(n, dtype="float32", name=f"attribute_{name}")(feature) for name, n in attributes.items()}
    p = [layers.Softmax(name=f"{name}_probabilities")(x) for name, x in logits.items()]
    p = layers.Concatenate(name="probabilities")(p) if len(p) > 1 else p[0]
    trust = layers.Dense(p.shape[-1], activation="sigmoid", name="attribute_trust")(p)
    p = layers.Multiply(name="trusted_attributes")([p, trust])
    joined = layers.Concatenate(name="feature_and_attributes")([feature, p])  # (B, D + values)
    return {**embedded(joined, classes, neck), **logits, "attributes": side_by_side(list(logits.values()))}


def side_by_side(logits: list[Any]) -> Any:
    """M logits (B,values) to (B,M,V), values that an attribute has not as PADDING."""
    widest = max(x.shape[-1] for x in logits)
    padded = [ops.pad(x, ((0, 0), (0, widest - x.shape[-1])), constant_values=PADDING) for x in logits]
    return layers.Identity(name="attributes", dtype="float32")(ops.stack(padded, axis=1))


def activation_map(features: Any) -> Any:
    """Where the features are strong: (B,H,W,C) to (B,H,W) in 0..1, the length of each place's vector over that of the longest.

    It needs neither a gradient nor a class, so that a served model can give it beside the embedding.
    """
    lengths = ops.sqrt(ops.sum(ops.square(map_of(features, "an activation is drawn of a map")), axis=-1))  # (B, H, W)
    return lengths / ops.maximum(ops.max(lengths, axis=(1, 2), keepdims=True), 1e-12)


def map_of(features: Any, reason: str) -> Any:
    if len(features.shape) != 4:
        raise ValueError(f"{reason}, features of shape (B,H,W,C). Received: {tuple(features.shape)}")
    return features
