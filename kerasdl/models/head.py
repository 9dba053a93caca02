"""From features to logits: global average pooling where there is space or tokens, dropout, one dense layer."""

from __future__ import annotations

from typing import Any

from keras import layers


def classification_head(x: Any, classes: int, dropout: float = 0.0) -> Any:
    """Features (B,H,W,C), (B,N,C) or (B,D) to float32 logits (B,classes)."""
    if len(x.shape) == 4:
        x = layers.GlobalAveragePooling2D(name="pool")(x)  # (B, C)
    elif len(x.shape) == 3:
        x = layers.GlobalAveragePooling1D(name="pool")(x)  # (B, C)
    if dropout:
        x = layers.Dropout(dropout, name="head_dropout")(x)
    return layers.Dense(classes, dtype="float32", name="logits")(x)  # float32 also under mixed precision
