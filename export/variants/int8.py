"""The int8 of a bundle: both schemes made and measured, the faster that keeps the task's score taken, and a sentence where none does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from export import graphs
from export.gates import ExportRefused, check_domains, check_proto, open_session
from export.parity import Arrays, Run, onnx_runner
from export.variants import points, quantise
from export.variants.judge import Judge, Protos
from export.variants.quantise import Calibrated

PICTURES, SEED, TOGETHER = 256, 0, 16  # of the training split, seen so many at a time
NEARLY = 0.95  # of the fastest is as good as the fastest
ASKED = 2  # of those calls, what the sensitivity of each layer is measured on

Calls = dict[str, list[Arrays]]  # of each graph what it was given
Plan = dict[str, Sequence[str]]  # the graphs that become int8, each with its nodes that stay float32


@dataclass(frozen=True)
class Trial:
    """All graphs of the bundle, those of the plan in int8, and how they score on the validation split."""

    scheme: str
    layers: str
    plan: Plan
    protos: Protos
    scores: dict[str, float]
    lost: dict[str, float]

    @property
    def name(self) -> str:
        return f"{self.scheme}, {self.layers}"

    def facts(self) -> dict[str, Any]:
        return {"scheme": self.scheme, "layers": self.layers, "lost": {name: finite(lost) for name, lost in self.lost.items()}}


@dataclass(frozen=True)
class Search:
    """What was found: the best trial whether it passes or not, every trial, and by name the times of those that raced."""

    best: Trial
    passes: bool
    trials: list[Trial]
    times: dict[str, dict[str, float]]
    calibration: dict[str, Any]

    def tried(self) -> list[dict[str, Any]]:
        return [{**one.facts(), **self.times.get(one.name, {})} for one in self.trials]


def search(judge: Judge, max_drop: float, say: Callable[[str], None]) -> Search:
    """Every layer in int8 first; where that loses too much, with more and more of the sensitive ones left in float32.

    Calibrated on training examples and chosen on the validation split. ExportRefused where a graph has no layer to quantise.
    """
    calls = recorded(judge)
    calibrated = {name: quantise.calibrate(proto, calls[name]) for name, proto in judge.exact.items()}
    if not any(ready.weighed for ready in calibrated.values()):
        raise ExportRefused("a graph in int8 needs a layer with weights. Received: none")
    made_on = {name: len(given) for name, given in calls.items()}
    calibration = {"split": "train", "examples": count_of(calls), "seed": SEED, "method": "MinMax", "calls": made_on}
    trials: list[Trial] = []
    times: dict[str, dict[str, float]] = {}
    for plans in choices(calibrated, lambda name: sensitive(calibrated[name], calls[name])):
        tried = [trial(judge, calibrated, scheme, layers, plan) for layers, plan in plans for scheme in quantise.SCHEMES]
        trials += tried
        for one in tried:
            say(f"int8, {one.name}: {in_points(one.lost)} lost")
        passing = [one for one in tried if points.most(one.lost) <= max_drop]
        if passing:
            times |= judge.race({one.name: one.protos for one in tried})
            return Search(fastest(passing, times), True, trials, times, calibration)
    return Search(min(trials, key=lambda one: points.most(one.lost)), False, trials, times, calibration)


def fastest(passing: Sequence[Trial], times: Mapping[str, Mapping[str, float]]) -> Trial:
    """Of those nearly as fast as the fastest the one that loses least."""
    enough = NEARLY * max(times[one.name]["ratio"] for one in passing)
    return min((one for one in passing if times[one.name]["ratio"] >= enough), key=lambda one: points.most(one.lost))


def recorded(judge: Judge) -> Calls:
    """What each graph is given while the task answers training examples, a seeded choice of them."""
    part = judge.splits.train
    if not len(part):
        raise ExportRefused("int8 is calibrated on training examples. Received: none")
    chosen = np.sort(np.random.default_rng(SEED).choice(len(part), min(PICTURES, len(part)), replace=False))
    feeds = judge.inputs(part.arrays(chosen))
    runs = {name: opened(proto) for name, proto in judge.exact.items()}
    calls: Calls = {name: [] for name in runs}
    for start in range(0, len(chosen), TOGETHER):
        some = {name: values[start : start + TOGETHER] for name, values in feeds.items()}
        for name, made in graphs.recorded(judge.task, runs, some, judge.splits.spec).items():
            calls[name] += [given for given, _ in made]
    return calls


def count_of(calls: Calls) -> int:
    return sum(graphs.count(call) for call in next(iter(calls.values())))


def choices(calibrated: Mapping[str, Calibrated], ranking: Callable[[str], list[str]]) -> Iterator[list[tuple[str, Plan]]]:
    """What to try, until one of the plans that stand together passes; `ranking` gives the layers of a graph, the most sensitive first."""
    first = next(iter(calibrated))
    several = len(calibrated) > 1
    whole: tuple[str, Plan] = ("every layer", {name: () for name in calibrated})
    yield [whole, (f"every layer of the {first} alone", {first: ()})] if several else [whole]
    layers = calibrated[first].weighed
    of = f" of the {first} alone" if several else ""
    if len(layers) > 2:
        yield [(f"all but the first and the last layer{of}", {first: (layers[0], layers[-1])})]
    if len(layers) > 1:
        ranked, left = ranking(first), 1
        while left <= len(layers) // 2:
            yield [(f"all but the {left} most sensitive of {len(layers)} layers{of}", {first: ranked[:left]})]
            left *= 2


def trial(judge: Judge, calibrated: Mapping[str, Calibrated], scheme: str, layers: str, plan: Plan) -> Trial:
    made = {name: quantise.quantise(calibrated[name], scheme, left) for name, left in plan.items()}
    for proto in made.values():
        check_domains(proto)
        check_proto(proto)
    protos = {**judge.exact, **made}
    scores = judge.score(protos)
    return Trial(scheme, layers, plan, protos, scores, judge.lost(scores))


def sensitive(calibrated: Calibrated, calls: Sequence[Arrays]) -> list[str]:
    """Layers of a graph, the most sensitive first, by its last calls."""
    return quantise.sensitivity(calibrated, next(iter(quantise.SCHEMES)), calls[-ASKED:], opened)


def opened(proto: onnx.ModelProto) -> Run:
    return onnx_runner(open_session(proto.SerializeToString()))


def in_points(lost: Mapping[str, float]) -> str:
    """0.35 points of accuracy"""
    name = max(lost, key=lambda one: lost[one])
    if not np.isfinite(lost[name]):
        return f"all of its {name}"
    return f"{max(lost[name], 0):.2f} points of {name}"


def finite(lost: float) -> float | None:
    return lost if np.isfinite(lost) else None
