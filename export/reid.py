"""The card's section `reid` of an embedding: what it must hold, when it refuses an export, and how it reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from export import demo
from export.gates import ExportRefused

FIELDS = {
    "split": str,
    "protocol": str,
    "distance": str,
    "average_precision": str,
    "cmc": list,
    "mAP": float,
    "mINP": float,
    "queries": dict,
    "gallery": dict,
    "reranked": dict,
    "verification": dict,
    "ranking_parity": dict,
    "pictures": list,
}
RANKS = 50
DEEPER = 1e-5  # of mAP: near ties below the places that were compared
SHOWN = (1, 5, 10, 20)


def check_section(card: dict[str, Any]) -> None:
    """The section, where a card has one, is whole, agrees with itself, the metrics and the files, and passes the gate of its ranking."""
    section = card.get("reid")
    if section is None:
        return
    wrong = [name for name, kind in FIELDS.items() if not isinstance(section.get(name), kind)]
    if wrong:
        raise ExportRefused(f"the card's section reid must have every field with its type. Received: no usable {', '.join(wrong)}")
    check_shares(section)
    check_metrics(section, card["metrics"])
    check_ranking(section["ranking_parity"], section["queries"]["valid"])
    check_curve(section["verification"])
    missing = [name for name in [*section["pictures"], *[demo.FILE] * ("demo" in section)] if name not in card["files"]]
    if missing:
        raise ExportRefused(f"the pictures of the section reid must be in the bundle. Received: no {', '.join(missing)}")


def check_shares(section: dict[str, Any]) -> None:
    cmc = section["cmc"]
    if len(cmc) != RANKS or any(after < before for before, after in zip([0.0, *cmc], [*cmc, 1.0], strict=True)):
        raise ExportRefused(f"the CMC must be {RANKS} shares that never fall. Received: {len(cmc)}, from {cmc[:1]} to {cmc[-1:]}")
    outside = [name for name in ("mAP", "mINP") if not 0 <= section[name] <= 1]
    if outside or section["queries"].get("valid", 0) < 1:
        raise ExportRefused(f"mAP and mINP must be shares of at least one valid query. Received: {section['mAP']}, {section['queries']}")
    for point in section["verification"].get("thresholds", []):
        if "problem" not in point and not (0 <= point["far"] <= 1 and 0 <= point["tpr"] <= 1 and 0 <= point["threshold"] <= 2):
            raise ExportRefused(f"a threshold must be a cosine distance with shares. Received: {point}")


def check_curve(verification: dict[str, Any]) -> None:
    """It rises, and goes through the calibrated thresholds. Cards before it have none."""
    curve = verification.get("curve")
    if curve is None:
        return
    rows = [curve.get(name, []) for name in ("threshold", "far", "tpr")]
    if len({len(row) for row in rows}) > 1 or not all(low <= high for row in rows for low, high in zip(row, row[1:], strict=False)):
        raise ExportRefused(f"the curve must have a rate for each threshold, none falling. Received: {[len(row) for row in rows]} of them")
    told = list(zip(*rows, strict=True))
    missing = [
        point["threshold"]
        for point in verification["thresholds"]
        if "problem" not in point and (point["threshold"], point["far"], point["tpr"]) not in told
    ]
    if missing:
        raise ExportRefused(f"the curve must go through the calibrated thresholds. Received: {missing} not on it with their rates")


def check_metrics(section: dict[str, Any], metrics: dict[str, Any]) -> None:
    """The headline figures are those of the section, without re-ranking."""
    told = {"mAP": section["mAP"], "mINP": section["mINP"], **{f"rank{rank}": section["cmc"][rank - 1] for rank in (1, 5, 10)}}
    differ = [name for name, value in told.items() if name not in metrics or abs(metrics[name]["value"] - value) > 1e-9]
    if differ:
        raise ExportRefused(f"the metrics must be those of the section reid. Received: another {', '.join(differ)}")


def check_ranking(parity: dict[str, Any], valid: int) -> None:
    """onnxruntime ranks the gallery as Keras does, apart from near ties."""
    if parity["different"]:
        raise ExportRefused(
            f"onnxruntime must rank the first {parity['first']} as Keras does wherever they are not nearly tied. "
            f"Received: {parity['different']:,} other places in {parity['queries_different']:,} of {parity['queries']:,} queries"
        )
    by_ties = parity["queries_with_near_ties"] / valid
    if not (parity["cmc_difference"] <= by_ties + 1e-12 and parity["mAP_difference"] <= by_ties + DEEPER):
        raise ExportRefused(
            "CMC and mAP of onnxruntime must be those of Keras, apart from near ties. "
            f"Received: differences of {parity['cmc_difference']:.3g} and {parity['mAP_difference']:.3g}"
        )


def render(card: dict[str, Any], table: Any) -> list[str]:
    """The parts of README.md; `table` is that of readme.py."""
    section = card.get("reid")
    if section is None:
        return []
    return [
        "## Who is who",
        counts(section),
        table(("", *(f"rank-{rank}" for rank in SHOWN), "mAP", "mINP"), list(ranking_rows(section))),
        reranking(section["reranked"]),
        "![CMC](cmc.png)",
        *verification(section, table),
        "![ROC](roc.png)",
        "Queries from the worst to the best, and what they found: framed are the same person, another one, and what is not counted.",
        "![ranked strips](ranks.png)",
        parity_line(section["ranking_parity"]),
        *demo_line(section),
    ]


def counts(section: dict[str, Any]) -> str:
    queries, gallery = section["queries"], section["gallery"]
    return (
        f"Protocol {section['protocol']}, {section['distance']} distance, {section['average_precision']} average precision. "
        f"{section['split'].capitalize()} split: {queries['valid']:,} queries with a match, {queries['invalid']:,} without, which do not "
        f"count; {gallery['pictures']:,} gallery pictures of {gallery['identities']:,} identities, {gallery['distractors']:,} of them "
        f"distractors and {gallery['junk']:,} junk."
    )


def ranking_rows(section: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, figures in ((f"{section['split']} split", section), ("another domain", section.get("cross"))):
        if figures is None:
            continue
        yield (name, *(f"{figures['cmc'][rank - 1]:.4f}" for rank in SHOWN), f"{figures['mAP']:.4f}", f"{figures['mINP']:.4f}")
        again = figures["reranked"]
        if "problem" not in again:
            blank = ["-"] * (len(SHOWN) - 1)
            yield (f"{name}, re-ranked", f"{again['rank1']:.4f}", *blank, f"{again['mAP']:.4f}", f"{again['mINP']:.4f}")


def reranking(found: dict[str, Any]) -> str:
    if "problem" in found:
        return f"Not re-ranked: {found['problem']}."
    told = "It lets the queries help each other, which a single picture cannot: its figures are no headline."
    return f"Re-ranking is {found['method']}. {told}"


def verification(section: dict[str, Any], table: Any) -> list[str]:
    found = section["verification"]
    if "problem" in found:
        return [f"No threshold: {found['problem']}."]
    pairs = found["pairs"]["test"]
    told = (
        f"Same or not, by a threshold of the {found['distance']} distance calibrated on the {found['calibrated_on']}. FAR is the share of "
        f"{pairs['two_people']:,} pairs of two people that it lets through, TPR that of {pairs['one_person']:,} pairs of one person; "
        "95 % intervals count people, not pairs. A false accept rate grows with the gallery: this is that of one pair."
    )
    rows = [row for point in found["thresholds"] for row in threshold_rows(section["split"], point)]
    return [told, table(("FAR aimed at", "threshold", "measured on", "FAR", "TPR"), rows)]


def threshold_rows(split: str, point: dict[str, Any]) -> list[tuple[str, ...]]:
    aim = f"{point['target_far']:g}"
    if "problem" in point:
        return [(aim, "-", point["problem"], "-", "-")]
    rates = {f"{split} split": point, "another domain": point.get("cross")}
    return [
        (aim, f"{point['threshold']:.4f}", name, with_interval(found, "far"), with_interval(found, "tpr"))
        for name, found in rates.items()
        if found
    ]


def with_interval(rates: dict[str, Any], name: str) -> str:
    low, high = rates[f"{name}_interval"]
    return f"{rates[name]:.4f} ({low:.4f} to {high:.4f})"


def parity_line(parity: dict[str, Any]) -> str:
    return (
        f"onnxruntime and Keras rank {parity['gallery']:,} pictures for {parity['queries']:,} queries alike in the first "
        f"{parity['first']}, apart from {parity['near_ties']:,} near ties (distances closer than {parity['near']:g}) in "
        f"{parity['queries_with_near_ties']:,} queries; CMC differs by {parity['cmc_difference']:.1e} at most, "
        f"mAP by {parity['mAP_difference']:.1e}."
    )


def demo_line(section: dict[str, Any]) -> list[str]:
    """What the matching page opens with."""
    found = section.get("demo")
    if found is None:
        return []
    return [
        f"`{demo.FILE}` holds {found['pictures']:,} pictures of {found['people']:,} people of the {section['split']} split, named as "
        "Market-1501 names them, for a search to try. The examples show some of them by cameras that it lacks, and strangers whom it "
        "does not hold."
    ]
