"""Check a bundle again, with the code that serves it: needs numpy, onnx and onnxruntime, and TensorFlow only for the SavedModel."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from apps.runtime import BundleError, load_bundle
from apps.runtime.bundle import card_bytes, parse_card
from apps.runtime.captioning import check_captioner
from apps.runtime.cards import NUMBER, check_fields, misfit
from apps.runtime.onnx_file import files_of_weights
from apps.runtime.regression import check_regressor
from apps.runtime.signature import PublicKey, check_signature
from apps.runtime.trust import MAX_GRAPH, check_links, parse_json, read_checked, read_file
from export import captioner_loop, captions, contracts, gates, parity, reid, tables
from export import card as cards
from export.gates import ExportRefused
from export.npz import read_sample
from export.variants import check as variants

EVIDENCE = {"runtime": str, "graph?": str, "batch": int, "samples": int, "calls?": int, "max_error": NUMBER, "tolerance": NUMBER}
EVIDENCE |= {"decisions_equal": bool, "near_ties": int}


def verify_bundle(folder: str | Path, say: Callable[[str], None] = lambda line: None, key: PublicKey | None = None) -> dict[str, Any]:
    """Every file has its sha256, the card is whole and agrees with the graph, sample.npz is reproduced; gives the card.

    With a key the bundle must be signed by it, and nothing else is looked at before that is known. ExportRefused for whatever is wrong.
    """
    folder = Path(folder)
    try:
        return verified(folder, say, key)
    except ExportRefused:
        raise
    except BundleError as error:
        raise ExportRefused(str(error)) from error
    except Exception as error:  # a card of nonsense makes the code stumble anywhere: it is the bundle's fault
        told = gates.first_line(error)
        rule = "the bundle must be readable and its card complete"
        raise ExportRefused(f"{rule}. Received: {folder.name}, {type(error).__name__} {told}") from error


def verified(folder: Path, say: Callable[[str], None], key: PublicKey | None) -> dict[str, Any]:
    if not (folder / "card.json").is_file():
        raise ExportRefused(f"a bundle must have a card.json. Received: {folder}")
    data = read_file(folder, "card.json")
    card = parse_json(data, f"{folder.name}/card.json")
    cards.check_card(card)
    check_fields(card, folder.name)
    if key is not None:
        check_signature(folder, card, hashlib.sha256(data).hexdigest(), key)
        say(f"{card['name']}: the signature is of the key given, over the card and its {len(card['files'])} files")
    check_files(folder, card)
    say(f"{card['name']}: {len(card['files'])} files have the sha256 of the card")
    check_fingerprint(folder, card)
    check_evidence(card)
    reid.check_section(card)
    captions.check_section(card, folder)
    tables.check_section(card, folder)
    contracts.check_section(card)
    check_graphs(folder, card)
    check_metadata(folder, card)
    say(f"{card['name']}: the card is whole and agrees with README.md and the graph")
    runs = runs_of(folder, key)
    say(f"{card['name']}: onnxruntime reproduces sample.npz, {reproduce(folder, card, 'onnxruntime', runs)}")
    if captioner_loop.FILE in card["variants"]:
        say(f"{card['name']}: {captioner_loop.FILE} says what the graphs of a step say, {captioner_loop.check(folder, card, runs)}")
    for told in variants.check(folder, card):
        say(f"{card['name']}: {told}")
    if importlib.util.find_spec("tensorflow") and (folder / "saved_model").is_dir():
        from export.parity import saved_model_runner

        saved = {graph: saved_model_runner(folder / "saved_model", graph) for graph in runs}
        say(f"{card['name']}: the SavedModel reproduces sample.npz, {reproduce(folder, card, 'SavedModel', saved)}")
    return card


def read_card(folder: Path) -> dict[str, Any]:
    """card.json of a bundle that holds what it lists, byte for byte; ExportRefused. Nothing is run."""
    try:
        card = parse_card(card_bytes(folder), folder.name)
        cards.check_card(card)
        check_files(folder, card)
    except BundleError as error:
        raise ExportRefused(str(error)) from error
    return card


def check_files(folder: Path, card: dict[str, Any]) -> None:
    """The folder holds what the card lists, no more and no less, byte for byte; a signature beside them may be there."""
    check_links(folder)
    found, listed = set(cards.files_of(folder)), set(card["files"])
    if found != listed:
        raise ExportRefused(
            f"the bundle must hold exactly the files of its card. Received: a difference in {', '.join(sorted(found ^ listed))}"
        )
    read_checked(folder, card["files"])
    for path, graph in card["graphs"].items():
        if graph.get("sha256") != card["files"].get(path):
            raise ExportRefused(f"the graph's sha256 must be the file's. Received: {str(graph.get('sha256'))[:12]} for {path}")


def check_graphs(folder: Path, card: dict[str, Any]) -> None:
    """Each file is ONNX with operators of ai.onnx alone, its external data listed, and onnx.checker accepts it, before anything runs it."""
    import onnx

    for path in card["graphs"]:
        for location in files_of_weights(read_file(folder, path, MAX_GRAPH), path, card["name"]):
            if location not in card["files"]:
                raise ExportRefused(f"a graph's external data must be a listed file. Received: {location} of {path}")
        try:
            gates.check_domains(onnx.load(folder / path, load_external_data=False))
            onnx.checker.check_model(str(folder / path), full_check=True)
        except ExportRefused:
            raise
        except Exception as error:  # protobuf, the checker and the shape inference raise different classes
            raise ExportRefused(f"onnx.checker must accept the graph. Received: {path}, {gates.first_line(error)}") from error


def check_fingerprint(folder: Path, card: dict[str, Any]) -> None:
    if cards.fingerprint(card) not in (folder / "README.md").read_text(encoding="utf-8"):
        raise ExportRefused("card.json must have the fingerprint that README.md names. Received: a card that was changed afterwards")


def check_evidence(card: dict[str, Any]) -> None:
    """The parity rows claim enough."""
    wrong = misfit(card["parity"], [EVIDENCE], "parity")
    if wrong:
        raise ExportRefused(f"a row of parity must say what was compared, and how. Received: another {wrong}")
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


def runs_of(folder: Path, key: PublicKey | None = None) -> dict[str, Callable[..., dict[str, np.ndarray]]]:
    """The graphs as a server runs them, once it has found that they serve."""
    try:
        bundle = load_bundle(folder, key=key)
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
    sample = read_sample(folder)
    for graph, run in runs.items():
        inputs, wanted = (fields_of(sample, f"{graph}/{kind}/") for kind in ("input", "output"))
        try:
            found = run(inputs) if wanted else {}
        except Exception as error:  # every runtime raises classes of its own
            raise ExportRefused(f"{runtime} must be able to run sample.npz. Received: {graph}, {gates.first_line(error)}") from error
        worst = max(worst, max((difference(values, found[name]) for name, values in wanted.items()), default=float("inf")))
    if not worst <= tolerance:
        raise ExportRefused(f"{runtime} must reproduce sample.npz within {tolerance:g}. Received: a difference of {worst:.3g}")
    return f"largest difference {worst:.1e}"


def fields_of(sample: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): values for key, values in sample.items() if key.startswith(prefix)}
