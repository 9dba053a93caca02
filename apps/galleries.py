"""The people that each network for matching searches among: one gallery a network, opened when it is first needed.

Without `--gallery` a network has the drawn people of its bundle's gallery.zip, in a private file that goes when the server ends.
"""

from __future__ import annotations

import contextlib
import logging
import re
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from apps.gallery import Gallery, GalleryError, Quota, open_gallery
from apps.gallery.importing import import_people, mark_of
from apps.gallery.sources import Source, from_files, read_entry
from apps.repository import Repository, UnknownModel
from apps.runtime import Bundle
from apps.runtime.bundle import first_line
from apps.settings import Settings

log = logging.getLogger("apps")

DEMO = "gallery.zip"
FOLDERS = re.compile(r"(?<![\w:/])/\S+/")
AGAIN = 5.0  # seconds before a gallery that could not be opened is tried again
LASTING = ("other-model", "corrupt", "locked")  # reasons that make a gallery useless, not one request


@dataclass(frozen=True)
class Broken:
    """Why a gallery could not be opened, and when that was tried."""

    problem: GalleryError
    tried: float


class Galleries:
    """The galleries of a server. Any thread may ask; whoever asks first waits for the opening, in a thread of its own."""

    def __init__(self, repository: Repository, settings: Settings):
        self.repository = repository
        self.address = settings.gallery
        self.keep_pictures = settings.keep_pictures
        self.quota = Quota(people=settings.gallery_people, pictures=settings.gallery_pictures, picture_bytes=settings.max_body)
        self._opening = threading.Lock()
        self._open: dict[str, Gallery] = {}
        self._broken: dict[str, Broken] = {}
        self._folder: tempfile.TemporaryDirectory | None = None
        self._stopping = False

    @property
    def demo(self) -> bool:
        """Whether the galleries are the bundles' own people."""
        return self.address is None

    def names(self) -> list[str]:
        return [name for name, bundle in self.repository.bundles.items() if bundle.task == "embedding"]

    def states(self) -> dict[str, str]:
        """Of each network's gallery: ready, opening, not opened, or what is wrong with it."""
        return {name: self._state(name) for name in self.names()}

    def broken(self) -> bool:
        return any(name in self._broken for name in self.names())

    def _state(self, name: str) -> str:
        broken = self._broken.get(name)
        if broken:
            return str(broken.problem)
        return "ready" if name in self._open else "opening" if self._opening.locked() else "not opened"

    def ready(self, name: str) -> bool:
        """Whether `of` would answer at once."""
        bundle = self.repository.bundles.get(name)
        return bundle is None or self._current(bundle) is not None

    def of(self, name: str) -> Gallery:
        """The gallery of a network; UnknownModel, GalleryError. May take seconds the first time."""
        bundle = self.repository.get(name)
        if bundle.task != "embedding":
            raise UnknownModel(f"The bundle must embed pictures of people. Received: {name}, a bundle for {bundle.task}")
        gallery = self._current(bundle)
        if gallery is not None:
            return gallery
        with self._opening:
            return self._current(bundle) or self._try(bundle)

    @contextlib.contextmanager
    def using(self, name: str) -> Iterator[Gallery]:
        """The same for one piece of work; readiness hears of what is broken for good, until something works again."""
        gallery = self.of(name)
        try:
            yield gallery
        except GalleryError as error:
            problem = without_folders(error)
            if problem.reason in LASTING:
                self._broken[name] = Broken(problem, time.monotonic())
            raise problem from error
        else:
            self._broken.pop(name, None)

    def open_all(self) -> None:
        """What can be opened is; the rest is in `states`."""
        for name in self.names():
            try:
                self.of(name)
            except (GalleryError, UnknownModel):
                continue
            except Exception:
                log.exception("the gallery of %s could not be opened", name)

    def stop(self) -> None:
        """What is being opened is left; nothing more is."""
        self._stopping = True

    def close(self) -> None:
        self.stop()
        with self._opening:
            for gallery in self._open.values():
                gallery.close()
            self._open.clear()
            if self._folder:
                self._folder.cleanup()

    def _current(self, bundle: Bundle) -> Gallery | None:
        """The open one, if its vectors are of the network that serves now."""
        gallery = self._open.get(bundle.name)
        return gallery if gallery is not None and gallery.model.sha256 == mark_of(bundle).sha256 else None

    def _try(self, bundle: Bundle) -> Gallery:
        broken = self._broken.get(bundle.name)
        if broken and time.monotonic() - broken.tried < AGAIN:
            raise broken.problem
        try:
            gallery = self._open_anew(bundle)
        except GalleryError as error:
            log.error("the gallery of %s cannot be used: %s", bundle.name, error)
            problem = without_folders(error)
            self._broken[bundle.name] = Broken(problem, time.monotonic())
            raise problem from error
        self._broken.pop(bundle.name, None)
        self._open[bundle.name] = gallery
        return gallery

    def _open_anew(self, bundle: Bundle) -> Gallery:
        self._go_on()
        old = self._open.pop(bundle.name, None)  # of a network that was exchanged
        if old is not None:
            old.close()
        mark = mark_of(bundle)
        if self.address is not None:
            return open_gallery(self.address, mark, self.quota)
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="kerasdl-gallery-", ignore_cleanup_errors=True)
        gallery = open_gallery(Path(tempfile.mkdtemp(dir=self._folder.name)) / "people.gallery", mark, self.quota)
        try:
            fill(gallery, bundle, self._go_on)
        except BaseException:
            gallery.close()
            raise
        return gallery

    def _go_on(self, *_: int) -> None:
        if self._stopping:
            raise GalleryError("The server is stopping.", "locked")


def without_folders(problem: GalleryError) -> GalleryError:
    """Where files lie on this machine stays in its log: the sentence may reach a stranger."""
    return GalleryError(FOLDERS.sub("", str(problem)), problem.reason)


def fill(gallery: Gallery, bundle: Bundle, go_on: Callable[[int, int], None]) -> None:
    """The people of the bundle's gallery.zip, where it has one, as many as the quota lets in; they are named by their numbers.

    `go_on` is asked after every few of them, and raises when it is enough.
    """
    if DEMO not in bundle.card["files"]:
        return
    began = time.perf_counter()
    try:
        with zipfile.ZipFile(bundle.path / DEMO) as archive:
            found = from_files((name, partial(read_entry, archive, name)) for name in sorted(archive.namelist()))
            found.sources = welcome(found.sources, gallery.quota)
            bad = import_people(gallery, found, bundle, progress=go_on).bad
    except (OSError, zipfile.BadZipFile) as error:  # the folder is being replaced
        raise GalleryError(f"The bundle's {DEMO} must be readable. Received: {bundle.name}, {first_line(error)}", "corrupt") from None
    if bad:
        raise GalleryError(f"The bundle's {DEMO} must hold pictures of people. Received: {bundle.name}, {' '.join(bad[0])}", "corrupt")
    seconds = time.perf_counter() - began
    log.info("the gallery of %s has %d people in %d pictures, %.1f s", bundle.name, gallery.people, gallery.pictures, seconds)


def welcome(sources: list[Source], quota: Quota) -> list[Source]:
    """Those of the first people whom the quota lets in."""
    people = set(list(dict.fromkeys(source.person for source in sources))[: quota.people])
    return [source for source in sources if source.person in people][: quota.pictures]


__all__ = ["Galleries"]
