"""Tensors on the wire: the JSON and the binary form of the Open Inference Protocol v2, checked before anything is allocated.

https://github.com/kserve/open-inference-protocol, Triton's extension for binary tensor data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import orjson

from apps.runtime import Slot

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
ELEMENTS = {"b": {bool}, "u": {int}, "i": {int}, "f": {int, float}}  # JSON's types for numpy's kinds
SPOKEN = {"b": "true or false", "u": "whole numbers", "i": "whole numbers", "f": "numbers"}
PAST = "state"  # the input of a decoder whose free side may be 0: it has said nothing yet
MAX_DIMENSIONS = 16
MAX_LISTS = 500_000  # an empty list is 3 bytes of JSON and 64 of memory


class TensorError(ValueError):
    """The request cannot be used; the message is a sentence for whoever sent it."""


@dataclass(frozen=True)
class Bounds:
    """What one request may ask for: sides of the batch, elements of one tensor."""

    batch: int = 64
    elements: int = 8_000_000


@dataclass(frozen=True)
class Asked:
    """A request, checked: arrays for the graph, and which outputs to answer with, in binary or in JSON."""

    id: str | None
    inputs: dict[str, np.ndarray]
    outputs: dict[str, bool]


def split_body(body: bytes, header_length: str | None) -> tuple[dict[str, Any], bytes]:
    """The JSON object of a request and the binary data behind it."""
    length = len(body) if header_length is None else read_header_length(header_length, len(body))
    text = body[:length]
    lists = text.count(b"[") + text.count(b"{")
    if lists > MAX_LISTS:
        raise TensorError(f"The JSON must have at most {MAX_LISTS} lists and objects: send data flat, or in binary. Received: {lists}")
    try:
        head = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise TensorError(f"The request must be JSON. Received: {error}") from None
    if not isinstance(head, dict):
        raise TensorError(f"The request must be a JSON object. Received: {shown(head)}")
    return head, body[length:]


def read_header_length(text: str, size: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12 or not 0 < int(text) <= size:
        raise TensorError(
            f"Inference-Header-Content-Length must be the bytes of the JSON part, from 1 to the body's {size}. Received: {shown(text)}"
        )
    return int(text)


def read_timeout(head: dict[str, Any]) -> float | None:
    """Seconds, from the microseconds of Triton's parameter `timeout`; 0 means none."""
    timeout = parameters_of(head, "The request").get("timeout", 0)
    if type(timeout) is not int or timeout < 0:
        raise TensorError(f"timeout must be a whole number of microseconds. Received: {shown(timeout)}")
    return timeout / 1e6 if timeout else None


def read_request(head: dict[str, Any], binary: bytes, inputs: Sequence[Slot], outputs: Sequence[Slot], bounds: Bounds) -> Asked:
    number = head.get("id")
    if number is not None and not isinstance(number, str):
        raise TensorError(f"id must be text. Received: {shown(number)}")
    return Asked(number, read_inputs(head.get("inputs"), binary, inputs, bounds), read_outputs(head, outputs))


def read_inputs(entries: Any, binary: bytes, slots: Sequence[Slot], bounds: Bounds) -> dict[str, np.ndarray]:
    """Everything about all tensors is checked before the first is built."""
    found = by_name(entries, "inputs", [slot.name for slot in slots])
    missing = [slot.name for slot in slots if slot.name not in found]
    if missing:
        raise TensorError(f"The inputs must be {names_of(slots)}. Received: none named {', '.join(missing)}")
    known = {slot.name: slot for slot in slots}
    free: dict[str, int] = {}
    for name, entry in found.items():
        check_datatype(entry, known[name])
        check_shape(entry, known[name], bounds, free)
    parts = split_binary(found, known, binary)
    return {name: read_tensor(entry, known[name], parts.get(name)) for name, entry in found.items()}


