"""What the files of a stranger's bundle may be before anything is made of them: their paths, kinds, sizes, and the depth of their JSON.

A file that is used is read once: the bytes that were hashed are the bytes that are parsed. Memory has a bound: JSON files of at most
MAX_JSON bytes, graphs of at most MAX_GRAPH and the files of their weights of at most MAX_FILE are read whole, all others a block at a time.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import stat
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

MAX_JSON = 8_000_000  # bytes of card.json, vocab.json or bundle.sig
MAX_DEPTH = 32  # objects and lists inside one another
MAX_GRAPH = 2**31 - 1  # bytes of an ONNX file: protobuf ends there
MAX_FILE = 2**34  # bytes of any other file, 17 GB
MAX_FILES = 10_000
MAX_PATH, MAX_PART = 240, 120  # characters
MAX_WHOLE = 2**63
SHA256 = re.compile(r"[0-9a-f]{64}")
FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')  # what Windows has no file names with; `\` and `:` would also lead elsewhere there
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}


class BundleError(ValueError):
    """The bundle cannot be used; the message is a sentence for its owner."""


def check_path(path: str, where: str) -> None:
    """A relative path of a listed file that means the same file on every system, inside the bundle."""
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or "\\" in path or re.match(r"[A-Za-z]:", path):
        raise BundleError(f"A bundle's files must lie inside it, their paths relative with /. Received: {where}/{shown(path)}")
    if len(path) > MAX_PATH or any(len(part) > MAX_PART for part in parts):
        raise BundleError(f"A path may have {MAX_PATH} characters, {MAX_PART} a part. Received: {where}/{shown(path)}")
    if any(not is_portable(part) for part in parts):
        raise BundleError(f"A path must be of names that every system can have. Received: {where}/{shown(path)}")


def is_portable(part: str) -> bool:
    """Whether a file may have this name anywhere: no device, no control character, nothing that is stripped or normalised away."""
    plain = part.isprintable() and not FORBIDDEN.search(part) and unicodedata.is_normalized("NFC", part)
    return plain and part not in ("", ".") and part == part.strip(" ").rstrip(".") and part.split(".")[0].casefold() not in DEVICES


def check_different(paths: Iterable[str], where: str) -> None:
    """No two are one file where case does not count."""
    seen: dict[str, str] = {}
    for path in paths:
        other = seen.setdefault(path.casefold(), path)
        if other != path:
            raise BundleError(f"Paths must differ by more than their case. Received: {where} with {shown(other)} and {shown(path)}")


def check_links(folder: Path) -> None:
    """No symbolic link of the folder leads out of it; none of its folders is followed."""
    root, count = folder.resolve(), 0
    for here, folders, files in os.walk(folder):
        count += len(folders) + len(files)
        if count > 2 * MAX_FILES:
            raise BundleError(f"A bundle may have {MAX_FILES} files. Received: {folder.name} with more")
        for path in (Path(here) / name for name in [*folders, *files]):
            if path.is_symlink() and not leads_inside(path, root):
                raise BundleError(f"No link may lead out of a bundle. Received: {folder.name}/{shown(path.relative_to(folder).as_posix())}")


def leads_inside(link: Path, root: Path) -> bool:
    try:
        return link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a circle of links
        return False


def open_file(folder: Path, name: str, limit: int) -> io.BufferedReader:
    """A file of the bundle, opened: it must be one, itself and not a link, and of at most `limit` bytes. BundleError."""
    where = f"{folder.name}/{shown(name)}"
    if any((folder / part).is_symlink() for part in [name, *(str(above) for above in Path(name).parents if above.name)]):
        raise BundleError(f"A file of a bundle must not be a link. Received: {where}; copy what it leads to")
    try:
        # a pipe would let nobody on who opens it, and a link may have come in between
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        stream = os.fdopen(os.open(folder / name, flags), "rb")
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(f"A file of the bundle is missing. Received: {folder.name} without {shown(name)}") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"A file of the bundle must be readable. Received: {where}, {getattr(error, 'strerror', error)}") from None
    found = os.fstat(stream.fileno())
    if not stat.S_ISREG(found.st_mode):
        stream.close()
        raise BundleError(f"A file of a bundle must be a file. Received: {where}, something else")
    if found.st_size > limit:
        stream.close()
        raise BundleError(f"{shown(name)} may have {limit:,} bytes. Received: {found.st_size:,} in {folder.name}")
    return stream


def read_file(folder: Path, name: str, limit: int = MAX_JSON) -> bytes:
    """The bytes of a file of the bundle, at most `limit`; BundleError."""
    with open_file(folder, name, limit) as stream:
        try:
            data = stream.read(limit + 1)
        except OSError as error:
            raise BundleError(f"A file of the bundle must be readable. Received: {folder.name}/{name}, {error.strerror}") from None
    if len(data) > limit:  # it grew
        raise BundleError(f"{shown(name)} may have {limit:,} bytes. Received: more in {folder.name}")
    return data


def read_checked(folder: Path, files: dict[str, str], wanted: Collection[str] = ()) -> dict[str, bytes]:
    """Every listed file is there, itself and no link, with its sha256; the bytes of the wanted ones, as they were hashed."""
    check_links(folder)
    held: dict[str, bytes] = {}
    for name, expected in files.items():
        if name in wanted:
            held[name] = read_file(folder, name, limit_of(name))
            found = hashlib.sha256(held[name]).hexdigest()
        else:
            found = digest_of(folder, name)
        if found != expected:
            rule = "A file of the bundle has changed: its sha256 differs from card.json"
            raise BundleError(f"{rule}. Received: {folder.name}/{shown(name)}")
    return held


def limit_of(name: str) -> int:
    return MAX_JSON if name.endswith(".json") else MAX_GRAPH if name.endswith(".onnx") else MAX_FILE


def digest_of(folder: Path, name: str) -> str:
    with open_file(folder, name, limit_of(name)) as stream:
        try:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise BundleError(f"A file of the bundle must be readable. Received: {folder.name}/{name}, {error.strerror}") from None


def parse_json(data: bytes, where: str) -> Any:
    """What a JSON file holds: every key once, numbers finite and of 64 bits, text that can be written, nothing deeper than MAX_DEPTH."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=once, parse_constant=no_number)
        check_plain(value)
    except RecursionError:
        raise BundleError(f"{where} may have {MAX_DEPTH} objects and lists inside one another. Received: more") from None
    except ValueError as error:
        raise BundleError(f"{where.rpartition('/')[2]} must be valid JSON. Received: {where}, {error}"[:400]) from None
    return value


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"a key twice: {shown(next(key for key in keys if keys.count(key) > 1))}")
    return found


def no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def check_plain(value: Any, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number beyond 64 bits")
    if isinstance(value, int) and not -MAX_WHOLE <= value < MAX_WHOLE:
        raise ValueError("a whole number beyond 64 bits")
    if isinstance(value, str):
        value.encode("utf-8")  # half a surrogate pair cannot be written; its error is a ValueError
    if isinstance(value, dict):
        for key, inner in value.items():
            key.encode("utf-8")
            check_plain(inner, depth + 1)
    if isinstance(value, list):
        for inner in value:
            check_plain(inner, depth + 1)


def shown(text: str) -> str:
    """A stranger's name, short enough for a sentence, its control characters and odd letters escaped."""
    plain = text if text.isprintable() else ascii(text)[1:-1]
    return plain if len(plain) <= 80 else f"{plain[:80]}..."
