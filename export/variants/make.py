"""Variants of a finished bundle: int8 for CPUs and float16 for GPUs, each kept only when the task's own score allows it.

    variants/int8/GRAPH.onnx    variants/fp16/GRAPH.onnx

They need the bundle and the data of its recipe, not the run and no conversion. What was measured is in the card under `variants`: an
entry for every file by its path, and one named int8 or fp16 for the whole, which is there too when no file was kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from apps.runtime import BundleError, load_bundle, signature
from export import bundle, gates, latency, tables, verify
from export import card as cards
from export.gates import ExportRefused
from export.variants import check, half, int8, points
from export.variants.check import KINDS, folder_of, path_of, stem_of
from export.variants.judge import FLOAT32, Judge, Protos

MAX_DROP = 0.5  # points of the task's main metrics
NOT_MEASURED = "not measured: it is for GPUs, and none was used here"
VERSIONS = ("python", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu")  # of the card's, those that had a part in it


@dataclass(frozen=True)
class Made:
    """What came of one kind: the graphs that changed, none where it was refused, and what the card says of the whole."""

    protos: Protos
    facts: dict[str, Any] = field(default_factory=dict)


def make_variants(
    name: str,
    out: str | Path = "saved_models",
    kinds: Iterable[str] = KINDS,
    max_drop: float = MAX_DROP,
    say: Callable[[str], None] = lambda line: None,
    task: Any = None,
    splits: Any = None,
) -> dict[str, Any]:
    """Make the variants of the bundle `OUT/NAME` and rewrite it whole; gives its new card, or raises ExportRefused and changes nothing.

    Args:
        kinds: of "int8" and "fp16"; the others stay as they are.
        max_drop: points that a variant may lose in each main metric, on the validation split, where it is chosen, and on the test split,
            which is looked at once.
        task, splits: what the recipe of the card says, for a bundle that was exported without one.
    """
    kinds = list(kinds)
    if not kinds or set(kinds) - set(KINDS) or not max_drop >= 0:
        raise ExportRefused(f"variants are of {', '.join(KINDS)}, and may lose 0 points or more. Received: {', '.join(kinds)}, {max_drop}")
    folder = Path(out) / name
    card = verify.read_card(folder)
    verify.check_fingerprint(folder, card)
    if task is None or splits is None:
        say(f"{name}: opening the data of its recipe")
        task, splits = opened(card)
    check_data(card, task, splits)
    judge = Judge(task, splits, {stem_of(graph): onnx.load(folder / graph) for graph in card["graphs"]}, is_channels_first(card))
    made = {kind: tried(kind, judge, max_drop, lambda line: say(f"{name}: {line}")) for kind in kinds}
    signed = (folder / signature.FILE).exists()
    with bundle.staged(Path(out), name) as fresh:
        shutil.copytree(folder, fresh, symlinks=True, dirs_exist_ok=True)
        (fresh / signature.FILE).unlink(missing_ok=True)  # it was of another card
        card["variants"] = rewritten(fresh, card, made)
        bundle.write_card(fresh, card, examples_of(card))
        check_served(fresh, card, [kind for kind in kinds if made[kind].protos])
    for kind in kinds:
        say(f"{name}: {made[kind].facts['sentence']}")
    if signed:
        say(f"{name}: its signature was of the card before and is gone; sign it again with: python -m export sign {name}")
    return card


def opened(card: dict[str, Any]) -> tuple[Any, Any]:
    """The task and the data of the card's recipe."""
    if card["recipe"] is None:
        raise ExportRefused("variants need the recipe of a bundle, for its data. Received: a card without one")
    from kerasdl import Recipe

    recipe = Recipe.from_json(card["recipe"])
    return recipe.task, recipe.data()


def is_channels_first(card: dict[str, Any]) -> bool:
    return any(entry.get("layout") == "NCHW" for graph in card["graphs"].values() for entry in graph["inputs"])


def check_data(card: dict[str, Any], task: Any, splits: Any) -> None:
    """The data is what the bundle was made of, and has something to choose by."""
    labels = [str(label) for label in task.labels(splits.spec)]
    counts = {split: len(splits.split(split)) for split in ("train", "valid")}
    told = {split: card["data"]["counts"].get(split) for split in counts}
    if labels != card["labels"] or (card["recipe"] is not None and told != counts):
        raise ExportRefused(f"the data must be what the bundle was made of. Received: {counts} examples for {told}, {len(labels)} labels")
    if not task.count(splits, "valid"):
        raise ExportRefused("variants are chosen on the validation split. Received: nothing to score there")


def tried(kind: str, judge: Judge, max_drop: float, say: Callable[[str], None]) -> Made:
    """A variant that a gate stops is one that is not kept."""
    try:
        return (in_int8 if kind == "int8" else in_half)(judge, max_drop, say)
    except ExportRefused as error:
        return Made({}, {"accepted": False, "max_drop": max_drop, "sentence": f"{kind} could not be made: {error}; float32 stays"})


def in_int8(judge: Judge, max_drop: float, say: Callable[[str], None]) -> Made:
    found = int8.search(judge, max_drop, say)
    best = found.best
    facts = {
        "accepted": False,
        "scheme": best.scheme,
        "layers": best.layers,
        "left_in_float32": {graph: list(left) for graph, left in best.plan.items()},
        "calibration": found.calibration,
        "max_drop": max_drop,
        "tried": found.tried(),
    }
    told = f"int8 ({best.name})"
    if not found.passes:
        return refused(facts, f"{told} lost {int8.in_points(best.lost)} on the validation split, and {allowed(max_drop)}")
    both = {FLOAT32: found.times[FLOAT32], "int8": found.times[best.name]}
    facts["latency"] = {"batch": 1, "threads": 1, "device": latency.processor(), **both}
    ratio = both["int8"]["ratio"]
    if judge.task.name == tables.TASK and ratio <= 1:
        return refused(facts, f"{told} is no gain for so small a net: {ratio:.2f} times the speed")
    return judged(judge, best.protos, list(best.plan), best.scores, facts, told, f"{ratio:.2f} times the speed on one thread, ")