def by_name(entries: Any, where: str, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    if not isinstance(entries, list):
        raise TensorError(f"{where} must be a list. Received: {shown(entries)}")
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            raise TensorError(f"Each of the {where} must be an object. Received: {shown(entry)}")
        name = entry.get("name")
        if not isinstance(name, str) or name not in names:
            raise TensorError(f"The {where} must be named {', '.join(names)}. Received: {shown(name)}")
        if name in found:
            raise TensorError(f"Each of the {where} must be named once. Received: {name} twice")
        found[name] = entry
    return found


def check_datatype(entry: dict[str, Any], slot: Slot) -> None:
    if entry.get("datatype") != DATATYPES[slot.dtype]:
        raise TensorError(f"The datatype of {slot.name} must be {DATATYPES[slot.dtype]}. Received: {shown(entry.get('datatype'))}")


def check_shape(entry: dict[str, Any], slot: Slot, bounds: Bounds, free: dict[str, int]) -> None:
    """`free` holds the sides that the request has chosen so far: the same word is the same number everywhere."""
    shape = entry.get("shape")
    rule = f"The shape of {slot.name} must be [{', '.join(map(str, slot.shape))}]"
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or any(type(side) is not int for side in shape):
        raise TensorError(f"{rule}, a list of whole numbers. Received: {shown(shape)}")
    least = [0 if may_be_empty(slot, axis) else 1 for axis in range(len(slot.shape))]
    if len(shape) != len(least) or any(side < bound for side, bound in zip(shape, least, strict=True)):
        past = f", {slot.shape[least.index(0)]} at least 0" if 0 in least else ""
        raise TensorError(f"{rule}, every side at least 1{past}. Received: {shown(shape)}")
    for side, wanted in zip(shape, slot.shape, strict=True):
        if side != (wanted if isinstance(wanted, int) else free.setdefault(wanted, side)):
            raise TensorError(f"{rule}{', the same word the same number' * isinstance(wanted, str)}. Received: {shown(shape)}")
    if shape and isinstance(slot.shape[0], str) and shape[0] > bounds.batch:
        raise TensorError(f"The first side of {slot.name} must be at most {bounds.batch}. Received: {shape[0]}")
    if math.prod(shape) > bounds.elements:
        raise TensorError(f"A tensor must have at most {bounds.elements} elements. Received: {slot.name} with {math.prod(shape)}")


def may_be_empty(slot: Slot, axis: int) -> bool:
    return slot.name == PAST and axis > 0 and isinstance(slot.shape[axis], str)


def split_binary(found: dict[str, dict[str, Any]], known: dict[str, Slot], binary: bytes) -> dict[str, bytes]:
    """The bytes of each tensor that says binary_data_size, in the order of the request."""
    parts, start = {}, 0
    for name, entry in found.items():
        size = parameters_of(entry, name).get("binary_data_size")
        if size is None:
            continue
        expected = math.prod(entry["shape"]) * np.dtype(known[name].dtype).itemsize
        if type(size) is not int or size != expected:
            raise TensorError(f"binary_data_size of {name} must be {expected}, its elements times their bytes. Received: {shown(size)}")
        if "data" in entry:
            raise TensorError(f"A tensor must have data or binary_data_size. Received: {name} with both")
        parts[name] = binary[start : start + size]
        start += size
    if start != len(binary):
        raise TensorError(f"The binary data must have the {start} bytes that the tensors say. Received: {len(binary)}")
    return parts


def read_tensor(entry: dict[str, Any], slot: Slot, part: bytes | None) -> np.ndarray:
    array = from_json(entry, slot) if part is None else from_binary(part, slot)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise TensorError(f"The numbers of {slot.name} must be finite. Received: {array[~np.isfinite(array)][0]}")
    return array.reshape(entry["shape"])


def from_binary(part: bytes, slot: Slot) -> np.ndarray:
    if slot.dtype != "bool":
        return np.frombuffer(part, np.dtype(slot.dtype).newbyteorder("<"))
    levels = np.frombuffer(part, np.uint8)
    if levels.size and levels.max() > 1:
        raise TensorError(f"The bytes of {slot.name}, a BOOL tensor, must be 0 or 1. Received: {levels.max()}")
    return levels.view(np.bool_)


def from_json(entry: dict[str, Any], slot: Slot) -> np.ndarray:
    dtype = np.dtype(slot.dtype)
    flat = flatten(entry.get("data"), entry["shape"], slot.name)
    wrong = set(map(type, flat)) - ELEMENTS[dtype.kind]
    if wrong:
        found = next(element for element in flat if type(element) in wrong)
        raise TensorError(f"The data of {slot.name}, {DATATYPES[slot.dtype]}, must be {SPOKEN[dtype.kind]}. Received: {shown(found)}")
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite and is refused as that
            return np.array(flat, dtype)
    except OverflowError:
        found = next(element for element in flat if not fits(element, dtype))
        raise TensorError(f"The data of {slot.name} must fit {DATATYPES[slot.dtype]}, {limits_of(dtype)}. Received: {found}") from None


def flatten(data: Any, shape: Sequence[int], name: str) -> list[Any]:
    """The elements in a row, from a flat list or from lists nested as the shape says."""
    if not isinstance(data, list):
        raise TensorError(f"The data of {name} must be a list. Received: {shown(data)}")
    nested = len(shape) > 1 and bool(data) and isinstance(data[0], list)
    level = [data]
    for side in shape if nested else [math.prod(shape)]:
        lengths = sorted(set(map(len, level))) if set(map(type, level)) == {list} else ["numbers beside lists"]
        if lengths != [side]:
            rule = f"The data of {name} must be flat or nested as its shape {shape} says"
            raise TensorError(f"{rule}: {side} entries in a list. Received: {', '.join(map(str, lengths[:3]))}")
        level = list(chain.from_iterable(level))
    return level


def fits(element: int | float, dtype: np.dtype) -> bool:
    return dtype.kind == "f" or np.iinfo(dtype).min <= element <= np.iinfo(dtype).max


def limits_of(dtype: np.dtype) -> str:
    return f"from {np.iinfo(dtype).min} to {np.iinfo(dtype).max}"


def read_outputs(head: dict[str, Any], slots: Sequence[Slot]) -> dict[str, bool]:
    """Which outputs are asked for, and whether in binary; all of them when none is named."""
    binary = read_flag(parameters_of(head, "The request"), "binary_data_output", False)
    if not head.get("outputs"):
        return dict.fromkeys((slot.name for slot in slots), binary)
    asked = {}
    for name, entry in by_name(head["outputs"], "outputs", [slot.name for slot in slots]).items():
        parameters = parameters_of(entry, name)
        if parameters.get("classification"):
            raise TensorError(f"The classification extension is not served. Received: classification for {name}")
        asked[name] = read_flag(parameters, "binary_data", binary)
    return asked


def read_flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise TensorError(f"{name} must be true or false. Received: {shown(value)}")
    return value


def parameters_of(entry: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = entry.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise TensorError(f"parameters must be an object. Received: {shown(parameters)} in {where}")
    return parameters


def write_answer(model: str, asked: Asked, arrays: dict[str, np.ndarray]) -> tuple[bytes, int | None]:
    """The body, and the length of its JSON part when binary data follows it."""
    outputs, parts = [], []
    for name, binary in asked.outputs.items():
        array = np.ascontiguousarray(arrays[name])
        entry: dict[str, Any] = {"name": name, "datatype": DATATYPES[array.dtype.name], "shape": list(arrays[name].shape)}
        if binary:
            parts.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            check_finite(array, name)
            entry["data"] = array.reshape(-1)
        outputs.append(entry)
    answer = {"model_name": model, "model_version": "1", "outputs": outputs}
    if asked.id is not None:
        answer["id"] = asked.id
    head = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([head, *parts]), len(head)) if parts else (head, None)


def check_finite(array: np.ndarray, name: str) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise TensorError(f"JSON can carry finite numbers only; ask for binary_data. Received: {name} is not finite for these inputs")


def names_of(slots: Sequence[Slot]) -> str:
    return ", ".join(slot.name for slot in slots)


def shown(value: Any) -> str:
    """A stranger's value, short enough for a sentence."""
    if value is None:
        return "none"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list) and (len(value) > MAX_DIMENSIONS or any(isinstance(entry, list | dict | str) for entry in value)):
        return f"a list of {len(value)}"
    text = orjson.dumps(value).decode()
    return text if len(text) <= 80 else f"{text[:80]}..."
