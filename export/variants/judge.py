"""One judge for all files of a bundle: the task's own scores, and the time of one answer, float32 beside each variant in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx

from export import gates, latency, parity
from export.answers import in_batches
from export.card import metric_entries
from export.parity import Arrays, Run
from export.variants import points

Protos = dict[str, onnx.ModelProto]  # the graphs of a bundle by name
FLOAT32 = "float32"
ALIKE = 512  # examples whose decisions are compared
EACH = 5  # examples of a turn in a race
TURNS, SECONDS = 60, 6.0  # a race is over after either, but not before LEAST turns
LEAST, WARM = 6, 1


class Judge:
    """Scores and times sets of graphs against the float32 ones, by the task on its data.

    With `channels_first` the graphs take pictures as (B,C,H,W), which the task has as (B,H,W,C).
    """

    def __init__(self, task: Any, splits: Any, exact: Protos, channels_first: bool = False) -> None:
        self.task, self.splits, self.exact, self.channels_first = task, splits, exact, channels_first
        self._scores: dict[str, dict[str, float]] = {}

    def answer(self, protos: Protos, threads: int | None = None) -> Run:
        """The task's whole answer by these graphs to what `inputs` gives; on all cores unless told."""
        count = latency.cores() if threads is None else threads
        runs = {name: parity.onnx_runner(gates.open_session(proto.SerializeToString(), count)) for name, proto in protos.items()}
        return self.task.predictor(runs, self.splits.spec)

    def score(self, protos: Protos, split: str = "valid") -> dict[str, float]:
        """The task's metrics; all infinitely bad where the answers are no numbers any more."""
        if protos is self.exact:
            return self.exact_score(split)
        try:
            return self._evaluate(protos, split)
        except ValueError:  # a metric refuses what is not finite
            return dict.fromkeys(self.exact_score(split), float("-inf"))

    def exact_score(self, split: str) -> dict[str, float]:
        """Of the float32 graphs, measured once."""
        if split not in self._scores:
            self._scores[split] = self._evaluate(self.exact, split)
        return self._scores[split]

    def _evaluate(self, protos: Protos, split: str) -> dict[str, float]:
        answer = self.answer(protos)
        return self.task.evaluate(in_batches(lambda feeds: answer(self.laid_out(feeds))), self.splits, split=split)

    def laid_out(self, feeds: Arrays) -> Arrays:
        """Serving inputs as the graphs have their axes."""
        if not self.channels_first:
            return feeds
        return {**feeds, "image": np.ascontiguousarray(feeds["image"].transpose(0, 3, 1, 2))}

    def inputs(self, examples: Arrays) -> Arrays:
        return self.laid_out(self.task.inputs(examples))

    def lost(self, found: Mapping[str, float], split: str = "valid") -> dict[str, float]:
        """Points lost to float32 in each main metric."""
        return points.drops(self.task.name, self.exact_score(split), found)

    def figures(self, found: dict[str, float], split: str) -> dict[str, Any]:
        """For the card: {"float32", "variant": metrics with n and interval, "lost": points}."""
        count = self.task.count(self.splits, split)

        def entries(values: dict[str, float]) -> dict[str, Any]:
            return metric_entries(values, self.task.metric_intervals(values, count), count, f"{split} split, onnxruntime")

        return {FLOAT32: entries(self.exact_score(split)), "variant": entries(found), "lost": self.lost(found, split)}

    def examples(self, split: str, most: int) -> Arrays:
        """Serving inputs of examples spread evenly over a split."""
        part = self.splits.split(split)
        return self.inputs(part.arrays(np.linspace(0, len(part) - 1, min(most, len(part))).round().astype(int)))

    def alike(self, protos: Protos, split: str = "valid") -> dict[str, Any]:
        """How near the answers are to float32's, and how many decisions are the same."""
        feeds = self.examples(split, ALIKE)
        exact, found = (in_batches(self.answer(some))(feeds) for some in (self.exact, protos))
        same = np.asarray(self.task.decide(exact)[0]) == np.asarray(self.task.decide(found)[0])
        main = next(name for name in exact if exact[name].dtype.kind == "f")
        error = parity.difference(exact[main], found[main])
        return {"split": split, "examples": len(same), "decisions_equal": int(same.sum()), "max_error": error, "of": main}

    def race(self, sets: Mapping[str, Protos], seconds: float = SECONDS) -> dict[str, dict[str, float]]:
        """p50 and p95 of one whole answer on one thread for float32 and each set, and how many times faster than float32 it is."""
        runs = {name: self.answer(protos, threads=1) for name, protos in {FLOAT32: self.exact, **sets}.items()}
        return race(runs, self.examples("train", EACH * TURNS), seconds)


def race(runs: Mapping[str, Callable[[Arrays], Any]], feeds: Arrays, seconds: float = SECONDS) -> dict[str, dict[str, float]]:
    """The runs take turns, so that a busy machine slows all alike, each with a few examples one after the other.

    The first example of a turn is not timed: it brings the weights back into the cache that another run's have pushed out, where
    they stay while one file is served. Gives for each {"p50_ms", "p95_ms", "ratio"}; the ratio is the median over the turns of the
    first run's time to this one's.
    """
    count = len(next(iter(feeds.values())))
    singles = [{name: values[i : i + 1] for name, values in feeds.items()} for i in range(count)]
    times: dict[str, list[list[float]]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    for turn in range(WARM + TURNS):
        if turn >= WARM + LEAST and time.perf_counter() > end:
            break
        some = [singles[(turn * EACH + i) % count] for i in range(EACH)]
        for name, run in list(runs.items())[:: -1 if turn % 2 else 1]:
            run(some[0])
            taken = [timed(run, one) for one in some]
            if turn >= WARM:
                times[name].append(taken)
    first = np.median(next(iter(times.values())), axis=1)
    return {name: figures(np.array(taken), first) for name, taken in times.items()}


def timed(run: Callable[[Arrays], Any], feeds: Arrays) -> float:
    start = time.perf_counter()
    run(feeds)
    return 1000 * (time.perf_counter() - start)


def figures(taken: np.ndarray, first: np.ndarray) -> dict[str, float]:
    """Of milliseconds (turns, EACH)."""
    p50, p95 = np.percentile(taken, [50, 95])
    ratio = float(np.median(first / np.median(taken, axis=1)))
    return {"p50_ms": round(float(p50), 3), "p95_ms": round(float(p95), 3), "ratio": round(ratio, 2)}
