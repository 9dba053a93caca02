"""The gallery in one SQLite file: a write-ahead log, every commit on disk before it is told, all vectors in memory for the search.

Two connections: one writes under a lock, one reads. What the matrix holds is always read from the file: when `PRAGMA data_version` says
that somebody committed, this process or another, the rows that are new and the numbers of those that left are read before the search.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from apps.gallery import rules
from apps.gallery.matrix import Filter, Found, Matrix
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

APPLICATION_ID = 0x6B64676C  # "kdgl"
VERSION = 1
WAIT_SECONDS = 10.0  # for another process's write
ERASE_SECONDS = 1.0  # for another process's search
CHUNK = 4096  # rows read at once
EMBED_BATCH = 64
ATTEMPTS = 5  # searches begun anew because a row left meanwhile
THUMBNAIL, PICTURE = 0, 1
WHOLE = "The file must be a whole gallery: take the copy you keep elsewhere."
SIZE_LIMIT = 500  # numbers in one statement

SCHEMA = """
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1), model TEXT, next_model TEXT, generation INTEGER, people INTEGER, pictures INTEGER
);
CREATE TABLE people (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, name TEXT, folded TEXT, added INTEGER);
CREATE TABLE pictures (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, person INTEGER REFERENCES people ON DELETE CASCADE,
    camera TEXT, time INTEGER, digest BLOB, vector BLOB
);
CREATE INDEX pictures_of ON pictures (person);
CREATE INDEX pictures_from ON pictures (digest);
CREATE TABLE attachments (picture INTEGER REFERENCES pictures ON DELETE CASCADE, kind INTEGER, data BLOB, UNIQUE (picture, kind));
CREATE TABLE renewed (picture INTEGER PRIMARY KEY REFERENCES pictures ON DELETE CASCADE, vector BLOB);
CREATE TABLE removed (serial INTEGER PRIMARY KEY AUTOINCREMENT, picture INTEGER);
CREATE TRIGGER person_came AFTER INSERT ON people BEGIN UPDATE state SET people = people + 1; END;
CREATE TRIGGER person_left AFTER DELETE ON people BEGIN UPDATE state SET people = people - 1; END;
CREATE TRIGGER picture_came AFTER INSERT ON pictures BEGIN UPDATE state SET pictures = pictures + 1; END;
CREATE TRIGGER picture_left AFTER DELETE ON pictures BEGIN
    UPDATE state SET pictures = pictures - 1;
    INSERT INTO removed (picture) VALUES (old.number);
END;
"""
PERSON = "SELECT id, name, (SELECT count(*) FROM pictures WHERE person = people.number), added FROM people"
KEPT = """
SELECT pictures.id, people.id, camera, time,
    EXISTS (SELECT 1 FROM attachments WHERE picture = pictures.number AND kind = 0),
    EXISTS (SELECT 1 FROM attachments WHERE picture = pictures.number AND kind = 1)
