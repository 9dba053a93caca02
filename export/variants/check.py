"""Where the int8 and fp16 of a bundle lie, and whether they are what its card says.

They are in no repository of code: a card may name files that are not here, which is said and is no fault. What is here must be right.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from apps.runtime import BundleError, load_bundle
from export import card as cards
from export import gates
from export.gates import ExportRefused
from export.variants import points

KINDS = ("int8", "fp16")


def stem_of(file: str) -> str:
    """model of model.onnx"""
    return Path(file).stem


def folder_of(kind: str) -> str:
    return f"variants/{kind}"


def path_of(kind: str, graph: str) -> str:
    """`graph` with or without its .onnx."""
    return f"{folder_of(kind)}/{stem_of(graph)}.onnx"


def check(folder: Path, card: dict[str, Any]) -> Iterator[str]:
    """A sentence part for every kind that the card tells of; ExportRefused where it is not true."""
    strays = [path for path, entry in card["variants"].items() if kind_of(entry) and path not in files_of(card, kind_of(entry))]
    if strays:
        raise ExportRefused(f"a variant's file must belong to a kind that the card tells of. Received: {', '.join(strays)}")
    for kind in KINDS:
        whole = card["variants"].get(kind)
        if whole is None:
            continue
        check_whole(kind, whole, card)
        files = files_of(card, kind)
        here = [path for path in files if (folder / path).is_file()]
        if not files:
            yield f"{whole['sentence']}"
        elif not here:
            yield f"{kind} is not here; make it with: python -m export variants {card['name']} --{kind}"
        elif here != files:
            raise ExportRefused(f"a variant must be there whole or not at all. Received: no {', '.join(sorted(set(files) - set(here)))}")
        else:
            for path in files:
                check_file(folder, path, card)
            yield f"{kind} is what the card says, {difference(folder, kind)} from sample.npz"


def kind_of(entry: Any) -> str:
    return entry.get("kind", "") if isinstance(entry, dict) else ""


def files_of(card: dict[str, Any], kind: str) -> list[str]:
    whole = card["variants"].get(kind)
    return list(whole.get("files", ())) if isinstance(whole, dict) else []


def check_whole(kind: str, whole: Any, card: dict[str, Any]) -> None:
    """It was accepted by figures that allow it, and has files exactly then."""
    fields = {"accepted": bool, "sentence": str, "files": list, "max_drop": (int, float)}
    wrong = [name for name, types in fields.items() if not isinstance(whole, dict) or not isinstance(whole.get(name), types)]
    if wrong:
        raise ExportRefused(f"the card's variant {kind} must have every field with its type. Received: no usable {', '.join(wrong)}")
    if whole["accepted"] != bool(whole["files"]):
        raise ExportRefused(f"a variant has files when it was accepted, and then only. Received: {kind} with {len(whole['files'])}")
    possible = {path_of(kind, graph) for graph in card["graphs"]}
    lacking = [path for path in whole["files"] if path not in possible or kind_of(card["variants"].get(path)) != kind]
    if lacking:
        raise ExportRefused(f"the files of {kind} must be those of the card's graphs, each with its entry. Received: {', '.join(lacking)}")
    if not whole["accepted"]:
        return
    lost = {split: points.most(found["lost"]) for split, found in whole["metrics"].items()}
    if not lost or not max(lost.values()) <= whole["max_drop"]:
        raise ExportRefused(f"{kind} may lose {whole['max_drop']:g} points. Received: {lost}")


def check_file(folder: Path, path: str, card: dict[str, Any]) -> None:
    """The bytes of the card, operators of ai.onnx, and the inputs and outputs of the float32 graph."""
    if cards.digest_of_file(folder / path) != card["variants"][path]["sha256"]:
        raise ExportRefused(f"every variant of the card must have its sha256. Received: another one for {path}")
    proto = onnx.load(folder / path)
    gates.check_domains(proto)
    graph = card["graphs"][Path(path).name]
    contract = [{entry["name"]: (entry["dtype"], entry["shape"]) for entry in graph[kind]} for kind in ("inputs", "outputs")]
    gates.check_contract(proto, *contract)


def difference(folder: Path, kind: str) -> str:
    """The largest change of an output for the inputs of sample.npz, by the code that serves; ExportRefused where it is no number."""
    try:
        bundle = load_bundle(folder, variant=kind)
    except BundleError as error:
        raise ExportRefused(str(error)) from error
    worst = 0.0
    with np.load(folder / "sample.npz", allow_pickle=False) as sample:
        for graph in bundle.graphs:
            feeds = {slot.name: sample[f"{graph}/input/{slot.name}"] for slot in bundle.inputs(graph)}
            for name, found in bundle.run(feeds, graph).items():
                worst = max(worst, float(np.abs(found.astype("float64") - sample[f"{graph}/output/{name}"]).max(initial=0.0)))
    if not np.isfinite(worst):
        raise ExportRefused(f"{kind} must answer with numbers. Received: others for sample.npz")
    return f"{worst:.1e} at most"
