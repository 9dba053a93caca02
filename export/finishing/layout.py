"""Padding and transposes: what the change from channels-last to channels-first left behind."""

from __future__ import annotations

import math

import numpy as np

from export.finishing.graph import Graph, attributes, make, set_attribute

NEVER_NEGATIVE = ("Relu", "Sigmoid", "Softmax", "Abs", "HardSigmoid")
KEEPS_SIGN = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Concat", "Transpose", "Reshape", "Identity", "Pad")


def merge_pads(graph: Graph) -> int:
    """Zeros around a picture move into the pads of the Conv, AveragePool or, where nothing is negative, MaxPool that takes it.

    A MaxPool pads with minus infinity: behind anything but a ReLU the two differ.
    """
    changed = 0
    for node in [node for node in graph.nodes if node.op_type in ("Conv", "MaxPool", "AveragePool")]:
        pad = graph.maker(node.input[0], "Pad")
        border = None if pad is None else zero_border(graph, pad)
        options = attributes(node)
        if pad is None or border is None or options.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            continue
        pads = [a + b for a, b in zip(options.get("pads", [0] * len(border)), border, strict=True)]
        if node.op_type != "Conv":
            kernel = [*options["kernel_shape"]] * 2
            if options.get("ceil_mode", 0) or any(p >= k for p, k in zip(pads, kernel, strict=True)):
                continue
            if node.op_type == "MaxPool" and not is_never_negative(graph, pad.input[0]):
                continue
            if node.op_type == "AveragePool":
                if any(options.get("pads", [])):
                    continue
                set_attribute(node, "count_include_pad", 1)
        set_attribute(node, "auto_pad", "NOTSET")
        set_attribute(node, "pads", pads)
        node.input[0] = pad.input[0]
        changed += 1
    return changed


def zero_border(graph: Graph, pad) -> list[int] | None:
    """The border of a constant Pad with zeros on the sides of (B,C,...) pictures alone: what a `pads` attribute can say."""
    given = graph.constant(pad.input[1])
    value = graph.scalar(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else 0.0
    if given is None or value != 0 or attributes(pad).get("mode", b"constant") != b"constant" or len(pad.input) > 3:
        return None
    sides = given.tolist()
    rank = len(sides) // 2
    if any(sides[i] for i in (0, 1, rank, rank + 1)) or min(sides) < 0:
        return None
    return sides[2:rank] + sides[rank + 2 :]


def is_never_negative(graph: Graph, name: str) -> bool:
    """Provably: a ReLU and its like, or what keeps the sign of such values."""
    node = graph.maker(name)
    if node is None:
        return False
    if node.op_type == "Clip":
        return len(node.input) > 1 and (graph.scalar(node.input[1]) or -1) >= 0
    if node.op_type in KEEPS_SIGN:
        if node.op_type == "Pad" and zero_border(graph, node) is None:
            return False
        return all(is_never_negative(graph, x) for x in (node.input if node.op_type == "Concat" else node.input[:1]))
    return node.op_type in NEVER_NEGATIVE


def merge_transposes(graph: Graph) -> int:
    """Two in a row are one, or none."""
    changed = 0
    for node in [node for node in graph.nodes if node.op_type == "Transpose"]:
        first = graph.maker(node.input[0], "Transpose")
        if first is None:
            continue
        inner, outer = attributes(first).get("perm"), attributes(node).get("perm")
        if inner and outer:
            set_attribute(node, "perm", [inner[i] for i in outer])
            node.input[0] = first.input[0]
            changed += 1
    return changed


def transpose_before_pad(graph: Graph) -> int:
    """Transpose of a Pad is Pad of a Transpose: so that the zeros stand right before the window that takes them."""
    changed = 0
    for node in [node for node in graph.nodes if node.op_type == "Transpose"]:
        pad = graph.maker(node.input[0], "Pad")
        given = graph.constant(pad.input[1]) if pad else None
        perm = list(attributes(node).get("perm", []))
        if pad is None or given is None or len(pad.input) > 3 or len(given) != 2 * len(perm):
            continue
        if not any(user.op_type in ("Conv", "MaxPool", "AveragePool") for user in graph.users(node.output[0])):
            continue
        turned = graph.new_name(node.output[0])
        sides = graph.new_constant(given.reshape(2, -1)[:, perm].ravel(), node.output[0])
        options = {name: value for name, value in attributes(pad).items() if name == "mode"}
        graph.replace(
            node,
            make("Transpose", [pad.input[0]], [turned], perm=perm),
            make("Pad", [turned, sides, *pad.input[2:]], node.output, **options),
        )
        changed += 1
    return changed


def reshape_for_transpose(graph: Graph) -> int:
    """A Transpose that only moves dimensions of one, such as (B,1,1,C) to (B,C,1,1), is a part of the Reshape before it."""
    changed = 0
    for node in [node for node in graph.nodes if node.op_type == "Transpose"]:
        before, perm = graph.shape(node.input[0]), list(attributes(node).get("perm", []))
        if (
            not graph.maker(node.input[0], "Reshape")
            or not before
            or perm[:1] != [0]
            or not all(isinstance(size, int) for size in before[1:])
            or perm == list(range(len(perm)))
        ):
            continue
        moved = [axis for axis in perm if axis == 0 or before[axis] != 1]
        if moved == sorted(moved):
            target = np.array([0, *(before[axis] for axis in perm[1:])], np.int64)
            shape = graph.new_constant(target, node.output[0])
            graph.replace(node, make("Reshape", [node.input[0], shape], node.output))
            changed += 1
    return changed


def flatten_in_order(graph: Graph) -> int:
    """(B,C,H,W) -> Transpose -> Reshape to rows -> Gemm or MatMul with constant weights: the weights' rows are put in order instead."""
    changed = 0
    for node in [node for node in graph.nodes if node.op_type in ("Gemm", "MatMul")]:
        flat = graph.maker(node.input[0], "Reshape")
        turned = graph.maker(flat.input[0], "Transpose") if flat else None
        weights = graph.constants.get(node.input[1])
        if flat is None or turned is None or weights is None or attributes(node).get("transB") or attributes(node).get("transA"):
            continue
        before, rows = graph.shape(turned.input[0]), graph.shape(flat.output[0])
        perm = list(attributes(turned).get("perm", []))
        if not before or not rows or len(rows) != 2 or perm[:1] != [0] or len(weights.dims) != 2 or len(graph.users(flat.output[0])) > 1:
            continue
        sizes = before[1:]
        if not all(isinstance(size, int) for size in sizes) or rows[1] != math.prod(sizes):  # pyright: ignore
            continue
        values = graph.constant(node.input[1])
        assert values is not None
        order = [axis - 1 for axis in perm[1:]]
        shaped = values.reshape([sizes[axis] for axis in order] + [-1])  # pyright: ignore
        back = [order.index(axis) for axis in range(len(order))]
        held = graph.new_constant(np.ascontiguousarray(shaped.transpose([*back, len(order)]).reshape(values.shape)), node.input[1])
        node.input[1] = held
        graph.replace(flat, make("Flatten", [turned.input[0]], flat.output, axis=1))
        changed += 1
    return changed