FROM pictures JOIN people ON people.number = pictures.person
"""


class SQLiteGallery(Gallery):
    """See `Gallery`. Several processes may hold one file open at a time; each sees what the others enrol and delete."""

    def __init__(self, path: str, model: ModelMark | None, quota: Quota):
        self.address, self.quota = path, quota
        self._write_lock, self._read_lock = threading.RLock(), threading.RLock()
        self._erase_again = False
        self._closed = False
        self._seen = self._generation = -1
        make_file(path, may_make=model is not None)
        with explained(path), contextlib.ExitStack() as stack:
            self._writer = stack.enter_context(contextlib.closing(connect(path)))
            prepare_file(self._writer, path, model)
            self._reader = stack.enter_context(contextlib.closing(connect(path)))
            self._model = read_model(self._reader)
            check_model(path, self._model, model)
            check_pages(self._reader, path)
            self._matrix = Matrix(self._model.dimensions)
            self._catch_up()
            stack.pop_all()

    @property
    def model(self) -> ModelMark:
        return self._model

    @property
    def people(self) -> int:
        return self._state("people")

    @property
    def pictures(self) -> int:
        return self._state("pictures")

    def enrol(self, name: str, pictures: Sequence[NewPicture], person: str | None = None) -> Person:
        rules.check_pictures(pictures, self._model.dimensions, self.quota)
        name = rules.clean_name(name, self.quota) if person is None else name
        with self._writing() as connection:
            self._check_still(connection)
            number = None if person is None else self._number_of(connection, person)
            of_person = connection.execute("SELECT count(*) FROM pictures WHERE person = ?", [number]).fetchone()[0]
            people, kept = connection.execute("SELECT people, pictures FROM state").fetchone()
            rules.check_quota(self.quota, people, kept, of_person, len(pictures), new_person=number is None)
            number = number or add_person(connection, name)
            for picture in pictures:
                add_picture(connection, number, picture)
            return as_person(connection.execute(f"{PERSON} WHERE number = ?", [number]).fetchone())

    def list(self, offset: int = 0, limit: int = 100, like: str = "") -> People:
        rules.check_page(offset, limit)
        where = "WHERE instr(folded, ?) > 0" if like else "WHERE ? = ''"
        with self._reading() as connection:
            rows = connection.execute(f"{PERSON} {where} ORDER BY number LIMIT ? OFFSET ?", [rules.folded(like), limit, offset])
            return [as_person(row) for row in rows]

    def get(self, person: str) -> Person:
        with self._reading() as connection:
            row = connection.execute(f"{PERSON} WHERE id = ?", [person]).fetchone()
        if row is None:
            raise unknown("person", person)
        return as_person(row)

    def kept(self, person: str) -> Album:
        with self._reading() as connection:
            number = self._number_of(connection, person)
            return [as_kept(row) for row in connection.execute(f"{KEPT} WHERE person = ? ORDER BY pictures.number", [number])]

    def thumbnail(self, picture: str) -> bytes | None:
        return self._attachment(picture, THUMBNAIL)

    def picture(self, picture: str) -> bytes | None:
        return self._attachment(picture, PICTURE)

    def known(self, digests: Collection[bytes]) -> set[bytes]:
        found = set()
        with self._reading() as connection:
            for some in portions(digests):
                rows = connection.execute(f"SELECT digest FROM pictures WHERE digest IN ({marks(some)})", some)
                found.update(digest for (digest,) in rows)
        return found

    def rename(self, person: str, name: str) -> Person:
        name = rules.clean_name(name, self.quota)
        with self._writing() as connection:
            number = self._number_of(connection, person)
            connection.execute("UPDATE people SET name = ?, folded = ? WHERE number = ?", [name, rules.folded(name), number])
            row = connection.execute(f"{PERSON} WHERE number = ?", [number]).fetchone()
        self._erase()
        return as_person(row)

    def delete(self, person: str) -> None:
        with self._writing() as connection:
            connection.execute("DELETE FROM people WHERE number = ?", [self._number_of(connection, person)])
        self._erase()

    def delete_picture(self, picture: str) -> None:
        with self._writing() as connection:
            row = connection.execute("SELECT number, person FROM pictures WHERE id = ?", [picture]).fetchone()
            if row is None:
                raise unknown("picture", picture)
            if connection.execute("SELECT count(*) FROM pictures WHERE person = ?", row[1:]).fetchone()[0] == 1:
                raise GalleryError("A person must keep one picture: delete the person instead. Received: the last picture")
            connection.execute("DELETE FROM pictures WHERE number = ?", row[:1])
        self._erase()

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
        hits: Hits = []
        for _ in range(ATTEMPTS):
            with self._reading():
                self._catch_up()
                vector = rules.check_vector(vector, self._model.dimensions)
                view = self._matrix.view()
            found = view.search(vector, top, by, filter_of(view.matrix, cameras, since, until, without_camera))
            with self._reading() as connection:
                hits = [hit for one in found for hit in look_up(connection, one)]
            if len(hits) == len(found):
                break
        return hits

    def export(self, path: str | Path) -> int:
        with explained(self.address), contextlib.closing(connect(self.address)) as connection:  # its own: the search goes on meanwhile
            rows = connection.execute(
                """SELECT pictures.id, people.id, name, added, camera, time, vector
                FROM pictures JOIN people ON people.number = pictures.person ORDER BY pictures.number"""
            )
            return write_parquet(path, self._model, (Row(*row[:-1], vector=np.frombuffer(row[-1], np.float32)) for row in rows))

    def re_embed(self, embed: Embed, mark: ModelMark) -> int:
        self._begin_renewal(mark)
        while True:
            while batch := self._not_renewed():
                vectors = rules.check_vectors(embed([data for _, data in batch]), len(batch), mark.dimensions)
                with self._writing() as connection:
                    rows = [(number, vector.tobytes()) for (number, _), vector in zip(batch, vectors, strict=True)]
                    # Who was deleted meanwhile is passed over.
                    sql = "INSERT INTO renewed SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM pictures WHERE number = ?1)"
                    connection.executemany(sql, rows)
            if (count := self._finish_renewal(mark)) is not None:
                return count

    def close(self) -> None:
        with self._write_lock, self._read_lock:
            if not self._closed:
                self._closed = True
                with contextlib.suppress(sqlite3.Error):
                    if self._erase_again:
                        checkpoint(self._writer)
                self._reader.close()
                self._writer.close()

    # --- renewal ---

    def _begin_renewal(self, mark: ModelMark) -> None:
        with self._writing() as connection:
            if missing := self._missing(connection):
                raise not_kept(missing)
            (begun,) = connection.execute("SELECT next_model FROM state").fetchone()
            if begun != dump_mark(mark):
                connection.execute("DELETE FROM renewed")
                connection.execute("UPDATE state SET next_model = ?", [dump_mark(mark)])

    def _not_renewed(self) -> Sequence[tuple[int, bytes]]:
        with self._reading() as connection:
            sql = """SELECT picture, data FROM attachments
                WHERE kind = 1 AND picture NOT IN (SELECT picture FROM renewed) ORDER BY picture LIMIT ?"""
            return connection.execute(sql, [EMBED_BATCH]).fetchall()

    def _finish_renewal(self, mark: ModelMark) -> int | None:
        """All vectors change in one commit; None when pictures came meanwhile."""
        with self._write_lock, self._read_lock, self._writing() as connection:
            done, of, begun = connection.execute("SELECT (SELECT count(*) FROM renewed), pictures, next_model FROM state").fetchone()
            if begun != dump_mark(mark):
                raise GalleryError(f"One process must embed a gallery anew at a time. Received: another did in {self.address}", "locked")
            if done < of:
                if missing := self._missing(connection):
                    raise not_kept(missing)
                return None
            sql = "UPDATE pictures SET vector = renewed.vector FROM renewed WHERE renewed.picture = pictures.number"
            connection.execute(sql)
            connection.execute("DELETE FROM renewed")
            connection.execute("UPDATE state SET model = next_model, next_model = NULL, generation = generation + 1")
            self._model = mark  # in the same breath: no search may see the one without the other
        self._erase()
        return done

    def _missing(self, connection: sqlite3.Connection) -> int:
        sql = "SELECT count(*) FROM pictures WHERE number NOT IN (SELECT picture FROM attachments WHERE kind = 1)"
        return connection.execute(sql).fetchone()[0]

    # --- the matrix follows the file ---

    def _catch_up(self) -> None:
        """Called under the read lock, or before anybody knows the gallery."""
        (version,) = self._reader.execute("PRAGMA data_version").fetchone()
        if version == self._seen:
            return
        self._reader.execute("BEGIN")
        try:
            (generation,) = self._reader.execute("SELECT generation FROM state").fetchone()
            if generation != self._generation:
                self._check_still(self._reader)
                self._generation, self._last, self._last_removed = generation, 0, 0
                self._matrix = Matrix(self._model.dimensions)
            self._forget_removed()
            self._read_new()
        finally:
            self._reader.execute("COMMIT")
        self._seen = version

    def _forget_removed(self) -> None:
        rows = self._reader.execute("SELECT serial, picture FROM removed WHERE serial > ?", [self._last_removed]).fetchall()
        if rows:
            self._matrix.remove([picture for _, picture in rows])
            self._last_removed = rows[-1][0]

    def _read_new(self) -> None:
        sql = "SELECT number, person, camera, time, vector FROM pictures WHERE number > ? ORDER BY number"
        rows = self._reader.execute(sql, [self._last])
        while some := rows.fetchmany(CHUNK):
            numbers, people, cameras, times, vectors = zip(*some, strict=True)
            matrix = np.frombuffer(b"".join(vectors), np.float32).reshape(len(some), self._model.dimensions)
            self._matrix.append(matrix, numbers, people, cameras, times)
            self._last = numbers[-1]

    # --- connections ---

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._read_lock, explained(self.address):
            self._check_open()
            yield self._reader

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: committed, synced, or rolled back."""
        with self._write_lock, explained(self.address):
            self._check_open()
            if self._erase_again:
                self._erase()
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def _erase(self) -> None:
        """What was deleted lies in the write-ahead log still: it is emptied now or, while another process reads, before the next write."""
        with self._write_lock, self._read_lock, explained(self.address):
            self._erase_again = not checkpoint(self._writer)

    def _check_open(self) -> None:
        if self._closed:
            raise GalleryError(f"The gallery must be open. Received: {self.address}, closed")

    def _check_still(self, connection: sqlite3.Connection) -> None:
        check_model(self.address, read_model(connection), self._model)

    def _state(self, column: str) -> int:
        with self._reading() as connection:
            return connection.execute(f"SELECT {column} FROM state").fetchone()[0]

    def _number_of(self, connection: sqlite3.Connection, person: str) -> int:
        row = connection.execute("SELECT number FROM people WHERE id = ?", [person]).fetchone()
        if row is None:
            raise unknown("person", person)
        return row[0]

    def _attachment(self, picture: str, kind: int) -> bytes | None:
        with self._reading() as connection:
            row = connection.execute("SELECT number FROM pictures WHERE id = ?", [picture]).fetchone()
            if row is None:
                raise unknown("picture", picture)
            data = connection.execute("SELECT data FROM attachments WHERE picture = ? AND kind = ?", [row[0], kind]).fetchone()
        return data[0] if data else None


