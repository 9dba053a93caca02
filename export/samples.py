"""The real examples that a bundle is compared and scored on."""

from __future__ import annotations

from typing import Any

import numpy as np

from export.gates import LEAST_SAMPLES

COMPARED = 512  # examples that parity is measured on, at most: three batch sizes in two runtimes take a while


def real_samples(splits: Any, split: str = "test", least: int = LEAST_SAMPLES) -> dict[str, np.ndarray]:
    """The first examples of the scored split, spread evenly over it; from the other splits too when it is short."""
    parts, missing = [], least
    for name in [split, *(other for other in ("test", "valid", "train") if other != split)]:
        part = splits.split(name)
        if missing > 0 and len(part):
            picked = np.linspace(0, len(part) - 1, min(missing, len(part))).round().astype(int)
            parts.append(part.arrays(picked))
            missing -= len(picked)
    if not parts:
        return {"image": np.zeros(0)}
    return {field: np.concatenate([part[field] for part in parts]) for field in parts[0] if all(field in part for part in parts)}


def spread(samples: dict[str, np.ndarray], most: int = COMPARED) -> dict[str, np.ndarray]:
    """At most `most` of the samples, evenly spaced."""
    count = len(next(iter(samples.values())))
    picked = np.linspace(0, count - 1, min(most, count)).round().astype(int)
    return {field: values[picked] for field, values in samples.items()}


def as_splits(samples: dict[str, np.ndarray], spec: Any, split: str) -> Any:
    """`samples` in the place of the scored split."""
    from kerasdl.data import splits as data

    part = data.ArraySplit(samples)
    none = data.ArraySplit({field: values[:0] for field, values in samples.items()})
    train, valid, test = (part if name == split else none for name in ("train", "valid", "test"))
    return data.Splits(train, valid, test, spec=spec, card={})
