"""Which example stands where in the endless training stream, for losses that compare examples within a batch.

A recipe says `sampler=partial(identity_sampler, pictures=4)`. Each function here is called once, with `facts` (the fields of the
training split but for the picture: label, and camid where there are cameras), the batch size and the recipe's seed, and gives a
function from positions (B,) int64 to example numbers (B,) int64. That one knows nothing but its position, so that a run which goes
on after k examples sees what the uninterrupted run would have seen. Examples of label -1 belong to nobody and are never drawn.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from kerasdl.npz import read_arrays, write_arrays

log = logging.getLogger("kerasdl")
Facts = Mapping[str, np.ndarray]
Sampler = Callable[[np.ndarray], np.ndarray]
Builder = Callable[[Facts, int, int], Sampler]

PASSES, PICTURES, PARTNERS, HARD = range(4)  # so that no two kinds of draws share their random numbers


def identity_sampler(facts: Facts, batch_size: int, seed: int, pictures: int = 4) -> Sampler:
    """P x K: each batch holds `pictures` (K) of each of batch_size / K identities, side by side (Hermans et al. 2017, arXiv:1703.07737).

    In one pass every identity comes once, but for the fewer than P that fill no batch. From pass to pass an identity goes through its
    pictures without repeating one, as far as they fill groups of K; one with fewer than K shows all and draws the rest among them.

    Raises ValueError where K does not divide the batch, or there are fewer than P identities.
    """
    groups = _Groups(facts["label"])
    together = _identities_in_a_batch(batch_size, pictures, len(groups))

    def pick(identity: int, turn: int) -> np.ndarray:
        mine = groups.members(identity)
        rounds = max(len(mine) // pictures, 1)
        order = _random(seed, PICTURES, identity, turn // rounds).permutation(mine)
        if len(mine) < pictures:
            return _filled(order, pictures, _random(seed, PARTNERS, identity, turn))
        return order[turn % rounds * pictures :][:pictures]

    return _in_batches(batch_size, _passes_over_identities(len(groups), together, seed, pick))


def camera_sampler(facts: Facts, batch_size: int, seed: int, pictures: int = 4) -> Sampler:
    """P x K as `identity_sampler`, each identity's pictures from as many cameras as there are (fast-reid's NaiveIdentitySampler).

    The first picture's positives come from other cameras first; a camera comes twice only where no other is left.

    Raises ValueError where the examples have no field camid, and as `identity_sampler`.
    """
    if "camid" not in facts:
        raise ValueError(f"camera_sampler needs the field camid. Received: {sorted(facts)}")
    groups, cameras = _Groups(facts["label"]), np.asarray(facts["camid"])
    together = _identities_in_a_batch(batch_size, pictures, len(groups))

    def pick(identity: int, turn: int) -> np.ndarray:
        random = _random(seed, PICTURES, identity, turn)
        return _filled(_cameras_in_turn(random.permutation(groups.members(identity)), cameras), pictures, random)

    return _in_batches(batch_size, _passes_over_identities(len(groups), together, seed, pick))


def adaptive_sampler(
    facts: Facts, batch_size: int, seed: int, pictures: int = 4, floor: float = 0.2, hardness: Hardness | None = None
) -> Sampler:
    """P x K with harder identities more often: P different ones drawn in proportion to their `hardness`, K random pictures of each.

    Args:
        floor: share of the probability that is spread evenly, so that no identity is forgotten.
        hardness: what is known of each identity, in the order of the labels; all count the same where nothing is.

    Raises ValueError as `identity_sampler`.
    """
    if not 0 < floor <= 1:
        raise ValueError(f"floor must be in (0, 1]. Received: {floor}")
    groups = _Groups(facts["label"])
    together = _identities_in_a_batch(batch_size, pictures, len(groups))
    batches_an_epoch = max(len(facts["label"]) // batch_size, 1)

    def batch(number: int) -> np.ndarray:
        weights = hardness.during(number // batches_an_epoch) if hardness else None
        shares = _shares(weights, groups.labels, floor)
        random = _random(seed, HARD, number)
        keys = np.log(shares) + random.gumbel(size=len(shares))  # the largest P are a draw without replacement (Gumbel top-k)
        chosen = np.argsort(-keys, kind="stable")[:together]
        return np.concatenate([_filled(random.permutation(groups.members(int(one))), pictures, random) for one in chosen])

    return _in_batches(batch_size, batch)


def pair_sampler(facts: Facts, batch_size: int, seed: int, positives: float = 0.5, across_cameras: bool = False) -> Sampler:
    """Pairs side by side, an anchor and its partner: of each batch a share `positives` has one identity, the rest two.

    Each example is an anchor once a pass. A positive is another picture of the identity, where there is one (of another camera first,
    with `across_cameras`); a negative is a random picture of an identity drawn evenly among the others.

    Raises ValueError where the batch is odd, or there are fewer than two identities.
    """
    if not 0 <= positives <= 1:
        raise ValueError(f"positives is a share in 0..1. Received: {positives}")
    partners = _Partners(facts, batch_size, seed, 2, across_cameras)

    def batch(number: int) -> np.ndarray:
        anchors, random = partners.anchors(number), _random(seed, PARTNERS, number)
        same = random.permutation(len(anchors)) < round(positives * len(anchors))
        others = [(partners.positive if s else partners.negative)(a, random) for a, s in zip(anchors, same, strict=True)]
        return np.stack([anchors, others], axis=1).ravel()

    return _in_batches(batch_size, batch)


def triplet_sampler(facts: Facts, batch_size: int, seed: int, across_cameras: bool = False) -> Sampler:
    """Triplets side by side: an anchor, a positive and a negative, drawn as those of `pair_sampler`.

    Raises ValueError where 3 does not divide the batch, or there are fewer than two identities.
    """
    partners = _Partners(facts, batch_size, seed, 3, across_cameras)

    def batch(number: int) -> np.ndarray:
        anchors, random = partners.anchors(number), _random(seed, PARTNERS, number)
        others = [(partners.positive(a, random), partners.negative(a, random)) for a in anchors]
        return np.concatenate([anchors[:, None], others], axis=1).ravel()

    return _in_batches(batch_size, batch)


class Hardness:
    """How hard each identity was found to be after each epoch, for `adaptive_sampler`; larger is harder, for example its mean loss.

    What is recorded after an epoch counts from the second epoch after it on: batches are made ahead of the training, and one that
    depended on how far ahead would not come again in a resumed run. `save` and `load` keep the record beside the checkpoints.
    Epochs so short that the pipeline runs more than one ahead get a warning.
    """

    DELAY = 2  # epochs

    def __init__(self) -> None:
        self._rows: dict[int, np.ndarray] = {}
        self._asked = -1  # the last epoch that batches were made for
        self._lock = threading.Lock()  # the pipeline reads from threads of its own

    def record(self, epoch: int, values: np.ndarray) -> None:
        """`values` (N,), one an identity in the order of the labels, found at the end of `epoch` (from 0)."""
        values = np.asarray(values, np.float32)
        if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any():
            raise ValueError(f"hardness is one finite number, not below 0, an identity. Received: {values!r}")
        with self._lock:
            self._rows[int(epoch)] = values
            if self._asked >= epoch + self.DELAY:
                log.warning("batches are made more than an epoch ahead: after an interruption others would come. Use longer epochs")

    def during(self, epoch: int) -> np.ndarray | None:
        """What counts in `epoch`: the newest record at least DELAY epochs old, or None."""
        with self._lock:
            self._asked = max(self._asked, epoch)
            known = [old for old in self._rows if old <= epoch - self.DELAY]
            return self._rows[max(known)] if known else None

    def save(self, path: Path) -> None:
        with self._lock:
            rows = {f"epoch-{epoch}": values for epoch, values in self._rows.items()}
        write_arrays(path, rows)

    def load(self, path: Path, epochs: int) -> None:
        """The records of the first `epochs` epochs; those after them are made again by the resumed run."""
        rows = {int(name.removeprefix("epoch-")): values for name, values in read_arrays(path).items()}
        with self._lock:
            self._rows = {epoch: values for epoch, values in rows.items() if epoch < epochs}


class _Groups:
    """Example numbers by identity; identities count from 0 in the order of their labels."""

    def __init__(self, labels: np.ndarray) -> None:
        labels = np.asarray(labels)
        numbers = np.flatnonzero(labels >= 0)
        self._order = numbers[np.argsort(labels[numbers], kind="stable")].astype(np.int64)
        self.labels, self._starts = np.unique(labels[self._order], return_index=True)
        self._ends = np.append(self._starts[1:], len(self._order))

    def __len__(self) -> int:
        return len(self.labels)

    def members(self, identity: int) -> np.ndarray:
        return self._order[self._starts[identity] : self._ends[identity]]


class _Partners:
    """Anchors in passes over all examples, and the draws of their positives and negatives."""

    def __init__(self, facts: Facts, batch_size: int, seed: int, size: int, across_cameras: bool) -> None:
        if batch_size % size:
            raise ValueError(f"batch_size must be a multiple of {size}, for {size} examples belong together. Received: {batch_size}")
        if across_cameras and "camid" not in facts:
            raise ValueError(f"across_cameras needs the field camid. Received: {sorted(facts)}")
        self.groups, self.seed, self.per_batch = _Groups(facts["label"]), seed, batch_size // size
        if len(self.groups) < 2:
            raise ValueError(f"negatives need at least two identities. Received: {len(self.groups)}")
        self.cameras = np.asarray(facts["camid"]) if across_cameras else None
        self.identity = np.searchsorted(self.groups.labels, np.asarray(facts["label"]))
        self.examples = np.flatnonzero(np.asarray(facts["label"]) >= 0).astype(np.int64)
        self._pass = functools.lru_cache(maxsize=2)(lambda number: _random(seed, PASSES, number).permutation(self.examples))

    def anchors(self, batch: int) -> np.ndarray:
        positions = np.arange(batch * self.per_batch, (batch + 1) * self.per_batch)
        return np.array([self._pass(int(p // len(self.examples)))[p % len(self.examples)] for p in positions])

    def positive(self, anchor: int, random: np.random.Generator) -> int:
        mine = self.groups.members(int(self.identity[anchor]))
        others = mine[mine != anchor]
        if self.cameras is not None and len(apart := others[self.cameras[others] != self.cameras[anchor]]):
            others = apart
        return int(random.choice(others)) if len(others) else int(anchor)

    def negative(self, anchor: int, random: np.random.Generator) -> int:
        other = int(random.integers(len(self.groups) - 1))
        other += other >= self.identity[anchor]  # skips the anchor's own
        return int(random.choice(self.groups.members(other)))


def _identities_in_a_batch(batch_size: int, pictures: int, identities: int) -> int:
    if pictures < 1 or batch_size % pictures:
        raise ValueError(f"batch_size must be a multiple of the pictures of an identity. Received: {batch_size} and {pictures}")
    together = batch_size // pictures
    if together > identities:
        raise ValueError(
            f"a batch of {batch_size} with {pictures} pictures of an identity needs {together} identities. Received: {identities}"
        )
    return together


def _passes_over_identities(
    identities: int, together: int, seed: int, pick: Callable[[int, int], np.ndarray]
) -> Callable[[int], np.ndarray]:
    """Batches of `together` identities in random order, the rest of a pass left out; `pick(identity, pass)` gives the pictures of one."""
    batches = identities // together

    @functools.lru_cache(maxsize=2)
    def order(number: int) -> np.ndarray:
        return _random(seed, PASSES, number).permutation(identities)

    def batch(number: int) -> np.ndarray:
        turn, within = divmod(number, batches)
        return np.concatenate([pick(int(one), turn) for one in order(turn)[within * together :][:together]])

    return batch


def _in_batches(batch_size: int, batch: Callable[[int], np.ndarray]) -> Sampler:
    """From a function of the batch's number to one of positions, whichever of them are asked for together."""
    kept = functools.lru_cache(maxsize=8)(batch)

    def sample(positions: np.ndarray) -> np.ndarray:
        numbers, within = np.divmod(np.asarray(positions, np.int64), batch_size)
        return np.array([kept(int(n))[w] for n, w in zip(numbers, within, strict=True)], np.int64)

    return sample


def _cameras_in_turn(numbers: np.ndarray, cameras: np.ndarray) -> np.ndarray:
    """The same examples, first one of each camera, then the second of each, and so on; in each round in the order they had."""
    seen: dict[int, int] = {}
    rounds = []
    for camera in cameras[numbers].tolist():
        rounds.append(seen.get(camera, 0))
        seen[camera] = rounds[-1] + 1
    return numbers[np.argsort(rounds, kind="stable")]


def _filled(order: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """The first `count`, or all and then random ones of them."""
    missing = count - len(order)
    return order[:count] if missing <= 0 else np.concatenate([order, random.choice(order, missing)])


def _shares(weights: np.ndarray | None, labels: np.ndarray, floor: float) -> np.ndarray:
    even = np.full(len(labels), 1 / len(labels))
    if weights is None:
        return even
    if labels[-1] >= len(weights):
        raise ValueError(f"hardness needs a number for each of {labels[-1] + 1} identities. Received: {len(weights)}")
    known = weights[labels].astype(np.float64)
    total = known.sum()
    return floor * even + (1 - floor) * known / total if total > 0 else even


def _random(*key: int) -> np.random.Generator:
    return np.random.default_rng(key)
