"""The variants of a bundle in README.md."""

from __future__ import annotations

from typing import Any

from export.variants.check import KINDS

NAMES = {"int8": "int8, for CPUs", "fp16": "float16, for GPUs"}


def render(card: dict[str, Any], table: Any) -> list[str]:
    """The part of README.md; `table` is that of readme.py."""
    found = {kind: card["variants"][kind] for kind in KINDS if kind in card["variants"]}
    if not found:
        return []
    rows = [
        (NAMES[kind], "kept" if whole["accepted"] else "not kept", size(whole), speed(whole), whole["sentence"])
        for kind, whole in found.items()
    ]
    told = (
        "Each was judged by the task's own scores beside float32 in one run, and is kept only where it loses at most "
        f"{limits(found)} points (hundredths of a score). It was chosen on the validation split, and the test split was looked at once. "
        f"The files are in no repository of code: `python -m export variants {card['name']}` makes them again."
    )
    return ["## Variants", told, table(("variant", "", "MB, float32 to this", "ms p50, float32 to this", "what was measured"), rows)]


def limits(found: dict[str, Any]) -> str:
    return " and ".join(sorted({f"{whole['max_drop']:g}" for whole in found.values()}))


def size(whole: dict[str, Any]) -> str:
    return f"{whole['bytes']['float32'] / 1e6:.2f} to {whole['bytes']['variant'] / 1e6:.2f}" if whole["accepted"] else "-"


def speed(whole: dict[str, Any]) -> str:
    measured = whole.get("latency")
    if not isinstance(measured, dict):
        return "not measured"
    return f"{measured['float32']['p50_ms']:.3f} to {measured['int8']['p50_ms']:.3f}"


def files(card: dict[str, Any]) -> list[str]:
    """The lines of README.md on them, where there are some."""
    return [
        f"- `{path}`: the same graph in {entry['kind']}, {entry['bytes'] / 1e6:.2f} MB"
        for path, entry in card["variants"].items()
        if entry.get("kind") in KINDS
    ]
