"""Static int8 of an ONNX graph by onnxruntime.quantization: pairs of QuantizeLinear and DequantizeLinear, weights with a scale a channel.

Plain ai.onnx operators, so that every runtime reads the file; onnxruntime fuses the pairs into integer kernels when it loads it. Two
schemes: U8S8 has unsigned maps and signed weights, which is what VNNI multiplies; S8S8 has both signed, which GPUs and ARM like.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from export.gates import HOME_DOMAINS, nodes_of
from export.parity import Arrays
from export.variants.stem import as_blocks

SCHEMES = {"U8S8": "QUInt8", "S8S8": "QInt8"}  # the type of the maps; weights are QInt8 in both
WEIGHED = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # what has the weights and the work
BETWEEN = (  # what would force a way back to float32 between two of those; Softmax and norms stay float32
    *("Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Mul", "Pad", "Relu", "Reshape"),
    *("Resize", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
)
MARK = "kerasdl.variant"
LEFT_BY_TOOLS = ("onnx.quant.pre_process", "onnx.infer", "onnx.quantize")  # metadata of steps on the way


@dataclass(frozen=True)
class Calibrated:
    """A float32 graph, its constants folded and its strided stem over blocks, and the ranges of its maps over the calibration examples."""

    proto: onnx.ModelProto
    ranges: Any

    @property
    def weighed(self) -> list[str]:
        """Names of the nodes that multiply by weights, in the order of the graph."""
        held = {constant.name for constant in self.proto.graph.initializer}
        return [node.name for node in self.proto.graph.node if node.op_type in WEIGHED and node.input[1] in held]

    @property
    def preparation(self) -> list[str]:
        """Names of the nodes before any of those, which scale the picture: rounding has nothing to win there."""
        behind, weighed, names = set(), set(self.weighed), []
        for node in self.proto.graph.node:
            if node.name in weighed or behind.intersection(node.input):
                behind.update(node.output)
            else:
                names.append(node.name)
        return names

    @property
    def conclusion(self) -> list[str]:
        """Names of the nodes behind the last of those, which make answers of logits: to round these to 256 steps would tie some."""
        before, weighed, names = set(), set(self.weighed), []
        for node in reversed(self.proto.graph.node):
            if node.name in weighed or before.intersection(node.output):
                before.update(node.input)
            else:
                names.append(node.name)
        return names


def calibrate(graph: onnx.ModelProto, calls: Iterable[Arrays]) -> Calibrated:
    """The least and largest value of every map while the graph answers `calls`, dicts of input arrays with the batch first."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator
    from onnxruntime.quantization.shape_inference import quant_pre_process

    inputs = {value.name for value in graph.graph.input}
    feeds = iter([{name: call[name] for name in inputs} for call in calls if all(call[name].size for name in inputs)])
    with tempfile.TemporaryDirectory() as scratch:
        raw, ready = Path(scratch) / "raw.onnx", Path(scratch) / "ready.onnx"
        onnx.save(graph, raw)
        quant_pre_process(raw, ready, skip_symbolic_shape=True)
        proto = onnx.load(ready)
        as_blocks(proto)
        give_names(proto)
        onnx.save(proto, ready)
        calibrator = create_calibrator(
            ready,
            [*WEIGHED, *BETWEEN],
            augmented_model_path=str(Path(scratch) / "watched.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
        )
        calibrator.collect_data(Reader(feeds))
        return Calibrated(proto, calibrator.compute_data())


class Reader:
    """onnxruntime's CalibrationDataReader over an iterator of feeds."""

    def __init__(self, feeds: Iterable[Arrays]) -> None:
        self.feeds = iter(feeds)

    def get_next(self) -> Arrays | None:
        return next(self.feeds, None)

    def __iter__(self) -> Iterable[Arrays]:
        return self.feeds


def quantise(
    calibrated: Calibrated, scheme: str, float32: Collection[str] = (), only: Sequence[str] | None = None, mark: str = "int8"
) -> onnx.ModelProto:
    """The graph in int8 by one of SCHEMES; the nodes of `float32` stay as they are, or all but those of `only` do."""
    from onnxruntime.quantization import QDQQuantizer, QuantType

    proto = onnx.ModelProto.FromString(calibrated.proto.SerializeToString())
    kept = [*float32, *calibrated.preparation, *calibrated.conclusion]
    quantizer = QDQQuantizer(
        proto,
        True,  # a scale a channel
        False,  # all eight bits
        QuantType.QInt8,
        QuantType[SCHEMES[scheme]],
        calibrated.ranges,
        list(only or ()),
        kept,
        [*WEIGHED, *BETWEEN],
        {"MatMulConstBOnly": True},  # products of two maps, as of attention, stay float32
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    made = quantizer.model.model
    free_answers(made, kept)
    tidy(made, f"{mark} {scheme}")
    return made


def give_names(proto: onnx.ModelProto) -> None:
    """Nodes are left out by their names, so each needs one of its own; what a node gives has one."""
    taken: set[str] = set()
    for node in proto.graph.node:
        if not node.name or node.name in taken:
            node.name = f"{node.op_type} of {node.output[0]}"
        taken.add(node.name)


def free_answers(proto: onnx.ModelProto, float32: Collection[str]) -> None:
    """A matrix product whose result goes on in float32 gives it as it is; `float32` are the nodes that were left so."""
    graph = proto.graph
    made_by = {output: node for node in graph.node for output in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    answers = {value.name for value in graph.output}
    gone: list[onnx.NodeProto] = []
    for last in [node for node in graph.node if node.op_type == "DequantizeLinear"]:
        pair = made_by.get(last.input[0])
        if pair is None or pair.op_type != "QuantizeLinear" or len(readers[pair.output[0]]) > 1:
            continue
        source = pair.input[0]
        product = made_by.get(source)
        goes_on = readers.get(last.output[0], [])
        if product is None or product.op_type not in ("Gemm", "MatMul") or len(readers[source]) > 1 or source in answers:
            continue
        if any(node.op_type in (*WEIGHED, *BETWEEN) and node.name not in float32 for node in goes_on):
            continue
        product.output[0] = last.output[0]
        gone += [pair, last]
    for node in gone:
        graph.node.remove(node)


def tidy(proto: onnx.ModelProto, mark: str) -> None:
    """Without what the tools leave behind: operator sets that no node is of, stale shapes, constants that nothing reads, their metadata."""
    used = {node.domain for node in nodes_of(proto)} | set(HOME_DOMAINS)
    keep(proto.opset_import, lambda entry: entry.domain in used)
    keep(proto.metadata_props, lambda entry: entry.key not in (*LEFT_BY_TOOLS, MARK))
    proto.metadata_props.add(key=MARK, value=mark)
    del proto.graph.value_info[:]
    read = {name for node in nodes_of(proto) for name in node.input}
    keep(proto.graph.initializer, lambda constant: constant.name in read)


def keep(entries: Any, wanted: Any) -> None:
    """Of a repeated field the entries that are wanted."""
    kept = [type(entry).FromString(entry.SerializeToString()) for entry in entries if wanted(entry)]
    del entries[:]
    entries.extend(kept)


def sensitivity(calibrated: Calibrated, scheme: str, calls: Sequence[Arrays], run: Any) -> list[str]:
    """The weighed nodes, the one that alone in int8 changes the graph's outputs most first; `run(proto)` gives a function of feeds."""
    given = [call for call in calls if all(array.size for array in call.values())]
    exact = run(calibrated.proto)
    wanted = [exact(call) for call in given]

    def change(node: str) -> float:
        rough = run(quantise(calibrated, scheme, only=[node]))
        return sum(distance(kept, rough(call)) for call, kept in zip(given, wanted, strict=True))

    return sorted(calibrated.weighed, key=change, reverse=True)


def distance(wanted: Arrays, found: Arrays) -> float:
    """Sum over the outputs of the root mean square difference, each relative to the output's own size."""
    total = 0.0
    for name, values in wanted.items():
        if values.dtype.kind == "f" and values.size:
            size = float(np.sqrt(np.mean(np.square(values, dtype="float64")))) or 1.0
            total += float(np.sqrt(np.mean(np.square(values - found[name], dtype="float64")))) / size
    return total if np.isfinite(total) else float("inf")
