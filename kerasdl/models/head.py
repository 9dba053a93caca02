"""From features to logits: global average pooling where there is space or tokens, dropout, one dense layer."""

from __future__ import annotations

from typing import Any

from keras import layers


def classification_head(x: Any, classes: int, dropout: float = 0.0, name: str = "logits") -> Any:
    """Features (B,H,W,C), (B,N,C) or (B,D) to float32 logits (B,classes) of a layer `name`."""
    if len(x.shape) == 4:
        x = layers.GlobalAveragePooling2D(name="pool")(x)  # (B, C)
    elif len(x.shape) == 3:
        x = layers.GlobalAveragePooling1D(name="pool")(x)  # (B, C)
    if dropout:
        x = layers.Dropout(dropout, name="head_dropout")(x)
    return layers.Dense(classes, dtype="float32", name=name)(x)  # float32 also under mixed precision


def classification_outputs(features: Any, classes: int, dropout: float = 0.0) -> dict[str, Any]:
    """{"logits": ...} of a backbone's output; of a dict {"features", "aux1", ...}, logits of each auxiliary branch too, by its name."""
    if not isinstance(features, dict):
        return {"logits": classification_head(features, classes, dropout)}
    branches = {name: x for name, x in features.items() if name != "features"}
    auxiliary = {name: classification_head(x, classes, name=name) for name, x in branches.items()}
    return {"logits": classification_head(features["features"], classes, dropout), **auxiliary}
