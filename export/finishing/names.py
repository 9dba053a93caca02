"""Names a person can read: nodes and values are called after their layer, constants after what they are to their node."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

import onnx

from export.finishing.graph import bodies, dims_of, is_named, light

ROLES = {
    "Conv": ("", "weight", "bias"),
    "Gemm": ("", "weight", "bias"),
    "MatMul": ("", "weight"),
    "LayerNormalization": ("", "scale", "bias"),
    "BatchNormalization": ("", "scale", "bias", "mean", "variance"),
    "Reshape": ("", "shape"),
}


def rename(proto: onnx.ModelProto, layers: Iterable[str]) -> None:
    """Name nodes LAYER/Operator, their values alike and constants NODE/role; the names of inputs and outputs stay."""
    known = set(layers)
    fixed = {value.name for value in [*proto.graph.input, *proto.graph.output]}
    if any(bodies(node) for node in proto.graph.node):
        return  # the body of a loop takes values of the graph by name
    taken: Counter[str] = Counter()
    values: dict[str, str] = {}
    for node in proto.graph.node:
        layer = next(filter(None, (layer_of(path, known) for path in (node.name, *node.output, *node.input))), "")
        node.name = unique(f"{layer}/{node.op_type}" if layer else node.op_type, taken)
        for i, output in enumerate(node.output):
            if output and output not in fixed:
                values[output] = node.name if i == 0 else f"{node.name}:{i}"
    constants = {tensor.name for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        roles = ROLES.get(node.op_type, ())
        for i, taken_name in enumerate(node.input):
            if taken_name in constants and taken_name not in values and taken_name not in fixed:
                values[taken_name] = unique(f"{node.name}/{roles[i] if i < len(roles) and roles[i] else 'constant'}", taken)
    for node in proto.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = values.get(name, name)
    for tensor in proto.graph.initializer:
        tensor.name = values.get(tensor.name, tensor.name)


def order_constants(proto: onnx.ModelProto) -> None:
    """As the nodes take them: onnxruntime writes them in the order of a hash table, another one in each process."""
    taken = (
        name
        for node in proto.graph.node
        for inner in [node, *(deep for body in bodies(node) for deep in body.node)]
        for name in inner.input
    )
    first: dict[str, int] = {}
    for place, name in enumerate(taken):
        first.setdefault(name, place)
    proto.graph.initializer.sort(key=lambda tensor: (first.get(tensor.name, math.inf), tensor.name))


def layer_of(path: str, known: set[str]) -> str:
    """The innermost part of a TensorFlow path that is a layer's name; Keras adds _1, _2... to a layer called again."""
    for part in reversed(re.split(r"[/:]", path)):
        if part in known:
            return part
        plain = re.sub(r"(_\d+)+$", "", part)
        shorter = re.sub(r"_\d+$", "", part)
        if shorter in known or plain in known:
            return shorter if shorter in known else plain
    return ""


def unique(name: str, taken: Counter[str]) -> str:
    taken[name] += 1
    return name if taken[name] == 1 else f"{name}_{taken[name]}"


def write_shapes(proto: onnx.ModelProto) -> None:
    """Say the shape of every value, as onnx infers it now; a dimension that nobody knows stays open."""
    model = onnx.shape_inference.infer_shapes(light(proto), data_prop=True)
    held = {tensor.name for tensor in proto.graph.initializer}
    del proto.graph.value_info[:]
    for value in model.graph.value_info:
        if value.name in held:
            continue
        for dim, known in zip(value.type.tensor_type.shape.dim, dims_of(value), strict=True):
            if isinstance(known, str) and not is_named(known):
                dim.Clear()
        proto.graph.value_info.append(value)
