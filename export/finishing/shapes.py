"""Shape arithmetic goes: what is known when the graph is written need not be computed when it runs.

onnx' own shape inference follows the batch through Shape, Gather, Cast and Concat; these passes only write down what it found.
"""

from __future__ import annotations

import math

import numpy as np

from export.finishing.graph import Graph, attributes, is_named, make


def constant_reshape_targets(graph: Graph, last: bool = False) -> int:
    """A Reshape whose result has at most one dynamic dimension gets a constant target: 0 where it copies the input's, else -1.

    The name of a dimension is lost behind -1, so that a named one is only written so when `last`.
    """
    changed = 0
    for node in [node for node in graph.nodes if node.op_type == "Reshape" and not attributes(node).get("allowzero")]:
        before, after = graph.shape(node.input[0]), graph.shape(node.output[0])
        target = None if before is None or after is None else reshape_target(before, after)
        held = graph.constant(node.input[1])
        if target is None or after is None or (held is not None and held.tolist() == target):
            continue
        if last or 0 in target or -1 not in target:
            node.input[1] = graph.new_constant(np.array(target, np.int64), node.output[0])
            changed += 1
    return changed


def remaining_reshape_targets(graph: Graph) -> int:
    return constant_reshape_targets(graph, last=True)


def reshape_target(before: list, after: list) -> list[int] | None:
    """The constant that reshapes `before` to `after`; None where two dimensions would have to be found out."""
    free = [i for i, dim in enumerate(after) if not isinstance(dim, int)]
    if len(free) > 1 or 0 in after:
        return None
    target = [dim if isinstance(dim, int) else -1 for dim in after]
    if free and free[0] < len(before) and is_copied(before, after, free[0]):
        target[free[0]] = 0
    return target


def is_copied(before: list, after: list, i: int) -> bool:
    """The dynamic dimension is the input's at the same place: it is the only one there, and as many elements are around it."""
    rest = [[dim for j, dim in enumerate(dims) if j != i] for dims in (before, after)]
    if not isinstance(before[i], int) and all(isinstance(dim, int) for dims in rest for dim in dims):
        return math.prod(rest[0]) == math.prod(rest[1])
    return False


def short_expand_targets(graph: Graph) -> int:
    """An Expand to (batch, constants...) asks the graph's input for the batch, and nothing else."""
    first = {(graph.shape(value.name) or [None])[0]: value.name for value in reversed(graph.proto.graph.input)}
    changed = 0
    for node in [node for node in graph.nodes if node.op_type == "Expand" and node.input[1] not in graph.constants]:
        after = graph.shape(node.output[0])
        joined = graph.maker(node.input[1], "Concat")
        if not after or not is_named(after[0]) or after[0] not in first or not all(isinstance(dim, int) for dim in after[1:]):
            continue
        if (
            joined is not None
            and graph.maker(joined.input[0], "Shape")
            and list(joined.input[1:]) == [x for x in joined.input[1:] if x in graph.constants]
        ):
            continue  # as short already
        batch, target = graph.new_name(node.output[0]), graph.new_name(node.output[0])
        rest = graph.new_constant(np.array(after[1:], np.int64), node.output[0])
        graph.replace(
            node,
            make("Shape", [first[after[0]]], [batch], start=0, end=1),
            make("Concat", [batch, rest], [target], axis=0),
            make("Expand", [node.input[0], target], node.output),
        )
        changed += 1
    return changed


def matmul_of_rows(graph: Graph) -> int:
    """Reshape to rows, MatMul with a matrix, Reshape back: MatMul does that by itself."""
    changed = 0
    for node in [node for node in graph.nodes if node.op_type == "Reshape"]:
        product = graph.maker(node.input[0], "MatMul")
        rows = graph.maker(product.input[0], "Reshape") if product else None
        if product is None or rows is None or len(graph.shape(rows.output[0]) or []) != 2:
            continue
        before, after, weight = graph.shape(rows.input[0]), graph.shape(node.output[0]), graph.shape(product.input[1])
        if not before or not after or not weight or len(weight) != 2 or not all(isinstance(size, int) for size in weight):
            continue
        if [before[-1], after[-1]] == weight and same_rows(before[:-1], after[:-1]):
            graph.replace(node, make("MatMul", [rows.input[0], product.input[1]], node.output))
            changed += 1
    return changed


