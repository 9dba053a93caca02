"""The card's section `caption` of a captioner: what it must hold, when it refuses an export, its examples, and how it reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from export import contract_words, latency, parity
from export.gates import ExportRefused
from export.graphs import Calls, Runs, sample_of
from export.parity import Arrays

TASK = "captioning"
CONSTANTS = {"length": int, "grid": list, "beam": int, "tokenizer": str, "tokens": dict}  # which the ONNX files say too
FIELDS = {
    **CONSTANTS,
    "decoder": str,
    "words": int,
    "split": str,
    "pictures_scored": int,
    "references": int,
    "scores": dict,
    "caption_parity": dict,
    "pictures": list,
}
TOKENS = {"pad": 0, "start": 1, "end": 2, "unknown": 3}
EXAMPLES = 24
BEAMS = (1, 3)  # that every captioner's speed is told of


def constants(task: Any, model: Any, spec: Any) -> dict[str, Any]:
    """What a client must know to speak with the graphs; nothing of other tasks."""
    if task.name != TASK:
        return {}
    from kerasdl.text import TOKENIZER

    grid = [int(side) for side in task.grid(model)]
    return {"length": spec.caption_length, "grid": grid, "beam": task.beam, "tokenizer": TOKENIZER, "tokens": TOKENS}


def metadata(section: dict[str, Any] | None) -> dict[str, str]:
    """The metadata_props of the ONNX files."""
    return {"kerasdl.caption": json.dumps({name: section[name] for name in CONSTANTS}, sort_keys=True)} if section else {}


def protocol(section: dict[str, Any]) -> str:
    """How the scores came to be; they are of this tokenizer alone."""
    return f"{way(section['beam'])}, tokenizer {section['tokenizer']}, "


def way(beam: int) -> str:
    """As `kerasdl.caption_facts.way` says it."""
    return "greedy" if beam == 1 else f"beam {beam}"


def compare(task: Any, wanted: Arrays, found: Arrays) -> tuple[float, bool, int]:
    """As `parity.compare`; where a near tie made another caption, its score and attention are another's and do not count as an error."""
    choice, margin = task.decide(wanted)
    other, _ = task.decide(found)
    near, same = np.asarray(margin) < 2 * task.tolerance, np.asarray(choice) == np.asarray(other)
    if not same.any():
        return float("inf"), False, int(near.sum())
    error = max(parity.difference(wanted[name][same], found[name][same]) for name in ("tokens", "score", "attention"))
    return error, bool((same | near).all()), int(near.sum())


def write_vocabulary(path: Path, spec: Any, splits: Any) -> None:
    """vocab.json: the words by id, with their counts where the data tells them."""
    from kerasdl.text import Vocabulary

    told = getattr(splits, "card", {}).get("vocabulary", {})
    counts = told["counts"] if tuple(told.get("words", ())) == tuple(spec.labels) else [0] * spec.classes
    Vocabulary(spec.labels, counts).save(path)