# --- the file ---


def make_file(path: str, may_make: bool) -> None:
    """Only its owner may read a new one; SQLite gives the files beside it the same rights."""
    folder = Path(path).parent
    if not folder.is_dir():
        raise GalleryError(f"The folder of a gallery must exist. Received: {path}")
    if Path(path).is_dir():
        raise GalleryError(f"A gallery must be a file. Received: {path}, a folder")
    if os.path.exists(path):
        return
    if not may_make:
        raise GalleryError(f"The gallery must exist. Received: {path}", "unknown")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        reason: Reason = "full" if error.errno in (28, 122) else "read-only"  # ENOSPC, EDQUOT
        raise GalleryError(f"The folder of a gallery must be writable. Received: {path}, {error.strerror}", reason) from None


def connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        for pragma in ("foreign_keys = ON", "secure_delete = ON", "synchronous = FULL", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise GalleryError(
                f"The gallery must lie on a disk of this machine. Received: {path}, which takes no write-ahead log", "read-only"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def prepare_file(connection: sqlite3.Connection, path: str, model: ModelMark | None) -> None:
    """An empty file becomes a gallery; another program's is refused."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        (application,), (version,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version"))
        empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
        if empty and model is not None:
            for statement in statements(SCHEMA):
                connection.execute(statement)
            connection.execute("INSERT INTO state VALUES (1, ?, NULL, 0, 0, 0)", [dump_mark(model)])
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        elif application != APPLICATION_ID:
            raise GalleryError(f"The file must be a gallery. Received: {path}, another program's database")
        elif version != VERSION:
            raise GalleryError(f"The gallery must be of version {VERSION} for this reader. Received: {path}, version {version}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def statements(script: str) -> Iterator[str]:
    """One by one: `executescript` would commit in between."""
    text = ""
    for line in script.splitlines():
        text += line + "\n"
        if sqlite3.complete_statement(text):
            yield text
            text = ""


def check_pages(connection: sqlite3.Connection, path: str) -> None:
    """A file that was cut or written over is known before anybody relies on it."""
    told = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if told != "ok":
        raise GalleryError(f"{WHOLE} Received: {path}, {told}", "corrupt")


def checkpoint(connection: sqlite3.Connection) -> bool:
    """The log is in the file and empty; False when another process kept that from being done."""
    connection.execute(f"PRAGMA busy_timeout = {1000 * ERASE_SECONDS:.0f}")
    try:
        return connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    finally:
        connection.execute(f"PRAGMA busy_timeout = {1000 * WAIT_SECONDS:.0f}")


def dump_mark(mark: ModelMark) -> str:
    return json.dumps([mark.name, mark.sha256, mark.dimensions])


def read_model(connection: sqlite3.Connection) -> ModelMark:
    return ModelMark(*json.loads(connection.execute("SELECT model FROM state").fetchone()[0]))


@contextlib.contextmanager
def explained(address: str) -> Iterator[None]:
    """SQLite's errors in sentences."""
    try:
        yield
    except sqlite3.Error as error:
        rule, reason = rule_of(error)
        raise GalleryError(f"{rule} Received: {address}, {error}", reason) from error


def rule_of(error: sqlite3.Error) -> tuple[str, Reason]:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
    name = getattr(error, "sqlite_errorname", "")
    if code == sqlite3.SQLITE_FULL or name in ("SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_TRUNCATE", "SQLITE_IOERR_SHMSIZE"):
        return "The disk must have room for the gallery and take what is written.", "full"
    base = code & 0xFF
    if base in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return "The gallery and its folder must be writable.", "read-only"
    if base in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"Other processes must let go of the gallery within {WAIT_SECONDS:g} seconds.", "locked"
    if base in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_ERROR):
        return WHOLE, "corrupt"
    return "The gallery must take what it is given.", "invalid"


# --- rows ---


def filter_of(
    matrix: Matrix, cameras: Collection[str] | None, since: datetime | None, until: datetime | None, without: str | None
) -> Filter:
    return Filter(
        cameras=None if cameras is None else frozenset(matrix.camera(camera) for camera in cameras),
        without=None if without is None else matrix.camera(without),
        since=None if since is None else rules.microseconds(since),
        until=None if until is None else rules.microseconds(until),
    )


def add_person(connection: sqlite3.Connection, name: str) -> int:
    sql = "INSERT INTO people (id, name, folded, added) VALUES (?, ?, ?, ?) RETURNING number"
    return connection.execute(sql, [uuid.uuid4().hex, name, rules.folded(name), rules.now()]).fetchone()[0]


def add_picture(connection: sqlite3.Connection, person: int, picture: NewPicture) -> None:
    time = None if picture.time is None else rules.microseconds(picture.time)
    vector = np.asarray(picture.vector, np.float32).tobytes()
    sql = "INSERT INTO pictures (id, person, camera, time, digest, vector) VALUES (?, ?, ?, ?, ?, ?) RETURNING number"
    (number,) = connection.execute(sql, [uuid.uuid4().hex, person, picture.camera, time, picture.digest, vector]).fetchone()
    for kind, data in ((THUMBNAIL, picture.thumbnail), (PICTURE, picture.picture)):
        if data is not None:
            connection.execute("INSERT INTO attachments VALUES (?, ?, ?)", [number, kind, data])


def look_up(connection: sqlite3.Connection, found: Found) -> Iterator[Hit]:
    """Nothing when the picture or its person has left."""
    picture = connection.execute(f"{KEPT} WHERE pictures.number = ?", [found.picture]).fetchone()
    person = connection.execute(f"{PERSON} WHERE number = ?", [found.person]).fetchone()
    if picture and person:
        yield Hit(as_person(person), found.similarity, as_kept(picture))


def as_person(row: Sequence[Any]) -> Person:
    identity, name, pictures, added = row
    return Person(identity, name, pictures, rules.moment(added))


def as_kept(row: Sequence[Any]) -> Kept:
    identity, person, camera, time, has_thumbnail, has_picture = row
    return Kept(identity, person, camera, None if time is None else rules.moment(time), bool(has_thumbnail), bool(has_picture))


def portions(values: Iterable[Any]) -> Iterator[Sequence[Any]]:
    values = [*values]
    for begin in range(0, len(values), SIZE_LIMIT):
        yield values[begin : begin + SIZE_LIMIT]


def marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