def same_rows(before: list, after: list) -> bool:
    """The leading dimensions agree; one that is not known must agree, for there are as many rows before and after."""
    known = [(a, b) for a, b in zip(before, after, strict=False) if isinstance(a, int) or isinstance(b, int)]
    return len(before) == len(after) and len(known) >= len(before) - 1 and all(a == b for a, b in known)


def index_instead_of_slice(graph: Graph) -> int:
    """Slice of one row and Squeeze of its axis is Gather with one number."""
    changed = 0
    for node in [node for node in graph.nodes if node.op_type == "Squeeze" and len(node.input) == 2]:
        cut, axes = graph.maker(node.input[0], "Slice"), graph.constant(node.input[1])
        found = None if cut is None or axes is None or axes.size != 1 else single_index(graph, cut, int(axes.ravel()[0]))
        if cut is not None and found is not None:
            index = graph.new_constant(np.array(found[1], np.int64), node.output[0])
            graph.replace(node, make("Gather", [cut.input[0], index], node.output, axis=found[0]))
            changed += 1
    return changed


def single_index(graph: Graph, cut, squeezed: int) -> tuple[int, int] | None:
    """(axis, index) of a Slice that keeps one row of the squeezed axis and everything of the others."""
    shape = graph.shape(cut.input[0])
    parts = [graph.constant(name) for name in cut.input[1:]]
    if shape is None or len(parts) < 3 or any(part is None for part in parts):
        return None
    starts, ends, axes, *steps = [part.tolist() for part in parts if part is not None]
    if steps and set(steps[0]) != {1}:
        return None
    found = None
    for start, end, axis in zip(starts, ends, axes, strict=True):
        size = shape[axis]
        if axis % len(shape) == squeezed % len(shape):
            found = (axis % len(shape), start) if end == start + 1 and start >= 0 else None
        elif start != 0 or end < (size if isinstance(size, int) else 2**31 - 1):
            return None
    return found


def drop_identities(graph: Graph) -> int:
    """Identity, a Cast to the same type, a Reshape to the same shape, a Transpose that moves nothing."""
    changed = 0
    for node in list(graph.nodes):
        if node.input and is_identity(graph, node):
            changed += graph.bypass(node, node.input[0])
    return changed


def is_identity(graph: Graph, node) -> bool:
    options = attributes(node)
    if node.op_type == "Transpose":
        return list(options.get("perm", [])) == list(range(len(options.get("perm", [])))) != []
    if node.op_type == "Cast":
        return graph.dtype(node.input[0]) == options["to"]
    if node.op_type == "Reshape":
        before, after = graph.shape(node.input[0]), graph.shape(node.output[0])
        return before is not None and before == after and all(isinstance(dim, int) or is_named(dim) for dim in before)
    return node.op_type == "Identity"


def merge_reshapes(graph: Graph) -> int:
    """A Reshape of a Reshape is the second one, when its target is constant and copies nothing."""
    changed = 0
    for node in [node for node in graph.nodes if node.op_type == "Reshape"]:
        first, target = graph.maker(node.input[0], "Reshape"), graph.constant(node.input[1])
        if first is None or target is None or 0 in target.tolist()[1:]:
            continue
        source, middle = graph.shape(first.input[0]), graph.shape(node.input[0])
        if 0 in target.tolist() and (not source or not middle or source[0] != middle[0] or not is_named(source[0])):
            continue
        node.input[0] = first.input[0]
        changed += 1
    return changed
