"""The first convolution over blocks of pixels: the same function, in the order that integer kernels like.

A 7x7 kernel at stride 2 on three channels gathers 49 times three bytes for each place, which takes int8 longer than float32. With each 2x2
block of pixels as twelve channels it is a 4x4 kernel at stride 1 that gathers 16 times twelve: 0.9 ms in place of 2.4 of ResNet-50's 20.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

CHANNELS = 4  # at most, of a picture
NAME = "blocks"


def as_blocks(proto: onnx.ModelProto) -> None:
    """Rewrite the graph's first convolution where it has a stride and reads a picture, whose sides the stride divides."""
    graph = proto.graph
    held = {constant.name: constant for constant in graph.initializer}
    position, conv = next(((i, node) for i, node in enumerate(graph.node) if node.op_type == "Conv"), (0, None))
    if conv is None or conv.input[1] not in held or sum(conv.input[1] in node.input for node in graph.node) > 1:
        return
    kernel = numpy_helper.to_array(held[conv.input[1]])
    options = {"strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1, "auto_pad": b"NOTSET"}
    options |= {entry.name: helper.get_attribute_value(entry) for entry in conv.attribute}
    stride = options["strides"][0]
    plain = options["group"] == 1 and set(options["dilations"]) == {1} and options["auto_pad"] in (b"NOTSET", b"VALID")
    if kernel.ndim != 4 or kernel.shape[1] > CHANNELS or not plain or len(set(options["strides"])) > 1 or stride == 1:
        return
    sides, pads = static_sides(proto, conv.input[0]), options["pads"]
    if sides is None or any(side % stride for side in sides):
        return
    axes = [along(sides[i], kernel.shape[2 + i], stride, pads[i], pads[2 + i]) for i in (0, 1)]
    if any(after < 0 for *_, after in axes):
        return
    (shift_y, size_y, top, bottom), (shift_x, size_x, left, right) = axes

    out, channels, height, width = kernel.shape
    wide = np.zeros((out, channels, size_y * stride, size_x * stride), kernel.dtype)
    wide[:, :, shift_y : shift_y + height, shift_x : shift_x + width] = kernel
    wide = wide.reshape(out, channels, size_y, stride, size_x, stride).transpose(0, 3, 5, 1, 2, 4)  # SpaceToDepth: place, then channel
    wide = np.ascontiguousarray(wide.reshape(out, stride * stride * channels, size_y, size_x))
    held[conv.input[1]].CopyFrom(numpy_helper.from_array(wide, conv.input[1]))
    blocks = helper.make_node("SpaceToDepth", [conv.input[0]], [f"{conv.input[0]}/{NAME}"], name=f"{conv.name}/{NAME}", blocksize=stride)
    conv.input[0] = blocks.output[0]
    del conv.attribute[:]
    settings = {"kernel_shape": [size_y, size_x], "strides": [1, 1], "pads": [top, left, bottom, right]}
    conv.attribute.extend(helper.make_attribute(name, value) for name, value in settings.items())
    graph.node.insert(position, blocks)
    del graph.value_info[:]


def along(side: int, kernel: int, stride: int, before: int, after: int) -> tuple[int, int, int, int]:
    """(zeros before the kernel, its blocks, blocks of padding before, and behind): the same places on one axis."""
    places = (side + before + after - kernel) // stride + 1
    padding = math.ceil(before / stride)
    shift = padding * stride - before
    size = math.ceil((kernel + shift) / stride)
    return shift, size, padding, places - 1 + size - side // stride - padding


def static_sides(proto: onnx.ModelProto, name: str) -> tuple[int, int] | None:
    """Height and width of a picture (B,C,H,W) inside the graph, where they are known."""
    found = shape_inference.infer_shapes(proto).graph
    for value in [*found.value_info, *found.input]:
        if value.name == name:
            dims = value.type.tensor_type.shape.dim
            if len(dims) == 4 and all(dim.HasField("dim_value") for dim in dims[2:]):
                return dims[2].dim_value, dims[3].dim_value
    return None
