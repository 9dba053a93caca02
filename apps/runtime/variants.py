"""Which file of a bundle answers for each graph: the float32 one at its root, or a variant's where the card has it and it is here whole.

Variants lie in variants/KIND/GRAPH.onnx, with their sha256 in the card under `variants`. They may be absent: they are made where they are
needed, by `python -m export variants NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FLOAT32 = "float32"
VARIANTS = (FLOAT32, "int8", "fp16")


def check_variant(variant: str) -> None:
    if variant not in VARIANTS:
        raise ValueError(f"A variant must be one of {', '.join(VARIANTS)}. Received: {variant[:40]}")


def answering_files(path: Path, card: Mapping[str, Any], variant: str = FLOAT32) -> dict[str, str]:
    """{"model.onnx": "variants/int8/model.onnx"}: for each graph of the card the path of what answers, float32 unless all of it is here.

    A variant may be of some graphs only, as an encoder beside a float32 decoder.
    """
    check_variant(variant)
    files = {graph: graph for graph in card["graphs"]}
    told = card.get("variants")
    there = {graph: f"variants/{variant}/{graph}" for graph in files}
    listed = {graph: file for graph, file in there.items() if isinstance(told, dict) and file in told}
    return files | listed if all((path / file).is_file() for file in listed.values()) else files


def digests(card: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, str]:
    """The sha256 that the card has of those files that it lists as variants."""
    entries = {file: card["variants"][file] for graph, file in files.items() if file != graph}
    return {file: str(entry.get("sha256")) if isinstance(entry, dict) else "" for file, entry in entries.items()}


def variant_of(files: Mapping[str, str]) -> str:
    """The name of what answers."""
    return next((Path(file).parent.name for graph, file in files.items() if file != graph), FLOAT32)
