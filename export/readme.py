"""README.md of a bundle, the model card: facts, figures and two clients that run, all generated from card.json."""

from __future__ import annotations

import json
from typing import Any

from export import captioner_loop, captions, contract_words, demo, reid, table_words
from export.card import fingerprint
from export.variants import words as variants


def render(card: dict[str, Any], examples: list[str]) -> str:
    """The whole text; `examples` are relative paths of pictures the clients can open."""
    parts = [
        f"# {card['name']}",
        card["intended_use"],
        facts(card),
        "## How good",
        metrics(card),
        *reid.render(card, table),
        *captions.render(card, table),
        *table_words.render(card, table),
        *contract_words.render(card, table, figure),
        "## Proof that it is the same function",
        parity(card),
        "## Speed and size",
        speed(card),
        *variants.render(card, table),
        "## Input and output",
        interface(card),
        *clients(card, examples),
        "## Limits",
        card["limits"],
        "## Files",
        files(card, examples),
        f"Fingerprint of card.json without `files`: `{fingerprint(card)}`",
    ]
    return "\n\n".join(parts) + "\n"


def facts(card: dict[str, Any]) -> str:
    data, source = card["data"], card["source"]
    counts = ", ".join(f"{count:,} {split}" for split, count in data["counts"].items())
    counts += f", without {data['left_out']}" if "left_out" in data else ""
    minutes = "" if source["training_minutes"] is None else f" in {source['training_minutes']:.1f} minutes"
    rows = [
        ("Task", card["task"]),
        (
            "Data",
            f"{data['name']} ({data['source']}), {'synthetic' if data['synthetic'] else 'real'}, {counts}; licence: {data['licence']}",
        ),
        ("Parameters", parameters(card)),
        ("Trained", f"on {source['device']}{minutes} by `{source['command']}`"),
        ("Code", f"commit {source['commit'] or 'unknown'}{' with local changes' if source['dirty'] else ''}"),
        ("Recipe", (card["recipe"] or {}).get("note") or "none: exported from a script"),
    ]
    return table(("", ""), rows)


def parameters(card: dict[str, Any]) -> str:
    counts = {name: f"{graph['parameters']:,}" for name, graph in card["graphs"].items()}
    return ", ".join(f"{count} in {name}" for name, count in counts.items()) if len(counts) > 1 else counts["model.onnx"]


def metrics(card: dict[str, Any]) -> str:
    if not card["metrics"]:
        return "Not measured."
    rows = [(name, figure(m["value"]), interval(m), f"{m['n']:,}", m["protocol"]) for name, m in card["metrics"].items()]
    return table(("metric", "value", "95 % interval", "n", "protocol"), rows)


def interval(metric: dict[str, Any]) -> str:
    return "-" if metric["interval"] is None else " to ".join(map(figure, metric["interval"]))


def figure(value: float) -> str:
    """Four decimals of a share; of dollars one."""
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"


def parity(card: dict[str, Any]) -> str:
    if "table" in card:
        return table_words.parity_in_words(card, table)
    rows = [
        (
            row["runtime"] + (f", pictures of {row['size'][0]} x {row['size'][1]}" if "size" in row else ""),
            row["batch"],
            row["samples"],
            f"{row['max_error']:.1e}",
            "equal" if row["decisions_equal"] else "differ",
            row["near_ties"],
        )
        for row in card["parity"]
        if "graph" not in row
    ]
    tolerance = max(row["tolerance"] for row in card["parity"])
    told = (
        f"Largest absolute difference to Keras on real examples; at most {tolerance:g} is allowed. A near tie is an example whose two best "
        f"answers lie closer than {2 * tolerance:g}: only there might a decision differ."
    )
    whole = told + "\n\n" + table(("runtime", "batch", "samples", "max error", "decisions", "near ties"), rows)
    alone = list(captions.graph_rows(card))
    if not alone:
        return whole
    told = "Each graph alone, called as Keras called its own: every call for those pictures."
    return whole + f"\n\n{told}\n\n" + table(("runtime", "graph", "batch", "pictures", "rows", "max error"), alone)


