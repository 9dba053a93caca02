"""Attributes of identities: int64 fields `attribute_NAME` of examples, numbers of the values in `Spec.attributes`; -1 where nobody knows.

A training batch has them side by side in the alphabetical order of their names, `attributes` (B,M).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

PREFIX = "attribute_"


def attribute_fields(names: Iterable[str]) -> list[str]:
    """Those of an example's fields that are attributes, in the order in which a batch has them."""
    return sorted(name for name in names if name.startswith(PREFIX))


def attribute_names(names: Iterable[str]) -> list[str]:
    return [field.removeprefix(PREFIX) for field in attribute_fields(names)]


def numbered(words: Sequence[str] | np.ndarray, values: Sequence[str]) -> np.ndarray:
    """Words (N,) to the places int64 (N,) they have among `values`; -1 for any other word, such as none."""
    place = {value: number for number, value in enumerate(values)}
    return np.array([place.get(str(word), -1) for word in words], np.int64)
