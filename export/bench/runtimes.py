"""The runtimes of the bench. Each opens the graphs of a bundle and gives functions that run them and tell how long that took inside."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from export import gates, graphs, latency, parity
from export.npm import Unavailable
from export.parity import Arrays, Run

Call = Callable[[Arrays], tuple[Arrays, float]]  # the answer, and the milliseconds it took inside the runtime
TF_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@dataclass(frozen=True)
class Subject:
    """What is opened: the ONNX files by graph in one precision, and what Keras and TensorFlow have of the same bundle."""

    folder: Path
    card: dict[str, Any]
    files: dict[str, Path]
    precision: str
    run: Path | None  # where the bundle's run would be
    task: Any
    spec: Any


@dataclass(frozen=True)
class Opened:
    """Calls by graph, on so many threads; the bytes of what was opened; who did it, with versions."""

    calls: dict[str, Call]
    threads: int
    size: int
    versions: dict[str, str] = field(default_factory=dict)


Opener = Callable[[Subject, int], AbstractContextManager[Opened]]


def timed(run: Run) -> Call:
    def call(feeds: Arrays) -> tuple[Arrays, float]:
        start = time.perf_counter()
        found = run(feeds)
        return found, 1000 * (time.perf_counter() - start)

    return call


class Watch:
    """Runs of the graphs, as a task's predictor takes them, with the milliseconds inside the runtime since the last `reset`.

    A caption is many calls of a graph; what Python does between them is the same for every runtime, and is not counted.
    """

    def __init__(self, calls: dict[str, Call]) -> None:
        self.milliseconds = 0.0
        self.runs = {name: self._watched(call) for name, call in calls.items()}

    def _watched(self, call: Call) -> Run:
        def run(feeds: Arrays) -> Arrays:
            found, milliseconds = call(feeds)
            self.milliseconds += milliseconds
            return found

        return run

    def reset(self) -> None:
        self.milliseconds = 0.0


@contextmanager
def keras(subject: Subject, threads: int) -> Iterator[Opened]:
    """`predict_on_batch` of the run's model; a bundle has no .keras file."""
    from kerasdl import load_model
    from kerasdl.data import open_spec

    folder = run_of(subject)
    served = graphs.to_serve(subject.task, load_model(folder / "model.keras"), open_spec(folder / "spec.json"))
    calls = {name: timed(run) for name, run in graphs.keras_runs(served).items()}
    yield Opened(calls, tensorflow_threads(), (folder / "model.keras").stat().st_size, versions("keras", "tensorflow"))


def run_of(subject: Subject) -> Path:
    """The run that the bundle was exported from; Unavailable where it is not there, or another of the same name is."""
    folder = subject.run
    if folder is None or not all((folder / name).is_file() for name in ("model.keras", "spec.json", "metrics.json")):
        raise Unavailable(f"a bundle has no .keras file: its run must be there (--run-dir). Received: no run in {folder}")
    facts, source = json.loads((folder / "metrics.json").read_text(encoding="utf-8")), subject.card["source"]
    told = {"train_minutes": source["training_minutes"], "seed": source["seed"], "commit": source["commit"]}
    if differ := [name for name, value in told.items() if facts.get(name) != value]:
        raise Unavailable(f"the run must be the one that was exported. Received: {folder} with another {', '.join(differ)}")
    return folder


@contextmanager
def saved_model(subject: Subject, threads: int) -> Iterator[Opened]:
    folder = subject.folder / "saved_model"
    if not folder.is_dir():
        raise Unavailable(f"the bundle must have its SavedModel. Received: no {folder}")
    calls = {name: timed(run) for name, run in graphs.saved_runs(folder, list(subject.files)).items()}
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    yield Opened(calls, tensorflow_threads(), size, versions("tensorflow"))


def limit_tensorflow(threads: int) -> None:
    """Before TensorFlow is imported, and only then: it reads its threads once."""
    if "tensorflow" not in sys.modules:
        os.environ.update(dict.fromkeys(TF_THREADS, str(threads)))


def tensorflow_threads() -> int:
    return int(os.environ.get(TF_THREADS[0], 0)) or latency.cores()


