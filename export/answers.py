"""What Keras answers to real examples, for other runtimes to be held against, and how long each takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from export import captions, graphs, latency, parity, tables


class Answers:
    """What Keras answers to `feeds`, which other runtimes are held against: the task's whole answer, and of several graphs each call."""

    def __init__(self, task: Any, spec: Any, feeds: dict[str, np.ndarray]) -> None:
        self.task, self.spec, self.feeds = task, spec, feeds
        self.wanted: dict[str, np.ndarray] = {}
        self.first: dict[str, np.ndarray] = {}
        self.calls: graphs.Calls = {}

    def follow(self, keras: graphs.Runs, each_call: bool = True) -> None:
        """Ask Keras; without `each_call` for the whole answer alone."""
        self.wanted = in_batches(self.task.predictor(keras, self.spec))(self.feeds)
        if len(keras) > 1 and each_call:
            self.first = in_batches(next(iter(keras.values())))(self.feeds)
            self.calls = graphs.recorded(self.task, keras, self.feeds, self.spec)

    def compare(self, runtime: str, runs: graphs.Runs) -> list[dict[str, Any]]:
        """Rows of the card."""
        run = self.task.predictor(runs, self.spec)
        if self.task.name == tables.TASK:
            return tables.measure(self.task, self.spec, runtime, run, self.feeds, self.wanted)
        told = captions.compare if self.task.name == captions.TASK else parity.compare
        rows = parity.measure(self.task, runtime, run, self.feeds, self.wanted, compare=told)
        return rows + (list(graphs.measure(self.task, runtime, runs, self.calls, self.feeds, self.first)) if self.calls else [])

    def sample(self) -> dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
        return graphs.sample_of(self.calls) if self.calls else {"model": (self.feeds, self.wanted)}

    def latencies(self, keras: graphs.Runs, saved: graphs.Runs, onnx: graphs.Runs) -> dict[str, Any]:
        """Of one whole answer in each runtime, and of the parts."""
        measured: dict[str, Any] = {}
        for runtime, runs in (("onnxruntime", onnx), ("keras", keras), ("saved_model", saved)):
            figures = latency.measure(self.task.predictor(runs, self.spec), self.feeds)
            measured[runtime] = {"batch": 1, "threads": 1 if runtime == "onnxruntime" else latency.cores(), **figures}
        if self.task.name == captions.TASK:
            measured |= captions.latencies(self.task, onnx, self.calls, self.feeds, self.spec)
        return {**measured, "device": latency.processor()}


def in_batches(run: Any) -> Any:
    """The same function a batch at a time; options go through."""
    return lambda feeds, **options: parity.run_in_batches(lambda some: run(some, **options), feeds, graphs.BATCH)