def in_half(judge: Judge, max_drop: float, say: Callable[[str], None]) -> Made:
    protos = {graph: half.halve(proto) for graph, proto in judge.exact.items()}
    for proto in protos.values():
        gates.check_domains(proto)
        gates.check_proto(proto)
    scores = judge.score(protos)
    lost = judge.lost(scores)
    say(f"fp16: {int8.in_points(lost)} lost")
    facts = {
        "accepted": False,
        "scheme": "float16",
        "max_drop": max_drop,
        "latency": NOT_MEASURED,
    }
    if not points.most(lost) <= max_drop:
        return refused(facts, f"fp16 lost {int8.in_points(lost)} on the validation split, and {allowed(max_drop)}")
    facts["parity"] = alike = judge.alike(protos)
    told = f"{alike['decisions_equal']:,} of {alike['examples']:,} decisions as in float32, its latency on a GPU was not measured, "
    return judged(judge, protos, list(protos), scores, facts, "fp16", told)


def refused(facts: dict[str, Any], why: str) -> Made:
    return Made({}, {**facts, "sentence": f"{why}: float32 stays"})


def allowed(max_drop: float) -> str:
    return f"{max_drop:g} may be lost"


def judged(judge: Judge, protos: Protos, changed: list[str], scores: dict[str, float], facts: dict[str, Any], told: str, more: str) -> Made:
    """The last gate, on the test split where there is one; what was chosen on the validation split is not chosen again."""
    facts["metrics"] = {"valid": judge.figures(scores, "valid")}
    last = "valid"
    if judge.task.count(judge.splits, "test"):
        last = "test"
        facts["metrics"]["test"] = judge.figures(judge.score(protos, "test"), "test")
    measured = facts["metrics"][last]
    if not points.most(measured["lost"]) <= facts["max_drop"]:
        if not np.isfinite(points.most(measured["lost"])):
            del facts["metrics"][last]  # no figures came
        lost = int8.in_points(measured["lost"])
        return refused(facts, f"{told} lost {lost} on the test split, and {allowed(facts['max_drop'])}")
    sizes = {graph: (judge.exact[graph].ByteSize(), protos[graph].ByteSize()) for graph in changed}
    facts |= {"accepted": True, "bytes": {kind: sum(size[i] for size in sizes.values()) for i, kind in enumerate((FLOAT32, "variant"))}}
    share = facts["bytes"]["variant"] / facts["bytes"][FLOAT32]
    scored = ", ".join(
        f"{name} {measured[FLOAT32][name]['value']:.4f} became {measured['variant'][name]['value']:.4f}" for name in measured["lost"]
    )
    where = "validation" if last == "valid" else last
    return Made(
        {graph: protos[graph] for graph in changed},
        {**facts, "sentence": f"{told}: {scored} ({where} split), {more}{share:.0%} of the bytes"},
    )


def rewritten(folder: Path, card: dict[str, Any], made: dict[str, Made]) -> dict[str, Any]:
    """The files of these kinds exchanged, and the card's new `variants`."""
    gone = {path_of(kind, graph) for kind in made for graph in card["graphs"]} | set(made)
    entries = {path: entry for path, entry in card["variants"].items() if path not in gone}
    for kind, one in made.items():
        shutil.rmtree(folder / folder_of(kind), ignore_errors=True)
        entries[kind] = cards.as_json({**one.facts, "versions": versions(), "files": [path_of(kind, graph) for graph in one.protos]})
        for graph, proto in one.protos.items():
            path = folder / path_of(kind, graph)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(proto.SerializeToString())
            entries[path_of(kind, graph)] = file_entry(kind, graph, proto, path)
    if (folder / "variants").is_dir() and not any((folder / "variants").iterdir()):
        (folder / "variants").rmdir()
    return entries


def versions() -> dict[str, str]:
    return {name: version for name, version in cards.versions().items() if name in VERSIONS}


def file_entry(kind: str, graph: str, proto: onnx.ModelProto, path: Path) -> dict[str, Any]:
    facts = cards.graph_entry(proto, [], 0, cards.digest_of_file(path))
    kept = {name: facts[name] for name in ("opset", "ir_version", "operators", "sha256")}
    return {"kind": kind, "graph": graph, "bytes": path.stat().st_size, **kept}


def examples_of(card: dict[str, Any]) -> list[str]:
    """What README.md opens, as `write_card` was given it."""
    return [path for path in card["files"] if path.startswith("examples/") and path.endswith((".png", ".jpg", ".csv"))]


def check_served(folder: Path, card: dict[str, Any], kinds: Iterable[str]) -> None:
    """What will serve these files takes them."""
    for kind in kinds:
        try:
            loaded = load_bundle(folder, variant=kind)
        except BundleError as error:
            raise ExportRefused(str(error)) from error
        if loaded.variant != kind:
            raise ExportRefused(f"the server must find the variant. Received: {loaded.variant} for {card['name']}/{kind}")
    for _ in check.check(folder, card):
        pass
