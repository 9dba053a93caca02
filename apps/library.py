"""The bundles of one server: which are there, which are broken and why, and the one way from a stranger's file to an answer."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from apps.engine import Engine, Ticket
from apps.repository import NotLoaded, Repository, UnknownModel
from apps.runtime import Bundle, BundleError, Caption, Choice, PictureError, Predicted, Regressor, caption, open_picture
from apps.runtime.pictures import MAX_PIXELS
from apps.runtime.regression import BATCH
from apps.runtime.trust import parse_json, read_file

T = TypeVar("T")
MAX_SHOWN = 64_000_000  # bytes of an example
CAPTIONS, ROWS = "examples/captions.json", "examples/rows.csv"


@dataclass(frozen=True)
class Answer:
    """What one picture gave: the best labels first, and the array the network saw, uint8 [H, W, C]."""

    model: str
    predictions: list[dict[str, Any]]
    seen: np.ndarray


@dataclass(frozen=True)
class Said:
    """What was said of one picture, and the array the network saw, uint8 [H, W, C]."""

    model: str
    caption: Caption
    seen: np.ndarray


class Library:
    """The bundles of a repository as pages and programs see them. All work goes through the engine's one queue.

    Pictures are decoded one at a time, so that memory has a bound whatever is sent.
    """

    def __init__(self, repository: Repository, engine: Engine, max_pixels: int = MAX_PIXELS, max_batch: int = BATCH):
        self.repository = repository
        self.engine = engine
        self.max_pixels, self.max_batch = max_pixels, max_batch
        self._decoding = threading.Lock()

    @property
    def bundles(self) -> dict[str, Bundle]:
        return self.repository.bundles

    @property
    def broken(self) -> dict[str, str]:
        return self.repository.broken

    def names(self, task: str = "classification") -> list[str]:
        return [name for name, bundle in self.bundles.items() if bundle.task == task]

    def get(self, name: str) -> Bundle:
        return self.repository.get(name)

    def classify(self, name: str, picture: str | Path | bytes, top: int = 5) -> Answer:
        """UnknownModel, PictureError, Busy or TooLate when it cannot be; anything else is a fault of ours."""
        return self.engine.run_sync(self.classification(name, picture, top))

    def classification(self, name: str, picture: str | Path | bytes, top: int = 5) -> Callable[[Ticket], Answer]:
        """The same as work for `await engine.run(...)`; it holds its bundle, whatever a reload does meanwhile."""
        bundle = self.get(name)
        if bundle.task != "classification":
            raise UnknownModel(f"The bundle must classify pictures. Received: {name}, a bundle for {bundle.task}")

        def work(ticket: Ticket) -> Answer:
            seen = self.see(bundle, picture, ticket)
            return Answer(name, bundle.classify([seen], top, ticket.options)[0], seen)

        return work

    def caption(self, name: str, picture: str | Path | bytes, choice: Choice | None = None) -> Said:
        """As `classify`, for a bundle that captions; without a choice the beam is the card's."""
        return self.engine.run_sync(self.captioning(name, picture, choice))

    def captioning(self, name: str, picture: str | Path | bytes, choice: Choice | None = None) -> Callable[[Ticket], Said]:
        """The same as work for `await engine.run(...)`. The deadline is looked at before every word."""
        bundle = self.get(name)
        if bundle.task != "captioning":
            raise UnknownModel(f"The bundle must caption pictures. Received: {name}, a bundle for {bundle.task}")

        def work(ticket: Ticket) -> Said:
            seen = self.see(bundle, picture, ticket)
            return Said(name, caption(bundle, [seen], choice, ticket.options, ticket.check)[0], seen)

        return work

    def regressor(self, name: str) -> Regressor:
        """The bundle by the names of its columns; UnknownModel."""
        bundle = self.get(name)
        if bundle.task != "regression":
            raise UnknownModel(f"The bundle must predict numbers from rows. Received: {name}, a bundle for {bundle.task}")
        return Regressor(bundle)

    def predict(self, regressor: Regressor, features: np.ndarray, ticket: Ticket) -> Predicted:
        """Numbers for float32 [B, D], within a piece of work and no more rows at a time than one request may have; RowError, TooLate."""
        return regressor.predict(features, ticket.options, self.max_batch, ticket.check)

    def see(self, bundle: Bundle, picture: str | Path | bytes, ticket: Ticket) -> np.ndarray:
        """The array uint8 [H, W, C] that the network sees, within a piece of work; PictureError, TooLate."""
        return self.read(bundle, picture, ticket, bundle.prepare)

    def read(self, bundle: Bundle, picture: str | Path | bytes, ticket: Ticket, take: Callable[[Image.Image], T]) -> T:
        """What `take` makes of the opened picture, which is held no longer than that."""
        with self._decoding:
            ticket.check()
            taken = take(open_picture(picture, bundle.color, self.max_pixels))
        ticket.check()
        return taken

    def examples(self, name: str) -> list[Path]:
        """The example pictures of a bundle that its card vouches for."""
        bundle = self.get(name)
        listed = [bundle.path / file for file in sorted(bundle.card["files"]) if file.startswith("examples/") and file.endswith(".png")]
        return [file for file in listed if file.is_file()]  # a folder that is being replaced may lack some

    def references(self, name: str, example: str) -> list[str]:
        """What people, or the program that drew it, say of an example: examples/captions.json, where the bundle has one."""
        data = self.vouched(self.get(name), CAPTIONS)
        try:
            told = parse_json(data, CAPTIONS).get(example, []) if data else []
        except (BundleError, AttributeError):  # it holds something else
            return []
        return [sentence for sentence in told if isinstance(sentence, str)] if isinstance(told, list) else []

    def example_rows(self, name: str) -> bytes | None:
        """examples/rows.csv of a bundle for regression, rows of its test split with true values, if its sha256 is still the card's."""
        return self.vouched(self.get(name), ROWS)

    def vouched(self, bundle: Bundle, file: str) -> bytes | None:
        """A file of the bundle as its card lists it; None where it is not listed, or the folder is being replaced."""
        expected = bundle.card["files"].get(file)
        try:
            data = read_file(bundle.path, file, MAX_SHOWN) if expected else None
        except BundleError:
            return None
        return data if data is not None and hashlib.sha256(data).hexdigest() == expected else None


__all__ = ["Answer", "Library", "NotLoaded", "PictureError", "Said", "UnknownModel"]
