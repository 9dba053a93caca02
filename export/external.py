"""Weights in a file of their own: a protobuf file ends at 2 GB, and GRAPH.onnx.data beside it does not.

onnxruntime finds that file by the name that GRAPH.onnx holds, which is a plain name in the same folder.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx

from export.gates import ExportRefused

LARGEST = 2_000_000_000  # bytes of weights that a file may hold with its graph: protobuf ends at 2^31
SMALLEST = 1024  # bytes: smaller constants stay in the graph, where shape inference looks for them


def data_name(path: Path) -> str:
    return f"{path.name}.data"


def bytes_of_weights(proto: onnx.ModelProto) -> int:
    return sum(
        math.prod(held.dims) * np.dtype(onnx.helper.tensor_dtype_to_np_dtype(held.data_type)).itemsize for held in proto.graph.initializer
    )


def is_large(proto: onnx.ModelProto) -> bool:
    """The graph cannot be one piece of protobuf."""
    return bytes_of_weights(proto) > LARGEST


def save(proto: onnx.ModelProto, path: Path, keep: bool = True) -> None:
    """GRAPH.onnx and GRAPH.onnx.data; small weights stay in the first. `proto` only keeps its own where they are still needed."""
    onnx.save_model(
        proto, str(path), save_as_external_data=True, all_tensors_to_one_file=True, location=data_name(path), size_threshold=SMALLEST
    )
    beside = path.parent / data_name(path)
    if not beside.exists():  # all weights are small
        return
    beside.chmod(0o644)  # onnx makes it private
    if keep:
        onnx.load_external_data_for_model(proto, str(path.parent))  # onnx emptied it


@contextmanager
def loadable(proto: onnx.ModelProto) -> Iterator[str | bytes]:
    """What onnx.checker and onnxruntime can load: the bytes, or the path of a file that is gone afterwards where those are too many."""
    if not is_large(proto):
        yield proto.SerializeToString()
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        save(proto, path)
        yield str(path)


def check_whole(*protos: onnx.ModelProto) -> None:
    """Several graphs can be joined to one file; ExportRefused."""
    size = sum(map(bytes_of_weights, protos))
    if size > LARGEST:
        raise ExportRefused(f"--whole-loop needs graphs of at most {LARGEST:,} bytes of weights together. Received: {size:,}")
