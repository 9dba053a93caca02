"""The graphs of a bundle, one or several: converted, held against Keras call by call, and joined to the task's one answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export import card as cards
from export import convert, external, gates, latency, parity
from export.contracts import PLAIN, Form
from export.gates import ExportRefused
from export.parity import Arrays, Run

if TYPE_CHECKING:
    import keras
    import onnx

Runs = dict[str, Run]
Calls = dict[str, list[tuple[Arrays, Arrays]]]  # of each graph: what it was given and what it gave, call by call
BATCH = 64  # for scoring and for the reference
FOLLOWED = 16  # pictures at a time whose every call of a later graph is compared


@dataclass(frozen=True)
class Graph:
    """A serving model, its ONNX graph and its inputs as the card has them."""

    model: keras.Model
    proto: onnx.ModelProto
    entries: list[dict[str, Any]]

    def parameters(self, alone: bool) -> int:
        """Of the model; where several share one decoder, the numbers that the file holds."""
        if alone:
            return self.model.count_params()
        return sum(int(np.prod(held.dims)) for held in self.proto.graph.initializer if held.data_type == held.FLOAT)


def to_serve(task: Any, model: Any, spec: Any) -> dict[str, Any]:
    """The float32 serving models by name, the one that takes the raw input first."""
    served = task.serving(model, spec)
    if list(served) != (["encoder", "decoder"] if task.name == "captioning" else ["model"]):
        raise ExportRefused(f"a bundle has one graph named model, of captions encoder and decoder. Received: {', '.join(served)}")
    for graph in served.values():
        gates.check_size(graph.count_params())
    if list(served) == ["model"]:
        served = {"model": convert.float32_twin(served["model"])}
    elif (twin := convert.float32_twin(model)) is not model:  # they share layers: what they share is made float32, not each alone
        served = task.serving(twin, spec)
    for graph in served.values():
        gates.check_float32(graph)
    return served


def converted(task: Any, served: dict[str, Any], spec: Any, opset: int, form: Form = PLAIN) -> dict[str, Graph]:
    """The ONNX graphs, past the gates that need them alone; `served` is in that form already."""
    graphs = {}
    for name, model in served.items():
        first = task.outputs if name == "model" else tuple(model.output)
        inputs, outputs = convert.contract(model, first)
        proto = convert.to_onnx(model, first, opset)
        check_graph(proto, inputs, outputs)
        if len(served) > 1:
            gates.check_no_control_flow(proto)
        graphs[name] = Graph(model, proto, cards.input_entries(inputs, spec, form))
    return graphs


def check_graph(proto: Any, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
    """The gates that need the graph alone."""
    gates.check_domains(proto)
    gates.check_contract(proto, inputs, outputs)
    with external.loadable(proto) as loadable:
        gates.check_proto(loadable if isinstance(loadable, str) else proto)
        gates.open_session(loadable)


def keras_runs(served: dict[str, Any]) -> Runs:
    return {name: parity.keras_runner(model) for name, model in served.items()}


def onnx_runs(graphs: dict[str, Graph]) -> Runs:
    """One thread each."""
    return {name: onnx_run(graph.proto) for name, graph in graphs.items()}


def onnx_run(proto: Any) -> Run:
    with external.loadable(proto) as loadable:
        return parity.onnx_runner(gates.open_session(loadable))


def shipped_runs(paths: Sequence[Path]) -> Runs:
    """The files that are shipped, by onnxruntime on all cores."""
    return {path.stem: parity.onnx_runner(gates.open_session(str(path), threads=latency.cores())) for path in paths}


def saved_runs(folder: Path, names: Sequence[str]) -> Runs:
    return {name: parity.saved_model_runner(folder, name) for name in names}


def recorded(task: Any, runs: Runs, feeds: Arrays, spec: Any) -> Calls:
    """Every call that the task makes of the graphs for the first examples, as many as bring each graph enough rows to compare."""
    calls: Calls = {name: [] for name in runs}

    def watched(name: str) -> Run:
        def run(given: Arrays) -> Arrays:
            gave = runs[name](given)
            calls[name].append((dict(given), gave))
            return gave

        return run

    predict = task.predictor({name: watched(name) for name in runs}, spec)
    first, *later = runs
    for start in range(0, count(feeds), FOLLOWED):
        predict({name: values[start : start + FOLLOWED] for name, values in feeds.items()})
        if all(rows(calls[name]) >= gates.LEAST_SAMPLES for name in later):
            break
    return calls


def count(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))


def rows(calls: list[tuple[Arrays, Arrays]]) -> int:
    return sum(count(given) for given, _ in calls)


def measure(task: Any, runtime: str, runs: Runs, calls: Calls, feeds: Arrays, wanted: Arrays) -> Iterator[dict[str, Any]]:
    """One row of the card for each graph and batch size: the calls that Keras answered, again; of the first graph all the examples.

    `wanted` is what Keras' first graph gave of `feeds`.
    """
    first = next(iter(runs))
    for name, run in runs.items():
        some = [(feeds, wanted)] if name == first else calls[name]
        for batch in parity.BATCHES:
            yield {
                "runtime": runtime,
                "graph": name,
                "batch": batch,
                "samples": count(feeds) if name == first else rows(calls[first]),
                "calls": rows(some),
                "tolerance": task.tolerance,
                **against(run, some, batch, task.tolerance),
            }


def against(run: Run, calls: list[tuple[Arrays, Arrays]], batch: int, tolerance: float) -> dict[str, Any]:
    """The largest difference to what was given before; of logits also whether the best is the same wherever it is not nearly tied."""
    error, equal, near = 0.0, True, 0
    for given, wanted in calls:
        found = parity.run_in_batches(run, given, batch)
        error = max(error, *(parity.difference(values, found[name]) for name, values in wanted.items()))
        if "logits" in wanted:
            two = np.sort(wanted["logits"], axis=1)[:, -2:]
            tied = two[:, 1] - two[:, 0] < 2 * tolerance
            near += int(tied.sum())
            equal &= not bool(np.any((wanted["logits"].argmax(1) != found["logits"].argmax(1)) & ~tied))
    return {"max_error": error, "decisions_equal": equal, "near_ties": near}


def sample_of(calls: Calls) -> dict[str, tuple[Arrays, Arrays]]:
    """For sample.npz the largest call of each graph, late in its work."""
    return {name: max(some, key=lambda call: sum(values.nbytes for values in call[0].values())) for name, some in calls.items()}
