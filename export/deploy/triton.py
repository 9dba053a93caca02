"""A model repository for Triton Inference Server: NAME/config.pbtxt, NAME/1/model.onnx and labels.txt, a model for every graph.

Written by Triton's documentation (model_repository.md, model_configuration.md); tests parse it by Triton's own protobuf.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from export.deploy.bundles import Finished
from export.gates import ExportRefused

VERSION = "1"
LABELS = "labels.txt"
LARGEST_BATCH = 64
QUEUE_DELAY = 1000  # microseconds that a request waits for others to share a batch with
NAMED = ("probabilities", "logits")  # outputs with a place for every label
TYPES = {
    "uint8": "TYPE_UINT8",
    "int8": "TYPE_INT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    "bool": "TYPE_BOOL",
}
STEP = """\
# One step of a loop that the client keeps, from a token to the next: an ensemble is a graph without a loop and cannot hold it.
# What the encoder gives goes into every step, next_state becomes the state of the next one; apps/runtime/decoding.py is such a client.
"""


def folders(bundle: Finished, repository: Path) -> dict[Path, Callable[[Path], None]]:
    """NAME of a bundle with one graph, NAME_GRAPH of each of several."""
    names = {graph: bundle.name if len(bundle.graphs) == 1 else f"{bundle.name}_{graph}" for graph in bundle.graphs}
    return {repository / name: partial(write, bundle, graph, name) for graph, name in names.items()}


def write(bundle: Finished, graph: str, name: str, folder: Path) -> None:
    entry = bundle.graphs[graph]
    (folder / VERSION).mkdir()
    shutil.copyfile(bundle.graph(graph), folder / VERSION / "model.onnx")
    if weights := entry.get("external_data"):  # the graph finds them by this name
        shutil.copyfile(bundle.folder / weights, folder / VERSION / weights)
    if any(is_named(output, bundle.labels) for output in entry["outputs"]):
        (folder / LABELS).write_text("".join(f"{one_line(label)}\n" for label in bundle.labels), encoding="utf-8")
    (folder / "config.pbtxt").write_text(config(name, entry, bundle.labels), encoding="utf-8")


def config(name: str, graph: dict[str, Any], labels: list[str]) -> str:
    """The text of config.pbtxt. A graph whose first sides are all free takes batches, and Triton makes them."""
    slots = [*graph["inputs"], *graph["outputs"]]
    batched = all(slot["shape"] and isinstance(slot["shape"][0], str) for slot in slots)
    is_step = any(slot["name"] == "state" for slot in graph["inputs"])
    lines = [
        f"name: {quoted(name)}",
        'platform: "onnxruntime_onnx"',
        f"max_batch_size: {LARGEST_BATCH if batched else 0}",
        *listing("input", [tensor(slot, batched) for slot in graph["inputs"]]),
        *listing("output", [tensor(slot, batched, is_named(slot, labels)) for slot in graph["outputs"]]),
        *([f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_DELAY} }}"] if batched else []),
        "# KIND_GPU where there is a GPU; every figure of the bundle's card was measured on a CPU",
        "instance_group [ { count: 1 kind: KIND_CPU } ]",
        "version_policy { latest { num_versions: 1 } }",
    ]
    return (STEP if is_step else "") + "\n".join(lines) + "\n"


def listing(field: str, entries: list[list[str]]) -> list[str]:
    """`input [ {...}, {...} ]`, a line for each part."""
    inner = [[f"  {{ {entry[0]}", *(f"    {line}" for line in entry[1:])] for entry in entries]
    ended = [[*lines[:-1], f"{lines[-1]} }}{',' if place < len(inner) - 1 else ''}"] for place, lines in enumerate(inner)]
    return [f"{field} [", *(line for lines in ended for line in lines), "]"]


def tensor(slot: dict[str, Any], batched: bool, named: bool = False) -> list[str]:
    if slot["dtype"] not in TYPES:
        raise ExportRefused(f"Triton takes tensors of {', '.join(TYPES)}. Received: {slot['dtype']} for {slot['name']}")
    sides = [-1 if isinstance(side, str) else side for side in slot["shape"][batched:]]
    lines = [f"name: {quoted(slot['name'])}", f"data_type: {TYPES[slot['dtype']]}", f"dims: [ {', '.join(map(str, sides or [1]))} ]"]
    if not sides:  # a number for each of the batch: Triton asks for a side at least
        lines.append("reshape { shape: [ ] }")
    return lines + [f'label_filename: "{LABELS}"'] * named


def is_named(slot: dict[str, Any], labels: list[str]) -> bool:
    return slot["name"] in NAMED and len(slot["shape"]) == 2 and slot["shape"][1] == len(labels)


def quoted(text: str) -> str:
    return json.dumps(text)


def one_line(label: str) -> str:
    return " ".join(label.split())
