"""The data contract: three splits of raw examples, the facts a model needs (`Spec`) and the facts a reader needs (the card).

An example is a dict of named raw fields: `image` uint8 (H,W,C) and `label` int64; of identities also `pid` and `camid`, int64, where
a gallery's pid -1 is junk and 0 a distractor, and perhaps `attribute_NAME`, int64, the number of a value in `Spec.attributes` or -1 for
unknown; of captions also `tokens` int32 (T,): `<start>`, words, `<end>`, `<pad>`. Of a table it is `features` float32 (D,) and `target`
float32 (T,). Augmentation and batching belong to the pipeline.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from kerasdl.data.reading import in_order


class Split(Protocol):
    """A sized source of raw examples by number."""

    def __len__(self) -> int: ...

    def arrays(self, indices: Sequence[int] | np.ndarray | None = None) -> dict[str, np.ndarray]:
        """The examples of those numbers (all by default), one array a field, first axis the example."""
        ...

    def fields_in_memory(self) -> dict[str, np.ndarray] | None:
        """All examples as arrays when they already are in memory, else None: the pipeline then asks for one at a time."""
        ...


@dataclasses.dataclass(frozen=True)
class ArraySplit:
    """Examples held as arrays, one a field, equal first axes."""

    fields: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        sizes = {name: len(values) for name, values in self.fields.items()}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"all fields of a split need the same number of examples. Received: {sizes}")

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))

    def arrays(self, indices: Sequence[int] | np.ndarray | None = None) -> dict[str, np.ndarray]:
        if indices is None:
            return dict(self.fields)
        return {name: values[np.asarray(indices)] for name, values in self.fields.items()}

    def fields_in_memory(self) -> dict[str, np.ndarray] | None:
        return dict(self.fields)


@dataclasses.dataclass(frozen=True)
class PictureSplit:
    """Encoded pictures (file paths or bytes) with labels; `decode` makes one of them a uint8 array (H,W,C).

    `more` are further fields, one value an example.
    """

    sources: Sequence[Any]
    labels: np.ndarray
    decode: Callable[[Any], np.ndarray]
    more: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sources)

    def arrays(self, indices: Sequence[int] | np.ndarray | None = None) -> dict[str, np.ndarray]:
        indices = np.arange(len(self)) if indices is None else np.asarray(indices)
        if not len(indices):
            raise ValueError("the numbers of the examples must not be empty. Received: none")
        pictures = in_order(self._decode_number, indices)
        first = next(pictures)
        images = np.empty((len(indices), *first.shape), first.dtype)  # filled in place: a list of pictures would double the peak
        images[0] = first
        for place, picture in enumerate(pictures, 1):
            images[place] = picture
        return {"image": images, **{name: values[indices] for name, values in self.facts().items()}}

    def facts(self) -> dict[str, np.ndarray]:
        """Every field but the picture."""
        return {"label": self.labels, **self.more}

    def _decode_number(self, number: int) -> np.ndarray:
        return self.decode(self.sources[number])

    def held(self, limit: int, shape: tuple[int, int, int]) -> Split:
        """The same examples decoded, where pictures of this `shape` fit into `limit` bytes; else the split itself."""
        fits = len(self) and len(self) * int(np.prod(shape)) <= limit
        return ArraySplit(self.arrays()) if fits else self

    def fields_in_memory(self) -> dict[str, np.ndarray] | None:
        return None


@dataclasses.dataclass(frozen=True)
class Splits:
    """train, valid and test; `spec` for the model, `card` for the reader (name, source, licence, synthetic, counts).

    `roles` are further splits by name, in re-identification query, gallery, valid_query and valid_gallery.
    `references` are of "valid" and "test" all captions of each picture, in the order of the examples; empty where there are none.
    """

    train: Split
    valid: Split
    test: Split
    spec: Any  # Spec, or the TableSpec of a table
    card: dict[str, Any]
    roles: Mapping[str, Split] = dataclasses.field(default_factory=dict)
    references: Mapping[str, Sequence[Sequence[str]]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, captions in self.references.items():
            if len(captions) != len(self.split(name)):
                raise ValueError(f"{name} needs captions for each of its {len(self.split(name))} pictures. Received: {len(captions)}")

    def split(self, name: str) -> Split:
        if name in ("train", "valid", "test"):
            return getattr(self, name)
        if name not in self.roles:
            raise ValueError(f"a split is one of {', '.join(['train', 'valid', 'test', *self.roles])}. Received: {name!r}")
        return self.roles[name]


def facts(split: Split) -> dict[str, np.ndarray]:
    """All fields of all examples but the picture, which is decoded only where the split keeps no other record."""
    if isinstance(split, PictureSplit):
        return split.facts()
    memory = split.fields_in_memory()
    some = [memory] if memory is not None else [split.arrays(part) for part in np.array_split(np.arange(len(split)), -(-len(split) // 64))]
    return {name: np.concatenate([one[name] for one in some]) for name in some[0] if name != "image"}


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 pictures (N,H,W,C), on the scale 0..1, rounded to 4 digits."""
    counts = np.zeros((images.shape[-1], 256), np.int64)
    for start in range(0, len(images), 1000):  # bincount makes eight bytes of each
        some = images[start : start + 1000]
        counts += [np.bincount(some[..., c].ravel(), minlength=256) for c in range(images.shape[-1])]
    levels = np.arange(256) / 255
    mean = [float(count @ levels / count.sum()) for count in counts]
    std = [float(np.sqrt(count @ (levels - m) ** 2 / count.sum())) for count, m in zip(counts, mean, strict=True)]
    return tuple(round(m, 4) for m in mean), tuple(max(round(s, 4), 1e-3) for s in std)  # a constant channel must not divide by zero


def held_out(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted numbers of the kept and the held-out examples, stratified by label where every class has two, fixed by `seed`."""
    from sklearn.model_selection import train_test_split

    if not 0 < share < 1:
        raise ValueError(f"the held-out share must be in (0, 1). Received: {share}")
    _, per_class = np.unique(labels, return_counts=True)
    count = round(len(labels) * share)
    stratify = labels if per_class.min() >= 2 and count >= len(per_class) and len(labels) - count >= len(per_class) else None
    kept, out = train_test_split(np.arange(len(labels)), test_size=share, random_state=seed, stratify=stratify)
    return np.sort(kept), np.sort(out)
