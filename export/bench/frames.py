"""Named arrays as bytes, for a runtime that lives in another process: worker.mjs is the other side.

A frame is the length of its header (uint32, little-endian), the header in JSON and the arrays one after the other in C order. The header's
`arrays` tells of each its name, dtype and shape.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from export.parity import Arrays

TYPES = ("float32", "int32", "int64", "uint8", "bool")


def pack(header: dict[str, Any], arrays: Arrays) -> bytes:
    """A frame of the header's fields and the arrays, whose dtypes are those of TYPES."""
    if unknown := {name: values.dtype.name for name, values in arrays.items() if values.dtype.name not in TYPES}:
        raise ValueError(f"arrays are {', '.join(TYPES)}. Received: {unknown}")
    told = [{"name": name, "type": values.dtype.name, "dims": list(values.shape)} for name, values in arrays.items()]
    head = json.dumps({**header, "arrays": told}).encode()
    return b"".join([len(head).to_bytes(4, "little"), head, *(values.tobytes() for values in arrays.values())])


def unpack(frame: bytes) -> tuple[dict[str, Any], Arrays]:
    """(header, arrays) of a frame; RuntimeError where its header has an `error`."""
    start = 4 + int.from_bytes(frame[:4], "little")
    header, arrays = json.loads(frame[4:start]), {}
    for told in header.pop("arrays"):
        dtype, count = np.dtype(told["type"]), int(np.prod(told["dims"], dtype=np.int64))
        arrays[told["name"]] = np.frombuffer(frame, dtype, count, start).reshape(told["dims"])
        start += count * dtype.itemsize
    if "error" in header:
        raise RuntimeError(header["error"])
    return header, arrays
