"""A captioner that is small and genuine: of a picture in two halves it says "red beside blue", looking at each half as it names it.

The decoder counts the kinds of tokens it was given (<start>, colours, "beside") in its state. Where no "beside" was said it looks at the
left half, else at the right one, and names the nearest colour of what it sees there; after one colour comes "beside", after two the end.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

COLORS = {
    "red": (255, 0, 0),
    "green": (0, 160, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "black": (0, 0, 0),
    "orange": (255, 128, 0),
}
WORDS = ["<pad>", "<start>", "<end>", "<unk>", "beside", *COLORS]
SIDE, GRID, LENGTH = 32, 4, 8
PLACES, KINDS = GRID * GRID, 3
STEPS = [{"op": "center_crop"}, {"op": "resize", "size": [SIDE, SIDE], "method": "bilinear"}]
NUMBER, WHOLE = TensorProto.FLOAT, TensorProto.INT64
KNOWN = 0.0004  # a colour's word loses half of this for every squared level of distance


def halves(left: str, right: str, side: int = SIDE) -> np.ndarray:
    """uint8 (side, side, 3) in two colours."""
    picture = np.empty((side, side, 3), np.uint8)
    picture[:, : side // 2], picture[:, side // 2 :] = COLORS[left], COLORS[right]
    return picture


def kinds() -> np.ndarray:
    """(V, 3): which of <start>, a colour and "beside" a token is."""
    table = np.zeros((len(WORDS), KINDS), np.float32)
    table[1, 0] = table[4, 2] = 1
    table[5:, 1] = 1
    return table


def turns() -> tuple[np.ndarray, np.ndarray]:
    """Weights (3, V) and bias (V,) of what may come next, from the counts (starts, colours, besides)."""
    weights, bias = np.zeros((KINDS, len(WORDS)), np.float32), np.full(len(WORDS), -40, np.float32)
    weights[1, 5:], weights[2, 5:], bias[5:] = -20, 20, 0  # a colour where there are as many of them as of "beside"
    weights[1, 4], weights[2, 4], bias[4] = 20, -60, -10
    weights[1, 2], bias[2] = 20, -30
    return weights, bias


def nearest_color() -> tuple[np.ndarray, np.ndarray]:
    colors = np.array(list(COLORS.values()), np.float32)
    weights, bias = np.zeros((3, len(WORDS)), np.float32), np.zeros(len(WORDS), np.float32)
    weights[:, 5:], bias[5:] = KNOWN * colors.T, -0.5 * KNOWN * (colors**2).sum(1)
    return weights, bias


def gaze() -> tuple[np.ndarray, np.ndarray]:
    """Weights (3, N) and bias (N,): the left half, and after "beside" the right one."""
    left = np.tile(np.repeat([1.0, -1.0], GRID // 2), GRID).astype(np.float32)
    weights = np.zeros((KINDS, PLACES), np.float32)
    weights[2] = -20 * left
    return weights, 10 * left


def info(name: str, kind: int, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model_of(name: str, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, name, inputs, outputs, [numpy_helper.from_array(value, key) for key, value in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def patches() -> list[Any]:
    """`image` to `places` (B, N, 3), the mean colour of each place."""
    return [
        helper.make_node("Cast", ["image"], ["levels"], to=NUMBER),
        helper.make_node("Transpose", ["levels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["pooled"], kernel_shape=[SIDE // GRID] * 2, strides=[SIDE // GRID] * 2),
        helper.make_node("Transpose", ["pooled"], ["map"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["map", "flat"], ["places"]),
    ]


def spoken(heads: int) -> list[Any]:
    """`counts` (B, 3) and `places` (B, N, 3) to `attention` (B, heads, N) and `logits` (B, V)."""
    return [
        helper.make_node("Gemm", ["counts", "gaze", "gaze_bias"], ["pull"]),
        helper.make_node("Unsqueeze", ["pull", "one"], ["pulls"]),
        helper.make_node("Softmax", ["pulls"], ["look"], axis=-1),
        helper.make_node("Concat", ["look"] * heads, ["attention"], axis=1),
        helper.make_node("MatMul", ["look", "places"], ["seen"]),
        helper.make_node("Squeeze", ["seen", "one"], ["color"]),
        helper.make_node("Gemm", ["color", "near", "near_bias"], ["likeness"]),
        helper.make_node("ReduceSumSquare", ["color"], ["square"], axes=[1]),
        helper.make_node("Mul", ["square", "far"], ["distance"]),
        helper.make_node("Add", ["likeness", "distance"], ["colors"]),  # -KNOWN / 2 times the squared distance of each colour
        helper.make_node("Gemm", ["counts", "turns", "turns_bias"], ["turn"]),
        helper.make_node("Add", ["colors", "turn"], ["logits"]),
    ]


def constants() -> dict[str, np.ndarray]:
    (turn, turn_bias), (near, near_bias), (pull, pull_bias) = turns(), nearest_color(), gaze()
    return {
        "kinds": kinds(),
        "turns": turn,
        "turns_bias": turn_bias,
        "near": near,
        "near_bias": near_bias,
        "far": np.where(np.arange(len(WORDS)) > 4, -0.5 * KNOWN, 0).astype(np.float32)[np.newaxis],
        "gaze": pull,
        "gaze_bias": pull_bias,
        "one": np.array([1]),
    }


IMAGE = info("image", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])
FLAT = {"flat": np.array([0, PLACES, 3])}


def recurrent() -> dict[str, onnx.ModelProto]:
    """Like an LSTM's graphs: features, keys and a state (B, 1, 3)."""
    encoder = model_of(
        "encoder",
        [
            *patches(),
            helper.make_node("Identity", ["places"], ["features"]),
            helper.make_node("MatMul", ["places", "half"], ["keys"]),
            helper.make_node("ReduceMean", ["places"], ["mean"], axes=[1], keepdims=1),
            helper.make_node("Mul", ["mean", "nothing"], ["state"]),
        ],
        [IMAGE],
        [
            info("features", NUMBER, ["batch", PLACES, 3]),
            info("keys", NUMBER, ["batch", PLACES, 2]),
            info("state", NUMBER, ["batch", 1, 3]),
        ],
        FLAT | {"half": np.full((3, 2), 0.5, np.float32), "nothing": np.zeros(1, np.float32)},
    )
    decoder = model_of(
        "decoder",
        [
            helper.make_node("Gather", ["kinds", "token"], ["kind"]),
            helper.make_node("Squeeze", ["state", "one"], ["before"]),
            helper.make_node("Add", ["before", "kind"], ["counts"]),
            helper.make_node("Unsqueeze", ["counts", "one"], ["next_state"]),
            helper.make_node("Identity", ["features"], ["places"]),
            *spoken(1),
        ],
        [
            info("token", TensorProto.INT32, ["batch"]),
            info("state", NUMBER, ["batch", 1, 3]),
            info("features", NUMBER, ["batch", PLACES, 3]),
            info("keys", NUMBER, ["batch", PLACES, 2]),
        ],
        [
            info("logits", NUMBER, ["batch", len(WORDS)]),
            info("next_state", NUMBER, ["batch", 1, 3]),
            info("attention", NUMBER, ["batch", 1, PLACES]),
        ],
        constants(),
    )
    return {"encoder": encoder, "decoder": decoder}


