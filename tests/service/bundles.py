"""Bundles for trying the server: one of plain numbers, and another version of one that exists."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def number_bundle(parent: Path, name: str = "numbers") -> Path:
    """A graph over plain numbers: scores = x w + b + shift, x FP32 [batch, 6], shift INT64 [batch, 1]. No picture goes in, so NaN can."""
    random = np.random.default_rng(0)
    constants = {"w": random.normal(size=(6, 4)).astype(np.float32), "b": random.normal(size=4).astype(np.float32)}
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["plain"]),
            helper.make_node("Cast", ["shift"], ["moved"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["plain", "moved"], ["scores"]),
        ],
        "model",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6]),
            helper.make_tensor_value_info("shift", TensorProto.INT64, ["batch", 1]),
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    folder = parent / name
    folder.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx")
    inputs = [{"name": "x", "dtype": "float32", "shape": ["batch", 6]}, {"name": "shift", "dtype": "int64", "shape": ["batch", 1]}]
    outputs = [{"name": "scores", "dtype": "float32", "shape": ["batch", 4]}]
    write_card(folder, {"format": "1.0", "name": name, "task": "numbers", "graphs": {"model.onnx": {"inputs": inputs, "outputs": outputs}}})
    return folder


def other_version(source: Path, folder: Path, name: str, factor: float, margin: float) -> Path:
    """`source` under another name, every weight times `factor`, and the ink set `margin` from the border."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("saved_model", "sample.npz"))
    model = onnx.load(str(folder / "model.onnx"))
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT:
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(factor), weight.name))
    onnx.save(model, str(folder / "model.onnx"))
    card = json.loads((folder / "card.json").read_text()) | {"name": name}
    for step in card["graphs"]["model.onnx"]["inputs"][0]["prepare"]:
        if step["op"] == "ink":
            step["margin"] = margin
    write_card(folder, card)
    return folder


def write_card(folder: Path, card: dict) -> None:
    """card.json with the sha256 of the files as they are."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != "card.json"]
    card["files"] = {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    for name, graph in card["graphs"].items():
        graph["sha256"] = card["files"][name]
    (folder / "card.json").write_text(json.dumps(card, indent=1))