def speed(card: dict[str, Any]) -> str:
    rows = [
        (runtime, f"{entry['p50_ms']:.2f}", f"{entry['p95_ms']:.2f}", entry["threads"])
        for runtime, entry in card["latency"].items()
        if isinstance(entry, dict)
    ]
    sizes = ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in card["sizes"].items())
    return table(("batch 1", "p50 ms", "p95 ms", "threads"), rows) + f"\n\nOn {card['latency']['device']}. Sizes: {sizes}."


def interface(card: dict[str, Any]) -> str:
    lines = [line for name, graph in card["graphs"].items() for line in slots(name if len(card["graphs"]) > 1 else "", graph)]
    graphs = list(card["graphs"].values())
    entries = [entry for graph in graphs for entry in graph["inputs"]]
    steps = [step for entry in entries for step in entry.get("prepare", [])]
    if steps:
        lines.append("- a picture of another size goes through these steps first: " + "; then ".join(map(in_words, steps)))
    lines += [f"- {contract_words.in_words(entry)}" for entry in entries if "resize" in entry]
    lines += [contract_words.CHANNELS_FIRST for entry in entries if entry.get("layout") == "NCHW"]
    if "caption" in card:
        lines.append(captions.in_words(card))
    opset = graphs[0]["opset"]
    lines.append(f"- scaling and normalisation are inside the graph; operators are of the ai.onnx domain only, opset {opset}")
    return "\n".join(lines)


def slots(name: str, graph: dict[str, Any]) -> list[str]:
    of = f" of {name}" if name else ""
    return [f"- {kind}{of} `{entry['name']}`: {describe(entry)}" for kind in ("input", "output") for entry in graph[f"{kind}s"]]


def describe(entry: dict[str, Any]) -> str:
    bounds = f", {entry['range'][0]} to {entry['range'][1]}" if entry.get("range") else ""
    color = f", {entry['color']}" if "color" in entry else ""
    return f"{entry['dtype']} [{', '.join(map(str, entry['shape']))}]{bounds}{color}"


def in_words(step: dict[str, Any]) -> str:
    if step["op"] == "ink":
        middle = "centre of mass" if step["center"] == "mass" else "bounding box"
        return (
            "a dark drawing on light paper is inverted, stretched to 0..255, cut to its ink and its "
            f"{middle} centred on a black square with a margin of {step['margin']:g} of the ink's longest side"
        )
    if step["op"] == "center_crop":
        return "the largest square in the middle is cut out"
    if step["op"] == "resize":
        return f"it is resized to {step['size'][0]} x {step['size'][1]} by Pillow's {step['method']} filter"
    return str(step)


def clients(card: dict[str, Any], examples: list[str]) -> list[str]:
    """The client sections; only classifiers and embeddings of pictures have clients as yet."""
    if card["task"] == captions.TASK and examples:
        client = captions.python_client(card, examples[0])
        return ["## Python", f"Run in this folder, after `pip install numpy pillow onnxruntime`:\n\n```python\n{client}```"]
    if "table" in card:
        return table_words.clients()
    (entry,) = next(iter(card["graphs"].values()))["inputs"][:1]
    if card["task"] == "embedding" and len(examples) > 1:
        client = comparing_client(entry, examples[:3], first_threshold(card))
        return ["## Python", f"Run in this folder, after `pip install numpy pillow onnxruntime`:\n\n```python\n{client}```"]
    if not examples or entry["name"] != "image" or not card["labels"]:
        return []
    return [
        "## Python",
        f"Run in this folder, after `pip install numpy pillow onnxruntime`:\n\n```python\n{python_client(entry, examples[0])}```",
        "## JavaScript",
        "Run in this folder as `classify.mjs`, after `npm install onnxruntime-node pngjs`:\n\n"
        f"```javascript\n{javascript_client(entry, examples[0])}```",
    ]


