"""A network for rows that is small and genuine: the price of a house, and its rent, by a formula that a test can work out by hand.

price = 20 + 2 area - age + 5 rooms + 30 in Modena, and 0.01 area² beside it, so that its curve bends; rent = 100 + 4 area.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NUMBER = TensorProto.FLOAT
COLUMNS = [
    {"name": "area", "unit": "m²", "low": 30.0, "high": 250.0, "mean": 100.0, "std": 40.0, "choice": ""},
    {"name": "age", "unit": "years", "low": 0.0, "high": 120.0, "mean": 40.0, "std": 25.0, "choice": ""},
    {"name": "rooms", "unit": "", "low": 1.0, "high": 9.0, "mean": 4.0, "std": 1.5, "choice": ""},
    {"name": "town=Modena", "unit": "", "low": 0.0, "high": 1.0, "mean": 0.3, "std": 0.46, "choice": "town"},
    {"name": "town=Parma", "unit": "", "low": 0.0, "high": 1.0, "mean": 0.7, "std": 0.46, "choice": "town"},
    {"name": "town=Rimini", "unit": "", "low": 0.0, "high": 0.0, "mean": 0.0, "std": 1.0, "choice": "town"},
]
PRICE = {"name": "price", "unit": "kEUR", "low": 40.0, "high": 1100.0, "mean": 320.0, "std": 150.0, "choice": ""}
RENT = {"name": "rent", "unit": "EUR", "low": 200.0, "high": 1100.0, "mean": 500.0, "std": 160.0, "choice": ""}
TARGETS = [PRICE, RENT]
WEIGHTS = {"price": [2.0, -1.0, 5.0, 30.0, 0.0, 0.0], "rent": [4.0, 0.0, 0.0, 0.0, 0.0, 0.0]}
BENT, START, HALF = {"price": 0.01, "rent": 0.0}, {"price": 20.0, "rent": 100.0}, {"price": 50.0, "rent": 60.0}
ROW = {"area": 100, "age": 10, "rooms": 4, "town": "Modena"}  # 20 + 200 - 10 + 20 + 30 + 100 = 360


def price(area: float, age: float, rooms: float, town: str) -> float:
    return 20 + 2 * area - age + 5 * rooms + 30 * (town == "Modena") + 0.01 * area**2


def graph(targets: list[str]) -> onnx.ModelProto:
    """`features` (B, 6) to `value` (B, T) and `interval` (B, T, 2)."""
    half = np.array([[-HALF[name], HALF[name]] for name in targets], np.float32)
    constants = {
        "weights": np.array([WEIGHTS[name] for name in targets], np.float32).T,
        "bias": np.array([START[name] for name in targets], np.float32),
        "bent": np.array([[BENT[name] for name in targets], *[[0.0] * len(targets)] * 5], np.float32),
        "half": half[np.newaxis],
        "last": np.array([2]),
    }
    nodes = [
        helper.make_node("Gemm", ["features", "weights", "bias"], ["straight"]),
        helper.make_node("Mul", ["features", "features"], ["squares"]),
        helper.make_node("MatMul", ["squares", "bent"], ["bow"]),
        helper.make_node("Add", ["straight", "bow"], ["value"]),
        helper.make_node("Unsqueeze", ["value", "last"], ["middle"]),
        helper.make_node("Add", ["middle", "half"], ["interval"]),
    ]
    info = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "model",
        [info("features", NUMBER, ["batch", len(COLUMNS)])],
        [info("value", NUMBER, ["batch", len(targets)]), info("interval", NUMBER, ["batch", len(targets), 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def regressor(parent: Path, name: str = "houses", targets: tuple[str, ...] = ("price",), **changes: Any) -> Path:
    """A whole bundle with eight rows of a test split; `changes` are of its card."""
    folder = parent / name
    (folder / "examples").mkdir(parents=True)
    onnx.save(graph(list(targets)), folder / "model.onnx")
    (folder / "examples" / "rows.csv").write_text(examples(targets))
    card = card_of(name, folder, [target for target in TARGETS if target["name"] in targets]) | changes
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    card["files"] = {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    (folder / "card.json").write_text(json.dumps(card, indent=1))
    return folder


def examples(targets: tuple[str, ...]) -> str:
    """The true price is 7 above the formula, in one row 90."""
    lines = [",".join([*(column["name"] for column in COLUMNS), *targets])]
    for number in range(8):
        area, age, rooms, modena = 50.5 + 20 * number, 5 * number, 2 + number % 4, number % 2
        truth = price(area, age, rooms, "Modena" if modena else "Parma") + (90 if number == 3 else 7)
        true = {"price": f"{truth:.3f}", "rent": f"{100 + 4 * area:.1f}"}
        lines.append(f"{area},{age},{rooms},{modena},{1 - modena},0,{','.join(true[name] for name in targets)}")
    return "\n".join(lines) + "\n"


def card_of(name: str, folder: Path, targets: list[dict[str, Any]]) -> dict[str, Any]:
    names = [target["name"] for target in targets]
    suffixes = {one: f" {one}" * (len(names) > 1) for one in names}
    score = {"n": 120, "protocol": "test split, onnxruntime"}
    metrics = {}
    for one, suffix in suffixes.items():
        metrics[f"MAE{suffix}"] = score | {"value": 21.5 if one == "price" else 30.25, "interval": [19.2, 24.1]}
        metrics[f"RMSE{suffix}"] = score | {"value": 27.75, "interval": [24.5, 31.2]}
        metrics[f"R2{suffix}"] = score | {"value": 0.912, "interval": [0.88, 0.94]}
        metrics[f"coverage{suffix}"] = score | {"value": 0.95, "interval": [0.89, 0.98]}
    shapes = {"value": ["batch", len(names)], "interval": ["batch", len(names), 2]}
    features = {"name": "features", "dtype": "float32", "shape": ["batch", len(COLUMNS)], "columns": [one["name"] for one in COLUMNS]}
    return {
        "format": "1.0",
        "name": name,
        "task": "regression",
        "data": {
            "name": "Houses",
            "source": "made by the test",
            "licence": "CC0",
            "synthetic": True,
            "counts": {"train": 400, "valid": 100, "test": 120},
        },
        "graphs": {
            "model.onnx": {
                "opset": 17,
                "ir_version": 8,
                "inputs": [features],
                "outputs": [{"name": key, "dtype": "float32", "shape": shape, "range": None} for key, shape in shapes.items()],
                "parameters": 7 * len(names),
            }
        },
        "labels": names,
        "table": {"columns": COLUMNS, "targets": targets, "interval": {"level": 0.95, "measured_on": "valid"}},
        "metrics": metrics,
        "parity": [
            {
                "runtime": "onnxruntime",
                "batch": 1,
                "samples": 120,
                "max_error": 3e-7,
                "decisions_equal": True,
                "unit": "standard deviations",
            }
        ],
        "latency": {"onnxruntime": {"batch": 1, "threads": 1, "p50_ms": 0.012, "p95_ms": 0.02}, "device": "a test machine"},
        "sizes": {"model.onnx": (folder / "model.onnx").stat().st_size},
        "intended_use": "Tests of the server.",
        "limits": "Knows only its formula.",
    }
