"""Where pictures of people come from: a folder, a .zip of one, or a CSV file. Nothing is unpacked to the disk.

Who is on a picture is read from its name as Market-1501 has it, `0705_c3s1_000065_00.jpg` (person 0705, camera 3; the junk of that set,
persons -1 and 0000, is left out), else from the name of its folder. A CSV file has the columns path, person, camera and time.
"""

from __future__ import annotations

import csv
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath

from apps.gallery import rules
from apps.gallery.store import GalleryError

MARKET = re.compile(r"(?P<person>-1|\d{4,})_c(?P<camera>\d+)(s\d+)?_\d+(_\d+)?")
JUNK = ("-1", "0000")
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
MAX_FILE_BYTES = 50_000_000
COLUMNS = ("path", "person", "camera", "time")


@dataclass(frozen=True)
class Source:
    """A file, who is on it, and how to get at its bytes; `name` is for whoever reads about it."""

    name: str
    person: str
    camera: str | None
    time: datetime | None
    read: Callable[[], bytes]


@dataclass
class Found:
    """`bad` is (name, sentence) of what cannot be used."""

    sources: list[Source] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    junk: int = 0


def find_sources(path: str | Path) -> Found:
    """What lies in a folder and below, in a .zip or in a CSV file, by name; GalleryError when it is none of these."""
    path = Path(path)
    if path.is_dir():
        return from_files(
            (file.relative_to(path).as_posix(), partial(read_file, file)) for file in sorted(path.rglob("*")) if file.is_file()
        )
    if not path.is_file():
        raise GalleryError(f"What is imported must be a folder, a .zip or a .csv file. Received: {path}, which is not there", "unknown")
    if path.suffix.lower() == ".csv":
        return from_csv(path)
    if zipfile.is_zipfile(path):
        return from_zip(path)
    raise GalleryError(f"What is imported must be a folder, a .zip or a .csv file. Received: {path}")


def from_zip(path: Path) -> Found:
    archive = zipfile.ZipFile(path)  # closes with the last source that reads from it
    names = sorted(entry.filename for entry in archive.infolist() if not entry.is_dir())
    return from_files((name, partial(read_entry, archive, name)) for name in names)


def from_files(files: Iterator[tuple[str, Callable[[], bytes]]]) -> Found:
    found = Found()
    for name, read in files:
        parts = PurePosixPath(name)
        if parts.suffix.lower() not in ENDINGS or any(part.startswith((".", "__MACOSX")) for part in parts.parts):
            continue
        known = MARKET.fullmatch(parts.stem)
        if known and known["person"] in JUNK:
            found.junk += 1
        elif known:
            found.sources.append(Source(name, known["person"], str(int(known["camera"])), None, read))
        elif parts.parent.name:
            found.sources.append(Source(name, parts.parent.name, None, None, read))
        else:
            found.bad.append((name, "A picture must be named like 0705_c3s1_000065_00.jpg or lie in a folder with its person's name."))
    return found


def from_csv(path: Path) -> Found:
    """Paths are relative to the CSV file; camera and time may be left empty, a time is like 2026-05-01T12:00:00+00:00."""
    found = Found()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"path", "person"} <= set(rows.fieldnames or ()) <= set(COLUMNS):
                raise GalleryError(f"The columns must be path, person and if known camera, time. Received: {path}, {rows.fieldnames}")
            for row in rows:
                add_row(found, path, rows.line_num, row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise GalleryError(f"A .csv file must be text in UTF-8 with commas. Received: {path}, {error}") from None
    return found


def add_row(found: Found, path: Path, line: int, row: dict[str, str | None]) -> None:
    name, person = row["path"] or "", row["person"] or ""
    try:
        if not (name and person):
            raise GalleryError(f"A line must have a path and a person. Received: line {line}")
        time = read_time(row.get("time"))
        found.sources.append(Source(name, person, row.get("camera") or None, time, partial(read_file, path.parent / name)))
    except GalleryError as problem:
        found.bad.append((name or f"line {line}", str(problem)))


def read_time(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise GalleryError(f"A time must be like 2026-05-01T12:00:00+00:00. Received: {text}") from None
    rules.microseconds(time)
    return time


def read_file(file: Path) -> bytes:
    check_size(file.stat().st_size)
    return file.read_bytes()


def read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    check_size(archive.getinfo(name).file_size)
    return archive.read(name)


def check_size(size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise GalleryError(f"A file must have at most {MAX_FILE_BYTES / 1e6:g} MB. Received: {size / 1e6:.1f} MB")