def transformer(heads: int = 2) -> dict[str, onnx.ModelProto]:
    """Like a Transformer's: the places as cross (B, 1, 2, heads, N, 3), and a past (B, 1, 2, heads, T, 3) that grows by a token a step."""
    encoder = model_of(
        "encoder",
        [
            *patches(),
            helper.make_node("Reshape", ["places", "spread"], ["one_cross"]),
            helper.make_node("Expand", ["one_cross", "wide"], ["cross"]),
        ],
        [IMAGE],
        [info("cross", NUMBER, ["batch", 1, 2, heads, PLACES, 3])],
        FLAT | {"spread": np.array([0, 1, 1, 1, PLACES, 3]), "wide": np.array([1, 1, 2, heads, 1, 1])},
    )
    decoder = model_of(
        "decoder",
        [
            helper.make_node("Gather", ["kinds", "token"], ["kind"]),
            helper.make_node("Reshape", ["kind", "spread"], ["one_kind"]),
            helper.make_node("Expand", ["one_kind", "wide"], ["newest"]),
            helper.make_node("Concat", ["state", "newest"], ["next_state"], axis=4),
            helper.make_node("ReduceSum", ["next_state", "past_axis"], ["summed"], keepdims=0),
            helper.make_node("ReduceMean", ["summed"], ["counts"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("ReduceMean", ["cross"], ["places"], axes=[1, 2, 3], keepdims=0),
            *spoken(heads),
        ],
        [
            info("token", TensorProto.INT32, ["batch"]),
            info("state", NUMBER, ["batch", 1, 2, heads, "past", 3]),
            info("cross", NUMBER, ["batch", 1, 2, heads, PLACES, 3]),
        ],
        [
            info("logits", NUMBER, ["batch", len(WORDS)]),
            info("next_state", NUMBER, ["batch", 1, 2, heads, "present", 3]),
            info("attention", NUMBER, ["batch", heads, PLACES]),
        ],
        constants() | {"spread": np.array([0, 1, 1, 1, 1, 3]), "wide": np.array([1, 1, 2, heads, 1, 1]), "past_axis": np.array([4])},
    )
    return {"encoder": encoder, "decoder": decoder}


def captioner(parent: Path, graphs: dict[str, onnx.ModelProto] | None = None, name: str = "halves", **changes: Any) -> Path:
    """A whole bundle with 24 examples and what is said of each."""
    folder = parent / name
    (folder / "examples").mkdir(parents=True)
    models = recurrent() if graphs is None else graphs
    for graph, model in models.items():
        onnx.save(model, folder / f"{graph}.onnx")
    said = {}
    for number, (left, right) in enumerate([(left, right) for left in COLORS for right in COLORS if left != right][:24]):
        Image.fromarray(halves(left, right)).save(folder / "examples" / f"scene-{number:02}.png")
        said[f"scene-{number:02}.png"] = [f"{left} beside {right}", f"{right} to the right of {left}"]
    (folder / "examples" / "captions.json").write_text(json.dumps(said))
    vocabulary = {"format": "1.0", "tokenizer": "kerasdl-ptb-1", "words": WORDS, "counts": [1] * len(WORDS)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    card = card_of(name, folder, models) | changes
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    card["files"] = {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    (folder / "card.json").write_text(json.dumps(card, indent=1))
    return folder


def card_of(name: str, folder: Path, models: dict[str, onnx.ModelProto]) -> dict[str, Any]:
    share = {"n": 500, "interval": None, "protocol": "test split, onnxruntime"}
    return {
        "format": "1.0",
        "name": name,
        "task": "captioning",
        "data": {
            "name": "Halves",
            "source": "drawn by the test",
            "licence": "CC0",
            "synthetic": True,
            "counts": {"train": 56, "valid": 0, "test": 24},
        },
        "graphs": {f"{graph}.onnx": graph_card(model) for graph, model in models.items()},
        "labels": WORDS,
        "caption": {"length": LENGTH, "beam": 3, "grid": [GRID, GRID]},
        "metrics": {
            "all_slots": share | {"value": 0.91, "interval": [0.882, 0.932]},
            "BLEU-4": share | {"value": 0.7123},
            "CIDEr-D": share | {"value": 5.25},
        },
        "parity": [{"runtime": "onnxruntime", "batch": 1, "samples": 256, "max_error": 3e-7, "decisions_equal": True, "near_ties": 0}],
        "latency": {"onnxruntime": {"batch": 1, "threads": 1, "p50_ms": 4.2, "p95_ms": 6.0}, "device": "a test machine"},
        "sizes": {f"{graph}.onnx": (folder / f"{graph}.onnx").stat().st_size for graph in models},
        "intended_use": "Tests of the server.",
        "limits": "Knows only halves.",
    }


def graph_card(model: onnx.ModelProto) -> dict[str, Any]:
    def entries(values: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": value.name,
                "dtype": helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
                "shape": [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim],
            }
            | ({"color": "rgb", "range": [0, 255], "prepare": STEPS} if value.name == "image" else {})
            for value in values
        ]

    return {
        "opset": 17,
        "ir_version": 8,
        "inputs": entries(model.graph.input),
        "outputs": entries(model.graph.output),
        "parameters": sum(int(np.prod(constant.dims)) for constant in model.graph.initializer),
    }
