"""python -m export.zoo: every model of the zoo through the exporter, one process each, into a table of what was measured.

A row is measured with random weights, BatchNormalization statistics among them, because zeros and ones would fold away. The error is
the largest difference between the logits of Keras and of onnxruntime, divided by the largest logit.
"""

from __future__ import annotations

import argparse
import ast
import csv
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from export import budget

DESCRIPTION = """\
Export models of the zoo with random weights and compare onnxruntime with Keras.

  python -m export.zoo resnet50                   one model: a line, and a row in the table given by --out
  python -m export.zoo --all                      every model without a row that still holds; --force measures all again
  python -m export.zoo vit_b16 --opset 20         the graph with Gelu as one operator

Each model has a process of its own, one at a time; one that takes more than --memory is stopped and its row says so.
"""
COLUMNS = ("model", "status", "options", "input", "classes", "parameters", "opset", "nodes", "error", "megabytes", "seconds", "peak_gb")
COLUMNS += ("operators", "signature")
TABLE = Path("tests/export/zoo_export.csv")
TOLERANCE = 1e-4
BATCHES = (1, 3)
SMALLER = {"vit_h14": {"depth": 2}}  # 632M parameters are 2.5 GB, and a file of protobuf ends at 2
PACKAGES = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m export.zoo", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="MODEL", help="registered names, see: kerasdl list models")
    parser.add_argument("--all", action="store_true", help="every registered model, the small ones first")
    parser.add_argument("--out", type=Path, default=TABLE, help="the table of results (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="measure again what has a row of the same sources and versions")
    parser.add_argument("--opset", type=int, default=17, help="ONNX operator set, 17 to 26 (default: %(default)s)")
    parser.add_argument("--memory", type=float, default=20.0, help="gigabytes that one export may take (default: %(default)s)")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if bool(options.names) == options.all:
        parser.error("give the names of models, or --all")
    if options.child:
        print(json.dumps(measure(options.names[0], options.opset)))
        return 0
    names = by_size() if options.all else options.names
    try:
        wrong = [row for row in sweep(names, options.out, options.force, options.opset, options.memory) if row["status"] != "ok"]
    except ValueError as error:
        print(f"export.zoo: {error}", file=sys.stderr)
        return 1
    return min(len(wrong), 1)


def by_size() -> list[str]:
    """All registered models, the small ones first."""
    from kerasdl.zoo import read_zoo

    return [row.name for row in sorted(read_zoo(), key=lambda row: row.total)]


def sweep(names: Iterable[str], table: Path, force: bool = False, opset: int = 17, memory: float = 20.0) -> list[dict[str, Any]]:
    """Measure one after the other; the table is written after each, so that a stopped sweep goes on where it was."""
    names = list(names)
    rows = read_table(table)
    done = []
    for i, name in enumerate(names, 1):
        sign = signature(name)
        held = rows.get(name)
        if not force and held and held["status"] == "ok" and held["signature"] == sign and held["opset"] == str(opset):
            print(f"[{i}/{len(names)}] {name}: measured before", flush=True)
        else:
            new = {"model": name, "signature": sign, **in_a_process(name, opset, memory)}
            more = more_operators(name, held, new)
            if more:  # the row stays; it is taken out by hand where a graph has good reason to grow
                held = {**new, "status": more}
            else:
                held = rows[name] = new
                write_table(table, rows)
            print(f"[{i}/{len(names)}] {line(held)}", flush=True)
        done.append(held)
    return done


def line(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return f"{row['model']}: {row['status']}"
    return (
        f"{row['model']}: {row['nodes']} nodes, error {float(row['error']):.1e}, {row['seconds']} s, "
        f"{row['peak_gb']} GB, {row['megabytes']} MB"
    )


def more_operators(name: str, held: dict[str, Any] | None, new: dict[str, Any]) -> str:
    """A sentence where a graph measured again has more operators than its row, at the same operator set."""
    if not held or not held.get("operators") or new["status"] != "ok" or held["opset"] != str(new["opset"]):
        return ""
    return budget.risen_of(name, budget.parse(new["operators"]), budget.parse(held["operators"]))


def in_a_process(name: str, opset: int, memory: float) -> dict[str, Any]:
    """The row of one model, or what went wrong; the process is stopped when it takes more than `memory` GB."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "export.zoo", name, "--child", "--opset", str(opset)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    most = 0.0
    while True:
        try:
            out, errors = child.communicate(timeout=0.5)
            break
        except subprocess.TimeoutExpired:
            most = max(most, resident(child.pid))
            if most > memory:
                child.kill()
                child.communicate()
                return {"status": f"stopped at {most:.1f} GB of memory", "opset": opset, "peak_gb": round(most, 1)}
    if child.returncode:
        last = next((text for text in reversed(errors.splitlines()) if text.strip()), f"exit code {child.returncode}")
        return {"status": last[:300], "opset": opset, "peak_gb": round(most, 1)}
    return json.loads(out.splitlines()[-1])


def resident(pid: int) -> float:
    """Gigabytes a process holds now; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


def measure(name: str, opset: int = 17) -> dict[str, Any]:
    """Export one model in this process and compare; the row without its signature."""
    import resource

    from kerasdl import create_model
    from kerasdl.zoo import read_zoo

    facts = next(row for row in read_zoo(name))
    options: dict[str, Any] = SMALLER.get(name, {})
    model = create_model(name, facts.classes, **options)
    randomise(model)
    began = time.monotonic()
    proto, error = compare(serving(model), opset)
    return {
        "status": "ok" if error <= TOLERANCE else f"the error must be at most {TOLERANCE:g}. Received: {error:.3g}",
        "options": " ".join(f"{key}={value}" for key, value in options.items()),
        "input": facts.input,
        "classes": facts.classes,
        "parameters": model.count_params(),
        "opset": opset,
        "nodes": len(proto.graph.node),
        "error": f"{error:.1e}",
        "megabytes": f"{proto.ByteSize() / 1e6:.3g}",
        "seconds": round(time.monotonic() - began),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1),  # kilobytes on Linux
        "operators": operators(proto),
    }


def compare(served: Any, opset: int = 17, seed: int = 0) -> tuple[Any, float]:
    """The ONNX graph, through the exporter's gates, and the largest difference of the logits, relative to the largest of them."""
    from export import convert, gates, parity

    inputs, outputs = convert.contract(served)
    gates.check_size(served.count_params())
    proto = convert.to_onnx(served, opset=opset)
    gates.check_domains(proto)
    gates.check_contract(proto, inputs, outputs)
    gates.check_proto(proto)
    run, keras = parity.onnx_runner(gates.open_session(proto.SerializeToString())), parity.keras_runner(served)
    rng = np.random.default_rng(seed)
    worst = 0.0
    for batch in BATCHES:
        feeds = {"image": rng.integers(0, 256, (batch, *served.inputs[0].shape[1:]), dtype="uint8")}
        wanted, found = keras(feeds)["logits"], run(feeds)["logits"]
        worst = max(worst, parity.difference(wanted, found) / float(np.abs(wanted).max()))
    return proto, worst


def serving(model: Any) -> Any:
    """uint8 `image` to float32 `logits`."""
    import keras

    image = keras.Input(model.inputs[0].shape[1:], dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 58.0, -2.0, dtype="float32", name="scaling")(keras.ops.cast(image, "float32"))
    answer = model(x)
    return keras.Model({"image": image}, {"logits": answer["logits"] if isinstance(answer, dict) else answer}, name=model.name)


def randomise(model: Any, seed: int = 0) -> None:
    """Every weight gets a value that no optimiser can fold away: kernels of their own scale, gammas and variances around one."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        shape = tuple(variable.shape)
        if not variable.dtype.startswith("float"):
            continue
        if variable.path.endswith(("gamma", "moving_variance")):
            values = rng.uniform(0.5, 1.5, shape)
        elif len(shape) > 1:
            values = rng.standard_normal(shape, np.float32) * np.float32(np.prod(shape[:-1]) ** -0.5)
        else:
            values = rng.normal(0, 0.1, shape)
        variable.assign(values)


def operators(proto: Any) -> str:
    """20 Conv, 17 Relu, and so on, the frequent ones first."""
    counts = Counter(node.op_type for node in proto.graph.node)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def signature(name: str) -> str:
    """Changes with the sources that make the model and its graph, and with the versions of the packages; loads none of them."""
    root = Path(__file__).parent
    kerasdl = root.parent / "kerasdl"
    home = kerasdl / "models"
    sources = [root / "convert.py", root / "zoo.py", *sorted((root / "finishing").glob("*.py"))]
    sources += [home / f"{builder_module(name, home)}.py", home / "conv.py", home / "head.py", *sorted((kerasdl / "layers").glob("*.py"))]
    digest = hashlib.sha256(json.dumps({package: importlib.metadata.version(package) for package in PACKAGES}).encode())
    for path in sources:
        digest.update(ast.unparse(ast.parse(path.read_bytes())).encode())  # comments and line breaks make no other graph
    return digest.hexdigest()[:12]


def builder_module(name: str, home: Path) -> str:
    """The file of kerasdl/models that `name` comes from, as the registry imports it."""
    from kerasdl.names import nearest

    imports = [node for node in ast.parse((home / "__init__.py").read_bytes()).body if isinstance(node, ast.ImportFrom) and node.module]
    known = {alias.name: str(node.module).rpartition(".")[2] for node in imports for alias in node.names}
    if name not in by_size():
        raise ValueError(f"unknown model. Received: {name!r}. {nearest(name, by_size())}")
    return known[name]


def read_table(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["model"]: dict(row) for row in csv.DictReader(file)}


def write_table(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([rows[name].get(column, "") for column in COLUMNS] for name in sorted(rows))
    partial.replace(path)


if __name__ == "__main__":
    raise SystemExit(main())
