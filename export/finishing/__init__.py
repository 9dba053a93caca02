"""Finishing: the graph that the converter wrote becomes the graph that a person would have written.

`simplify` runs on the bare graph, with the large weights still as inputs; `finish` once they are in place. Each pass is a function of a
`Graph` that says how often it changed something, keeps the function, and leaves alone what only looks alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx

from export.finishing import layout, operators, shapes
from export.finishing.fold import fold_constants
from export.finishing.graph import Graph
from export.finishing.names import order_constants, rename, write_shapes

__all__ = ["Graph", "finish", "simplify"]

PASSES = (
    shapes.matmul_of_rows,
    shapes.constant_reshape_targets,
    shapes.short_expand_targets,
    shapes.merge_reshapes,
    shapes.index_instead_of_slice,
    shapes.drop_identities,
    layout.merge_transposes,
    layout.reshape_for_transpose,
    layout.transpose_before_pad,
    layout.merge_pads,
    operators.layer_normalization,
    operators.local_response_normalization,
    operators.gelu,
)
ROUNDS = 10  # one pass makes work for another; two or three rounds are usual


def simplify(proto: onnx.ModelProto) -> onnx.ModelProto:
    """All passes that need no weights, until nothing changes."""
    graph = Graph(proto)
    for passes in (PASSES, (shapes.remaining_reshape_targets, *PASSES)):
        for _ in range(ROUNDS):
            if not sum(apply(change, graph) for change in passes):
                break
    return graph.proto


def apply(change: Callable[[Graph], int], graph: Graph) -> int:
    changed = change(graph)
    if changed:
        graph.refresh()
    return changed


def finish(proto: onnx.ModelProto, layers: Iterable[str] = ()) -> onnx.ModelProto:
    """Fold constants, put weights in order, name everything; `layers` are the names to use. Empties `proto`."""
    folded = simplify(fold_constants(proto))
    graph = Graph(folded)
    apply(layout.flatten_in_order, graph)
    apply(operators.sum_of_constants, graph)
    rename(folded, layers)
    order_constants(folded)
    write_shapes(folded)
    return folded
