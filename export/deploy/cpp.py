"""A C++17 program of one file that runs the bundle's graph by onnxruntime, to begin one's own from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from export.deploy.bundles import Finished, check_one_graph, check_own_weights
from export.gates import ExportRefused

SOURCES = Path(__file__).resolve().parents[1] / "cpp"
SAMPLE = "sample.npy"
TYPES = ("uint8", "float32")


def folders(bundle: Finished, folder: Path) -> dict[Path, Callable[[Path], None]]:
    graph = check_one_graph(bundle, "cpp")
    check_own_weights(bundle, "cpp")
    wrong = graph["inputs"][1:] or [slot for slot in graph["inputs"] if slot["dtype"] not in TYPES]
    if wrong:
        rule = f"--cpp takes a graph with one input of {' or '.join(TYPES)}"
        raise ExportRefused(f"{rule}. Received: {bundle.name} with {wrong[0]['name']}, {wrong[0]['dtype']}")
    return {folder: partial(write, bundle)}


def write(bundle: Finished, folder: Path) -> None:
    for name in ("main.cpp", "CMakeLists.txt"):
        shutil.copyfile(SOURCES / name, folder / name)
    shutil.copyfile(bundle.graph("model"), folder / "model.onnx")
    if bundle.task == "classification":
        (folder / "labels.txt").write_text("".join(f"{' '.join(label.split())}\n" for label in bundle.labels), encoding="utf-8")
    given, _ = bundle.sample("model")
    np.save(folder / SAMPLE, next(iter(given.values()))[:1])
    text = (SOURCES / "README.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(text.replace("NAME", bundle.name).replace("RULE", rule_of(bundle)), encoding="utf-8")


def rule_of(bundle: Finished) -> str:
    """What the program takes, in words."""
    slot = bundle.graphs["model"]["inputs"][0]
    shape = " x ".join(map(str, slot["shape"][1:]))
    if slot["name"] != "image":
        return f"Rows are float32 [N, {shape}], {', '.join(slot.get('columns', []))}, as a .npy file."
    picture = "a binary PGM" if slot["shape"][-1] == 1 else "a binary PPM"
    return f"Pictures are uint8 {shape} already, as a .npy file or {picture}: the README.md of the bundle says how others become so."
