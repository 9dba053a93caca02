"""Parity: the same real samples through Keras and through another runtime, at several batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras
    import onnxruntime

Arrays = dict[str, np.ndarray]
Run = Callable[[Arrays], Arrays]

BATCHES = (1, 2, 7)  # one, the smallest real batch, and an odd one that leaves a remainder


def run_in_batches(run: Run, feeds: Arrays, batch: int) -> Arrays:
    """Call `run` (dict of arrays -> dict of arrays) on slices of at most `batch` examples and join what it gives."""
    count = len(next(iter(feeds.values())))
    parts = [run({name: values[i : i + batch] for name, values in feeds.items()}) for i in range(0, count, batch)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def compare(task: Any, wanted: Arrays, found: Arrays) -> tuple[float, bool, int]:
    """(max error, are the clear decisions equal, near ties) of two dicts of outputs; a missing number counts as infinite."""
    errors = [difference(wanted[name], found[name]) for name in wanted]
    choice, margin = task.decide(wanted)
    other, _ = task.decide(found)
    near = np.asarray(margin) < 2 * task.tolerance
    differs = np.asarray(choice) != np.asarray(other)
    return max(errors), not bool(np.any(differs & ~near)), int(near.sum())


def difference(wanted: np.ndarray, found: np.ndarray) -> float:
    if wanted.shape != found.shape or wanted.dtype != found.dtype:
        return float("inf")
    error = np.abs(wanted.astype("float64") - found.astype("float64"))
    return float(error.max()) if np.isfinite(error).all() else float("inf")


def measure(
    task: Any,
    runtime: str,
    run: Run,
    feeds: Arrays,
    wanted: Arrays,
    batches: Sequence[int] = BATCHES,
    compare: Callable[[Any, Arrays, Arrays], tuple[float, bool, int]] = compare,
) -> list[dict[str, Any]]:
    """One row of the card per batch size: `run` against what Keras gave (`wanted`) for the same `feeds`."""
    rows = []
    for batch in batches:
        found = run_in_batches(run, feeds, batch)
        error, equal, near = compare(task, wanted, found)
        samples = len(next(iter(feeds.values())))
        rows.append(
            {
                "runtime": runtime,
                "batch": batch,
                "samples": samples,
                "max_error": error,
                "tolerance": task.tolerance,
                "decisions_equal": equal,
                "near_ties": near,
            }
        )
    return rows


def keras_runner(model: keras.Model) -> Run:
    """`predict_on_batch`, which is what Keras itself calls inference: the reference."""
    model.jit_compile = False  # "auto" is slower on a CPU and differs in the last digit
    names = [tensor.name for tensor in model.inputs]

    def run(feeds: Arrays) -> Arrays:
        given = [feeds[name] for name in names]
        asked: Any = dict(zip(names, given, strict=True)) if isinstance(model.input, dict) else given if len(given) > 1 else given[0]
        return as_arrays(model.predict_on_batch(asked))

    return run


def as_arrays(outputs: Any) -> Arrays:
    return {name: np.asarray(value) for name, value in outputs.items()}


def saved_model_runner(folder: Path, graph: str = "model") -> Run:
    """The signature `graph` of a SavedModel."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    dtypes = {name: spec.dtype for name, spec in loaded.signatures[graph].structured_input_signature[1].items()}

    def run(feeds: Arrays) -> Arrays:
        function = loaded.signatures[graph]  # asked for each time: a signature kept alone loses the weights of its module
        outputs = function(**{name: tf.constant(feeds[name], dtype) for name, dtype in dtypes.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    return run


def onnx_runner(session: onnxruntime.InferenceSession) -> Run:
    """An onnxruntime session; takes what it knows of the feeds."""
    inputs = [value.name for value in session.get_inputs()]
    outputs = [value.name for value in session.get_outputs()]

    def run(feeds: Arrays) -> Arrays:
        values = session.run(outputs, {name: feeds[name] for name in inputs})
        return as_arrays(dict(zip(outputs, values, strict=True)))

    return run
