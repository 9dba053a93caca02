"""What an ONNX file asks for beyond itself, read from its bytes before onnxruntime sees them: files of weights, operators of others.

A reader of protobuf's wire format (protobuf.dev/programming-guides/encoding) with the field numbers of onnx/onnx.proto, so that a server
needs no package for it. It follows every field that can lead to a tensor or a node. What is malformed, too deep or has too many parts is
refused: onnxruntime might read it in another way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from apps.runtime.trust import BundleError, check_path, shown

MAX_FIELDS = 1_000_000  # parts that are looked at, a second or two; a DenseNet of 22 layers has 2,083
MAX_DEPTH = 18  # messages inside one another: graphs four deep; onnxruntime's time doubles with every one
HOME_DOMAINS = ("", "ai.onnx")
# message: {field: the message in it}
CHILDREN = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Entry": {},
}
DOMAINS = {"Node": 7, "Function": 10}
KEY, VALUE = 1, 2  # of an Entry
LENGTHS = {1: 8, 5: 4}  # wire type: bytes
WORD = 2  # the wire type of bytes, text and messages


class Malformed(ValueError):
    """It is no file of protobuf."""


@dataclass
class Asked:
    """Paths of files with weights, and the domains of operators that are not ONNX's own."""

    locations: set[str] = field(default_factory=set)
    domains: set[str] = field(default_factory=set)


def files_of_weights(data: bytes, file: str, where: str) -> set[str]:
    """The paths in the bundle of a graph's external data; BundleError for a file that is no ONNX file, or has operators of others."""
    if data[4:8] == b"ORTM":
        raise BundleError(f"{file} must be an ONNX file. Received: {where}, onnxruntime's own format")
    try:
        asked = read_model(data)
    except (Malformed, UnicodeDecodeError) as problem:
        raise BundleError(f"{file} must be an ONNX file. Received: {where}, {problem}") from None
    if asked.domains:
        names = ", ".join(sorted(map(shown, asked.domains))[:5])
        raise BundleError(f"The operators of {file} must be of the domain ai.onnx. Received: {where} with some of {names}")
    for location in asked.locations:
        check_path(location, where)
    return asked.locations


def read_model(data: bytes) -> Asked:
    asked, left = Asked(), MAX_FIELDS
    top: set[int] = set()
    todo = [("Model", 0, len(data), 0)]
    while todo:
        kind, start, end, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise Malformed(f"more than {MAX_DEPTH} messages inside one another")
        keys, values = [], []
        for number, wire, begin, stop in fields(data, start, end):
            left -= 1
            if left < 0:
                raise Malformed(f"more than {MAX_FIELDS:,} parts")
            if kind == "Model":
                top.add(number)
            child = CHILDREN[kind].get(number)
            if child and wire == WORD:
                todo.append((child, begin, stop, depth + 1))
            elif number == DOMAINS.get(kind) and data[begin:stop].decode() not in HOME_DOMAINS:
                asked.domains.add(data[begin:stop].decode())
            elif kind == "Entry":
                (keys if number == KEY else values).append((number, data[begin:stop]))
        if (KEY, b"location") in keys:
            asked.locations.update(value.decode() for number, value in values if number == VALUE)
    if not {1, 7} <= top:
        raise Malformed("without a version and a graph")
    return asked


def fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, wire type, first byte, byte after the last) of each field of a message."""
    at = start
    while at < end:
        tag, at = varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        begin = at
        if wire == 0:
            _, at = varint(data, at, end)
        elif wire == WORD:
            length, begin = varint(data, at, end)
            at = begin + length
        elif wire in LENGTHS:
            at += LENGTHS[wire]
        else:
            raise Malformed(f"a field of the wire type {wire}")
        if number == 0 or number >= 2**29 or at > end:
            raise Malformed("a field that does not fit")
        yield number, wire, begin, at


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the low ones first, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise Malformed("a number that is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise Malformed("a number of more than 64 bits")


__all__ = ["files_of_weights"]
