"""Groups of small operators that ONNX has a name for: LayerNormalization (opset 17) and Gelu (opset 20).

A group is only replaced at its end: whatever else takes one of its inner values keeps it.
"""

from __future__ import annotations

import math

import numpy as np

from export.finishing.graph import Graph, attributes, make

ROOT_HALF = math.sqrt(0.5)


def layer_normalization(graph: Graph) -> int:
    """Keras' x*s + (-mean*s + beta) with s = gamma / sqrt(var + eps) over the last axis."""
    if graph.opset < 17:
        return 0
    changed = 0
    for node in [node for node in graph.nodes if node.op_type == "Add"]:
        found = match_layer_normalization(graph, node)
        if found:
            x, epsilon, gamma, beta = found
            names = [x, *(graph.new_constant(values, node.output[0]) for values in (gamma, beta))]
            graph.replace(node, make("LayerNormalization", names, node.output, axis=-1, epsilon=epsilon))
            changed += 1
    return changed


def match_layer_normalization(graph: Graph, node) -> tuple[str, float, np.ndarray, np.ndarray] | None:
    """(x, epsilon, gamma, beta), or None where anything is different."""
    for scaled, shift in (node.input, reversed(node.input)):
        product = graph.maker(scaled, "Mul")
        for x, scale in both_ways(product):
            shape = graph.shape(x)
            width = shape[-1] if shape else None
            found = match_scale(graph, x, scale, width) if isinstance(width, int) else None
            if found is None or not isinstance(width, int):
                continue
            mean, epsilon, gamma = found
            beta = match_shift(graph, shift, mean, scale, width)
            if beta is not None:
                return x, epsilon, gamma, beta
    return None


def match_scale(graph: Graph, x: str, scale: str, width) -> tuple[str, float, np.ndarray] | None:
    """`scale` = gamma / sqrt(mean of (x - mean)^2 + eps): (mean, eps, gamma); gamma is ones where there is none."""
    candidates = [(scale, np.ones(width or 0, np.float32))]
    for left, right in both_ways(graph.maker(scale, "Mul")):
        vector = last_axis_vector(graph, right, width)
        candidates += [] if vector is None else [(left, vector)]
    for name, gamma in candidates:
        inverse = graph.maker(name, "Reciprocal")
        root = graph.maker(inverse.input[0], "Sqrt") if inverse else None
        for variance, constant in both_ways(graph.maker(root.input[0], "Add") if root else None):
            epsilon, square = graph.scalar(constant), last_axis_mean(graph, variance)
            power = graph.maker(square or "", "Mul")
            difference = graph.maker(power.input[0], "Sub") if power and power.input[0] == power.input[1] else None
            if epsilon is not None and difference and difference.input[0] == x and last_axis_mean(graph, difference.input[1]) == x:
                return difference.input[1], epsilon, gamma
    return None


def match_shift(graph: Graph, shift: str, mean: str, scale: str, width: int) -> np.ndarray | None:
    """`shift` = -mean * scale + beta: beta, zeros where there is none."""
    candidates = [(shift, np.zeros(width, np.float32))]
    for left, right in both_ways(graph.maker(shift, "Add")):
        vector = last_axis_vector(graph, right, width)
        candidates += [] if vector is None else [(left, vector)]
    for name, beta in candidates:
        for negative, factor in both_ways(graph.maker(name, "Mul")):
            turned = graph.maker(negative, "Neg")
            if factor == scale and turned and turned.input[0] == mean:
                return beta
    return None


def last_axis_mean(graph: Graph, name: str) -> str | None:
    """What `name` is the mean of over its last axis with the axis kept; tf2onnx writes GlobalAveragePool for it at three dimensions."""
    node = graph.maker(name, "ReduceMean", "GlobalAveragePool")
    shape = graph.shape(node.input[0]) if node else None
    if node is None or shape is None:
        return None
    if node.op_type == "GlobalAveragePool":
        return node.input[0] if len(shape) == 3 else None
    options = attributes(node)
    given = graph.constant(node.input[1]) if len(node.input) > 1 else np.array(options.get("axes", []))
    axes = [] if given is None else [axis % len(shape) for axis in given.tolist()]
    return node.input[0] if axes == [len(shape) - 1] and options.get("keepdims", 1) else None


def last_axis_vector(graph: Graph, name: str, width) -> np.ndarray | None:
    """A constant with one number for each place of the last axis."""
    values = graph.constant(name)
    return values.ravel() if values is not None and values.size == width and values.shape[-1:] == (width,) else None


def local_response_normalization(graph: Graph) -> int:
    """x * exp(-beta * log(k + matmul((sqrt(alpha) * x)^2, band))) over the channels, a band of ones: LRN."""
    changed = 0
    for node in [node for node in graph.nodes if node.op_type == "Mul"]:
        for left, power in both_ways(node):
            found = match_power(graph, power)
            x = None if found is None else channels_first(graph, left)
            if found is None or x is None or channels_first(graph, found[0]) != x:
                continue
            picture, options = graph.new_name(node.output[0]), found[1]
            graph.replace(node, make("LRN", [x], [picture], **options), make("Transpose", [picture], node.output, perm=[0, 2, 3, 1]))
            changed += 1
            break
    return changed


