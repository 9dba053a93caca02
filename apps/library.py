"""The bundles of one server: which are there, which are broken and why, and the one way from a stranger's file to an answer."""

from __future__ import annotations

import difflib
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from apps.runtime import Bundle, BundleError, PictureError, find_bundles, load_bundle, open_picture

log = logging.getLogger("apps")


class UnknownModel(ValueError):
    """No bundle has this name; the message suggests the nearest."""


@dataclass(frozen=True)
class Answer:
    """What one picture gave: the best labels first, and the array the network saw, uint8 [H, W, C]."""

    model: str
    predictions: list[dict[str, Any]]
    seen: np.ndarray


class Library:
    """The bundles of a folder, loaded once. Pictures are decoded one at a time, so that memory has a bound whatever is sent."""

    def __init__(self, folder: str | Path, threads: int = 1):
        self.folder = Path(folder)
        self.bundles: dict[str, Bundle] = {}
        self.broken: dict[str, str] = {}
        self._decoding = threading.Lock()
        for path in find_bundles(folder):
            self._add(path, threads)

    def _add(self, path: Path, threads: int) -> None:
        try:
            bundle = load_bundle(path, threads)
            if bundle.name != path.name:
                raise BundleError(f"The folder must bear the bundle's name, {bundle.name}. Received: {path.name}")
            if bundle.task == "classification":
                bundle.classify([np.zeros(bundle.shape, np.uint8)])  # the first run is the slow one
            self.bundles[bundle.name] = bundle
        except BundleError as error:
            self.broken[path.name] = str(error)
            log.error("%s", error)

    def names(self, task: str = "classification") -> list[str]:
        return [name for name, bundle in self.bundles.items() if bundle.task == task]

    def get(self, name: str) -> Bundle:
        if name in self.bundles:
            return self.bundles[name]
        if name in self.broken:
            raise UnknownModel(f"The bundle {name} is broken. {self.broken[name]}")
        near = difflib.get_close_matches(name, self.bundles, n=1, cutoff=0.3)
        hint = f"Did you mean {near[0]}?" if near else f"There is {', '.join(self.bundles)}."
        raise UnknownModel(f"There is no bundle named {name[:80]}. {hint}")

    def classify(self, name: str, picture: str | Path | bytes, top: int = 5) -> Answer:
        """UnknownModel or PictureError when it cannot be; anything else is a fault of ours."""
        bundle = self.get(name)
        if bundle.task != "classification":
            raise UnknownModel(f"The bundle must classify pictures. Received: {name}, a bundle for {bundle.task}")
        with self._decoding:
            seen = bundle.prepare(open_picture(picture, bundle.color))
        return Answer(name, bundle.classify([seen], top)[0], seen)

    def examples(self, name: str) -> list[Path]:
        """The example pictures of a bundle that its card vouches for."""
        bundle = self.get(name)
        return [bundle.path / file for file in sorted(bundle.card["files"]) if file.startswith("examples/") and file.endswith(".png")]


def as_image(seen: np.ndarray, side: int = 256) -> Image.Image:
    """The array the network saw, its pixels enlarged to squares that people can see."""
    image = Image.fromarray(seen[..., 0] if seen.shape[-1] == 1 else seen)
    factor = max(1, side // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


__all__ = ["Answer", "Library", "PictureError", "UnknownModel", "as_image"]
