"""card.json: what a bundle is, where it comes from, how good it is and how it was proven. Format 1.0."""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx

from apps.runtime.signature import FILE as SIGNATURE
from export import contracts
from export.contracts import PLAIN, Form
from export.gates import ExportRefused, nodes_of, signature_of

FORMAT = "1.0"
FIELDS = {
    "format": str,
    "name": str,
    "task": str,
    "recipe": (dict, type(None)),
    "source": dict,
    "data": dict,
    "graphs": dict,
    "labels": list,
    "metrics": dict,
    "parity": list,
    "latency": dict,
    "sizes": dict,
    "variants": dict,
    "intended_use": str,
    "limits": str,
    "files": dict,
}
SECTIONS = ("reid", "caption", "table", contracts.SECTION)  # that a card may have besides, from `Task.facts` and of a graph that resizes
RANGES = {"probabilities": [0, 1], "embedding": [-1, 1], "activation": [0, 1], "attributes": [0, 1]}
AUTHOR, LICENCE = "kerasdl", "Apache-2.0"


def input_entries(inputs: dict[str, tuple[str, list]], spec: Any, form: Form = PLAIN) -> list[dict[str, Any]]:
    """The input contract of a graph: name, dtype, shape; of pictures colour order, value range and resize rule; of a table its columns."""
    entries = []
    for name, (dtype, shape) in inputs.items():
        entry: dict[str, Any] = {"name": name, "dtype": dtype, "shape": shape}
        if name == "image":
            channels = shape[1] if form.nchw else shape[3]
            entry |= {"color": "grey" if channels == 1 else "rgb", "range": [0, 255], **as_json(form.told(spec))}
        if name == "features" and hasattr(spec, "columns"):
            entry["columns"] = [column.name for column in spec.columns]
        entries.append(entry)
    return entries


def graph_entry(
    proto: onnx.ModelProto, inputs: list[dict[str, Any]], parameters: int, digest: str, external_data: str | None = None
) -> dict[str, Any]:
    """What the card says of one ONNX file; `external_data` is the name of the file that holds its weights, where that is another."""
    outputs = {value.name: signature_of(value) for value in proto.graph.output}
    return {
        "opset": next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")),
        "ir_version": proto.ir_version,
        "inputs": inputs,
        "outputs": [{"name": name, "dtype": dtype, "shape": shape, "range": RANGES.get(name)} for name, (dtype, shape) in outputs.items()],
        "operators": dict(sorted(Counter(node.op_type for node in nodes_of(proto)).items())),
        "parameters": parameters,
        "sha256": digest,
        **({"external_data": external_data} if external_data else {}),
    }


def graph_metadata(name: str, task: str, inputs: list[dict[str, Any]], labels: list[str], recipe: dict | None) -> dict[str, str]:
    """The metadata_props of the ONNX file; `names` is the key other tools look for."""
    return {
        "kerasdl.name": name,
        "kerasdl.task": task,
        "kerasdl.input": json.dumps(inputs),
        "kerasdl.labels": json.dumps(labels),
        "kerasdl.recipe_sha256": recipe_digest(recipe),
        "names": str(dict(enumerate(labels))),
        "model_author": AUTHOR,
        "model_license": LICENCE,
    }


def metric_entries(values: dict[str, float], intervals: dict[str, tuple[float, float]], n: int, protocol: str) -> dict[str, Any]:
    return {
        name: {
            "value": float(value),
            "n": n,
            "interval": [round(float(bound), 5) for bound in intervals[name]] if name in intervals else None,
            "protocol": protocol,
        }
        for name, value in values.items()
    }


def default_source() -> dict[str, Any]:
    """Where a model comes from when no run folder tells."""
    from kerasdl import device
    from kerasdl.train import source_commit

    commit, dirty = source_commit()
    return {
        "commit": commit,
        "dirty": dirty,
        "versions": versions(),
        "seed": None,
        "device": device.describe(),
        "training_minutes": None,
        "command": "export.export_run(...)",
    }