def write_examples(folder: Path, splits: Any, split: str) -> list[str]:
    """Pictures of the scored split, evenly spaced and whatever is said of them, and captions.json: what others say of each."""
    from PIL import Image

    part, told = splits.split(split), {}
    references = splits.references.get(split)
    folder.mkdir()
    for number in np.unique(np.linspace(0, len(part) - 1, EXAMPLES).astype(int)).tolist():
        name = f"picture-{number:0{len(str(len(part)))}}.png"
        pixels = part.arrays([number])["image"][0]
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(folder / name, optimize=True)
        told[name] = [str(sentence) for sentence in references[number]] if references else []
    (folder / "captions.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return [f"examples/{name}" for name in told]


def latencies(task: Any, runs: Runs, calls: Calls, feeds: Arrays, spec: Any) -> dict[str, Any]:
    """onnxruntime by what it does: one call of each graph, and whole captions."""
    largest = sample_of(calls)
    measured = {f"onnxruntime, {name}.onnx once": latency.measure(run, largest[name][0]) for name, run in runs.items()}
    predict = task.predictor(runs, spec)
    for beam in sorted({*BEAMS, task.beam}):
        measured[f"onnxruntime, caption, {way(beam)}"] = latency.measure(lambda given, beam=beam: predict(given, beam=beam), feeds)
    return {name: {"batch": 1, "threads": 1, **figures} for name, figures in measured.items()}


def check_section(card: dict[str, Any], folder: Path | None = None) -> None:
    """The section of a captioner is whole, agrees with itself, graphs, words, metrics and files, and passes the gate of its captions."""
    section = card.get("caption")
    if section is None:
        if card["task"] == TASK:
            raise ExportRefused("the card of a captioner must have a section caption. Received: none")
        return
    fields = FIELDS if "scores" in section else CONSTANTS  # without references there is nothing to score
    wrong = [name for name, kind in fields.items() if not isinstance(section.get(name), kind)]
    if wrong:
        raise ExportRefused(f"the card's section caption must have every field with its type. Received: no usable {', '.join(wrong)}")
    check_sizes(section, card)
    if folder is not None:
        check_words(folder / "vocab.json", section, card["labels"])
    if "scores" not in section:
        return
    check_metrics(section, card["metrics"])
    check_captions(section["caption_parity"], section["beam"])
    missing = [name for name in section["pictures"] if name not in card["files"]]
    if missing:
        raise ExportRefused(f"the pictures of the section caption must be in the bundle. Received: no {', '.join(missing)}")


def check_sizes(section: dict[str, Any], card: dict[str, Any]) -> None:
    """Grid, words and signs are those of the graphs."""
    given = {entry["name"]: entry["shape"] for entry in card["graphs"]["decoder.onnx"]["outputs"]}
    places = int(np.prod(section["grid"])) if len(section["grid"]) == 2 else 0
    if given["attention"][-1] != places:
        raise ExportRefused(f"the attention runs over the places of the grid. Received: {given['attention']} for {section['grid']}")
    if given["logits"][-1] != len(card["labels"]) or section["tokens"] != TOKENS:
        raise ExportRefused(
            f"there is a logit for every word, and the first four are signs. Received: {given['logits']} for {len(card['labels'])} words, "
            f"{section['tokens']}"
        )
    if section["length"] < 3 or section["beam"] < 1:
        raise ExportRefused(f"captions have length 3 and beam 1 at least. Received: {section['length']} and {section['beam']}")


def check_words(path: Path, section: dict[str, Any], labels: list[str]) -> None:
    facts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if facts.get("words") != labels or facts.get("tokenizer") != section["tokenizer"]:
        raise ExportRefused(f"vocab.json must hold the labels, by the tokenizer {section['tokenizer']}. Received: another vocabulary")


def check_metrics(section: dict[str, Any], metrics: dict[str, Any]) -> None:
    """The headline figures are those of the section, found with the card's beam, and name the tokenizer."""
    scores = section["scores"].get(way(section["beam"]), {})
    differ = [name for name, metric in metrics.items() if name not in scores or abs(scores[name] - metric["value"]) > 1e-9]
    if differ or set(scores) != set(metrics):
        raise ExportRefused(f"the metrics must be those of the section caption. Received: another {', '.join(differ) or 'choice of them'}")
    unnamed = [name for name, metric in metrics.items() if section["tokenizer"] not in metric["protocol"]]
    if unnamed:
        raise ExportRefused(f"every score must name its tokenizer. Received: {', '.join(unnamed)} without {section['tokenizer']}")


def check_captions(found: dict[str, Any], beam: int) -> None:
    """onnxruntime says of every picture what Keras says, apart from near ties."""
    missing = {"greedy", way(beam)} - set(found)
    if missing:
        raise ExportRefused(f"captions must be compared greedily and with the card's beam. Received: none {', '.join(missing)}")
    for name, row in found.items():
        if row["different"] or row["same"] + row["near_ties"] < row["pictures"] or not row["pictures"]:
            raise ExportRefused(
                f"onnxruntime must say what Keras says wherever no other choice is nearly as likely. "
                f"Received: {row['different']:,} other captions of {row['pictures']:,} pictures, {name}"
            )


def render(card: dict[str, Any], table: Callable[..., str]) -> list[str]:
    """The parts of README.md; `table` is that of readme.py."""
    section = card.get("caption")
    if section is None or "scores" not in section:
        return []
    ways = list(section["scores"])
    rows = [(name, *(f"{section['scores'][one][name]:.4f}" for one in ways)) for name in section["scores"][ways[0]]]
    return [
        "## What it says",
        f"Decoder: {section['decoder']}. It knows {section['words']:,} words. {section['split'].capitalize()} split: "
        f"{section['pictures_scored']:,} pictures with {section['references']:,} captions, of the tokenizer `{section['tokenizer']}`; "
        "every caption was generated word by word, none with the true words before it given.",
        table(("score", *ways), rows),
        *(parity_line(name, row) for name, row in section["caption_parity"].items()),
        *(f"![{text}]({name})" for name, text in PICTURES.items() if name in section["pictures"]),
    ]


WORK = {
    "encoder.onnx": "the graph from a picture to what a decoder looks at",
    "decoder.onnx": "the graph of one step, from a token to the next",
}
PICTURES = {
    "captions.png": "pictures of the test with what it says of them, green where it is one of the captions that came with them",
    "attention.png": "where it looks at each word",
}


def parity_line(name: str, row: dict[str, Any]) -> str:
    return (
        f"onnxruntime and Keras say the same of {row['same']:,} of {row['pictures']:,} pictures, {name}; {row['near_ties']:,} had another "
        "choice that was as likely within the tolerance."
    )


def python_client(card: dict[str, Any], example: str) -> str:
    """A greedy loop over the two graphs, in numpy."""
    entry = card["graphs"]["encoder.onnx"]["inputs"][0]
    mode = "L" if entry["color"] == "grey" else "RGB"
    return f"""import json

import numpy as np
import onnxruntime
from PIL import Image

words = json.load(open("vocab.json", encoding="utf-8"))["words"]
encoder, decoder = (onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"]) for name in ("encoder.onnx", "decoder.onnx"))


def run(session, inputs):
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs)))


picture = Image.open("{example}").convert("{mode}")  # {contract_words.any_or_own(entry)}
memory = run(encoder, {{"image": {contract_words.array_of("picture", entry)}}})
{first_state(card)}
token, said = 1, []  # <start>
for _ in range({card["caption"]["length"] - 2}):
    out = run(decoder, {{"token": np.array([token], np.int32), "state": state, **memory}})
    logits, state = out["logits"][0], out["next_state"]
    logits[[0, 1, 3]] = -np.inf  # <pad>, <start> and <unk> are never said
    token = int(logits.argmax())
    if token == 2:  # <end>
        break
    said.append(words[token])  # out["attention"] (1, heads, {int(np.prod(card["caption"]["grid"]))}) is where it looked
print(" ".join(said))
"""


def first_state(card: dict[str, Any]) -> str:
    if any(output["name"] == "state" for output in card["graphs"]["encoder.onnx"]["outputs"]):
        return 'state = memory.pop("state")'
    shape = next(entry["shape"] for entry in card["graphs"]["decoder.onnx"]["inputs"] if entry["name"] == "state")
    sides = ", ".join(str(side) for side in (1, *shape[1:4], 0, shape[5]))
    return f"state = np.zeros(({sides}), np.float32)  # keys and values of the words before: none yet"


def in_words(card: dict[str, Any]) -> str:
    """How the two graphs work together, for README.md."""
    (height, width), length = card["caption"]["grid"], card["caption"]["length"]
    return (
        f"- the encoder is called once a picture, the decoder once a token from `<start>` (1) on, with the encoder's outputs and its own "
        f"`next_state` as the next `state`; at most {length - 2} words up to `<end>` (2). `<pad>` (0), `<start>` and `<unk>` (3) are for "
        f"the client to leave out. `attention` runs over {height} x {width} places of the picture, row by row, and sums to 1"
    )


def files(card: dict[str, Any]) -> list[str]:
    lines = [f"- `{name}`: {WORK.get(name, 'a graph')}, for onnxruntime and everything else that reads ONNX" for name in card["graphs"]]
    return [*lines, "- `vocab.json`: the words by id, with their counts in the training captions"]


def graph_rows(card: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Parity of single graphs."""
    for row in card["parity"]:
        if "graph" in row:
            yield row["runtime"], f"{row['graph']}.onnx", row["batch"], row["samples"], row["calls"], f"{row['max_error']:.1e}"
