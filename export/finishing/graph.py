"""A view of an ONNX graph that is easy to rewrite: who makes a value, who takes it, what it holds, which shape it has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

LARGE = 4096  # elements; shape inference never needs to look into a larger constant


class Graph:
    """Holds a graph while it is rewritten; `refresh` drops what became useless, writes the proto and looks at the shapes anew."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto = proto
        self.count = 0
        self.nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in proto.graph.node]
        self.refresh()

    def refresh(self) -> None:
        graph = self.proto.graph
        self.outputs = {value.name for value in graph.output}
        self.drop_unused()
        del graph.node[:]
        graph.node.extend(self.nodes)
        self.made_by = {name: node for node in self.nodes for name in node.output if name}
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self._facts: dict[str, tuple[int, list[int | str | None]]] | None = None

    def drop_unused(self) -> None:
        """Remove nodes and constants that no result depends on."""
        wanted = set(self.outputs)
        kept = []
        for node in reversed(self.nodes):
            if wanted.intersection(node.output):
                kept.append(node)
                wanted.update(node.input)
                wanted.update(name for body in bodies(node) for inner in body.node for name in inner.input)
                wanted.update(value.name for body in bodies(node) for value in body.output)
        self.nodes = kept[::-1]
        constants = self.proto.graph.initializer
        for i in reversed([i for i, tensor in enumerate(constants) if tensor.name not in wanted]):
            del constants[i]

    @property
    def opset(self) -> int:
        return next(entry.version for entry in self.proto.opset_import if entry.domain in ("", "ai.onnx"))

    def maker(self, name: str, *kinds: str) -> onnx.NodeProto | None:
        """The node that makes `name`, if it is of one of these kinds."""
        node = self.made_by.get(name)
        return node if node is not None and (not kinds or node.op_type in kinds) else None

    def users(self, name: str) -> list[onnx.NodeProto]:
        return [node for node in self.nodes if name in node.input]

    def constant(self, name: str) -> np.ndarray | None:
        tensor = self.constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def scalar(self, name: str) -> float | None:
        """The number that a constant holds, if it is one number."""
        tensor = self.constants.get(name)
        return float(numpy_helper.to_array(tensor).ravel()[0]) if tensor is not None and math.prod(tensor.dims) == 1 else None

    def dtype(self, name: str) -> int | None:
        """The ONNX element type, where it is known."""
        return self.facts().get(name, (None, None))[0]

    def shape(self, name: str) -> list[int | str | None] | None:
        """Dimensions: a number, a name (batch), or None where nobody knows."""
        return self.facts().get(name, (None, None))[1]

    def facts(self) -> dict[str, tuple[int, list[int | str | None]]]:
        """Element type and shape of each value, as they were at the last refresh."""
        if self._facts is None:
            model = onnx.shape_inference.infer_shapes(light(self.proto), data_prop=True)
            values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
            self._facts = {value.name: (value.type.tensor_type.elem_type, dims_of(value)) for value in values if has_shape(value)}
            self._facts |= {name: (tensor.data_type, list(tensor.dims)) for name, tensor in self.constants.items()}
        return self._facts

    def new_name(self, like: str) -> str:
        self.count += 1
        return f"{like}/finished_{self.count}"

    def new_constant(self, values: Any, like: str) -> str:
        """Add an initializer; gives its name."""
        name = self.new_name(like)
        self.proto.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        self.constants[name] = self.proto.graph.initializer[-1]
        return name

    def replace(self, node: onnx.NodeProto, *new: onnx.NodeProto) -> None:
        """Put `new` in the place of `node`; the last of them makes what `node` made."""
        place = next(i for i, other in enumerate(self.nodes) if other is node)
        self.nodes[place : place + 1] = new
        self.made_by.update({name: entry for entry in new for name in entry.output})

    def bypass(self, node: onnx.NodeProto, name: str) -> bool:
        """Let the users of the node's output take `name` instead; False where the output is a result of the graph."""
        inside = any(bodies(user) for user in self.nodes)  # a loop's body may take it too
        if node.output[0] in self.outputs or inside:
            return False
        for user in self.users(node.output[0]):
            for i, taken in enumerate(user.input):
                if taken == node.output[0]:
                    user.input[i] = name
        return True


def bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs inside Loop, If and Scan, and those inside these."""
    found = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    found += [body for attribute in node.attribute for body in attribute.graphs]
    return found + [deeper for body in found for inner in body.node for deeper in bodies(inner)]


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    copies = [onnx.AttributeProto.FromString(attribute.SerializeToString()) for attribute in kept]
    del node.attribute[:]
    node.attribute.extend([*copies, onnx.helper.make_attribute(name, value)])


def make(kind: str, inputs: Sequence[str], outputs: Sequence[str], **options: Any) -> onnx.NodeProto:
    return onnx.helper.make_node(kind, list(inputs), list(outputs), name=outputs[0], **options)


def light(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with its large constants as inputs: shape inference copies the file, and a file of 2 GB has no copy."""
    copy = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    copy.graph.name = proto.graph.name or "model"
    copy.graph.node.extend(proto.graph.node)
    copy.graph.input.extend(proto.graph.input)
    copy.graph.output.extend(proto.graph.output)
    declared = {value.name for value in proto.graph.input}
    for tensor in proto.graph.initializer:
        if math.prod(tensor.dims) <= LARGE:
            copy.graph.initializer.append(tensor)
        elif tensor.name not in declared:
            copy.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return copy


def has_shape(value: onnx.ValueInfoProto) -> bool:
    return value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape")


def dims_of(value: onnx.ValueInfoProto) -> list[int | str | None]:
    """unk__N is the name that the shape inference gives to a dimension it does not know: two of them may be equal."""
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in dims]


def is_named(dim: int | str | None) -> bool:
    return isinstance(dim, str) and not dim.startswith("unk__")
