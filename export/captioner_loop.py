"""The whole greedy search of a captioner in one ONNX graph: the encoder, then a Loop whose body is the decoder and the choice of a word.

    image uint8 (B,H,W,C) -> tokens int32 (B,T), `<start> word ... <end> <pad> ...`, as `kerasdl.decoding.greedy` finds them

An extra under variants/ for simple servers on onnxruntime: OpenVINO and OpenCV refuse a Loop, for which reason the graphs of a step have
none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from export import captions, gates, graphs, latency, parity
from export import card as cards
from export.finishing import Graph
from export.gates import ExportRefused, signature_of
from export.parity import Arrays, Run

FILE = "variants/captioner-loop.onnx"
PAD, START, END, UNK = range(4)
ENCODER, DECODER = "encoder/", "decoder/"  # before the names of their values


def whole_loop(encoder: onnx.ModelProto, decoder: onnx.ModelProto, length: int) -> onnx.ModelProto:
    """The two graphs of a captioner and its length T to one graph."""
    first = compose.add_prefix_graph(encoder.graph, ENCODER, rename_inputs=False)
    step = compose.add_prefix_graph(without_attention(decoder).graph, DECODER)
    for graph in (first, step):
        del graph.value_info[:]
    memory = [value.name.removeprefix(ENCODER) for value in first.output]
    words = dict(shapes(step.output))[f"{DECODER}logits"][-1]
    graph = helper.make_graph(
        [*first.node, *begin(step, memory), search(step, memory)],
        "captioner",
        [value for value in first.input if value.name == "image"],
        [helper.make_tensor_value_info("tokens", TensorProto.INT32, ["batch", length])],
        [*first.initializer, *constants(length, words, step)],
    )
    model = helper.make_model(graph, opset_imports=encoder.opset_import, ir_version=encoder.ir_version, producer_name="kerasdl")
    gates.check_domains(model)
    gates.check_proto(model)
    gates.open_session(model.SerializeToString())
    return model


def without_attention(decoder: onnx.ModelProto) -> onnx.ModelProto:
    """The decoder that gives `logits` and `next_state` alone, without what only the attention needs."""
    copy = onnx.ModelProto.FromString(decoder.SerializeToString())
    kept = [value for value in decoder.graph.output if value.name != "attention"]
    del copy.graph.output[:]
    copy.graph.output.extend(kept)
    return Graph(copy).proto


def shapes(values: Sequence[onnx.ValueInfoProto]) -> list[tuple[str, list[Any]]]:
    return [(value.name, signature_of(value)[1]) for value in values]


def constants(length: int, words: int, step: onnx.GraphProto) -> list[onnx.TensorProto]:
    """What the beginning and the choice need; `no_words` is the shape of a Transformer's state behind its batch."""
    never_said = np.isin(np.arange(words), (PAD, START, UNK))
    empty = np.full(length, PAD, np.int32)
    empty[0] = START
    held: dict[str, Any] = {
        "start": np.int32(START),
        "end": np.int64(END),
        "pad": np.int64(PAD),
        "one": np.int64(1),
        "last": np.int64(length - 2),
        "steps": np.int64(length - 1),
        "true": np.array(True),
        "never_said": never_said,
        "lowest": np.finfo(np.float32).min,
        "empty": empty,
        "length": np.array([length], np.int64),
        "places": np.arange(length),
        "column": np.array([1], np.int64),
        "no_words": np.array([0 if isinstance(side, str) else side for side in dict(shapes(step.input))[f"{DECODER}state"][1:]], np.int64),
    }
    return [numpy_helper.from_array(np.asarray(values), name) for name, values in held.items()]


def begin(step: onnx.GraphProto, memory: Sequence[str]) -> list[onnx.NodeProto]:
    """`<start>` for every picture, captions of nothing else, all of them going on, and the first state: the encoder's, or of no word."""
    nodes = [
        helper.make_node("Shape", ["image"], ["batch"], start=0, end=1),
        helper.make_node("Expand", ["start", "batch"], ["first_token"]),
        helper.make_node("Concat", ["batch", "length"], ["captions_shape"], axis=0),
        helper.make_node("Expand", ["empty", "captions_shape"], ["no_captions"]),
        helper.make_node("Expand", ["true", "batch"], ["all_going"]),
    ]
    if "state" in memory:
        return [*nodes, helper.make_node("Identity", [f"{ENCODER}state"], ["first_state"])]
    return [
        *nodes,
        helper.make_node("Concat", ["batch", "no_words"], ["state_shape"], axis=0),
        helper.make_node("ConstantOfShape", ["state_shape"], ["first_state"]),
    ]


