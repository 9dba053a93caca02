"""The graphs of a bundle for LiteRT (TensorFlow Lite), from its SavedModel, in operators that every LiteRT runtime has.

Keras' own `model.export(format="litert")` takes the same way, but from a .keras file, which a bundle does not hold. Each file must give
what Keras gave for sample.npz, by TensorFlow's interpreter; where it does not, nothing is written and a sentence says why.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from export import parity
from export.deploy.bundles import Finished
from export.gates import ExportRefused


def folders(bundle: Finished, folder: Path) -> dict[Path, Callable[[Path], None]]:
    return {folder: partial(write, bundle)}


def write(bundle: Finished, folder: Path) -> None:
    """NAME.tflite, or a file for every graph, and the card."""
    for graph in bundle.graphs:
        name = bundle.name if len(bundle.graphs) == 1 else graph
        (folder / f"{name}.tflite").write_bytes(converted(bundle, graph))
    shutil.copyfile(bundle.folder / "card.json", folder / "card.json")


def converted(bundle: Finished, graph: str) -> bytes:
    """The file of one graph, checked; ExportRefused where it cannot be had or says something else."""
    rule = f"LiteRT must take every graph of {bundle.name} and give what Keras gave"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the interpreter tells of its own future
        try:
            content = convert(bundle, graph)
            error = difference(content, graph, *bundle.sample(graph))
        except Exception as problem:  # the converter and the interpreter raise their own types, without a common base
            raise ExportRefused(f"{rule}. Received: {graph}, {first_sentence(problem)}") from problem
    if not error <= bundle.tolerance:
        raise ExportRefused(f"{rule} within {bundle.tolerance:g}. Received: {graph} with a difference of {error:.3g}")
    return content


def convert(bundle: Finished, graph: str) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(bundle.folder / "saved_model"), signature_keys=[graph])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter.convert()


def difference(content: bytes, graph: str, given: dict[str, np.ndarray], gave: dict[str, np.ndarray]) -> float:
    """The largest difference to Keras' answers for the sample, over all outputs."""
    import tensorflow as tf

    found = tf.lite.Interpreter(model_content=content).get_signature_runner(graph)(**given)
    return max((parity.difference(wanted, found[name]) for name, wanted in gave.items()), default=float("inf"))


def first_sentence(problem: Exception) -> str:
    lines = str(problem).strip().splitlines()
    return lines[0][:200] if lines else type(problem).__name__
