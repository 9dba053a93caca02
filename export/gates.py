"""The gates of the exporter: each one is a question with one right answer, and refuses in one sentence.

A gate raises `ExportRefused`; nothing is written under the output folder before the last of them has passed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

if TYPE_CHECKING:
    import keras
    import onnxruntime

Contract = dict[str, tuple[str, list]]  # name: (dtype, shape)
BYTES_EACH = 40  # of memory that the process takes in all for a parameter of 4: 22 GB for 539 million in Dense layers; a ViT-L took fewer
LEAST_SAMPLES = 256
INPUT_TYPES = ("uint8", "int32", "int64", "float32")
OUTPUT_TYPES = ("float32", "int32", "int64", "bool")
HOME_DOMAINS = ("", "ai.onnx")
CONTROL_FLOW = ("If", "Loop", "Scan")


class ExportRefused(Exception):
    """The export cannot go on; the message is one sentence that says why."""


def check_size(parameters: int, free: int | None = None) -> None:
    """The export fits into memory; `free` is in bytes, by default what the system says and this process has already."""
    free = free_memory() if free is None else free
    needed = BYTES_EACH * parameters
    if free is not None and needed > free:
        raise ExportRefused(
            f"an export needs about {BYTES_EACH} bytes of memory for each parameter. Received: {parameters:,} parameters, "
            f"{needed / 1e9:.1f} GB where {free / 1e9:.1f} can be had"
        )


def free_memory() -> int | None:
    """Bytes that this process has, a model's weights among them, or may still take; None where the system does not tell."""
    try:
        return bytes_of("/proc/meminfo", "MemAvailable") + bytes_of("/proc/self/status", "RssAnon")
    except (OSError, StopIteration, ValueError):
        return None


def bytes_of(path: str, name: str) -> int:
    """Bytes of a line `name: 123 kB`."""
    return 1024 * int(next(line.split()[1] for line in Path(path).read_text().splitlines() if line.startswith(name)))


def check_float32(model: keras.Model) -> None:
    """Bundles are float32: a mixed-precision layer left in the model would put Casts and errors of 1e-3 into the graph."""
    for layer in model._flatten_layers():
        if layer.compute_dtype in ("float16", "bfloat16", "float64"):
            raise ExportRefused(f"every layer must compute in float32. Received: layer {layer.name} in {layer.compute_dtype}")


def check_supported(complaints: Sequence[str]) -> None:
    """`complaints` is what tf2onnx logged: it writes a file even when it could not convert an operator."""
    if complaints:
        hint = ""
        if any("Cudnn" in line for line in complaints):
            hint = " (a recurrent net must be exported with the GPU hidden: CUDA_VISIBLE_DEVICES=-1 python -m export ...)"
        raise ExportRefused(f"the converter must know every operator. Received: {complaints[0]}{hint}")


def check_domains(proto: onnx.ModelProto) -> None:
    """Only the default ai.onnx operators: anything else ties the file to one runtime. Looks into Loop, If and functions."""
    foreign = Counter(f"{node.domain}:{node.op_type}" for node in nodes_of(proto) if node.domain not in HOME_DOMAINS)
    foreign.update(f"{entry.domain} (imported)" for entry in proto.opset_import if entry.domain not in HOME_DOMAINS)
    if foreign:
        raise ExportRefused(f"every operator must be of the ai.onnx domain. Received: {', '.join(sorted(foreign))}")


def check_no_control_flow(proto: onnx.ModelProto) -> None:
    """A graph that is called once a step has no loop of its own: OpenVINO and others refuse those."""
    found = sorted({node.op_type for node in nodes_of(proto)} & set(CONTROL_FLOW))
    if found:
        raise ExportRefused(f"the graphs of a step must be free of {', '.join(CONTROL_FLOW)}. Received: {', '.join(found)}")


