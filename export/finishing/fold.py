"""Constants are computed once: onnxruntime's BASIC optimisations, written to a file of ai.onnx operators.

They fold constant expressions (transposed kernels, BatchNormalization of constants), Mul and Add behind a Conv into its weights and
MatMul + Add into Gemm.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from export import external
from export.gates import ExportRefused, first_line

# onnxruntime 1.31 merges Pad into MaxPool even where values are negative and zeros are not what a MaxPool pads with: layout.py does it.
UNWANTED = ["Pad_Fusion"]


def fold_constants(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same function with everything constant folded; `proto` is emptied, for both at once may not fit into memory."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        if external.is_large(proto):
            external.save(proto, before, keep=False)
            options.add_session_config_entry("session.optimized_model_external_initializers_file_name", external.data_name(after))
            options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", str(external.SMALLEST))
        else:
            onnx.save(proto, before)
        proto.Clear()
        options.optimized_model_filepath = str(after)
        try:
            onnxruntime.InferenceSession(str(before), options, providers=["CPUExecutionProvider"], disabled_optimizers=UNWANTED)
        except Exception as error:  # onnxruntime raises a class of its own per status code
            raise ExportRefused(f"onnxruntime must load the graph. Received: {first_line(error)}") from error
        return onnx.load(after)
