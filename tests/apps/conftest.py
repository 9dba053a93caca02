"""Two small but genuine bundles, and one real server over them for the whole session."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw, ImageFont

from apps.runtime.pictures import prepare
from tests.apps.browsing import FLAGS

ROOT = Path(__file__).resolve().parents[2]
INK = (
    {"op": "ink", "margin": 0.1, "center": "box"},
    {"op": "resize", "size": [32, 32], "method": "bilinear"},
)
CROP = ({"op": "center_crop"}, {"op": "resize", "size": [32, 32], "method": "bilinear"})
COLORS = {
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
    "yellow": (1, 1, 0),
    "cyan": (0, 1, 1),
    "magenta": (1, 0, 1),
    "white": (1, 1, 1),
    "grey": (0.5, 0.5, 0.5),
    "black": (0, 0, 0),
    "orange": (1, 0.5, 0),
}


def drawn_digit(digit: int, size: int = 200) -> Image.Image:
    """Black on white paper, off the middle, as a person would."""
    sheet = Image.new("L", (size + 40, size + 90), 255)
    ImageDraw.Draw(sheet).text((70, 30), str(digit), fill=0, font=ImageFont.load_default(size))
    return sheet


def nearest(templates: np.ndarray, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights and bias of the linear network whose best class is the nearest template; inputs in 0..1."""
    return (sharpness * templates.T).astype(np.float32), (-0.5 * sharpness * (templates**2).sum(1)).astype(np.float32)


def digit_network() -> tuple[np.ndarray, np.ndarray]:
    templates = np.stack([prepare(drawn_digit(digit), (32, 32, 1), INK).reshape(-1) / 255 for digit in range(10)])
    return nearest(templates, 0.2)


def color_network() -> tuple[np.ndarray, np.ndarray]:
    templates = np.stack([np.tile(color, 32 * 32) for color in COLORS.values()])
    return nearest(templates, 20 / 1024)