def python_client(entry: dict[str, Any], example: str) -> str:
    mode = "L" if entry["color"] == "grey" else "RGB"
    return f"""import json

import numpy as np
import onnxruntime
from PIL import Image

card = json.load(open("card.json", encoding="utf-8"))
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])

picture = Image.open("{example}").convert("{mode}")  # {contract_words.any_or_own(entry)}
image = {contract_words.array_of("picture", entry)}
probabilities = session.run(["probabilities"], {{"image": image}})[0][0]
for i in probabilities.argsort()[::-1][:3]:
    print(f"{{card['labels'][i]}} {{probabilities[i]:.4f}}")

with np.load("sample.npz") as sample:  # pictures and what Keras answered
    again = session.run(["probabilities"], {{"image": sample["model/input/image"]}})[0]
    print(f"difference to Keras {{np.abs(again - sample['model/output/probabilities']).max():.1e}}")
"""


def first_threshold(card: dict[str, Any]) -> float | None:
    points = card.get("reid", {}).get("verification", {}).get("thresholds", [])
    return next((point["threshold"] for point in points if "threshold" in point), None)


def comparing_client(entry: dict[str, Any], examples: list[str], threshold: float | None) -> str:
    mode = "L" if entry["color"] == "grey" else "RGB"
    said = "" if threshold is None else f", {{'perhaps the same' if distance <= {threshold:.4f} else 'another one'}}"
    return f"""import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])


def embed(path):  # {contract_words.any_or_own(entry)}
    picture = Image.open(path).convert("{mode}")
    image = {contract_words.array_of("picture", entry)}
    return session.run(["embedding"], {{"image": image}})[0][0]


first, *others = {json.dumps(examples)}
for other in others:
    distance = 1 - embed(first) @ embed(other)
    print(f"{{first}} and {{other}}: distance {{distance:.4f}}{said}")

with np.load("sample.npz") as sample:  # pictures and what Keras answered
    again = session.run(["embedding"], {{"image": sample["model/input/image"]}})[0]
    print(f"difference to Keras {{np.abs(again - sample['model/output/embedding']).max():.1e}}")
"""


def javascript_client(entry: dict[str, Any], example: str) -> str:
    return f"""import {{ readFileSync }} from "node:fs";
import * as ort from "onnxruntime-node";
import {{ PNG }} from "pngjs";

const card = JSON.parse(readFileSync("card.json", "utf8"));
const session = await ort.InferenceSession.create("model.onnx");

{contract_words.javascript_image(entry, example)}
const {{ probabilities }} = await session.run({{ image }});
const ranked = card.labels.map((label, i) => [label, probabilities.data[i]]).sort((a, b) => b[1] - a[1]);
for (const [label, probability] of ranked.slice(0, 3)) console.log(label, probability.toFixed(4));
"""


def files(card: dict[str, Any], examples: list[str]) -> str:
    names = [name.removesuffix(".onnx") for name in card["graphs"]]
    one = ["- `model.onnx`: the graph, for onnxruntime and everything else that reads ONNX"]
    beside = [
        f"- `{graph['external_data']}`: the weights of {name}, which finds them under this name in the same folder"
        for name, graph in card["graphs"].items()
        if "external_data" in graph
    ]
    lines = [
        *(captions.files(card) if len(names) > 1 else one),
        *beside,
        f"- `saved_model/`: the same for TensorFlow, signature{'s' * (len(names) > 1)} {', '.join(f'`{name}`' for name in names)}",
        "- `sample.npz`: inputs and what Keras answered",
        *captioner_loop.files(card),
        *variants.files(card),
        "- `card.json`: all of this page for programs, with a sha256 of every file",
    ]
    if "demo" in card.get("reid", {}):
        lines.append(f"- `{demo.FILE}`: pictures of people to search among, JPEG; licence: {card['data']['licence']}")
    if "table" in card:
        lines += table_words.files(card)
    elif examples:
        lines.append(f"- `examples/`: {len(examples)} pictures of the data, not chosen by the answer; licence: {card['data']['licence']}")
    return "\n".join(lines)


def table(head: tuple[Any, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines)
