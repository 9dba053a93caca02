"""What a gallery accepts: names, cameras, times, vectors, quotas. Every store asks here, so that all refuse the same in the same words."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from apps.gallery.store import GalleryError, NewPicture, Quota

MAX_NAME = 120
MAX_CAMERA = 60
MAX_TOP = 1000
MAX_LENGTH_ERROR = 1e-3  # of a vector: float16 embeddings pass, ones that nobody normalised do not
DIGEST_BYTES = 32
BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # they would turn the words around a name
REFUSED = ("Cc", "Cs", "Zl", "Zp")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def clean_name(name: str, quota: Quota) -> str:
    """Without spaces around it, in Unicode's composed form, so that one name has one spelling."""
    if not isinstance(name, str):
        raise GalleryError(f"A name must be text. Received: {type(name).__name__}")
    name = unicodedata.normalize("NFC", name.strip())
    check_text(name, "A name", MAX_NAME)
    if (size := len(name.encode())) > quota.name_bytes:
        raise GalleryError(f"A name must have at most {quota.name_bytes} bytes. Received: {size}", "quota")
    return name


def folded(name: str) -> str:
    """By which names are looked for: large and small letters are one."""
    return unicodedata.normalize("NFC", name).casefold()


def check_text(text: str, what: str, longest: int) -> None:
    if not 1 <= len(text) <= longest:
        raise GalleryError(f"{what} must have 1 to {longest} characters. Received: {len(text)}")
    if any(letter in BIDI or unicodedata.category(letter) in REFUSED for letter in text):
        raise GalleryError(f"{what} must have no control characters. Received: {ascii(text)}")


def check_vector(vector: np.ndarray, dimensions: int) -> np.ndarray:
    """float32 [D], finite, of length one."""
    try:
        vector = np.ascontiguousarray(vector, np.float32)
    except (TypeError, ValueError):
        raise GalleryError(f"A vector must hold numbers. Received: {type(vector).__name__}") from None
    if vector.shape != (dimensions,):
        raise GalleryError(f"A vector must have {dimensions} numbers. Received: shape {vector.shape}")
    length = float(np.linalg.norm(vector))
    if not abs(length - 1) <= MAX_LENGTH_ERROR:  # also when it is not a number
        raise GalleryError(f"A vector must have length 1. Received: {length:.4g}")
    return vector


def check_vectors(vectors: np.ndarray, count: int, dimensions: int) -> np.ndarray:
    """float32 [B, D]: what a network made of `count` pictures."""
    if len(vectors) != count:
        raise GalleryError(f"Every picture must get a vector. Received: {len(vectors)} for {count} pictures")
    return np.stack([check_vector(vector, dimensions) for vector in vectors])


def check_picture(picture: NewPicture, dimensions: int, quota: Quota) -> None:
    check_vector(picture.vector, dimensions)
    if picture.camera is not None:
        check_text(picture.camera, "A camera's name", MAX_CAMERA)
    if picture.time is not None:
        microseconds(picture.time)
    for what, data, most in (("thumbnail", picture.thumbnail, quota.thumbnail_bytes), ("picture", picture.picture, quota.picture_bytes)):
        if data is not None and not 0 < len(data) <= most:
            raise GalleryError(f"A {what} must have 1 to {most} bytes. Received: {len(data)}", "quota")
    if picture.digest is not None and len(picture.digest) != DIGEST_BYTES:
        raise GalleryError(f"A digest must be a sha256 of {DIGEST_BYTES} bytes. Received: {len(picture.digest)}")


def check_pictures(pictures: Sequence[NewPicture], dimensions: int, quota: Quota) -> None:
    if not pictures:
        raise GalleryError("A person must be enrolled with at least one picture. Received: none")
    for picture in pictures:
        check_picture(picture, dimensions, quota)


def check_quota(quota: Quota, people: int, pictures: int, of_person: int, new: int, new_person: bool) -> None:
    """Whether `new` pictures may join a gallery that holds `people` and `pictures`, `of_person` of them this person's."""
    if new_person and people >= quota.people:
        raise GalleryError(f"The gallery must hold at most {quota.people} people. Received: one more", "quota")
    if of_person + new > quota.pictures_per_person:
        raise GalleryError(
            f"A person must have at most {quota.pictures_per_person} pictures. Received: {new} more than {of_person}", "quota"
        )
    if pictures + new > quota.pictures:
        raise GalleryError(f"The gallery must hold at most {quota.pictures} pictures. Received: {new} more than {pictures}", "quota")


def check_search(top: int, by: str, cameras: Collection[str] | None) -> None:
    if not 1 <= top <= MAX_TOP:
        raise GalleryError(f"top must be 1 to {MAX_TOP}. Received: {top}")
    if by not in ("best", "mean"):
        raise GalleryError(f"by must be best or mean. Received: {by}")
    if isinstance(cameras, str):
        raise GalleryError(f"cameras must be several names. Received: the text {cameras!r}")


def check_page(offset: int, limit: int) -> None:
    if offset < 0 or limit < 0:
        raise GalleryError(f"offset and limit must not be negative. Received: {offset}, {limit}")


def microseconds(time: datetime) -> int:
    """Since 1970, UTC."""
    if time.tzinfo is None:
        raise GalleryError(f"A time must say its zone, such as {time.isoformat()}+00:00. Received: {time.isoformat()}")
    return (time - EPOCH) // MICROSECOND


def moment(count: int) -> datetime:
    return EPOCH + count * MICROSECOND


def now() -> int:
    return microseconds(datetime.now(UTC))