def softmax_graph(weights: np.ndarray, bias: np.ndarray, shape: tuple[int, int, int]) -> onnx.ModelProto:
    constants = {"scale": np.array(1 / 255, np.float32), "weights": weights, "bias": bias}
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["levels"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["levels", "scale"], ["scaled"]),
            helper.make_node("Flatten", ["scaled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "model",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *shape])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(bias)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write_card(folder: Path, **changes: Any) -> None:
    """Write card.json anew, with the sha256 of the files as they are."""
    card = json.loads((folder / "card.json").read_text()) | changes
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != "card.json"]
    card["files"] = {file.relative_to(folder).as_posix(): sha256(file) for file in files}
    for name, graph in card["graphs"].items():
        graph["sha256"] = card["files"][name]
    (folder / "card.json").write_text(json.dumps(card, indent=1))


def make_card(name: str, labels: list[str], shape: tuple[int, int, int], steps: tuple[dict, ...]) -> dict[str, Any]:
    image = {"name": "image", "dtype": "uint8", "shape": ["batch", *shape], "range": [0, 255], "prepare": list(steps)}
    image["color"] = "grey" if shape[-1] == 1 else "rgb"
    output = {"name": "probabilities", "dtype": "float32", "shape": ["batch", len(labels)], "range": [0, 1]}
    return {
        "format": "1.0",
        "name": name,
        "task": "classification",
        "recipe": None,
        "source": {"commit": None, "dirty": False, "versions": {}, "seed": 0, "device": "CPU", "training_minutes": 0.1, "command": "test"},
        "data": {
            "name": "Templates",
            "source": "drawn by the test",
            "licence": "CC0",
            "synthetic": True,
            "counts": {"train": 10, "valid": 0, "test": 200},
        },
        "graphs": {
            "model.onnx": {
                "opset": 17,
                "ir_version": 8,
                "inputs": [image],
                "outputs": [output],
                "operators": {"Cast": 1, "Mul": 1, "Flatten": 1, "Gemm": 1, "Softmax": 1},
                "parameters": int(np.prod(shape)) * len(labels) + len(labels),
            }
        },
        "labels": labels,
        "metrics": {"accuracy": {"value": 0.975, "n": 200, "interval": [0.943, 0.989], "protocol": "test split, onnxruntime"}},
        "parity": [{"runtime": "onnxruntime", "batch": 1, "samples": 256, "max_error": 3e-8, "decisions_equal": True, "near_ties": 0}],
        "latency": {"onnxruntime": {"batch": 1, "threads": 1, "p50_ms": 0.1, "p95_ms": 0.2}, "device": "a test machine"},
        "sizes": {},
        "variants": {},
        "intended_use": "Tests of the server.",
        "limits": "Knows only its templates.",
    }


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Path]:
    """make_bundle(folder, kind): a bundle `kind`-templates, kind "digits" (32x32x1) or "colors" (32x32x3)."""

    def make(parent: Path, kind: str = "digits") -> Path:
        folder = parent / f"{kind}-templates"
        (folder / "examples").mkdir(parents=True)
        if kind == "digits":
            network, shape, labels, steps = digit_network(), (32, 32, 1), [str(digit) for digit in range(10)], INK
            samples = {f"{digit}-{digit}": prepare(drawn_digit(digit), shape, INK) for digit in range(10)}
        else:
            network, shape, labels, steps = color_network(), (32, 32, 3), list(COLORS), CROP
            samples = {f"{name}-0": np.full(shape, np.array(color) * 255, np.uint8) for name, color in COLORS.items()}
        onnx.save(softmax_graph(*network, shape), folder / "model.onnx")
        for name, sample in samples.items():
            Image.fromarray(sample.squeeze()).save(folder / "examples" / f"{name}.png")
        (folder / "README.md").write_text(f"# {folder.name}\n")
        card = make_card(folder.name, labels, shape, steps)
        card["sizes"] = {"model.onnx": (folder / "model.onnx").stat().st_size}
        (folder / "card.json").write_text(json.dumps(card))
        write_card(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def rewrite_card() -> Callable[..., None]:
    return write_card


@pytest.fixture(scope="session")
def draw() -> Callable[..., Image.Image]:
    return drawn_digit


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory, make_bundle) -> Path:
    folder = tmp_path_factory.mktemp("saved_models")
    make_bundle(folder, "digits")
    make_bundle(folder, "colors")
    return folder


AUDITED = """
import sys
log = open(sys.argv.pop(1), "a", buffering=1)
def hook(event, arguments):
    if event == "socket.connect":
        log.write(f"connect {arguments[1]!r}\\n")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        log.write(f"look up {arguments[0]!r}\\n")
sys.addaudithook(hook)
from apps.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass
class RunningServer:
    url: str
    process: subprocess.Popen
    audit: Path
    lines: list[str]
    reader: threading.Thread

    def peak_megabytes(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1000  # type: ignore[index]

    def outside(self) -> list[str]:
        """What the server's Python connected to or looked up beyond this machine."""
        local = re.compile(r"^(connect \('(127\.0\.0\.1|::1)'|connect '|look up ('127\.0\.0\.1'|'localhost'|None)$)")
        return [line for line in self.audit.read_text().splitlines() if not local.match(line)]


