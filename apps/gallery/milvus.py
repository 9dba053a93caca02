"""The gallery in Milvus: `milvus:FOLDER` is Milvus Lite, run inside this process, `milvus:http://HOST:PORT` a cluster. Needs pymilvus.

Four collections: people, pictures (with the vectors), attachments (thumbnails and pictures in base64, in parts, because a Milvus text
ends at 65,535 bytes) and one note, which says whose vectors they are and which generation of each collection counts. A person is there
once the row in `people` is, a picture once its own row is: each is one call, the last of its enrolment, so that what a crash left behind
is seen by nobody. Milvus only marks rows as deleted; so that they leave the files of Milvus Lite, the rest is copied to a new generation,
the note changes, and the old one is dropped. In a cluster its own compaction does that, some time later.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import re
import threading
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from apps.gallery import rules
from apps.gallery.parquet import Row, write_parquet
from apps.gallery.store import (
    Album,
    By,
    Embed,
    Gallery,
    GalleryError,
    Hit,
    Hits,
    Kept,
    ModelMark,
    NewPicture,
    People,
    Person,
    Quota,
    Reason,
    check_model,
    not_kept,
    unknown,
)

PREFIX = "gallery"
KINDS = ("people", "pictures", "attachments")
NOTE = "note"
IDENTITY = re.compile(r"[0-9a-f]{32}")
NO_TIME = -(2**62)
PART = 48_000  # bytes, 64,000 in base64
BATCH = 1000  # rows copied at once
EMBED_BATCH = 64
MOST_FOUND = 16_384  # rows that Milvus gives for one search
IN_ONE_FILTER = 200
MEAN_CANDIDATES = 8  # times `top` people, by their best picture, whose means are reckoned
BRIEF = ["id", "person", "number", "camera", "time", "has_thumbnail", "has_picture"]
INDEXES = {
    "flat": {"index_type": "FLAT"},
    "hnsw": {"index_type": "HNSW", "params": {"M": 32, "efConstruction": 200}},
}
HNSW_EF = 64
CONNECT_SECONDS = 10


@dataclass(frozen=True)
class Place:
    """What an address says: a folder or a URL, and the index of the vectors."""

    folder: str | None
    url: str | None
    index: str


class MilvusGallery(Gallery):
    """See `Gallery`. Milvus Lite is one process's; a cluster may serve several. Equal similarities at the very end come as Milvus has them.

    `by="mean"` reckons the means of the people whose best pictures are most alike, 8 times `top` of them.
    """

    def __init__(self, address: str, model: ModelMark | None, quota: Quota):
        self.address, self.quota = address, quota
        self._place = read_address(address)
        self._lock = threading.RLock()  # Milvus Lite takes one writer
        self._broken = self._closed = False
        self._last_number = 0
        self._counts: dict[str, int] = {}
        with contextlib.ExitStack() as stack:
            url = self._place.url or stack.enter_context(lite_server(self._place.folder or "", model is not None))
            self._client = stack.enter_context(connected(address, url))
            with self._explained():
                self._note = self._open_note(model)
                check_model(address, self.model, model)
                if self._place.folder:
                    self._tidy_up()
            self._stack = stack.pop_all()

    @property
    def model(self) -> ModelMark:
        return ModelMark(*self._note["model"])

    @property
    def people(self) -> int:
        return self._count("people")

    @property
    def pictures(self) -> int:
        return self._count("pictures")

    def enrol(self, name: str, pictures: Sequence[NewPicture], person: str | None = None) -> Person:
        rules.check_pictures(pictures, self.model.dimensions, self.quota)
        name = rules.clean_name(name, self.quota) if person is None else name
        with self._writing():
            there = None if person is None else self.get(person)
            of_person = there.pictures if there else 0
            rules.check_quota(self.quota, self.people, self.pictures, of_person, len(pictures), new_person=there is None)
            row = self._person_row(there.id if there else uuid.uuid4().hex, name)
            rows = [self._picture_row(row["id"], picture) for picture in pictures]
            parts = [part for one, new in zip(rows, pictures, strict=True) for part in parts_of(one["id"], row["id"], new)]
            self._insert("attachments", parts)
            self._insert("pictures", rows)
            if there is not None:
                return replace(there, pictures=of_person + len(rows))
            self._insert("people", [row])
            return Person(row["id"], name, len(rows), rules.moment(row["added"]))

    def list(self, offset: int = 0, limit: int = 100, like: str = "") -> People:
        rules.check_page(offset, limit)
        with self._reading():
            rows = [
                row for row in self._all("people", ["id", "name", "number", "added"]) if rules.folded(like) in rules.folded(row["name"])
            ]
            rows = sorted(rows, key=lambda row: row["number"])[offset : offset + limit]
            return self._as_people(rows)

    def get(self, person: str) -> Person:
        with self._reading():
            rows = self._rows("people", "id", [person], ["id", "name", "added"]) if IDENTITY.fullmatch(person) else []
            if not rows:
                raise unknown("person", person)
            return self._as_people(rows)[0]

    def kept(self, person: str) -> Album:
        with self._reading():
            self.get(person)
            rows = self._rows("pictures", "person", [person], BRIEF)
            return [as_kept(row) for row in sorted(rows, key=lambda row: row["number"])]

    def thumbnail(self, picture: str) -> bytes | None:
        return self._attachment(picture, "thumbnail")

    def picture(self, picture: str) -> bytes | None:
        return self._attachment(picture, "picture")

    def known(self, digests: Collection[bytes]) -> set[bytes]:
        with self._reading():
            rows = self._rows("pictures", "digest", [digest.hex() for digest in digests], ["digest", "person"])
            there = {row["id"] for row in self._rows("people", "id", {row["person"] for row in rows}, ["id"])}
            return {bytes.fromhex(row["digest"]) for row in rows if row["person"] in there}

    def rename(self, person: str, name: str) -> Person:
        name = rules.clean_name(name, self.quota)
        with self._writing():
            self.get(person)
            (row,) = self._rows("people", "id", [person], ["*"])
            self._client.upsert(self._named("people"), [{**row, "name": name}])
            self._erase(["people"])
            return self.get(person)

    def delete(self, person: str) -> None:
        with self._writing():
            self.get(person)
            self._delete("people", "id", person)  # from here on nobody finds the rest
            self._delete("pictures", "person", person)
            self._delete("attachments", "person", person)
            self._erase(KINDS)

    def delete_picture(self, picture: str) -> None:
        with self._writing():
            row = self._picture(picture, ["id", "person"])
            if self.get(row["person"]).pictures == 1:
                raise GalleryError("A person must keep one picture: delete the person instead. Received: the last picture")
            self._delete("pictures", "id", picture)
            self._delete("attachments", "picture", picture)
            self._erase(KINDS[1:])

    def search(
        self,
        vector: np.ndarray,
        top: int = 10,
        cameras: Collection[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        by: By = "best",
        without_camera: str | None = None,
    ) -> Hits:
        rules.check_search(top, by, cameras)
        vector = rules.check_vector(vector, self.model.dimensions)
        if cameras is not None and not cameras:
            return []
        which = filter_of(cameras, since, until, without_camera)
        with self._reading():
            best = self._best(vector, top if by == "best" else min(rules.MAX_TOP, MEAN_CANDIDATES * top), which)
            if by == "mean":
                best = self._means(vector, best, which)
            best = best[:top]
            people = {
                person.id: person for person in self._as_people(self._rows("people", "id", [row["person"] for _, row in best], ["*"]))
            }
            return [Hit(people[row["person"]], similarity, as_kept(row)) for similarity, row in best if row["person"] in people]

    def export(self, path: str | Path) -> int:
        with self._reading():
            people = {row["id"]: row for row in self._all("people", ["id", "name", "added"])}
            pictures = self._all("pictures", ["id", "person", "camera", "time", "vector"])
            rows = (parquet_row(row, people[row["person"]]) for row in pictures if row["person"] in people)
            return write_parquet(path, self.model, rows)

    def re_embed(self, embed: Embed, mark: ModelMark) -> int:
        with self._writing():
            missing = sum(not row["has_picture"] for row in self._all("pictures", ["has_picture"]))
            if missing:
                raise not_kept(missing)
            done = self._begin_renewal(mark)
            for rows in batches(self._all("pictures", ["*"]), EMBED_BATCH):
                rows = [row for row in rows if row["id"] not in done]
                if rows:
                    pictures = [self._attachment(row["id"], "picture") or b"" for row in rows]
                    vectors = rules.check_vectors(embed(pictures), len(rows), mark.dimensions)
                    new = [{**row, "vector": vector} for row, vector in zip(rows, vectors, strict=True)]
                    self._client.insert(name_of("pictures", self._note["pictures"] + 1), new)
            return self._finish_renewal(mark)

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._stack.close()

    # --- searching ---

    def _best(self, vector: np.ndarray, top: int, which: str) -> list[tuple[float, dict[str, Any]]]:
        """(cosine, row) of each person's best picture; more rows are asked for until they are of `top` people."""
        wanted = min(4 * top, MOST_FOUND)
        while True:
            parameters = {"metric_type": "COSINE", "params": {"ef": max(HNSW_EF, wanted)} if self._place.index == "hnsw" else {}}
            name = self._named("pictures")
            (rows,) = self._client.search(name, [vector], limit=wanted, filter=which, output_fields=BRIEF, search_params=parameters)
            found = sorted(((min(1.0, row["distance"]), row["entity"]) for row in rows), key=lambda one: (-one[0], one[1]["number"]))
            people: dict[str, tuple[float, dict[str, Any]]] = {}
            for similarity, row in found:
                people.setdefault(row["person"], (similarity, row))
            if len(people) >= top or len(rows) < wanted or wanted == MOST_FOUND:
                return [*people.values()][:top]
            wanted = min(4 * wanted, MOST_FOUND)

    def _means(self, vector: np.ndarray, best: list[tuple[float, dict[str, Any]]], which: str) -> list[tuple[float, dict[str, Any]]]:
        """The same people by the cosine with the mean of their pictures that count."""
        sums: dict[str, np.ndarray] = {}
        for row in self._rows("pictures", "person", [row["person"] for _, row in best], ["person", "vector"], which):
            sums[row["person"]] = sums.get(row["person"], 0) + np.asarray(row["vector"], np.float64)
        means = [(cosine(vector, sums[row["person"]]), row) for _, row in best if row["person"] in sums]
        return sorted(means, key=lambda one: -one[0])

    # --- rows ---

    def _named(self, kind: str) -> str:
        return name_of(kind, self._note[kind])

    def _count(self, kind: str) -> int:
        """Milvus reads every row to know: of Milvus Lite, which only we write to, it is asked once."""
        with self._lock, self._reading():
            known = self._counts.get(kind) if self._place.folder else None
            if known is None:
                known = self._counts[kind] = self._client.query(self._named(kind), output_fields=["count(*)"])[0]["count(*)"]
            return known

    def _rows(self, kind: str, field: str, values: Iterable[str], fields: list[str], which: str = "") -> list[dict[str, Any]]:
        rows, values = [], [*values]
        for begin in range(0, len(values), IN_ONE_FILTER):
            condition = f"{field} in {json.dumps(values[begin : begin + IN_ONE_FILTER])}"
            condition = f"{condition} and {which}" if which else condition
            rows += self._client.query(self._named(kind), filter=condition, output_fields=fields)
        return rows

    def _all(self, kind: str, fields: list[str]) -> Iterator[dict[str, Any]]:
        rows = self._client.query_iterator(self._named(kind), batch_size=BATCH, output_fields=fields)
        try:
            while some := rows.next():
                yield from some
        finally:
            rows.close()

    def _insert(self, kind: str, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._client.insert(self._named(kind), rows)
            if kind in self._counts:
                self._counts[kind] += len(rows)

    def _delete(self, kind: str, field: str, value: str) -> None:
        self._client.delete(self._named(kind), filter=f'{field} == "{value}"')
        self._counts.pop(kind, None)

    def _picture(self, picture: str, fields: list[str]) -> dict[str, Any]:
        rows = self._rows("pictures", "id", [picture], fields) if IDENTITY.fullmatch(picture) else []
        if not rows:
            raise unknown("picture", picture)
        return rows[0]

    def _attachment(self, picture: str, kind: str) -> bytes | None:
        with self._reading():
            if not self._picture(picture, [f"has_{kind}"])[f"has_{kind}"]:
                return None
            rows = self._rows("attachments", "picture", [picture], ["id", "data"])
            parts = sorted((row["id"], row["data"]) for row in rows if row["id"].startswith(f"{picture}-{kind}-"))
            return b"".join(base64.b64decode(data) for _, data in parts)

    def _as_people(self, rows: Sequence[dict[str, Any]]) -> People:
        counts: dict[str, int] = {}
        for picture in self._rows("pictures", "person", [row["id"] for row in rows], ["person"]):
            counts[picture["person"]] = counts.get(picture["person"], 0) + 1
        return [Person(row["id"], row["name"], counts.get(row["id"], 0), rules.moment(row["added"])) for row in rows]

    def _person_row(self, identity: str, name: str) -> dict[str, Any]:
        return {"id": identity, "name": name, "added": rules.now(), "number": self._next_number(), "anchor": [0.0, 1.0]}

    def _picture_row(self, person: str, picture: NewPicture) -> dict[str, Any]:
        return {
            "id": uuid.uuid4().hex,
            "person": person,
            "number": self._next_number(),
            "camera": picture.camera or "",
            "time": NO_TIME if picture.time is None else rules.microseconds(picture.time),
            "digest": (picture.digest or b"").hex(),
            "has_thumbnail": picture.thumbnail is not None,
            "has_picture": picture.picture is not None,
            "vector": np.asarray(picture.vector, np.float32),
        }

    def _next_number(self) -> int:
        """Grows with time, in whichever process."""
        self._last_number = max(self._last_number + 1, time.time_ns())
        return self._last_number

    # --- collections ---

    def _open_note(self, model: ModelMark | None) -> dict[str, Any]:
        name = f"{PREFIX}_{NOTE}"
        if not self._client.has_collection(name):
            if model is None:
                raise GalleryError(f"The gallery must exist. Received: {self.address}", "unknown")
            self._make(name, NOTE, model.dimensions)
        self._client.load_collection(name)
        rows = self._client.query(name, filter=f'id == "{NOTE}"', output_fields=["text"])
        if rows:
            note = json.loads(rows[0]["text"])
            for kind in KINDS:
                self._client.load_collection(name_of(kind, note[kind]))
            return note
        if model is None:
            raise GalleryError(f"The gallery must exist. Received: {self.address}", "unknown")
        note = {"model": [model.name, model.sha256, model.dimensions], "next": None, **dict.fromkeys(KINDS, 1)}
        for kind in KINDS:
            self._make(name_of(kind, 1), kind, model.dimensions)
        self._write_note(note)
        return note

    def _write_note(self, note: dict[str, Any]) -> None:
        self._client.upsert(f"{PREFIX}_{NOTE}", [{"id": NOTE, "text": json.dumps(note), "anchor": [0.0, 1.0]}])
        self._note = note

    def _make(self, name: str, kind: str, dimensions: int) -> None:
        if self._client.has_collection(name):
            self._client.drop_collection(name)
        schema, index = self._client.create_schema(auto_id=False, enable_dynamic_field=False), self._client.prepare_index_params()
        add_fields(schema, kind, dimensions)
        index.add_index(
            "vector" if kind == "pictures" else "anchor",
            metric_type="COSINE",
            **INDEXES[self._place.index if kind == "pictures" else "flat"],
        )
        self._client.create_collection(name, schema=schema, consistency_level="Strong")
        self._client.create_index(name, index, sync=False)  # waiting would sleep half a second at least
        self._client.load_collection(name)

    def _tidy_up(self) -> None:
        """What a stop in the middle left: other generations, and rows whose person or picture never came."""
        self._keep_generations()
        people = {row["id"] for row in self._all("people", ["id"])}
        for kind in KINDS[1:]:
            lost = {row["person"] for row in self._all(kind, ["person"])} - people
            for person in lost:
                self._delete(kind, "person", person)
        self._last_number = max((row["number"] for row in self._all("pictures", ["number"])), default=0)

    def _keep_generations(self) -> None:
        current = {self._named(kind) for kind in KINDS} | {f"{PREFIX}_{NOTE}"}
        if self._note["next"]:  # vectors made anew so far
            current.add(name_of("pictures", self._note["pictures"] + 1))
        for name in self._client.list_collections():
            if name.startswith(f"{PREFIX}_") and name not in current:
                self._client.drop_collection(name)

    def _erase(self, kinds: Sequence[str]) -> None:
        """The deleted rows leave the files: Milvus Lite is copied, a cluster asked to compact."""
        if not self._place.folder:
            for kind in kinds:
                self._client.flush(self._named(kind))
                self._client.compact(self._named(kind))
            return
        note = {**self._note, "next": None}  # a renewal that had begun begins anew: its vectors may be of who is gone
        for kind in kinds:
            note[kind] += 1
            self._make(name_of(kind, note[kind]), kind, self.model.dimensions)
            for rows in batches(self._all(kind, ["*"]), BATCH):
                self._client.insert(name_of(kind, note[kind]), [packed(row) for row in rows])
            self._client.flush(name_of(kind, note[kind]))
        self._write_note(note)
        self._keep_generations()

    # --- renewal ---

    def _begin_renewal(self, mark: ModelMark) -> set[str]:
        """The pictures that have their new vector already."""
        name, told = name_of("pictures", self._note["pictures"] + 1), [mark.name, mark.sha256, mark.dimensions]
        if self._note["next"] == told and self._client.has_collection(name):
            self._client.load_collection(name)
            rows = self._client.query_iterator(name, batch_size=BATCH, output_fields=["id"])
            return {row["id"] for some in iter(rows.next, []) for row in some}
        self._make(name, "pictures", mark.dimensions)
        self._write_note({**self._note, "next": told})
        return set()

    def _finish_renewal(self, mark: ModelMark) -> int:
        """The note is the switch."""
        told = [mark.name, mark.sha256, mark.dimensions]
        self._write_note({**self._note, "model": told, "next": None, "pictures": self._note["pictures"] + 1})
        self._keep_generations()
        return self.pictures

    # --- guards ---

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        if self._closed:
            raise GalleryError(f"The gallery must be open. Received: {self.address}, closed")
        with self._explained():
            yield

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock, self._reading():
            if self._broken:
                raise GalleryError(f"The gallery must be opened again after a failed write. Received: {self.address}", "full")
            yield

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Milvus's errors in sentences. After a write that failed halfway nothing more may follow it in the log of Milvus Lite."""
        import grpc
        from pymilvus.exceptions import MilvusException

        try:
            yield
        except (MilvusException, grpc.RpcError) as error:
            rule, reason = rule_of(error)
            self._broken = self._broken or reason in ("full", "read-only")
            raise GalleryError(f"{rule} Received: {self.address}, {first_line(error)}", reason) from error


# --- the server ---


def read_address(address: str) -> Place:
    """`milvus:WHERE` or `milvus:WHERE?index=hnsw`."""
    where, _, options = address.removeprefix("milvus:").partition("?")
    index = options.removeprefix("index=") if options else "flat"
    if not where or index not in INDEXES or (options and not options.startswith("index=")):
        raise GalleryError(
            f"The address must be like milvus:FOLDER, milvus:http://HOST:PORT or either with ?index=hnsw. Received: {address}"
        )
    return Place(None, where, index) if re.match(r"https?://", where) else Place(where, None, index)


@contextlib.contextmanager
def lite_server(folder: str, may_make: bool) -> Iterator[str]:
    """Milvus Lite on a free port of the loopback address: whoever can log in to this machine reaches it while it runs."""
    if not may_make and not Path(folder).is_dir():
        raise GalleryError(f"The gallery must exist. Received: {folder}", "unknown")
    if not Path(folder).absolute().parent.is_dir():
        raise GalleryError(f"The folder of a gallery must exist. Received: {folder}")
    try:
        from milvus_lite.adapter.grpc.server import start_server_in_thread
        from milvus_lite.exceptions import DataDirLockedError
    except ImportError:
        raise GalleryError("A gallery in Milvus must have its packages: pip install pymilvus milvus-lite. Received: none") from None
    if Path(folder).is_file():
        raise GalleryError(f"A gallery in Milvus Lite must be a folder. Received: {folder}, a file")
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        server, database, port = start_server_in_thread(folder, "127.0.0.1", 0)
    except DataDirLockedError:
        raise GalleryError(
            f"One process at a time must hold a gallery in Milvus Lite. Received: {folder}, held already", "locked"
        ) from None
    except OSError as error:
        rule, reason = rule_of(error)
        raise GalleryError(f"{rule} Received: {folder}, {error.strerror}", reason) from None
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(grace=2).wait()
        with contextlib.suppress(OSError):
            database.close()


@contextlib.contextmanager
def connected(address: str, url: str) -> Iterator[Any]:
    try:
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException
    except ImportError:
        raise GalleryError("A gallery in Milvus must have its packages: pip install pymilvus milvus-lite. Received: none") from None
    for name in ("pymilvus", "grpc._server"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they print what is raised
    try:
        client = MilvusClient(url, timeout=CONNECT_SECONDS)
    except MilvusException as error:
        raise GalleryError(f"Milvus must answer. Received: {address}, {first_line(error)}", "locked") from None
    try:
        yield client
    finally:
        client.close()


def rule_of(error: Exception) -> tuple[str, Reason]:
    text = str(error)
    if re.search(r"Errno (28|27|122)\b|No space left|File too large", text):
        return "The disk must have room for the gallery and take what is written.", "full"
    if re.search(r"Errno (13|30)\b|Permission denied|Read-only", text):
        return "The gallery and its folder must be writable.", "read-only"
    if re.search(r"Fail connecting|UNAVAILABLE|DEADLINE", text):
        return "Milvus must answer.", "locked"
    return "The folder must be a whole gallery: take the copy you keep elsewhere.", "corrupt"


def first_line(error: Exception) -> str:
    return str(getattr(error, "message", "") or error).strip().splitlines()[0][:200]


# --- rows ---


def name_of(kind: str, generation: int) -> str:
    return f"{PREFIX}_{kind}_{generation}"


def add_fields(schema: Any, kind: str, dimensions: int) -> None:
    """Milvus wants a vector in every collection: `anchor` is one where there is none."""
    from pymilvus import DataType

    def text(name: str, size: int) -> None:
        schema.add_field(name, DataType.VARCHAR, max_length=size)

    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
    if kind == NOTE:
        text("text", 4096)
    if kind == "people":
        text("name", 4 * rules.MAX_NAME)
        schema.add_field("added", DataType.INT64)
        schema.add_field("number", DataType.INT64)
    if kind == "attachments":
        text("person", 32)
        text("picture", 32)
        text("data", 65_535)
    if kind != "pictures":
        schema.add_field("anchor", DataType.FLOAT_VECTOR, dim=2)
        return
    text("person", 32)
    text("camera", 4 * rules.MAX_CAMERA)
    text("digest", 2 * rules.DIGEST_BYTES)
    for name in ("number", "time"):
        schema.add_field(name, DataType.INT64)
    for name in ("has_thumbnail", "has_picture"):
        schema.add_field(name, DataType.BOOL)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimensions)


def parts_of(identity: str, person: str, picture: NewPicture) -> Iterator[dict[str, Any]]:
    for kind, data in (("thumbnail", picture.thumbnail), ("picture", picture.picture)):
        for part, begin in enumerate(range(0, len(data or b""), PART)):
            text = base64.b64encode((data or b"")[begin : begin + PART]).decode()
            yield {"id": f"{identity}-{kind}-{part:05}", "person": person, "picture": identity, "data": text, "anchor": [0.0, 1.0]}


def filter_of(cameras: Collection[str] | None, since: datetime | None, until: datetime | None, without: str | None) -> str:
    parts = []
    if cameras is not None:
        parts.append(f"camera in {json.dumps([*cameras], ensure_ascii=False)}")
    if without is not None:
        parts.append(f"camera != {json.dumps(without, ensure_ascii=False)}")
    if since is not None:
        parts.append(f"time >= {rules.microseconds(since)}")
    if until is not None:
        parts.append(f"time > {NO_TIME} and time < {rules.microseconds(until)}")
    return " and ".join(parts)


def as_kept(row: dict[str, Any]) -> Kept:
    moment = None if row["time"] == NO_TIME else rules.moment(row["time"])
    return Kept(row["id"], row["person"], row["camera"] or None, moment, row["has_thumbnail"], row["has_picture"])


def parquet_row(row: dict[str, Any], person: dict[str, Any]) -> Row:
    moment = None if row["time"] == NO_TIME else row["time"]
    vector = np.asarray(row["vector"], np.float32)
    return Row(row["id"], row["person"], person["name"], person["added"], row["camera"] or None, moment, vector)


def cosine(vector: np.ndarray, total: np.ndarray) -> float:
    length = float(np.linalg.norm(total))
    return float(vector @ total) / length if length > 1e-6 else 0.0


def packed(row: dict[str, Any]) -> dict[str, Any]:
    """Milvus gives a list of numbers and takes an array several times faster."""
    return {**row, "vector": np.asarray(row["vector"], np.float32)} if "vector" in row else row


def batches(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    some: list[dict[str, Any]] = []
    for row in rows:
        some.append(row)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
