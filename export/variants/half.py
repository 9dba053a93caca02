"""float16 of an ONNX graph for GPUs, by onnxruntime's converter: weights and maps in half the bytes, inputs and outputs as they were."""

from __future__ import annotations

import warnings

import onnx

from export.variants.quantise import tidy


def halve(graph: onnx.ModelProto, mark: str = "fp16") -> onnx.ModelProto:
    """The graph with its numbers in float16; its inputs and outputs keep names, types and shapes.

    What float16 has no operator for, as Max and Min, stays float32.
    """
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    proto = onnx.ModelProto.FromString(graph.SerializeToString())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # one line for every number below float16's least: it becomes that
        made = convert_float_to_float16(proto, keep_io_types=True)
    ordered = ONNXModel(made)
    ordered.topological_sort()  # the converter puts its casts at the end
    tidy(ordered.model, mark)
    return ordered.model