def start_server(folder: Path, audit: Path, *options: str, on_start: Callable[[str], None] | None = None) -> RunningServer:
    """`python -m apps` in a process of its own, its sockets audited; returns when it has said that it is ready.

    on_start is given the address as soon as the port is taken.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", AUDITED, str(audit), "--bundles", str(folder), "--port", "0", *options],
        cwd=ROOT,
        env={"KERASDL_APPS_DRAIN_SECONDS": "0.2", **os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if on_start and (found := re.match(r"Starting on (http://\S+)", line)):
            on_start(found[1])
        if found := re.match(r"Ready: (http://127\.0\.0\.1:\d+)", line):
            reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
            reader.start()
            return RunningServer(found[1], process, audit, lines, reader)
    raise AssertionError(f"the server ended with {process.wait()}: {''.join(lines)}")


def stop_server(server: RunningServer) -> int:
    server.process.terminate()
    try:
        return server.process.wait(60)
    finally:
        server.process.kill()
        server.process.wait(10)
        server.reader.join(10)
        if server.process.stdout:
            server.process.stdout.close()


@pytest.fixture(scope="session")
def server(bundles: Path, tmp_path_factory: pytest.TempPathFactory):
    running = start_server(bundles, tmp_path_factory.mktemp("audit") / "sockets.log")
    yield running
    stop_server(running)


@pytest.fixture(scope="session")
def own_server():
    """start(folder, audit_file, *flags) for a test that needs a server to itself; all are stopped at the end."""
    started: list[RunningServer] = []

    def start(folder: Path, audit: Path, *options: str, on_start: Callable[[str], None] | None = None) -> RunningServer:
        started.append(start_server(folder, audit, *options, on_start=on_start))
        return started[-1]

    yield start
    for running in started:
        stop_server(running)


@pytest.fixture
def api(server: RunningServer):
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client


def pair_graphs() -> dict[str, onnx.ModelProto]:
    """encoder: INT64 ids [batch, length] and FP32 scale [batch, 1]; decoder: FP32 rows [batch, length]. Answers can be had by head."""
    info, number, whole, truth = helper.make_tensor_value_info, TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
    encoder = helper.make_graph(
        [
            helper.make_node("Cast", ["ids"], ["levels"], to=number),
            helper.make_node("Mul", ["levels", "scale"], ["rows"]),
            helper.make_node("Add", ["ids", "ids"], ["doubled"]),
        ],
        "encoder",
        [info("ids", whole, ["batch", "length"]), info("scale", number, ["batch", 1])],
        [info("rows", number, ["batch", "length"]), info("doubled", whole, ["batch", "length"])],
    )
    decoder = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["rows", "axis"], ["total"], keepdims=0),
            helper.make_node("Greater", ["rows", "zero"], ["positive"]),
        ],
        "decoder",
        [info("rows", number, ["batch", "length"])],
        [info("total", number, ["batch"]), info("positive", truth, ["batch", "length"])],
        [numpy_helper.from_array(np.array([1]), "axis"), numpy_helper.from_array(np.array(0, np.float32), "zero")],
    )
    opset = [helper.make_opsetid("", 17)]
    return {graph.name: helper.make_model(graph, opset_imports=opset, ir_version=8) for graph in (encoder, decoder)}


def graph_card(model: onnx.ModelProto) -> dict[str, Any]:
    def entries(infos: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": info.name,
                "dtype": helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type).name,
                "shape": [side.dim_param or side.dim_value for side in info.type.tensor_type.shape.dim],
            }
            for info in infos
        ]

    return {"inputs": entries(model.graph.input), "outputs": entries(model.graph.output)}


@pytest.fixture(scope="session")
def graph_bundle() -> Callable[..., Path]:
    """graph_bundle(folder, name, {"encoder": model}): a bundle of any graphs, for a task that has no page."""

    def make(parent: Path, name: str = "pair", graphs: dict[str, onnx.ModelProto] | None = None) -> Path:
        folder = parent / name
        folder.mkdir(parents=True)
        models = pair_graphs() if graphs is None else graphs
        for graph, model in models.items():
            onnx.checker.check_model(model, full_check=True)
            onnx.save(model, folder / f"{graph}.onnx")
        card = {
            "format": "1.0",
            "name": name,
            "task": "test",
            "graphs": {f"{key}.onnx": graph_card(model) for key, model in models.items()},
        }
        (folder / "card.json").write_text(json.dumps(card))
        write_card(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        with playwright.chromium.launch(executable_path=chromium, args=FLAGS) as running:
            yield running