@contextmanager
def onnxruntime(subject: Subject, threads: int) -> Iterator[Opened]:
    sessions = {name: gates.open_session(str(path), threads) for name, path in subject.files.items()}
    yield of_sessions(sessions, subject, threads)


def of_sessions(sessions: dict[str, Any], subject: Subject, threads: int) -> Opened:
    calls = {name: timed(parity.onnx_runner(session)) for name, session in sessions.items()}
    return Opened(calls, threads, size_of(subject), versions("onnxruntime", "onnxruntime-gpu"))


@contextmanager
def cuda(subject: Subject, threads: int) -> Iterator[Opened]:
    yield on_provider(subject, threads, "CUDAExecutionProvider", {"use_tf32": "0"})  # TensorFloat-32 is 1e-3 away


@contextmanager
def tensorrt(subject: Subject, threads: int) -> Iterator[Opened]:
    yield on_provider(subject, threads, "TensorrtExecutionProvider", {"trt_fp16_enable": str(subject.precision == "fp16")})


def on_provider(subject: Subject, threads: int, provider: str, options: dict[str, str]) -> Opened:
    """Sessions of onnxruntime on a GPU; Unavailable where it would fall back on the CPU."""
    import onnxruntime as ort

    if provider not in ort.get_available_providers():
        raise Unavailable(f"onnxruntime must have the {provider}. Received: {', '.join(ort.get_available_providers())}")
    settings = ort.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = threads, 4
    sessions = {}
    for name, path in subject.files.items():
        sessions[name] = ort.InferenceSession(str(path), settings, providers=[(provider, options), "CPUExecutionProvider"])
        if provider not in sessions[name].get_providers():
            raise Unavailable(f"the {provider} must find a GPU and its libraries. Received: a session on the CPU")
    return of_sessions(sessions, subject, threads)


@contextmanager
def openvino(subject: Subject, threads: int) -> Iterator[Opened]:
    """On the CPU, in float32: left alone OpenVINO takes bfloat16 where the processor has it.

    And without its cache of compiled kernels: with it 2026.4.1 says other captions, for the decoder's answers are wrong from the 16th word
    on when shorter states came before. `versions` tells of both.
    """
    if not importlib.util.find_spec("openvino"):
        raise Unavailable("OpenVINO must be installed: pip install openvino. Received: no module of that name")
    ov = importlib.import_module("openvino")
    settings = {"INFERENCE_PRECISION_HINT": "f32", "CPU_RUNTIME_CACHE_CAPACITY": 0}
    core = ov.Core()
    options = {**settings, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    calls = {}
    for name, path in subject.files.items():
        outputs = [entry["name"] for entry in subject.card["graphs"][f"{name}.onnx"]["outputs"]]
        calls[name] = timed(openvino_runner(core.compile_model(str(path), "CPU", options), outputs))
    told = ", ".join(f"{key}={value}" for key, value in settings.items())
    yield Opened(calls, threads, size_of(subject), {"openvino": f"{metadata.version('openvino')} ({told})"})


def openvino_runner(compiled: Any, outputs: list[str]) -> Run:
    """A port of OpenVINO has many names, those of optimised-away neighbours among them: it is asked by the graph's own."""
    request = compiled.create_infer_request()
    names = set().union(*(port.get_names() for port in compiled.inputs))

    def run(feeds: Arrays) -> Arrays:
        request.infer({name: values for name, values in feeds.items() if name in names})
        return {name: np.array(request.get_tensor(name).data) for name in outputs}  # its own memory is written to again

    return run


def size_of(subject: Subject) -> int:
    return sum(path.stat().st_size for path in subject.files.values())


def versions(*packages: str) -> dict[str, str]:
    """Of those that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def node(subject: Subject, threads: int) -> AbstractContextManager[Opened]:
    """onnxruntime-node."""
    from export.bench.node import opened

    return opened(subject, threads)


def web(subject: Subject, threads: int) -> AbstractContextManager[Opened]:
    """onnxruntime-web in Chromium."""
    from export.bench.web import opened

    return opened(subject)


RUNTIMES: dict[str, Opener] = {
    "keras": keras,
    "saved_model": saved_model,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "node": node,
    "web": web,
    "cuda": cuda,
    "tensorrt": tensorrt,
}
OF_KERAS = ("keras", "saved_model")  # which open no ONNX file, and so no variant of one
