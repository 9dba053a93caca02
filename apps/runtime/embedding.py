"""Pictures to vectors: unit vectors to compare by their cosine, and where on each picture the network found what went into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from PIL import Image

from apps.runtime.bundle import Bundle, BundleError, Slot

VECTOR = "embedding"
MAP = "activation"


@dataclass(frozen=True)
class Embedded:
    """`vectors` float32 [B, D] of length one; `activations` float32 [B, h, w] in [0, 1], None of a graph without a map."""

    vectors: np.ndarray
    activations: np.ndarray | None


def embed(
    bundle: Bundle, pictures: Sequence[Image.Image | np.ndarray], look: bool = False, options: ort.RunOptions | None = None
) -> Embedded:
    """Vectors of opened pictures, or of prepared ones uint8 [H, W, C]; with `look` also their activation maps, where the graph has them."""
    looks = look and has_map(bundle)
    found = bundle.look(pictures, outputs=[VECTOR, *[MAP] * looks], options=options)
    return Embedded(found[VECTOR], found[MAP] if looks else None)


def dimensions(bundle: Bundle) -> int:
    """D, the length of a vector; BundleError where the graph gives none."""
    slot = slot_of(bundle, VECTOR)
    if slot is None or slot.dtype != "float32" or len(slot.shape) != 2 or not isinstance(slot.shape[1], int):
        raise BundleError(f"A bundle for embedding must give `{VECTOR}`, float32 [batch, D]. Received: {bundle.name}, {bundle.outputs()}")
    return slot.shape[1]


def has_map(bundle: Bundle) -> bool:
    slot = slot_of(bundle, MAP)
    return slot is not None and len(slot.shape) == 3


def check_embedder(bundle: Bundle) -> None:
    """The graph gives a vector of every picture, finite and of length one (zero where there is nothing to see); BundleError."""
    size = dimensions(bundle)
    vectors = embed(bundle, [np.full(bundle.shape, level, np.uint8) for level in (0, 128)]).vectors
    lengths = np.linalg.norm(vectors, axis=1)
    if vectors.shape != (2, size) or not all(np.isclose(length, [0, 1], atol=1e-3).any() for length in lengths):
        raise BundleError(f"A bundle's vectors must be of length one. Received: {lengths.tolist()} from {bundle.name}")


def slot_of(bundle: Bundle, name: str) -> Slot | None:
    return next((slot for slot in bundle.outputs() if slot.name == name), None)
