"""Pictures of identities as splits: who was seen (pid), by which camera (camid), and in what role (train, query, gallery).

Training, validation and test identities are disjoint: a model is judged on people it has never seen. In a gallery pid -1 is junk,
which counts for nothing, and 0 a distractor, a wrong answer to every query (Zheng et al. 2015, Market-1501).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.data.attributes import PREFIX, numbered
from kerasdl.data.image_folder import FITS_IN_MEMORY, STATISTICS_SAMPLE, _problem
from kerasdl.data.pictures import open_picture, prepare
from kerasdl.data.reading import in_order
from kerasdl.data.spec import Spec
from kerasdl.data.splits import ArraySplit, PictureSplit, Split, Splits, channel_statistics

log = logging.getLogger("kerasdl")
ROLES = ("train", "query", "gallery", "valid_query", "valid_gallery")


@dataclasses.dataclass(frozen=True)
class Sightings:
    """Picture files with the identity and the camera of each, int64 (N,).

    words: of each attribute, by its name, the value of each picture as text (N,), "" where unknown.
    """

    files: list[str]
    pids: np.ndarray
    camids: np.ndarray
    words: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, numbers: np.ndarray) -> Sightings:
        words = {name: values[numbers] for name, values in self.words.items()}
        return Sightings([self.files[i] for i in numbers.tolist()], self.pids[numbers], self.camids[numbers], words)

    def __add__(self, other: Sightings) -> Sightings:
        pids, camids = np.concatenate([self.pids, other.pids]), np.concatenate([self.camids, other.camids])
        words = {name: np.concatenate([values, other.words[name]]) for name, values in self.words.items()}
        return Sightings([*self.files, *other.files], pids, camids, words)

    @classmethod
    def of(cls, rows: Sequence[tuple[str, int, int]], words: Mapping[str, Sequence[str]] | None = None) -> Sightings:
        """From (file, pid, camid) of each picture, and its words."""
        numbers = np.array([(pid, camid) for _, pid, camid in rows], np.int64).reshape(-1, 2)
        known = {name: np.array(values, str) for name, values in (words or {}).items()}
        return cls([file for file, _, _ in rows], numbers[:, 0], numbers[:, 1], known)


def identity_splits(
    parts: Mapping[str, Sightings], name: str, source: str, size: tuple[int, int], valid: float, seed: int, skipped: Sequence[str] = ()
) -> Splits:
    """Splits with the roles query, gallery, valid_query and valid_gallery.

    Args:
        parts: sightings by role. Where it has no valid_query, a share of the training identities is held out.
        name, source: for the card.
        size: (height, width) of the pictures.
        valid: that share, of identities, drawn by `seed`; 0 for none.
        skipped: sentences on what was left out, which are logged and stand in the card.

    `train` has the labels 0..N-1 of its N identities; elsewhere the label is -1. `test` is query, then gallery; `valid` likewise.
    The values of an attribute are its words in all parts, in alphabetical order.
    Raises ValueError when an identity is in two of train, validation and test, or nothing is left to train on or to ask for.
    """
    parts, bad = _readable(parts)
    parts = {role: _of_somebody(role, part, bad) if role in ("train", "query", "valid_query") else part for role, part in parts.items()}
    skipped = [*skipped, *bad]
    for sentence in skipped:
        log.warning("skipped: %s", sentence)
    if "valid_query" not in parts:
        parts = _with_validation(parts, valid, seed)
    _check(parts)
    decode = partial(_decode, shape=(*size, 3), steps=_steps(size))
    known, attributes = np.unique(parts["train"].pids), _values_of_attributes(parts)
    train = _split(parts["train"], np.searchsorted(known, parts["train"].pids), decode, (*size, 3), attributes)
    some = np.sort(np.random.default_rng(0).permutation(len(train))[:STATISTICS_SAMPLE])
    mean, std = channel_statistics(train.arrays(some)["image"])
    whole, roles = {}, {}
    for both, prefix in (("valid", "valid_"), ("test", "")):
        query, gallery = parts[f"{prefix}query"], parts[f"{prefix}gallery"]
        whole[both] = _split(query + gallery, np.full(len(query) + len(gallery), -1), decode, (*size, 3), attributes)
        roles[f"{prefix}query"] = _part(whole[both], slice(0, len(query)))
        roles[f"{prefix}gallery"] = _part(whole[both], slice(len(query), None))
    card = {
        "name": name,
        "source": source,
        "licence": "the owner's",
        "synthetic": False,
        "counts": {"train": len(train), "valid": len(whole["valid"]), "test": len(whole["test"]), **{r: len(s) for r, s in roles.items()}},
        "identities": {"train": len(known), **{part: len(_people(parts, part)) for part in ("valid", "test")}},
        "cameras": len(np.unique(np.concatenate([part.camids for part in parts.values()]))),
        "skipped": skipped,
    }
    spec = Spec((*size, 3), tuple(map(str, known)), mean, std, _steps(size), name, attributes)
    return Splits(train, whole["valid"], whole["test"], spec=spec, card=card, roles=roles)


def query_and_gallery(pids: np.ndarray, camids: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted numbers of queries and gallery: one query a camera of each identity, drawn by `seed`, as in Market-1501.

    A camera's only picture stays in the gallery, so that an identity of two cameras can be found again in the other one; where every
    camera has but one, the first camera's is the query. An identity with one picture in all is never asked for.
    """
    random, queries = np.random.default_rng(seed), []
    for pid in np.unique(pids[pids > 0]):
        mine = np.flatnonzero(pids == pid)
        if len(mine) == 1:
            continue
        by_camera = [mine[camids[mine] == camera] for camera in np.unique(camids[mine])]
        several = [numbers for numbers in by_camera if len(numbers) > 1] or by_camera[:1]
        queries += [int(random.choice(numbers)) for numbers in several]
    return np.sort(np.array(queries, np.int64)), np.setdiff1d(np.arange(len(pids)), queries)


