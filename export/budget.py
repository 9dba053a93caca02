"""python -m export.budget: the operators of exported graphs against a committed table; counts can only fall.

Rows are models of the registry, small versions of one of each family, and the graphs of the bundles in saved_models. Models at their own
sizes have their counts in zoo_export.csv, which `export.zoo` holds to in the same way.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

DESCRIPTION = """\
Count the operators of exported graphs and compare them with tests/export/budget.csv.

  python -m export.budget             say what differs
  python -m export.budget --write     lower the table to what was counted; nothing is written where a count has risen
"""
TABLE = Path(__file__).parents[1] / "tests" / "export" / "budget.csv"
BUNDLES = TABLE.parents[2] / "saved_models"
COLUMNS = ("model", "options", "nodes", "operators")
HOW = "python -m export.budget --write"
Counts = Counter[str]


class OverBudget(ValueError):
    """A graph has more operators than the table allows, or fewer; the message names the model, the operator and the two numbers."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m export.budget", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="lower the table")
    options = parser.parse_args(argv)
    from export.screen import start

    start()
    rows = read_table()
    found = {name: count(name, row) for name, row in with_new_bundles(rows).items()}
    risen = 0
    for name, counts in found.items():
        held = rows.get(name)
        problem = f"{name} is new" if held is None else risen_of(name, counts, parse(held["operators"]))
        if problem or counts != parse(held["operators"] if held else ""):
            print(problem or fallen_of(name, counts, parse(rows[name]["operators"])))
        risen += bool(problem) and held is not None
    if risen:
        return 1
    if options.write:
        write_table({name: row_of(name, with_new_bundles(rows)[name], counts) for name, counts in found.items()})
        print(f"{TABLE.name} is written: {len(found)} graphs")
    return 0


def check(name: str, counts: Counts, allowed: Counts) -> None:
    """OverBudget where the counts are not those of the table: more is refused, fewer asks for a lower table."""
    problem = risen_of(name, counts, allowed) or fallen_of(name, counts, allowed)
    if problem:
        raise OverBudget(problem)


def risen_of(name: str, counts: Counts, allowed: Counts) -> str:
    """The sentence for a graph that has more of an operator; a trade that leaves fewer in all is none."""
    more = sorted(kind for kind in counts if counts[kind] > allowed[kind])
    if not more or counts.total() < allowed.total():
        return ""
    told = ", ".join(f"{kind} {allowed[kind]}" for kind in more)
    now = ", ".join(f"{kind} {counts[kind]}" for kind in more)
    return f"The operators of {name} may only fall: {told}, {allowed.total()} in all. Received: {now}, {counts.total()} in all"


def fallen_of(name: str, counts: Counts, allowed: Counts) -> str:
    if counts == allowed:
        return ""
    differ = ", ".join(f"{kind} {allowed[kind]} -> {counts[kind]}" for kind in sorted({*counts, *allowed}) if counts[kind] != allowed[kind])
    return f"The table must be lowered for {name}, with {HOW}. Received: {differ}"


def count(name: str, row: dict[str, str]) -> Counts:
    """Operators of a bundle's graph by its file, of a model by an export."""
    if name.endswith(".onnx"):
        return of_file(BUNDLES / name)
    from export.zoo import compare, randomise, serving
    from kerasdl.models import create_model

    model = create_model(name, 10, **options_of(row))
    randomise(model)
    return of_proto(compare(serving(model))[0])


def of_file(path: Path) -> Counts:
    import onnx

    return of_proto(onnx.load(path, load_external_data=False))


def of_proto(proto: Any) -> Counts:
    return Counter(node.op_type for node in proto.graph.node)


def with_new_bundles(rows: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """The rows with one for every graph of every bundle, and without those of bundles that went."""
    graphs = [path.relative_to(BUNDLES).as_posix() for path in sorted(BUNDLES.glob("[!.]*/*.onnx"))]
    kept = {name: row for name, row in rows.items() if not name.endswith(".onnx")}
    return kept | {name: rows.get(name, {}) for name in graphs}


def options_of(row: dict[str, str]) -> dict[str, Any]:
    """What the model is built with, lists as tuples."""
    found = json.loads(row["options"] or "{}")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}


def parse(told: str) -> Counts:
    """`20 Conv, 17 Relu`"""
    pairs = [part.split(" ") for part in told.split(", ") if part]
    return Counter({kind: int(number) for number, kind in pairs})


def row_of(name: str, row: dict[str, str], counts: Counts) -> dict[str, str]:
    told = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    return {"model": name, "options": row.get("options", ""), "nodes": str(counts.total()), "operators": told}


def read_table(path: Path = TABLE) -> dict[str, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row["model"]: dict(row) for row in csv.DictReader(file)}


def write_table(rows: dict[str, dict[str, str]], path: Path = TABLE) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(
            [rows[name][column] for column in COLUMNS] for name in sorted(rows, key=lambda name: (name.endswith(".onnx"), name))
        )
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