def check_contract(proto: onnx.ModelProto, inputs: Contract, outputs: Contract) -> None:
    """The graph's inputs and outputs must be exactly these; `inputs` and `outputs` map a name to (dtype, shape)."""
    held = {constant.name for constant in proto.graph.initializer}
    for kind, values, wanted, types in (
        ("inputs", proto.graph.input, inputs, INPUT_TYPES),
        ("outputs", proto.graph.output, outputs, OUTPUT_TYPES),
    ):
        found = {value.name: signature_of(value) for value in values if value.name not in held}
        if list(found) != list(wanted):
            raise ExportRefused(f"the graph's {kind} must be {', '.join(wanted)}. Received: {', '.join(found)}")
        for name, (dtype, shape) in wanted.items():
            check_value(kind, name, found[name], dtype, shape, types)
        if kind == "inputs" and list(wanted) == ["features"]:
            check_columns(*wanted["features"])


def check_value(kind: str, name: str, found: tuple[str, list], dtype: str, shape: list, types: Sequence[str]) -> None:
    if found[0] != dtype or dtype not in types:
        raise ExportRefused(f"{kind} {name} must be {dtype}, one of {', '.join(types)}. Received: {found[0]}")
    if found[1] != list(shape):
        raise ExportRefused(f"{kind} {name} must have the shape {list(shape)}. Received: {found[1]}")
    if kind == "inputs" and shape and shape[0] != "batch":
        raise ExportRefused(f"{kind} {name} must have batch as its named first dimension. Received: {list(shape)}")
    if name == "image" and (dtype != "uint8" or len(shape) != 4 or not {shape[1], shape[3]} & {1, 3}):
        raise ExportRefused(
            f"image must be uint8 [batch, height, width, 1 or 3], or with the channels first. Received: {dtype} {list(shape)}"
        )


def check_columns(dtype: str, shape: list) -> None:
    """Features that are all a model takes are a table; a decoder's are a map beside other inputs."""
    if dtype != "float32" or len(shape) != 2:
        raise ExportRefused(f"features must be float32 [batch, columns]. Received: {dtype} {list(shape)}")


def check_proto(proto: onnx.ModelProto | str) -> None:
    """onnx.checker with shape inference, of a graph or of the path of its file."""
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # the checker and the shape inference raise different classes
        raise ExportRefused(f"onnx.checker must accept the graph. Received: {first_line(error)}") from error


def open_session(path_or_bytes: str | bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """onnxruntime must load the file; gives the session."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads must not take the cores of others
    try:
        return onnxruntime.InferenceSession(path_or_bytes, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a class of its own per status code
        raise ExportRefused(f"onnxruntime must load the graph. Received: {first_line(error)}") from error


def check_samples(samples: dict[str, np.ndarray], least: int = LEAST_SAMPLES) -> None:
    """`samples` maps a name to an array; parity is only worth something on enough real examples."""
    counts = {name: len(values) for name, values in samples.items()}
    if len(set(counts.values())) != 1 or min(counts.values()) < least:
        raise ExportRefused(f"parity needs at least {least} real samples, as many of each array. Received: {counts}")


def check_parity(row: dict[str, Any]) -> None:
    """`row` is one measurement of parity.py."""
    size = f" on pictures of {row['size'][0]} x {row['size'][1]}" if "size" in row else ""
    where = f"{row['runtime']} at batch {row['batch']}{size}"
    allowed = " ".join([f"{row['tolerance']:g}", *([row["unit"]] if "unit" in row else [])])
    if not row["max_error"] <= row["tolerance"]:  # also when it is not a number
        raise ExportRefused(f"{where} must be within {allowed} of Keras. Received: max error {row['max_error']:.3g}")
    if not row["decisions_equal"]:
        raise ExportRefused(f"{where} must decide as Keras does wherever the two best are not nearly tied. Received: another decision")


def nodes_of(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node of the graph, of the bodies of its Loop, If and Scan nodes, and of its functions."""
    graphs: list[Any] = [proto.graph, *proto.functions]
    while graphs:
        for node in graphs.pop().node:
            yield node
            for attribute in node.attribute:
                graphs += [attribute.g] if attribute.HasField("g") else []
                graphs += attribute.graphs


def signature_of(value: onnx.ValueInfoProto) -> tuple[str, list]:
    """(dtype, shape) of a graph input or output; an unnamed dynamic dimension is None."""
    tensor = value.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name if tensor.elem_type else "unknown"
    shape = [dim.dim_param or (dim.dim_value if dim.HasField("dim_value") else None) for dim in tensor.shape.dim]
    return dtype, shape


def first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