def match_power(graph: Graph, name: str) -> tuple[str, dict[str, float]] | None:
    """(x, what LRN is to be told) where `name` is exp(-beta * log(k + matmul((r x)^2, band)))."""
    power = graph.maker(name, "Exp")
    for log, minus_beta in both_ways(graph.maker(power.input[0], "Mul") if power else None):
        inner = graph.maker(log, "Log")
        for total, k in both_ways(graph.maker(inner.input[0], "Add") if inner else None):
            product, beta, bias = graph.maker(total, "MatMul"), graph.scalar(minus_beta), graph.scalar(k)
            size = band_width(graph.constant(product.input[1])) if product else None
            squares = graph.maker(before_transpose(graph, product.input[0]), "Mul") if product else None
            if squares is None or size is None or beta is None or bias is None or squares.input[0] != squares.input[1]:
                continue
            for x, root in both_ways(graph.maker(before_transpose(graph, squares.input[0]), "Mul")):
                factor = graph.scalar(root)
                if factor is not None:
                    return x, {"alpha": factor**2 * size, "beta": -beta, "bias": bias, "size": size}  # ONNX divides alpha by size
    return None


def band_width(matrix: np.ndarray | None) -> int | None:
    """2 h + 1 where the matrix is one at most h away from the diagonal and zero elsewhere."""
    if matrix is None or matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        return None
    half = int(np.count_nonzero(matrix[0])) - 1
    index = np.arange(len(matrix))
    return 2 * half + 1 if np.array_equal(matrix, np.abs(index[:, None] - index) <= half) else None


def before_transpose(graph: Graph, name: str) -> str:
    node = graph.maker(name, "Transpose")
    return node.input[0] if node else name


def channels_first(graph: Graph, name: str) -> str | None:
    """The (B,C,H,W) picture behind a transposed one; itself where it already is the source of such."""
    node = graph.maker(name, "Transpose")
    if node:
        return node.input[0] if list(attributes(node).get("perm", [])) == [0, 2, 3, 1] else None
    return name


def gelu(graph: Graph) -> int:
    """Exact x * 0.5 * erfc(-x / sqrt 2): the Gelu operator from opset 20, before that the form with Div and Erf that runtimes know."""
    changed = 0
    for node in [node for node in graph.nodes if node.op_type == "Mul"]:
        x, argument = match_gelu(graph, node) or ("", "")
        if x and graph.opset >= 20:
            graph.replace(node, make("Gelu", [x], node.output))
        elif x and not graph.maker(argument, "Div"):
            graph.replace(node, *erf_form(graph, x, node.output[0]))
        else:
            continue
        changed += 1
    return changed


def erf_form(graph: Graph, x: str, out: str) -> list:
    one, half, root = (graph.new_constant(np.array(value, np.float32), out) for value in (1, 0.5, math.sqrt(2)))
    a, b, c, d = (graph.new_name(out) for _ in range(4))
    return [
        make("Div", [x, root], [a]),
        make("Erf", [a], [b]),
        make("Add", [b, one], [c]),
        make("Mul", [x, c], [d]),
        make("Mul", [d, half], [out]),
    ]


def match_gelu(graph: Graph, node) -> tuple[str, str] | None:
    """x of 0.5 * x * (1 + erf(x / sqrt 2)) in any order of the products, and what goes into the erf."""
    for left, right in both_ways(node):
        for x, half, bell in three_factors(graph, left, right):
            argument, sign = inside_erf(graph, bell)
            if near(graph.scalar(half), 0.5) and any(base == x and near(k, ROOT_HALF) for base, k in multiples(graph, argument, sign)):
                return x, argument
    return None


def three_factors(graph: Graph, left: str, right: str):
    """(x, half, bell) as (x half) bell, x (half bell) and half (x bell)."""
    for a, b in both_ways(graph.maker(left, "Mul")):
        yield a, b, right
        yield right, a, b
        yield a, right, b


def inside_erf(graph: Graph, name: str) -> tuple[str, float]:
    """(y, 1) where `name` is 1 + erf(y), (y, -1) where it is 1 - erf(y), else an empty name."""
    node = graph.maker(name, "Add", "Sub")
    pairs = [] if node is None else both_ways(node) if node.op_type == "Add" else [(node.input[1], node.input[0])]
    for inner, one in pairs:
        erf = graph.maker(inner, "Erf")
        if erf and node and near(graph.scalar(one), 1.0):
            return erf.input[0], 1.0 if node.op_type == "Add" else -1.0
    return "", 1.0


def multiples(graph: Graph, name: str, k: float) -> list[tuple[str, float]]:
    """`k * name` written with everything that `name` is a multiple of."""
    found = [(name, k)]
    node = graph.maker(name, "Neg", "Mul", "Div")
    if node is None:
        return found
    if node.op_type == "Neg":
        return found + multiples(graph, node.input[0], -k)
    if node.op_type == "Div":
        factor = graph.scalar(node.input[1])
        return found + (multiples(graph, node.input[0], k / factor) if factor else [])
    for base, constant in both_ways(node):
        factor = graph.scalar(constant)
        found += [] if factor is None else multiples(graph, base, k * factor)
    return found


def sum_of_constants(graph: Graph) -> int:
    """(x + a) + b = x + (a + b), where that constant is no larger than the larger of the two: a class token and the positions."""
    changed = 0
    for node in [node for node in graph.nodes if node.op_type == "Add"]:
        for inner, right in both_ways(node):
            first, b = graph.maker(inner, "Add"), graph.constant(right)
            if first is None or b is None or len(graph.users(inner)) > 1 or inner in graph.outputs:
                continue
            found = next(((x, values) for x, name in both_ways(first) if (values := graph.constant(name)) is not None), None)
            if found is None or np.broadcast(found[1], b).size > max(found[1].size, b.size):
                continue
            graph.replace(node, make("Add", [found[0], graph.new_constant(found[1] + b, node.output[0])], node.output))
            changed += 1
            break
    return changed


def both_ways(node) -> list[tuple[str, str]]:
    """The two inputs of a commutative node in both orders."""
    return [] if node is None or len(node.input) != 2 else [(node.input[0], node.input[1]), (node.input[1], node.input[0])]


def near(value: float | None, wanted: float) -> bool:
    return value is not None and abs(value - wanted) < 1e-6
