"""Check a bundle again, with the code that serves it: needs numpy, onnx and onnxruntime, and TensorFlow only for the SavedModel."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from apps.runtime import BundleError, load_bundle
from apps.runtime.captioning import check_captioner
from apps.runtime.regression import check_regressor
from export import captioner_loop, captions, contracts, parity, reid, tables
from export import card as cards
from export.gates import ExportRefused


def verify_bundle(folder: str | Path, say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Every file has its sha256, the card is whole and agrees with the graph, sample.npz is reproduced; gives the card."""
    folder = Path(folder)
    if not (folder / "card.json").is_file():
        raise ExportRefused(f"a bundle must have a card.json. Received: {folder}")
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportRefused(f"card.json must be JSON. Received: {error}") from error
    cards.check_card(card)
    check_files(folder, card)
    say(f"{card['name']}: {len(card['files'])} files have the sha256 of the card")
    check_fingerprint(folder, card)
    check_evidence(card)
    reid.check_section(card)
    captions.check_section(card, folder)
    tables.check_section(card, folder)
    contracts.check_section(card)
    check_metadata(folder, card)
    say(f"{card['name']}: the card is whole and agrees with README.md and the graph")
    runs = runs_of(folder)
    say(f"{card['name']}: onnxruntime reproduces sample.npz, {reproduce(folder, card, 'onnxruntime', runs)}")
    if captioner_loop.FILE in card["variants"]:
        say(f"{card['name']}: {captioner_loop.FILE} says what the graphs of a step say, {captioner_loop.check(folder, card, runs)}")
    if importlib.util.find_spec("tensorflow") and (folder / "saved_model").is_dir():
        from export.parity import saved_model_runner

        saved = {graph: saved_model_runner(folder / "saved_model", graph) for graph in runs}
        say(f"{card['name']}: the SavedModel reproduces sample.npz, {reproduce(folder, card, 'SavedModel', saved)}")
    return card


def check_files(folder: Path, card: dict[str, Any]) -> None:
    """The folder holds what the card lists, no more and no less, byte for byte."""
    found, listed = set(cards.files_of(folder)), set(card["files"])
    if found != listed:
        raise ExportRefused(
            f"the bundle must hold exactly the files of its card. Received: a difference in {', '.join(sorted(found ^ listed))}"
        )
    for path, digest in card["files"].items():
        if cards.digest_of_file(folder / path) != digest:
            raise ExportRefused(f"every file must have the sha256 of the card. Received: another one for {path}")
    for path, graph in card["graphs"].items():
        if graph["sha256"] != card["files"].get(path):
            raise ExportRefused(f"the graph's sha256 must be the file's. Received: {graph['sha256'][:12]} for {path}")


def check_fingerprint(folder: Path, card: dict[str, Any]) -> None:
    if cards.fingerprint(card) not in (folder / "README.md").read_text(encoding="utf-8"):
        raise ExportRefused("card.json must have the fingerprint that README.md names. Received: a card that was changed afterwards")


def check_evidence(card: dict[str, Any]) -> None:
    """The parity rows claim enough."""
    for row in card["parity"]:
        if not (row["max_error"] <= row["tolerance"] and row["decisions_equal"] and row.get("calls", row["samples"]) >= 256):
            raise ExportRefused(f"parity must hold on at least 256 samples. Received: {row}")
    names = [Path(path).stem for path in card["graphs"]]
    for runtime in ("onnxruntime", "saved_model"):
        for graph in [None, *(names if len(names) > 1 else ())]:  # the whole answer, and of several graphs each
            batches = {
                row["batch"] for row in card["parity"] if (row["runtime"], row.get("graph")) == (runtime, graph) and "size" not in row
            }
            if not batches >= {1, 2, 7}:
                where = runtime if graph is None else f"{graph} in {runtime}"
                raise ExportRefused(f"parity of {where} must be shown at batch 1, 2 and 7. Received: {sorted(batches)}")


def check_metadata(folder: Path, card: dict[str, Any]) -> None:
    """What the ONNX file says of itself is what the card says."""
    import onnx

    for path, graph in card["graphs"].items():
        props = {entry.key: entry.value for entry in onnx.load(folder / path, load_external_data=False).metadata_props}
        wanted = cards.graph_metadata(card["name"], card["task"], graph["inputs"], card["labels"], card["recipe"])
        wanted |= captions.metadata(card.get("caption")) | tables.metadata(card.get("table"))
        differ = [key for key, value in wanted.items() if props.get(key) != value]
        if differ:
            raise ExportRefused(f"the metadata of {path} must agree with the card. Received: another {', '.join(differ)}")


def runs_of(folder: Path) -> dict[str, Callable[..., dict[str, np.ndarray]]]:
    """The graphs as a server runs them, once it has found that they serve."""
    try:
        bundle = load_bundle(folder)
        if bundle.task == captions.TASK:
            check_captioner(bundle)
        if bundle.task == tables.TASK:
            check_regressor(bundle)
    except BundleError as error:
        raise ExportRefused(str(error)) from error
    return {graph: functools.partial(bundle.run, graph=graph) for graph in bundle.graphs}


def reproduce(folder: Path, card: dict[str, Any], runtime: str, runs: dict[str, Callable[..., dict[str, np.ndarray]]]) -> str:
    """Run the sample's inputs of each graph and compare with what Keras gave; a sentence part with the largest difference."""
    worst, tolerance = 0.0, min(row["tolerance"] for row in card["parity"])
    difference = tables.difference_of(card["table"]["targets"]) if "table" in card else parity.difference
    with np.load(folder / "sample.npz", allow_pickle=False) as sample:
        for graph, run in runs.items():
            inputs, wanted = (fields_of(sample, f"{graph}/{kind}/") for kind in ("input", "output"))
            found = run(inputs) if wanted else {}
            worst = max(worst, max((difference(values, found[name]) for name, values in wanted.items()), default=float("inf")))
    if not worst <= tolerance:
        raise ExportRefused(f"{runtime} must reproduce sample.npz within {tolerance:g}. Received: a difference of {worst:.3g}")
    return f"largest difference {worst:.1e}"


def fields_of(sample: Any, prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): sample[key] for key in sample.files if key.startswith(prefix)}
