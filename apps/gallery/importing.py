"""From files to a gallery: pictures are read, embedded in batches and enrolled person by person; what is in already is passed over.

A file is known by the sha256 of its content, so that an import that was stopped goes on where it was when it is run again.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from apps.gallery.sources import Found, Source
from apps.gallery.store import Embed, Gallery, GalleryError, ModelMark, NewPicture
from apps.runtime import Bundle, PictureError, embed, open_picture
from apps.runtime.embedding import dimensions

BATCH = 32  # pictures embedded at once
THUMBNAIL = (128, 256)  # pixels at most, width and height
KEPT_SIDE = 1024  # pixels at most of a kept picture
PAGE = 1000
GOES_ON = ("quota", "invalid")  # reasons that concern one person, not the gallery


@dataclass
class Imported:
    """Counts, and (name, sentence) of each file that is not in the gallery now."""

    people: int = 0
    pictures: int = 0
    skipped: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Read:
    source: Source
    digest: bytes
    image: Image.Image
    data: bytes


def mark_of(bundle: Bundle) -> ModelMark:
    """Whose vectors the bundle's are; BundleError when it gives none."""
    return ModelMark(bundle.name, bundle.digest(), dimensions(bundle))


def embedder(bundle: Bundle) -> Embed:
    """What `Gallery.re_embed` asks for."""
    return lambda pictures: embed(bundle, [open_picture(data, bundle.color) for data in pictures]).vectors


def import_people(
    gallery: Gallery,
    found: Found,
    bundle: Bundle,
    keep_pictures: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Imported:
    """Enrol everyone found; a person of a name that is there gets the new pictures. `progress` hears (done, all) after each batch.

    GalleryError when the gallery can take nothing more at all: what is in stays.
    """
    report = Imported(bad=[*found.bad])
    people, seen, done = named_people(gallery), set(), 0
    for group in groups(found.sources):
        read = read_new(gallery, group, seen, report)
        enrol_all(gallery, people, embedded(read, bundle, report), keep_pictures, report)
        done += len(group)
        if progress:
            progress(done, len(found.sources))
    return report


def named_people(gallery: Gallery) -> dict[str, str]:
    """Ids by name; of several with one name the first."""
    people: dict[str, str] = {}
    offset = 0
    while some := gallery.list(offset, PAGE):
        for person in some:
            people.setdefault(person.name, person.id)
        offset += PAGE
    return people


def groups(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """Whole people together, until they have a batch of pictures."""
    people: dict[str, list[Source]] = {}
    for source in sources:
        people.setdefault(source.person, []).append(source)
    group: list[Source] = []
    for own in people.values():
        group += own
        if len(group) >= BATCH:
            yield group
            group = []
    if group:
        yield group


def read_new(gallery: Gallery, group: Sequence[Source], seen: set[bytes], report: Imported) -> list[Read]:
    files = [(source, data) for source in group for data in bytes_of(source, report)]
    digests = [hashlib.sha256(data).digest() for _, data in files]
    known = gallery.known(digests) | seen
    read = []
    for (source, data), digest in zip(files, digests, strict=True):
        if digest in known:
            report.skipped += 1
            continue
        known.add(digest)
        seen.add(digest)
        try:
            read.append(Read(source, digest, open_picture(data), data))
        except PictureError as problem:
            report.bad.append((source.name, str(problem)))
    return read


def bytes_of(source: Source, report: Imported) -> Iterator[bytes]:
    try:
        yield source.read()
    except FileNotFoundError:
        report.bad.append((source.name, "The file must be there."))
    except GalleryError as problem:
        report.bad.append((source.name, str(problem)))
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:  # a zip may be damaged or have a password
        report.bad.append((source.name, f"The file must be readable. Received: {getattr(error, 'strerror', None) or error}"))


def embedded(read: Sequence[Read], bundle: Bundle, report: Imported) -> Iterator[tuple[Read, np.ndarray]]:
    for start in range(0, len(read), BATCH):
        some = read[start : start + BATCH]
        vectors = embed(bundle, [one.image for one in some]).vectors
        for one, vector in zip(some, vectors, strict=True):
            if vector.any():
                yield one, vector
            else:
                report.bad.append((one.source.name, "The network must see something on a picture. Received: an empty one"))


def enrol_all(
    gallery: Gallery, people: dict[str, str], found: Iterable[tuple[Read, np.ndarray]], keep_pictures: bool, report: Imported
) -> None:
    of_person: dict[str, list[tuple[Read, np.ndarray]]] = {}
    for read, vector in found:
        of_person.setdefault(read.source.person, []).append((read, vector))
    for name, own in of_person.items():
        pictures = [new_picture(read, vector, keep_pictures) for read, vector in own]
        try:
            person = gallery.enrol(name, pictures, people.get(name))
        except GalleryError as problem:
            if problem.reason not in GOES_ON:
                raise
            report.bad += [(read.source.name, str(problem)) for read, _ in own]
            continue
        report.people += name not in people
        report.pictures += len(own)
        people[name] = person.id


def new_picture(read: Read, vector: np.ndarray, keep: bool) -> NewPicture:
    return NewPicture(
        vector=vector,
        camera=read.source.camera,
        time=read.source.time,
        thumbnail=as_jpeg(read.image, THUMBNAIL, 85),
        picture=kept_picture(read) if keep else None,
        digest=read.digest,
    )


def kept_picture(read: Read) -> bytes:
    """The file itself if it is a small JPEG without words in it; else its pixels, for a photo may say where it was taken."""
    with Image.open(io.BytesIO(read.data)) as file:
        plain = file.format == "JPEG" and not file.getexif() and "comment" not in file.info and max(file.size) <= KEPT_SIDE
    return read.data if plain else as_jpeg(read.image, (KEPT_SIDE, KEPT_SIDE), 95)


def as_jpeg(picture: Image.Image, size: tuple[int, int], quality: int) -> bytes:
    small = picture.convert("RGB")
    small.thumbnail(size)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=quality)
    return file.getvalue()
