"""sample.npz read as a stranger's file: no pickles, and no array larger than the file says and memory allows."""

from __future__ import annotations

import io
import math
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from apps.runtime import BundleError
from apps.runtime.trust import read_file
from export.gates import ExportRefused

MAX_ARRAYS = 2**30  # bytes of all arrays together
MAX_MEMBERS = 1000
TYPES = "biuf"  # kinds of numpy's dtypes: truth, whole numbers, floats


def read_sample(folder: Path, name: str = "sample.npz") -> dict[str, np.ndarray]:
    """Every array of the file by its key; ExportRefused."""
    try:
        return arrays_of(read_file(folder, name, MAX_ARRAYS), name)
    except BundleError as error:
        raise ExportRefused(str(error)) from error


def arrays_of(data: bytes, name: str) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            check_members(members, name)
            return {member.filename.removesuffix(".npy"): array_of(archive.read(member), f"{name}/{member.filename}") for member in members}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError) as error:
        raise ExportRefused(f"{name} must be a readable file of numpy. Received: {first_line(error)}") from None


def check_members(members: list[zipfile.ZipInfo], name: str) -> None:
    total = sum(member.file_size for member in members)
    if total > MAX_ARRAYS or len(members) > MAX_MEMBERS:
        rule = f"{name} may unfold to {MAX_MEMBERS} arrays of {MAX_ARRAYS:,} bytes"
        raise ExportRefused(f"{rule}. Received: {len(members)} of {total:,} bytes")
    names = [member.filename for member in members]
    if len(set(names)) != len(names) or not all(one.endswith(".npy") for one in names):
        raise ExportRefused(f"{name} must hold .npy files, each once. Received: {', '.join(map(ascii, names[:5]))}")


def array_of(data: bytes, where: str) -> np.ndarray:
    """The array, if it is as large as its header says."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of {where}")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read_header(stream)
    except (SyntaxError, TypeError, RecursionError, MemoryError, UnicodeError, tokenize.TokenError) as error:  # of the literal in it
        raise ValueError(f"the header of {where}, {type(error).__name__}") from None
    if dtype.kind not in TYPES or any(side < 0 for side in shape):
        raise ValueError(f"{where} of {dtype} {shape}")
    if math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ValueError(f"{where}, whose header tells another size")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape, order="F" if fortran else "C")


def first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__


__all__ = ["read_sample"]
