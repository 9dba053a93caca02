"""The fields of a card that a server reads, and what each must be; what else a card says is free."""

from __future__ import annotations

import re
from typing import Any

from apps.runtime.trust import MAX_FILES, SHA256, BundleError, check_different, check_path, shown

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
GRAPH = re.compile(r"[A-Za-z0-9_-]{1,64}\.onnx")
MAX_SIDE, MAX_MARGIN = 8192, 4
NUMBER, MAYBE_TEXT = (int, float), (str, None)

# A rule is a type, None, a tuple of rules of which one must hold, [rule] for a list, [rule, rule] for a list of so many, a set of words,
# {...: rule} for an object of any keys, or an object of rules by key, those with a question mark for keys that may be absent.
SIDE = (int, str, None)
STEP = {"op": str, "size?": [int, int], "method?": str, "margin?": NUMBER, "center?": str}
INPUT = {"name": str, "dtype": str, "shape": [SIDE], "color?": {"rgb", "grey"}, "prepare?": [STEP], "columns?": [str]}
INPUT |= {"layout?": {"NHWC", "NCHW"}, "resize?": {"size": [int, int], "rule?": str}}
OUTPUT = {"name": str, "dtype": str, "shape": [SIDE]}
METRIC = {"value": NUMBER, "n": int, "interval": (None, [NUMBER, NUMBER]), "protocol?": str}
PARITY = {"runtime": str, "batch?": int, "samples": int, "max_error": NUMBER, "decisions_equal": bool, "unit?": str}
POINT = {"threshold?": NUMBER, "far": NUMBER, "tpr": NUMBER, "target_far?": NUMBER}
CURVE = {"threshold": [NUMBER], "far": [NUMBER], "tpr": [NUMBER]}
PAIRS = {...: {"one_person": int, "two_people": int}}
CARD: dict[Any, Any] = {
    "format": str,
    "name": str,
    "task": str,
    "graphs": {...: {"inputs": [INPUT], "outputs": [OUTPUT], "opset?": int, "parameters?": int}},
    "files": {...: str},
    "labels?": [str],
    "metrics?": {...: METRIC},
    "parity?": [PARITY],
    "latency?": {"onnxruntime?": {"p50_ms?": NUMBER}, "device?": MAYBE_TEXT},
    "sizes?": {...: int},
    "variants?": {...: dict},
    "data?": {"name?": str, "source?": MAYBE_TEXT, "licence?": MAYBE_TEXT, "synthetic?": bool, "counts?": {...: (int, None)}},
    "intended_use?": MAYBE_TEXT,
    "limits?": MAYBE_TEXT,
    "caption?": (None, dict),  # these two are read by what serves them, which says more of what is wrong
    "table?": (None, dict),
    "reid?": {
        "gallery?": {"pictures": int, "identities": int},
        "cross?": {"cmc": [NUMBER]},
        "verification?": {"thresholds?": [POINT], "curve?": (None, CURVE), "pairs?": PAIRS},
    },
}


def check_fields(card: dict[str, Any], folder: str) -> None:
    """Every field that is read has its type, names are names, and every graph is an .onnx file that is listed; BundleError."""
    wrong = misfit(card, CARD, "")
    if wrong:
        raise BundleError(f"The card must be complete, every field of its type. Received: {folder} with another {wrong}")
    if not NAME.fullmatch(card["name"]):
        rule = "A bundle's name must be letters, digits and . _ -, at most 100"
        raise BundleError(f"{rule}. Received: {shown(card['name'])} in {folder}")
    for graph, entry in card["graphs"].items():
        check_steps([step for one in entry["inputs"] for step in [*one.get("prepare", []), one.get("resize", {})]], f"{folder}/{graph}")
        if not GRAPH.fullmatch(graph):
            raise BundleError(f"A graph must be a file NAME.onnx of the bundle's folder. Received: {folder} with {shown(graph)}")
        if graph not in card["files"]:
            raise BundleError(f"Every graph must be listed under files. Received: {folder} without {graph}")
    if len(card["files"]) > MAX_FILES:
        raise BundleError(f"A bundle may have {MAX_FILES:,} files. Received: {folder} with {len(card['files']):,}")
    check_different(card["files"], folder)
    for file, digest in card["files"].items():
        check_path(file, folder)
        if not SHA256.fullmatch(digest):
            raise BundleError(f"A file's sha256 must be 64 hexadecimal digits. Received: {shown(digest)} of {shown(file)} in {folder}")


def check_steps(steps: list[dict[str, Any]], where: str) -> None:
    """No step asks for a picture that memory could not hold."""
    for step in steps:
        if not all(1 <= side <= MAX_SIDE for side in step.get("size", [])) or not 0 <= step.get("margin", 0) <= MAX_MARGIN:
            rule = f"A step's sides must be 1 to {MAX_SIDE} pixels, its margin 0 to {MAX_MARGIN}"
            raise BundleError(f"{rule}. Received: {where} with {step.get('size', step.get('margin'))}")


def misfit(value: Any, rule: Any, where: str) -> str:
    """The path of the first field that does not fit, or nothing."""
    if isinstance(rule, tuple):
        return "" if any(not misfit(value, one, where) for one in rule) else deepest(value, rule, where)
    if isinstance(rule, set):
        return "" if isinstance(value, str) and value in rule else where
    if rule is None or isinstance(rule, type):
        fits = value is None if rule is None else isinstance(value, rule) and (rule is bool or not isinstance(value, bool))
        return "" if fits else where or "card"
    if not isinstance(value, type(rule)):
        return where
    if isinstance(rule, list):
        if len(rule) > 1 and len(value) != len(rule):
            return where
        rules = rule if len(rule) > 1 else rule * len(value)
        return first(misfit(inner, one, f"{where}[{place}]") for place, (inner, one) in enumerate(zip(value, rules, strict=True)))
    if ... in rule:
        return first(misfit(inner, rule[...], joined(where, key)) for key, inner in value.items())
    return first(misfit_of(value, key, one, where) for key, one in rule.items())


def misfit_of(value: dict[str, Any], key: str, rule: Any, where: str) -> str:
    name = key.removesuffix("?")
    if name not in value:
        return "" if key.endswith("?") else joined(where, name)
    return misfit(value[name], rule, joined(where, name))


def deepest(value: Any, rules: tuple[Any, ...], where: str) -> str:
    return max((misfit(value, one, where) for one in rules), key=len)


def first(found: Any) -> str:
    return next(filter(None, found), "")


def joined(where: str, key: str) -> str:
    return f"{where}.{shown(key)}" if where else shown(key)


__all__ = ["check_fields"]
