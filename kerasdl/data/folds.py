"""One fold of a data set: the rows of training and validation together, shared out anew. The test split stays as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from kerasdl.data.fields import seen
from kerasdl.data.splits import ArraySplit, Split, Splits, facts
from kerasdl.data.table_spec import Column
from kerasdl.data.tables import Named, table_splits
from kerasdl.linear.cross_validation import folds


@dataclasses.dataclass(frozen=True)
class Chosen:
    """Some examples of several splits in a row: `numbers` count through all of them."""

    parts: Sequence[Split]
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def arrays(self, indices: Sequence[int] | np.ndarray | None = None) -> dict[str, np.ndarray]:
        wanted = self.numbers if indices is None else self.numbers[np.asarray(indices)]
        together: dict[str, np.ndarray] = {}
        start = 0
        for part in self.parts:
            mine = np.flatnonzero((wanted >= start) & (wanted < start + len(part)))
            if len(mine):
                for name, values in part.arrays(wanted[mine] - start).items():
                    together.setdefault(name, np.empty((len(wanted), *values.shape[1:]), values.dtype))[mine] = values
            start += len(part)
        return together

    def fields_in_memory(self) -> dict[str, np.ndarray] | None:
        held = all(part.fields_in_memory() is not None for part in self.parts)
        return self.arrays() if held else None


def fold(data: Callable[..., Splits], number: int, k: int = 5, seed: int = 0) -> Splits:
    """The splits of fold `number`, from 1: training on k - 1 parts of the training and validation examples, validation on the other.

    Stratified where the examples have a label. The statistics of a table are those of this fold's training rows; the channel mean and
    std of pictures stay those of the data set. Raises ValueError for a number that is not in 1..k, and for identities and captions,
    whose queries, galleries and references belong to splits of their own.
    """
    splits = data()
    if splits.roles or splits.references:
        raise ValueError(f"folds are of classes and tables. Received: {splits.card['name']!r}, of identities or captions")
    if not 1 <= number <= k:
        raise ValueError(f"the number of a fold is from 1 to {k}. Received: {number}")
    parts = [part for part in (splits.train, splits.valid) if len(part)]
    known = [facts(part) for part in parts]
    labels = np.concatenate([one["label"] for one in known]) if "label" in known[0] else None
    kept, out = folds(sum(map(len, parts)), k, seed, labels)[number - 1]
    if seen(known[0]) == "features":
        return _of_table(splits, kept, out)
    counts = {**splits.card["counts"], "train": len(kept), "valid": len(out)}
    return dataclasses.replace(splits, train=_chosen(parts, kept), valid=_chosen(parts, out), card={**splits.card, "counts": counts})


def _chosen(parts: Sequence[Split], numbers: np.ndarray) -> Split:
    """What is in memory stays there, copied once."""
    some = Chosen(parts, numbers)
    memory = some.fields_in_memory()
    return some if memory is None else ArraySplit(memory)


def _of_table(splits: Splits, kept: np.ndarray, out: np.ndarray) -> Splits:
    rows = [part.arrays() for part in (splits.train, splits.valid, splits.test)]
    features, target = (np.concatenate([row[field] for row in rows]).astype(np.float64) for field in ("features", "target"))
    test = np.arange(len(kept) + len(out), len(features))
    named = (_named(splits.spec.columns, features), _named(splits.spec.targets, target))
    return table_splits(*named, splits.card, parts=(kept, out, test))


def _named(columns: Sequence[Column], values: np.ndarray) -> list[Named]:
    return [Named(column.name, column.unit, x, column.choice) for column, x in zip(columns, values.T, strict=True)]


def folded(recipe: Any, number: int, k: int) -> Any:
    """The recipe NAME-foldN, trained and validated on that fold."""
    data = partial(fold, data=recipe.data, number=number, k=k, seed=recipe.seed)
    return dataclasses.replace(recipe, name=f"{recipe.name}-fold{number}", data=data)
