"""From a stranger's picture to the people who look like it, and from pictures to a person in the gallery: work for the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from apps.engine import Ticket
from apps.galleries import Galleries
from apps.gallery import Gallery, Hit, NewPicture, Person
from apps.gallery.importing import KEPT_SIDE, THUMBNAIL, as_jpeg
from apps.gallery.store import By
from apps.library import Library
from apps.runtime import Bundle, embed, open_picture

T = TypeVar("T")
MAX_TOP = 100
MAX_PICTURES = 5  # of one enrolment
QUALITY = 90  # of JPEG


@dataclass(frozen=True)
class Wanted:
    """What a search is for: how many people, by their best picture or by the mean of all, and which pictures count at all."""

    top: int = 10
    by: By = "best"
    cameras: tuple[str, ...] | None = None
    without_camera: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Matched:
    """The hits, best first, and what the network saw, uint8 [H, W, C], and looked at, float32 [h, w] in [0, 1]: the second pair is of the
    best hit's thumbnail. Where there is nothing to show it is None."""

    model: str
    hits: list[Hit]
    seen: np.ndarray
    look: np.ndarray | None = None
    best_seen: np.ndarray | None = None
    best_look: np.ndarray | None = None


@dataclass(frozen=True)
class Sighting:
    """Pictures of one person for the gallery: a new one's name, or the id of one who is there."""

    name: str
    pictures: Sequence[str | Path | bytes]
    person: str | None = None
    camera: str | None = None
    time: datetime | None = None


class Matcher:
    """What can be asked of the galleries; each gives work for `engine.run(...)`, which raises what the library and the gallery raise."""

    def __init__(self, library: Library, galleries: Galleries):
        self.library, self.galleries = library, galleries

    def matching(self, name: str, picture: str | Path | bytes, wanted: Wanted, look: bool = False) -> Callable[[Ticket], Matched]:
        """With `look` also where the network looked, on the picture and on the best hit."""
        bundle = self.library.get(name)

        def work(ticket: Ticket) -> Matched:
            seen = self.library.see(bundle, picture, ticket)
            found = embed(bundle, [seen], look, ticket.options)
            ticket.check()
            with self.galleries.using(name) as gallery:
                hits = gallery.search(
                    found.vectors[0], wanted.top, wanted.cameras, wanted.since, wanted.until, wanted.by, wanted.without_camera
                )
                thumbnail = gallery.thumbnail(hits[0].picture.id) if look and hits and hits[0].picture.has_thumbnail else None
            matched = Matched(name, hits, seen, first(found.activations))
            if thumbnail is None:
                return matched
            best = bundle.prepare(open_picture(thumbnail, bundle.color))
            return Matched(name, hits, seen, matched.look, best, first(embed(bundle, [best], True, ticket.options).activations))

        return work

    def enrolling(self, name: str, sighting: Sighting) -> Callable[[Ticket], Person]:
        """All pictures or none; the person is on disk when the work is done."""
        bundle = self.library.get(name)

        def work(ticket: Ticket) -> Person:
            taken = [self.library.read(bundle, one, ticket, lambda picture: self.taken(bundle, picture)) for one in sighting.pictures]
            vectors = embed(bundle, [seen for seen, _, _ in taken], options=ticket.options).vectors
            pictures = [
                NewPicture(vector, sighting.camera, sighting.time, thumbnail, picture)
                for vector, (_, thumbnail, picture) in zip(vectors, taken, strict=True)
            ]
            ticket.check()
            with self.galleries.using(name) as gallery:
                return gallery.enrol(sighting.name, pictures, sighting.person)

        return work

    def asking(self, name: str, act: Callable[[Gallery], T]) -> Callable[[Ticket], T]:
        """What `act` gives of the gallery."""

        def work(ticket: Ticket) -> T:
            with self.galleries.using(name) as gallery:
                return act(gallery)

        return work

    def taken(self, bundle: Bundle, picture: Image.Image) -> tuple[np.ndarray, bytes, bytes | None]:
        """What is made of one opened picture: what the network sees, a thumbnail, and the picture itself where pictures are kept. Of
        pixels only: a photo may say where it was taken."""
        kept = as_jpeg(picture, (KEPT_SIDE, KEPT_SIDE), QUALITY) if self.galleries.keep_pictures else None
        return bundle.prepare(picture), as_jpeg(picture, THUMBNAIL, QUALITY), kept


def first(activations: np.ndarray | None) -> np.ndarray | None:
    return None if activations is None else activations[0]


__all__ = ["Matched", "Matcher", "Sighting", "Wanted"]
