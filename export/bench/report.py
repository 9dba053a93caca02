"""The rows of the bench as text for the screen, as Markdown and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export import latency
from export.bench.measure import FAILED, OK, WRONG, Result, Row

TITLES = ("runtime", "precision", "batch", "status", "MB", "{metric}", "equal", "error", "p50 ms", "p95 ms", "threads")
LEFT = (0, 1, 3)  # columns of words


def write(path: Path, text: str) -> None:
    from kerasdl.whole_file import whole_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(text)


def as_text(result: Result) -> str:
    """Aligned columns, with what was said of a row below."""
    cells = [titles(result), *(row_cells(row, row.status) for row in result.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) if i in LEFT else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths, strict=True)))
        for line in cells
    ]
    told = [f"  {row.runtime}, {row.precision}: {row.said}" for row in result.rows if row.said]
    return "\n".join([f"{result.name}: {described(result)}", *(f"  {line.rstrip()}" for line in lines), *dict.fromkeys(told)])


def as_markdown(results: Sequence[Result]) -> str:
    """A section a bundle, behind what the figures are."""
    versions = {name: version for result in results for name, version in result.versions.items()}
    parts = [
        "# Bundles in several runtimes",
        f"`python -m export bench`, {latency.processor()}; {', '.join(' '.join(one) for one in versions.items())}.",
        "The reference is the SavedModel in TensorFlow on the same examples. `equal` counts the examples decided as it does; where its "
        "two best are nearly tied, another decision is no mistake. Of a table it counts the rows within the tolerance, or as near as "
        "the reference's own answer stays when the row's numbers move by one step of float32. `error` is the largest difference of a "
        "number, of a table in standard deviations of the target. p50 and p95 are milliseconds of an answer to one batch inside the "
        "runtime. A row whose answers are not those of Keras is **WRONG**, however fast it is; int8 and fp16 are judged by their score.",
    ]
    if len(results) > 1:
        parts += ["## In short", "Of each bundle and runtime: examples decided as Keras does, and p50, in float32.", in_short(results)]
    for result in results:
        told = dict.fromkeys(f"- {row.runtime}, {row.precision}: {row.status}, {row.said}." for row in result.rows if row.said)
        parts += [f"## {result.name}", sentence(described(result)), markdown_table(result), *(["\n".join(told)] if told else [])]
    return "\n\n".join(parts) + "\n"


def in_short(results: Sequence[Result]) -> str:
    """A line a bundle and a column a runtime, of the smallest batch."""
    names = list(dict.fromkeys(row.runtime for result in results for row in result.rows if row.count is not None))
    lines = [[result.name, *(short(result, name) for name in names)] for result in results]
    return as_table(["bundle", *names], ["---"] * (len(names) + 1), lines)


def short(result: Result, runtime: str) -> str:
    rows = [row for row in result.rows if (row.runtime, row.precision) == (runtime, "float32")]
    if not rows or rows[0].count is None:
        return rows[0].status if rows else "-"
    row = min(rows, key=lambda one: one.batch or math.inf)
    return f"{'' if row.status == OK else f'{shown(row.status)}: '}{equal(row)}, {row.p50_ms:.3g} ms"


def described(result: Result) -> str:
    told = f"{result.task}, {result.examples}"
    if result.reference is None:
        return f"{told}; nothing to score"
    return f"{told}; {result.metric} of {result.trials:,}, the SavedModel's is {result.reference:.4f}"


def sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def markdown_table(result: Result) -> str:
    rule = ["---" if i in LEFT else "---:" for i in range(len(TITLES))]
    return as_table(titles(result), rule, [row_cells(row, shown(row.status)) for row in result.rows])


def as_table(head: Sequence[str], rule: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *lines])


def shown(status: str) -> str:
    return f"**{status}**" if status in (WRONG, FAILED) else status


def equal(row: Row) -> str:
    tied = f" + {row.tied} nearly tied" if row.tied else ""
    return f"{row.equal:,}{tied} of {row.count:,}"


def titles(result: Result) -> list[str]:
    return [title.format(metric=result.metric) for title in TITLES]


def row_cells(row: Row, status: str) -> list[str]:
    if row.count is None:
        return [row.runtime, row.precision, "", status, *[""] * (len(TITLES) - 4)]
    return [
        row.runtime,
        row.precision,
        str(row.batch),
        status,
        f"{(row.size or 0) / 1e6:.2f}",
        "-" if row.score is None else f"{row.score:.4f}",
        equal(row),
        f"{row.error:.1e}",
        f"{row.p50_ms:.3f}",
        f"{row.p95_ms:.3f}",
        str(row.threads),
    ]


def as_json(results: Sequence[Result]) -> str:
    facts = {"device": latency.processor(), "bundles": [finite(result.to_json()) for result in results]}
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"


def finite(value: Any) -> Any:
    """JSON has no infinity: null in its place."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