def search(step: onnx.GraphProto, memory: Sequence[str]) -> onnx.NodeProto:
    """The Loop: a token, the state, the captions so far and which of them go on, as often as captions are long or until none goes on."""
    state = dict(shapes(step.input))[f"{DECODER}state"]
    given = [helper.make_node("Identity", [ENCODER + name], [DECODER + name]) for name in memory if name != "state"]
    choice = [
        helper.make_node("Where", ["never_said", "lowest", f"{DECODER}logits"], ["allowed"]),
        helper.make_node("ArgMax", ["allowed"], ["best"], axis=1, keepdims=0),
        helper.make_node("Equal", ["trip", "last"], ["is_last"]),
        helper.make_node("Where", ["is_last", "end", "best"], ["chosen"]),  # on the last place only <end> may stand
        helper.make_node("Where", ["going", "chosen", "pad"], ["said"]),
        helper.make_node("Cast", ["said"], ["next_token"], to=TensorProto.INT32),
        helper.make_node("Add", ["trip", "one"], ["place"]),
        helper.make_node("Equal", ["places", "place"], ["here"]),  # (T,)
        helper.make_node("Unsqueeze", ["next_token", "column"], ["next_column"]),  # (B, 1)
        helper.make_node("Where", ["here", "next_column", "captions"], ["next_captions"]),  # (B, T)
        helper.make_node("Equal", ["chosen", "end"], ["ends"]),
        helper.make_node("Not", ["ends"], ["goes_on"]),
        helper.make_node("And", ["going", "goes_on"], ["next_going"]),
        helper.make_node("Cast", ["next_going"], ["going_counted"], to=TensorProto.INT32),
        helper.make_node("ReduceMax", ["going_counted"], ["any_going"], keepdims=0),
        helper.make_node("Cast", ["any_going"], ["next_condition"], to=TensorProto.BOOL),
    ]
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [*given, *step.node, *choice],
        "word",
        [
            info("trip", TensorProto.INT64, []),
            info("condition", TensorProto.BOOL, []),
            info(f"{DECODER}token", TensorProto.INT32, ["batch"]),
            info(f"{DECODER}state", TensorProto.FLOAT, state),
            info("captions", TensorProto.INT32, ["batch", None]),
            info("going", TensorProto.BOOL, ["batch"]),
        ],
        [
            info("next_condition", TensorProto.BOOL, []),
            info("next_token", TensorProto.INT32, ["batch"]),
            info(f"{DECODER}next_state", TensorProto.FLOAT, dict(shapes(step.output))[f"{DECODER}next_state"]),
            info("next_captions", TensorProto.INT32, ["batch", None]),
            info("next_going", TensorProto.BOOL, ["batch"]),
        ],
        list(step.initializer),
    )
    carried = ["first_token", "first_state", "no_captions", "all_going"]
    # Every result has a name, wanted or not: without one onnxruntime 1.31 brings the process down.
    return helper.make_node(
        "Loop", ["steps", "true", *carried], ["last_token", "last_state", "tokens", "still_going"], name="search", body=body
    )


def check_same(run: Run, steps: graphs.Runs, feeds: Arrays, length: int) -> dict[str, int]:
    """The loop says of every picture what a search over the graphs of a step says, at several batch sizes; {"pictures", "same"}."""
    from kerasdl import decoding

    def greedy(some: Arrays) -> Arrays:
        return {"tokens": decoding.greedy(steps["decoder"], steps["encoder"](some), length).tokens}

    count = graphs.count(feeds)
    for batch in parity.BATCHES:
        wanted, found = (parity.run_in_batches(one, feeds, batch)["tokens"] for one in (greedy, run))
        if wanted.shape != found.shape or wanted.dtype != found.dtype:
            raise ExportRefused(f"the loop must give tokens int32 {wanted.shape}. Received: {found.dtype} {found.shape}")
        if different := int((wanted != found).any(axis=1).sum()):
            raise ExportRefused(
                "the loop must say what the graphs of a step say. "
                f"Received: {different:,} other captions of {count:,} pictures at batch {batch}"
            )
    return {"pictures": count, "same": count}


def check_task(task: Any) -> None:
    if task.name != captions.TASK:
        raise ExportRefused(f"--whole-loop is of captioners. Received: a run of {task.name}")


def write(
    folder: Path, made: dict[str, graphs.Graph], metadata: dict[str, str], steps: graphs.Runs, feeds: Arrays, length: int
) -> dict[str, Any]:
    """FILE in the folder and its entry for the card's `variants`, past its gate; `metadata` is written into it."""
    from export.convert import add_metadata

    loop = whole_loop(made["encoder"].proto, made["decoder"].proto, length)
    add_metadata(loop, metadata)
    run = parity.onnx_runner(gates.open_session(loop.SerializeToString()))
    facts = {"runtime": "onnxruntime", "compared_with_steps": check_same(run, steps, feeds, length)}
    speed = {"batch": 1, "threads": 1, **latency.measure(run, feeds)}
    path = folder / FILE
    path.parent.mkdir()
    path.write_bytes(loop.SerializeToString())
    parameters = sum(graph.parameters(alone=False) for graph in made.values())
    entry = cards.graph_entry(loop, made["encoder"].entries, parameters, cards.digest_of_file(path))
    return {FILE: {**entry, "bytes": path.stat().st_size, "latency": speed, **facts}}


def files(card: dict[str, Any]) -> list[str]:
    """The line of README.md on it, where there is one."""
    return [
        f"- `{FILE}`: the whole greedy search in one graph, `image` to `tokens` int32 [batch, {card['caption']['length']}], for "
        f"onnxruntime: OpenVINO and OpenCV refuse its Loop. The same captions as the graphs of a step on all "
        f"{entry['compared_with_steps']['pictures']:,} pictures compared; {entry['bytes'] / 1e6:.2f} MB, "
        f"{entry['latency']['p50_ms']:.2f} ms p50 and {entry['latency']['p95_ms']:.2f} ms p95 a picture on one thread"
        for entry in [card["variants"].get(FILE)]
        if entry
    ]


def check(folder: Path, card: dict[str, Any], steps: graphs.Runs) -> str:
    """The file is that of the card and says of the sample's pictures what the graphs of a step say; a sentence part."""
    if not (folder / FILE).is_file() or cards.digest_of_file(folder / FILE) != card["variants"][FILE]["sha256"]:
        raise ExportRefused(f"every variant of the card must be there with its sha256. Received: another or no {FILE}")
    run = parity.onnx_runner(gates.open_session(str(folder / FILE)))
    with np.load(folder / "sample.npz", allow_pickle=False) as sample:
        feeds = {"image": sample["encoder/input/image"]}
    return f"{check_same(run, steps, feeds, card['caption']['length'])['same']} captions alike"