def held_out_people(pids: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which examples (N,) bool belong to a `share` of the identities, drawn by `seed`: at least one of them, if share is above 0."""
    if not 0 <= share < 1:
        raise ValueError(f"the held-out share of the identities must be in [0, 1). Received: {share}")
    people = np.unique(pids[pids > 0])
    count = max(round(share * len(people)), 1) if share else 0
    return np.isin(pids, np.random.default_rng(seed).permutation(people)[:count])


def _with_validation(parts: Mapping[str, Sightings], share: float, seed: int) -> dict[str, Sightings]:
    out = held_out_people(parts["train"].pids, share, seed)
    valid = parts["train"][np.flatnonzero(out)]
    query, gallery = query_and_gallery(valid.pids, valid.camids, seed)
    return {**parts, "train": parts["train"][np.flatnonzero(~out)], "valid_query": valid[query], "valid_gallery": valid[gallery]}


def _readable(parts: Mapping[str, Sightings]) -> tuple[dict[str, Sightings], list[str]]:
    """The sightings whose picture can be read, and a sentence on each of the others."""
    found, bad = {}, []
    for role, part in parts.items():
        problems = list(in_order(_problem, part.files, title=f"checking {role} pictures"))
        bad += [f"{role}: {problem}" for problem in problems if problem]
        found[role] = part[np.array([i for i, problem in enumerate(problems) if not problem], np.int64)]
    return found, bad


def _of_somebody(role: str, part: Sightings, bad: list[str]) -> Sightings:
    """Without junk and distractors, who are nobody to learn or to ask for."""
    nobody = part.pids < 1
    if nobody.any():
        bad.append(f"{nobody.sum()} {role} pictures of pid -1 or 0, which are for the gallery")
    return part[np.flatnonzero(~nobody)]


def _check(parts: Mapping[str, Sightings]) -> None:
    people = {name: _people(parts, name) for name in ("train", "valid", "test")}
    if len(people["train"]) < 2:
        raise ValueError(f"training needs at least two identities. Received: {len(people['train'])}")
    for role in ("query", "gallery"):
        if not len(parts[role]):
            raise ValueError(f"a test needs query and gallery pictures. Received: no {role} pictures")
    for one, other in (("train", "valid"), ("train", "test"), ("valid", "test")):
        if common := sorted(people[one] & people[other]):
            raise ValueError(f"{one} and {other} identities must be disjoint. Received: {len(common)} in both, for example {common[:3]}")


def _people(parts: Mapping[str, Sightings], name: str) -> set[int]:
    roles = {"train": ["train"], "valid": ["valid_query", "valid_gallery"], "test": ["query", "gallery"]}[name]
    return {int(pid) for role in roles for pid in np.unique(parts[role].pids) if pid > 0}


def _steps(size: tuple[int, int]) -> tuple[dict[str, Any], ...]:
    return ({"op": "resize", "size": list(size), "method": "bilinear"},)


def _decode(file: str, shape: tuple[int, int, int], steps: tuple[dict[str, Any], ...]) -> np.ndarray:
    return prepare(open_picture(Path(file)), shape, steps)


def _values_of_attributes(parts: Mapping[str, Sightings]) -> dict[str, tuple[str, ...]]:
    names = sorted({name for part in parts.values() for name in part.words})
    return {name: tuple(sorted({str(word) for part in parts.values() for word in part.words[name]} - {""})) for name in names}


def _split(
    part: Sightings,
    labels: np.ndarray,
    decode: Callable[[Any], np.ndarray],
    shape: tuple[int, int, int],
    attributes: Mapping[str, tuple[str, ...]],
) -> Split:
    more = {"pid": part.pids, "camid": part.camids}
    more |= {f"{PREFIX}{name}": numbered(part.words[name], values) for name, values in attributes.items()}
    return PictureSplit(part.files, labels.astype(np.int64), decode, more).held(FITS_IN_MEMORY, shape)


def _part(split: Split, numbers: slice) -> Split:
    """A run of its examples, without a copy."""
    if isinstance(split, PictureSplit):
        more = {name: values[numbers] for name, values in split.more.items()}
        return dataclasses.replace(split, sources=split.sources[numbers], labels=split.labels[numbers], more=more)
    return ArraySplit({name: values[numbers] for name, values in split.arrays().items()})
