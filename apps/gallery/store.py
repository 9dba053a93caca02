"""What a gallery is, whatever keeps it: people, their pictures as unit vectors, and the search among them.

Two stores fulfil `Gallery`: one SQLite file (apps/gallery/sqlite.py) and Milvus (apps/gallery/milvus.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np

Reason = Literal["unknown", "other-model", "quota", "full", "read-only", "corrupt", "locked", "invalid"]
Embed = Callable[[Sequence[bytes]], np.ndarray]
By = Literal["best", "mean"]


class GalleryError(ValueError):
    """The gallery cannot do it; the message is a sentence for whoever asked.

    reason: "unknown" (no such person or picture), "other-model" (the vectors are another network's), "quota" (a limit of the gallery),
    "full" (the disk), "read-only", "corrupt", "locked" (another process holds it) or "invalid" (what was given breaks a rule).
    """

    def __init__(self, sentence: str, reason: Reason = "invalid"):
        super().__init__(sentence)
        self.reason: Reason = reason


@dataclass(frozen=True)
class ModelMark:
    """Which network made the vectors: the name of its bundle, the sha256 of its model.onnx, the length of a vector."""

    name: str
    sha256: str
    dimensions: int


@dataclass(frozen=True)
class Quota:
    """What one gallery may hold; bytes are of one name, one thumbnail, one picture."""

    people: int = 10_000
    pictures: int = 100_000
    pictures_per_person: int = 50
    name_bytes: int = 480
    thumbnail_bytes: int = 65_536
    picture_bytes: int = 8_000_000


@dataclass(frozen=True)
class NewPicture:
    """A picture to be kept: a float32 vector [D] of length one, and what else is known of it.

    `thumbnail` and `picture` are JPEG files; without `picture` the gallery cannot be re-embedded. `digest` is the sha256 of the file it
    came from, by which an import knows what it has seen.
    """

    vector: np.ndarray
    camera: str | None = None
    time: datetime | None = None
    thumbnail: bytes | None = None
    picture: bytes | None = None
    digest: bytes | None = None


@dataclass(frozen=True)
class Person:
    """`id` is 32 hexadecimal digits; names may repeat; `pictures` counts; `added` is in UTC."""

    id: str
    name: str
    pictures: int
    added: datetime


@dataclass(frozen=True)
class Kept:
    """A picture in the gallery; `person` is an id, `time` is in UTC, the flags say what can be asked for."""

    id: str
    person: str
    camera: str | None
    time: datetime | None
    has_thumbnail: bool
    has_picture: bool


@dataclass(frozen=True)
class Hit:
    """A person found: the similarity, a cosine in [-1, 1], and the picture most like what was looked for."""

    person: Person
    similarity: float
    picture: Kept


People = list[Person]  # inside Gallery, `list` is a method
Album = list[Kept]
Hits = list[Hit]


class Gallery(ABC):
    """People and their pictures. Every method may be called from several threads and raises GalleryError alone."""

    address: str
    quota: Quota

    @property
    @abstractmethod
    def model(self) -> ModelMark: ...

    @property
    @abstractmethod
    def people(self) -> int:
        """How many there are."""

    @property
    @abstractmethod
    def pictures(self) -> int:
        """How many there are, of all people."""

    @abstractmethod
    def enrol(self, name: str, pictures: Sequence[NewPicture], person: str | None = None) -> Person:
        """A new person, or more pictures of `person`, whose name stays. On disk when it returns; all of them or none."""

    @abstractmethod
    def list(self, offset: int = 0, limit: int = 100, like: str = "") -> People:
        """People in the order of their enrolment, those whose name holds `like`, large or small letters."""

    @abstractmethod
    def get(self, person: str) -> Person: ...

    @abstractmethod
    def kept(self, person: str) -> Album:
        """The person's pictures in the order of their enrolment."""

    @abstractmethod
    def thumbnail(self, picture: str) -> bytes | None: ...

    @abstractmethod
    def picture(self, picture: str) -> bytes | None: ...

    @abstractmethod
    def known(self, digests: Collection[bytes]) -> set[bytes]:
        """Those of the sha256 digests that a kept picture came with."""

    @abstractmethod
    def rename(self, person: str, name: str) -> Person: ...

    @abstractmethod
    def delete(self, person: str) -> None:
        """The person, the vectors, the thumbnails and the pictures are gone from the files."""

    @abstractmethod
    def delete_picture(self, picture: str) -> None:
        """As `delete`, one picture; a person's last one is refused."""

    @abstractmethod
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
        """The `top` people most like the float32 vector [D] of length one: one hit a person, best first, ties by enrolment.

        Only pictures from one of `cameras`, not from `without_camera`, and with since <= time < until count. `by="best"` takes a person's
        most similar picture, `by="mean"` the cosine with the normalised mean of the pictures that count.
        """

    @abstractmethod
    def export(self, path: str | Path) -> int:
        """Every picture's person, camera, time and vector as a Parquet file, whole or not at all; the number of its rows."""

    @abstractmethod
    def re_embed(self, embed: Embed, mark: ModelMark) -> int:
        """Every vector is made anew from the kept pictures: `embed` takes JPEG files, gives float32 [B, D]. The number of pictures.

        All or nothing: until the last vector is there, the old ones serve; what was done before a stop is not done again.
        """

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def check_model(address: str, kept: ModelMark, asked: ModelMark | None) -> None:
    if asked is not None and (kept.sha256, kept.dimensions) != (asked.sha256, asked.dimensions):
        raise GalleryError(
            f"The vectors of a gallery must be of the network that asks, {asked.name} ({asked.sha256[:12]}). "
            f"Received: {address} with those of {kept.name} ({kept.sha256[:12]}). "
            "Open it with that network, or make its vectors anew: python -m apps.gallery re-embed",
            "other-model",
        )


def unknown(what: str, identity: str) -> GalleryError:
    return GalleryError(f"The {what} must be in the gallery. Received: {identity!r}", "unknown")


def not_kept(missing: int) -> GalleryError:
    return GalleryError(
        f"Every picture must have been kept to be embedded anew. Received: {missing} of which only the vector is here. "
        "Enrol those people again, and keep the pictures (--keep-pictures)."
    )


def open_gallery(address: str | Path, model: ModelMark | None, quota: Quota | None = None) -> Gallery:
    """A path is an SQLite file, `milvus:FOLDER` Milvus Lite, `milvus:http://HOST:PORT` a cluster; what is not there is made.

    GalleryError "other-model" when the vectors are not `model`'s. None takes the gallery as it is, whatever made it, and makes none.
    """
    address, quota = str(address), quota or Quota()
    if address.startswith("milvus:"):
        from apps.gallery.milvus import MilvusGallery

        return MilvusGallery(address, model, quota)
    from apps.gallery.sqlite import SQLiteGallery

    return SQLiteGallery(address, model, quota)
