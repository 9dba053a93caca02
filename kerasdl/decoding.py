"""From a decoder's one-step graph to captions: greedy, beam search and sampling, in numpy, for a batch of pictures at once.

A step is any function from `token` int32 (B,), `state` and what else the encoder gave, first axis the picture, to `logits` (B,V),
`next_state` and `attention` (B,heads,N): Keras, a SavedModel or onnxruntime. What a picture is told does not depend on the others.

A caption is `<start> word ... <end> <pad> ...` of fixed length T. `<pad>`, `<start>` and `<unk>` are never chosen, and on the last
place only `<end>` may stand. Scores are log-probabilities of the model, all its tokens counted, `<end>` too, `<start>` not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

Arrays = dict[str, np.ndarray]
Step = Callable[[Arrays], Arrays]

PAD, START, END, UNK = range(4)
NEVER = -np.inf


@dataclasses.dataclass(frozen=True)
class Captions:
    """tokens: int32 (B,T), `<start>` first, `<pad>` behind `<end>`.

    scores: float32 (B,), mean log-probability of the tokens chosen (with `normalise=False` their sum).
    margins: float32 (B,), how far in log-probability the nearest other choice lay, least over the steps: below the error of a runtime
        another caption may come out.
    attention: float32 (B,T,heads,N), where the decoder looked when it said each token; zero for `<start>` and `<pad>`.
    ended: bool (B,), whether `<end>` was the model's own choice and not that of the last place.
    alternatives: of beam search, for each picture all captions it finished as (int32 tokens from `<start>` to `<end>`, score), best
        first; else empty.
    """

    tokens: np.ndarray
    scores: np.ndarray
    margins: np.ndarray
    attention: np.ndarray
    ended: np.ndarray
    alternatives: list[list[tuple[np.ndarray, float]]] = dataclasses.field(default_factory=list)


def greedy(step: Step, memory: Arrays, length: int) -> Captions:
    """The most probable word at every step.

    Args:
        step: the decoder.
        memory: what the encoder gave of B pictures: `state` where the decoder starts from one, else `cross`, and the rest by name.
        length: T, at least 3: `<start>`, a word, `<end>`.
    """
    return _walk(step, memory, length, lambda logp: logp)


def sample(step: Step, memory: Arrays, length: int, temperature: float = 1.0, seed: int = 0) -> Captions:
    """Words drawn from softmax(logits / temperature), by the Gumbel-max trick; picture i of the batch draws from (seed, i).

    The scores are those of the model at temperature 1; the margins are those of the drawn values.
    """
    if not temperature > 0:
        raise ValueError(f"the temperature must be positive. Received: {temperature}")
    draws = [np.random.default_rng((seed, row)) for row in range(_pictures(memory))]

    def drawn(logp: np.ndarray) -> np.ndarray:
        return logp / temperature + np.stack([rng.gumbel(size=logp.shape[1]) for rng in draws])

    return _walk(step, memory, length, drawn)


def _walk(step: Step, memory: Arrays, length: int, values: Callable[[np.ndarray], np.ndarray]) -> Captions:
    """One caption a picture; at each step the token of the largest value, which `values` makes of log-probabilities (B,V)."""
    memory, state = _begin(memory, length)
    count = len(state)
    tokens = np.full((count, length), PAD, np.int32)
    tokens[:, 0] = START
    scores, margins, looks = np.zeros(count), np.full(count, np.inf), []
    going, ended = np.ones(count, bool), np.zeros(count, bool)
    for place in range(1, length):
        out = step({"token": tokens[:, place - 1], "state": state, **memory})
        state, logp = out["next_state"], log_softmax(out["logits"])
        ranked = values(spoken(logp))
        best = ranked.argmax(axis=1)
        ended |= going & (best == END)
        if place == length - 1:
            best[:] = END
        else:
            margins = np.where(going, np.minimum(margins, _lead(ranked)), margins)
        tokens[:, place] = np.where(going, best, PAD)
        scores += np.where(going, logp[np.arange(count), best], 0)
        looks.append(np.where(going[:, None, None], out["attention"], 0))
        going &= best != END
        if not going.any():
            break
    scores /= (tokens[:, 1:] != PAD).sum(axis=1)
    return Captions(tokens, scores.astype(np.float32), margins.astype(np.float32), _attention(looks, length), ended)


def beam(step: Step, memory: Arrays, length: int, width: int = 3, normalise: bool = True) -> Captions:
    """The best caption that a search with `width` open captions a picture finishes; width 1 is greedy.

    At each step the open captions and all their next tokens compete for the places by their sums of log-probabilities. One that ends
    leaves with its place, so that `width` captions are finished in all; at the last place every open one may end.

    Args:
        step: the decoder.
        memory: as of `greedy`; it is repeated `width` times.
        length: T, at least 3.
        width: open captions a picture, at least 1.
        normalise: whether finished captions are ranked by the mean over their tokens, else by the sum, which prefers short ones.
    """
    if width < 1:
        raise ValueError(f"the width of a beam is at least 1. Received: {width}")
    count = _pictures(memory)
    memory, state = _begin({name: np.repeat(values, width, axis=0) for name, values in memory.items()}, length)
    search = _Beam(count, width)
    token = np.full(count * width, START, np.int32)
    for place in range(1, length):
        out = step({"token": token, "state": state, **memory})
        logp = spoken(log_softmax(out["logits"]))
        parents, words = search.advance(logp.reshape(count, width, -1), out["attention"], last=place == length - 1)
        if not search.open.any():
            break
        token = words.reshape(-1).astype(np.int32)
        state = out["next_state"][(np.arange(count)[:, None] * width + parents).reshape(-1)]  # the past follows its caption
    return search.captions(length, normalise)


class _Beam:
    """The open captions of B pictures, K places each: a table of parents and words a step, read backwards in the end."""

    def __init__(self, count: int, width: int) -> None:
        self.sums = np.full((count, width), NEVER)
        self.sums[:, 0] = 0  # all begin alike: one place is enough
        self.open = self.sums > NEVER
        self.left = np.full(count, width)  # captions still to be finished
        self.parents: list[np.ndarray] = []
        self.words: list[np.ndarray] = []
        self.looks: list[np.ndarray] = []
        self.finished: list[list[tuple[int, int, float]]] = [[] for _ in range(count)]  # (step, place, sum of log-probabilities)
        self.margins = np.full(count, np.inf)
        self.ended: list[list[bool]] = [[] for _ in range(count)]

    def advance(self, logp: np.ndarray, attention: np.ndarray, last: bool) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities (B,K,V) of the next tokens to the parents (B,K) and words (B,K) of the places."""
        count, width, words = logp.shape
        own = logp.argmax(axis=2) == END
        if last:
            logp = np.where(np.arange(words) == END, logp, NEVER)
        totals = (self.sums[:, :, None] + logp).reshape(count, -1)  # (B, K*V), float64
        best, values = _largest(totals, width + 1)
        if not last:
            self._remember_margins(values)
        chosen, self.sums = best[:, :width], values[:, :width]
        parents, chosen = chosen // words, chosen % words
        self.parents.append(parents)
        self.words.append(chosen)
        self.looks.append(attention.reshape(count, width, *attention.shape[1:]))
        kept = (np.arange(width) < self.left[:, None]) & (self.sums > NEVER)
        ends = kept & (chosen == END)
        for picture, place in np.argwhere(ends):
            self.finished[picture].append((len(self.words) - 1, int(place), float(self.sums[picture, place])))
            self.ended[picture].append(bool(own[picture, parents[picture, place]]) or not last)
        self.left -= ends.sum(axis=1)
        self.open = kept & ~ends
        self.sums = np.where(self.open, self.sums, NEVER)
        return parents, chosen

    def _remember_margins(self, values: np.ndarray) -> None:
        """Between the last caption that stays open and the first that does not."""
        rows = np.flatnonzero(self.left > 0)
        inside, outside = values[rows, self.left[rows] - 1], values[rows, self.left[rows]]
        gap = np.where(outside > NEVER, inside - np.where(outside > NEVER, outside, 0), np.inf)
        self.margins[rows] = np.minimum(self.margins[rows], gap)

    def captions(self, length: int, normalise: bool) -> Captions:
        chosen, alternatives, ended = [], [], []
        for picture, finished in enumerate(self.finished):
            scores = [total / (step + 1) if normalise else total for step, _, total in finished]
            order = sorted(range(len(scores)), key=lambda i: -scores[i])
            alternatives.append([(self._tokens(picture, *finished[i][:2]), scores[i]) for i in order])
            chosen.append((picture, *finished[order[0]][:2]))
            ended.append(self.ended[picture][order[0]])
            if len(order) > 1:
                self.margins[picture] = min(self.margins[picture], scores[order[0]] - scores[order[1]])
        tokens = np.full((len(chosen), length), PAD, np.int32)
        for row, found in zip(tokens, alternatives, strict=True):
            row[: len(found[0][0])] = found[0][0]
        scores = np.array([found[0][1] for found in alternatives], np.float32)
        looks = np.zeros((len(chosen), length, *self.looks[0].shape[2:]), np.float32)
        for row, (picture, step, place) in zip(looks, chosen, strict=True):
            for when, parent, _ in self._back(picture, step, place):
                row[when + 1] = self.looks[when][picture, parent]
        return Captions(tokens, scores, self.margins.astype(np.float32), looks, np.array(ended, bool), alternatives)

    def _tokens(self, picture: int, step: int, place: int) -> np.ndarray:
        return np.array([START, *(word for *_, word in self._back(picture, step, place)[::-1])], np.int32)

    def _back(self, picture: int, step: int, place: int) -> list[tuple[int, int, int]]:
        """(step, parent, word) of a finished caption, from its end to its beginning."""
        path = []
        for when in range(step, -1, -1):
            parent = int(self.parents[when][picture, place])
            path.append((when, parent, int(self.words[when][picture, place])))
            place = parent
        return path


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities along the last axis, float64; ValueError where the logits are no numbers."""
    if not np.isfinite(logits).all():
        raise ValueError("the decoder's logits must be finite. Received: infinity or not a number")
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def spoken(logp: np.ndarray) -> np.ndarray:
    """The same (B,V) with minus infinity for what no caption shows."""
    logp = logp.copy()
    logp[:, [PAD, START, UNK]] = NEVER
    return logp


def _begin(memory: Arrays, length: int) -> tuple[Arrays, np.ndarray]:
    """What every step is given, and the state of the first: the encoder's, or keys and values of no token yet."""
    if length < 3:
        raise ValueError(f"a caption has room for <start>, a word and <end>: a length of at least 3. Received: {length}")
    if "state" in memory:
        return {name: values for name, values in memory.items() if name != "state"}, memory["state"]
    if "cross" not in memory:
        raise ValueError(f"an encoder gives a state, or keys and values as cross. Received: {', '.join(memory)}")
    batch, blocks, pair, heads, _, size = memory["cross"].shape
    return memory, np.zeros((batch, blocks, pair, heads, 0, size), memory["cross"].dtype)


def _pictures(memory: Arrays) -> int:
    return len(next(iter(memory.values())))


def _lead(values: np.ndarray) -> np.ndarray:
    """(B,V) to (B,): the largest less the second largest."""
    two = np.partition(values, -2, axis=1)[:, -2:]
    return two[:, 1] - two[:, 0]


def _largest(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(B,M) to the places and values (B,count) of the largest, falling."""
    some = np.sort(np.argpartition(-values, count - 1, axis=1)[:, :count], axis=1)  # few of many words: a whole sort takes ten times longer
    order = np.argsort(-np.take_along_axis(values, some, axis=1), axis=1, kind="stable")
    some = np.take_along_axis(some, order, axis=1)
    return some, np.take_along_axis(values, some, axis=1)


def _attention(looks: list[np.ndarray], length: int) -> np.ndarray:
    """(B,heads,N) a step to (B,T,heads,N)."""
    whole = np.zeros((len(looks[0]), length, *looks[0].shape[1:]), np.float32)
    whole[:, 1 : 1 + len(looks)] = np.stack(looks, axis=1)
    return whole
