"""A card's facts in words for people."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, Context
from typing import Any

Card = dict[str, Any]


def percent(share: float) -> str:
    return f"{100 * share:.1f}\u00a0%"


def accuracy(card: Card) -> dict[str, Any] | None:
    return measured(card, "accuracy")


def measured(card: Card, name: str) -> dict[str, Any] | None:
    return card.get("metrics", {}).get(name)


def headline(card: Card) -> tuple[str, str, dict[str, Any]] | None:
    """The one figure that says how good it is: as text, what it is, and the card's entry."""
    metrics = card.get("metrics", {})
    for name, words in (
        ("accuracy", "accuracy"),
        ("all_slots", "of captions have every fact right"),
        ("rank1", "rank-1, unseen identities"),
    ):
        if name in metrics:
            return percent(metrics[name]["value"]), words, metrics[name]
    if "BLEU-4" in metrics:
        return f"{100 * metrics['BLEU-4']['value']:.1f}", "BLEU-4 x 100", metrics["BLEU-4"]
    return None


def examples(card: Card) -> str:
    """What it learnt from: pictures or rows."""
    return "rows" if card.get("task") == "regression" else "pictures"


def errors(card: Card) -> dict[str, dict[str, Any]]:
    """Of a bundle for regression, for each target what was measured: MAE, RMSE, R2 and coverage, where they are in the card."""
    targets = card.get("table", {}).get("targets", [])
    suffixes = {target["name"]: f" {target['name']}" if len(targets) > 1 else "" for target in targets}
    names = ("MAE", "RMSE", "R2", "coverage")
    metrics = card.get("metrics", {})
    return {target: {name: metrics[name + suffix] for name in names if name + suffix in metrics} for target, suffix in suffixes.items()}


def data(card: Card) -> str:
    facts = card.get("data", {})
    made = " (drawn by a program, not real)" if facts.get("synthetic") else ""
    counts = facts.get("counts", {})
    trained = f", trained on {counts['train']:,} {examples(card)}" if counts.get("train") else ""
    return f"{facts.get('name', 'unknown')}{made}{trained}"


def licence(card: Card) -> str:
    return str(card.get("data", {}).get("licence") or "unknown")


def parameters(card: Card) -> str:
    total = sum(graph.get("parameters", 0) for graph in card["graphs"].values())
    return f"{total:,} parameters"


def megabytes(card: Card) -> str:
    files = [file for name, graph in card["graphs"].items() for file in (name, graph.get("external_data"))]
    size = sum(card.get("sizes", {}).get(file, 0) for file in files)
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.0f} kB"


def speed(card: Card) -> str:
    latency = card.get("latency", {})
    measured = latency.get("onnxruntime", {}).get("p50_ms")
    where = f" on {latency['device']}" if latency.get("device") else ""
    return f"{measured:.2g} ms a {examples(card)[:-1]}{where}" if measured else "not measured"


def answers_by(card: Card, files: Sequence[str], variant: str) -> str:
    """The files that answer, and of a variant what it lost; the other figures are those of float32."""
    told = card.get("variants", {}).get(variant, {})
    sentence = f" ({told['sentence']})" if isinstance(told, dict) and told.get("sentence") else ""
    return ", ".join(files) + sentence


def parity(card: Card) -> str:
    """How far the served file is from the Keras original, worst case over what was compared."""
    rows = [row for row in card.get("parity", []) if row["runtime"] == "onnxruntime"]
    if not rows:
        return "not measured"
    worst, samples = max(row["max_error"] for row in rows), max(row["samples"] for row in rows)
    same = "all decisions equal" if all(row["decisions_equal"] for row in rows) else "some decisions differ"
    bound = Context(prec=2, rounding=ROUND_CEILING).create_decimal(worst)  # rounded to the nearest it would not be a bound
    if examples(card) == "rows":
        return f"at most {float(bound):.1e} {rows[0].get('unit', '')}".rstrip() + f" from Keras over {samples:,} rows"
    kind = "test pictures" if card.get("data", {}).get("synthetic") else "real pictures"
    return f"at most {float(bound):.1e} from Keras over {samples:,} {kind}, {same}"


def looked_at(card: Card) -> str:
    """The size and colours, or the columns, that the network takes."""
    if examples(card) == "rows":
        names = list(dict.fromkeys(column.get("choice") or column["name"] for column in card["table"]["columns"]))
        return f"{len(names)} column{'s' * (len(names) > 1)}: {', '.join(names)}"
    image = next(entry for graph in card["graphs"].values() for entry in graph["inputs"] if entry["name"] == "image")
    colours = "grey" if image.get("color") == "grey" else "colour"
    if "resize" in image:
        height, width = image["resize"]["size"]
        return f"pictures of any size, {height} x {width} pixels inside, {colours}"
    height, width = image["shape"][2:] if image.get("layout") == "NCHW" else image["shape"][1:3]
    return f"{height} x {width} pixels, {colours}"
