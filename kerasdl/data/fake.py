"""Look-alikes: random pictures with the shape, labels and statistics of a `Spec`, so that every recipe runs without its data."""

from __future__ import annotations

import numpy as np

from kerasdl.data.spec import Spec
from kerasdl.data.splits import ArraySplit, Splits


def fake(spec: Spec, train: int = 64, valid: int = 16, test: int = 16, seed: int = 0) -> Splits:
    """Splits of noise around a pattern of each class, learnable within a few steps; the card says that it is synthetic.

    Every class is an identity too, seen by two cameras, with the roles of re-identification: the queries are valid and test.
    """
    random = np.random.default_rng(seed)
    mean, std = 255 * np.asarray(spec.mean), 255 * np.asarray(spec.std)
    patterns = random.normal(size=(spec.classes, *spec.image_shape))

    def split(count: int) -> ArraySplit:
        labels = np.arange(count) % spec.classes
        noise = random.normal(size=(count, *spec.image_shape))
        levels = mean + std * (0.8 * patterns[labels] + 0.6 * noise)  # variances 0.64 + 0.36: the set's own spread
        who = {"label": labels, "pid": labels + 1, "camid": np.arange(count) // spec.classes % 2}
        return ArraySplit({"image": levels.clip(0, 255).round().astype(np.uint8), **{name: x.astype(np.int64) for name, x in who.items()}})

    counts = {"train": train, "valid": valid, "test": test}
    card = {"name": f"fake {spec.data_name}", "source": "kerasdl.data.fake", "licence": "none needed", "synthetic": True, "counts": counts}
    in_train, in_valid, in_test = split(train), split(valid), split(test)
    roles = {"valid_query": in_valid, "valid_gallery": split(valid), "query": in_test, "gallery": split(test)}
    return Splits(in_train, in_valid, in_test, spec=spec, card=card, roles=roles)