def versions() -> dict[str, str]:
    """What the exporter ran with."""
    found = {"python": platform.python_version()}
    for package in ("keras", "tensorflow", "numpy", "onnx", "tf2onnx", "onnxruntime", "onnxruntime-gpu"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def intended_use(task: str, data: dict[str, Any], labels: list[str]) -> str:
    if task == "classification":
        told = f"Tells which of {len(labels)} classes a picture like those of {data['name']} shows"
    elif task == "embedding":
        told = f"Gives a vector for comparing pictures like those of {data['name']}: near by cosine for the same identity, far for another"
    elif task == "captioning":
        told = f"Says in a sentence what a picture like those of {data['name']} shows"
    elif task == "regression":
        told = f"Predicts {listed(labels)} with a 95 % interval from a row of numbers like those of {data['name']}"
    else:
        told = f"The task {task} on data like {data['name']}"
    return told + "; for teaching, study and as a starting point."


def limits(task: str, data: dict[str, Any], split: str) -> str:
    """What a reader must know before trusting an answer."""
    others = "places, times or ways of measuring" if task == "regression" else "cameras, subjects or preparation"
    told = [f"Measured on the {split} split of {data['name']} only: other {others} may score lower."]
    if task == "classification":
        told.append("It knows its own classes and nothing else, and gives one of them for any picture at all.")
        told.append("The probabilities are a softmax and were not calibrated.")
    if task == "embedding":
        told.append("It compares how things look: two of them may look alike, and one may look different elsewhere.")
        told.append("The identities of the test were not among those of training. Errors by group of people were not measured.")
        told.append("Only with the consent of those who are shown; not for covert identification.")
    if task == "captioning":
        told.append("It knows the words of its training captions and makes a sentence of any picture at all, as fluent when it is wrong.")
        told.append("Scores count words that agree with other captions, not truth.")
    if task == "regression":
        told.append("Outside the ranges of its training columns it extrapolates, and answers without a word about it.")
        told.append("It tells what goes together, not what would follow from changing a column.")
        told.append("Its interval takes the errors as normal and equally wide everywhere.")
    if data.get("synthetic"):
        told.append(f"The data is synthetic: the figures say nothing about real {'data' if task == 'regression' else 'pictures'}.")
    told.append("Not for decisions about people's health, safety, rights or identity.")
    return " ".join(told)


def listed(names: Iterable[str]) -> str:
    """a, b and c"""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def fingerprint(card: dict[str, Any]) -> str:
    """sha256 of the card without `files`; README.md ends with it, and `files` pins README.md."""
    return digest_of_json({key: value for key, value in card.items() if key != "files"})


def recipe_digest(recipe: dict[str, Any] | None) -> str:
    return digest_of_json(recipe) if recipe else ""


def digest_of_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_of(folder: Path) -> list[str]:
    """Relative paths of a bundle's files, without card.json (it cannot hold its own sum), the signature over it and the variants."""
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [path for path in paths if path not in ("card.json", SIGNATURE) and not path.startswith("variants/")]


def check_card(card: Any) -> None:
    """Every field of the format is there and has its type; one sentence otherwise."""
    if not isinstance(card, dict):
        raise ExportRefused(f"card.json must hold an object. Received: {type(card).__name__}")
    wrong = [field for field, kind in FIELDS.items() if field not in card or not isinstance(card[field], kind)]
    if wrong:
        raise ExportRefused(f"card.json must have every field of format {FORMAT} with its type. Received: no usable {', '.join(wrong)}")
    if card["format"].split(".")[0] != FORMAT.split(".")[0]:
        raise ExportRefused(f"card.json must be of format {FORMAT.split('.')[0]}.x. Received: {card['format']}")
    unusable = [name for name in SECTIONS if not isinstance(card.get(name, {}), dict)]
    if unusable:
        raise ExportRefused(f"a section of card.json must be an object. Received: no usable {', '.join(unusable)}")


def as_json(value: Any) -> Any:
    """Tuples become lists, as they will be when the file is read back."""
    return json.loads(json.dumps(value))
