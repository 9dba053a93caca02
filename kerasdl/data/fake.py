"""Look-alikes: random pictures with the shape, labels and statistics of a `Spec`, so that every recipe runs without its data."""

from __future__ import annotations

import numpy as np

from kerasdl.data.fake_table import fake_table
from kerasdl.data.spec import Spec
from kerasdl.data.splits import ArraySplit, Splits
from kerasdl.data.table_spec import TableSpec
from kerasdl.text import END, SPECIAL, START, Vocabulary


def fake(spec: Spec | TableSpec, train: int = 64, valid: int = 16, test: int = 16, seed: int = 0) -> Splits:
    """Splits of noise around a pattern of each class, learnable within a few steps; the card says that it is synthetic.

    Every class is an identity too, seen by two cameras, with the roles of re-identification: the queries are valid and test. Where the
    spec has captions, each class has one, of random words. The spec of a table gives rows, as `fake_table` says.
    """
    if isinstance(spec, TableSpec):
        return fake_table(spec, train, valid, test, seed)
    random = np.random.default_rng(seed)
    mean, std = 255 * np.asarray(spec.mean), 255 * np.asarray(spec.std)
    patterns = random.normal(size=(spec.classes, *spec.image_shape))
    captions = _captions(spec, random) if spec.caption_length else np.zeros((spec.classes, 0), np.int32)

    def split(count: int) -> ArraySplit:
        labels = np.arange(count) % spec.classes
        noise = random.normal(size=(count, *spec.image_shape))
        levels = mean + std * (0.8 * patterns[labels] + 0.6 * noise)  # variances 0.64 + 0.36: the set's own spread
        spoken = {"tokens": captions[labels]} if spec.caption_length else {}
        who = {"label": labels, "pid": labels + 1, "camid": np.arange(count) // spec.classes % 2}
        return ArraySplit(
            {"image": levels.clip(0, 255).round().astype(np.uint8), **{name: x.astype(np.int64) for name, x in who.items()}, **spoken}
        )

    counts = {"train": train, "valid": valid, "test": test}
    card = {"name": f"fake {spec.data_name}", "source": "kerasdl.data.fake", "licence": "none needed", "synthetic": True, "counts": counts}
    in_train, in_valid, in_test = split(train), split(valid), split(test)
    roles = {"valid_query": in_valid, "valid_gallery": split(valid), "query": in_test, "gallery": split(test)}
    said = {"valid": in_valid, "test": in_test} if spec.caption_length else {}
    references = {name: _sentences(spec, part) for name, part in said.items()}
    return Splits(in_train, in_valid, in_test, spec=spec, card=card, roles=roles, references=references)


def _sentences(spec: Spec, part: ArraySplit) -> list[list[str]]:
    words = Vocabulary(spec.labels, (0,) * spec.classes)
    return [[words.decode(row)] for row in part.fields["tokens"]]


def _captions(spec: Spec, random: np.random.Generator) -> np.ndarray:
    """Tokens int32 (classes,T) of a sentence for each class: between `<start>` and `<end>`, as long as there is room."""
    said = random.integers(len(SPECIAL), spec.classes, size=(spec.classes, spec.caption_length))
    said[:, 0], said[:, -1] = START, END
    return said.astype(np.int32)
