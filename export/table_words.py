"""A regression in README.md: its columns, its parity, and two clients that run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from export.tables import ROWS, UNIT


def render(card: dict[str, Any], table: Any) -> list[str]:
    """The parts of README.md; `table` is that of readme.py."""
    section = card.get("table")
    if section is None:
        return []
    head = ("", "name", "unit", "lowest", "highest", "mean", "std")
    return [
        "MAE and RMSE are in the unit of the target, coverage is the share of true values inside the interval.",
        *(f"![predicted against true, and residuals]({name})" for name in section["pictures"]),
        "## Columns",
        "A row has these numbers in this order; figures are of the training rows, and outside their range the model extrapolates."
        + choices_in_words(section["columns"]),
        table(head, [(i, *cells(column)) for i, column in enumerate(section["columns"], 1)]),
        "It predicts:",
        table(head[1:], [cells(target) for target in section["targets"]]),
        interval_in_words(section["interval"]),
    ]


def cells(column: dict[str, Any]) -> tuple[str, ...]:
    return column["name"], column["unit"] or "-", *(f"{column[fact]:.6g}" for fact in ("low", "high", "mean", "std"))


def choices_in_words(columns: Sequence[dict[str, Any]]) -> str:
    choices = dict.fromkeys(column["choice"] for column in columns if column["choice"])
    return "".join(f" Of the columns `{choice}=...` one is 1, the others are 0." for choice in choices)


def interval_in_words(interval: dict[str, Any]) -> str:
    where = "on rows unknown here" if interval["measured_on"] == "unknown" else f"on the {interval['measured_on']} split"
    return (
        f"`interval` should hold {100 * interval['level']:.3g} % of new values: it takes errors as normal and equally wide for every row, "
        f"as measured {where}, and knows nothing of how sure the weights are."
    )


def parity_in_words(card: dict[str, Any], table: Any) -> str:
    """The part of README.md on parity."""
    allowed = max(row["tolerance"] for row in card["parity"])
    counts = card["table"]["parity_rows"]
    mixed = f" and {counts['mixed']} more that mix the columns of these" if counts["mixed"] else ""
    told = f"Largest difference to Keras on {counts['data']} rows of the data{mixed}, in {UNIT}; at most {allowed:g} is allowed."
    rows = [(row["runtime"], row["batch"], row["samples"], f"{row['max_error']:.1e}") for row in card["parity"]]
    return told + "\n\n" + table(("runtime", "batch", "samples", "max error"), rows)


def python_client() -> str:
    return f"""import csv
import json

import numpy as np
import onnxruntime

card = json.load(open("card.json", encoding="utf-8"))
columns = [column["name"] for column in card["table"]["columns"]]
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])

with open("{ROWS}", newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))[:3]
features = np.array([[float(row[name]) for name in columns] for row in rows], np.float32)
values, intervals = session.run(["value", "interval"], {{"features": features}})
for row, value, interval in zip(rows, values, intervals):
    for name, number, (low, high) in zip(card["labels"], value, interval):
        print(f"{{name}} {{number:.6g}}, between {{low:.6g}} and {{high:.6g}}; it was {{row[name]}}")

with np.load("sample.npz") as sample:  # rows and what Keras answered
    again = session.run(["value"], {{"features": sample["model/input/features"]}})[0]
    print(f"difference to Keras {{np.abs(again - sample['model/output/value']).max():.1e}}")
"""


def javascript_client() -> str:
    return f"""import {{ readFileSync }} from "node:fs";
import * as ort from "onnxruntime-node";

const {{ columns, targets }} = JSON.parse(readFileSync("card.json", "utf8")).table;
const session = await ort.InferenceSession.create("model.onnx");

const [, first] = readFileSync("{ROWS}", "utf8").split("\\n");
const row = first.split(",").slice(0, columns.length).map(Number); // in the order of the columns
const features = new ort.Tensor("float32", Float32Array.from(row), [1, row.length]);
const {{ value, interval }} = await session.run({{ features }});
targets.forEach(({{ name }}, i) => {{
  const [number, low, high] = [value.data[i], interval.data[2 * i], interval.data[2 * i + 1]].map((x) => x.toPrecision(6));
  console.log(`${{name}} ${{number}}, between ${{low}} and ${{high}}`);
}});
"""


def clients() -> list[str]:
    """The client sections of README.md."""
    return [
        "## Python",
        f"Run in this folder, after `pip install numpy onnxruntime`:\n\n```python\n{python_client()}```",
        "## JavaScript",
        f"Run in this folder as `predict.mjs`, after `npm install onnxruntime-node`:\n\n```javascript\n{javascript_client()}```",
    ]


def files(card: dict[str, Any]) -> list[str]:
    return [
        f"- `{ROWS}`: rows of the data with their true values, not chosen by the answer; licence: {card['data']['licence']}",
        *(f"- `{name}`: predicted against true, and the residuals" for name in card["table"]["pictures"]),
    ]
