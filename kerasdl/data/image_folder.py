"""Pictures in folders, one folder a class: `image_folder:PATH`.

    PATH/cat/1.jpg  PATH/cat/2.png  PATH/dog/1.jpg          split here, stratified, fixed by the seed
    PATH/train/cat/1.jpg ... PATH/test/cat/9.jpg            an own test (and valid or val) folder is respected

Every file is read to its end once at the start, on several threads: what is no readable picture is named in a warning and left
out, never silently. Pictures that together take more than FITS_IN_MEMORY stay files and are decoded as they are needed; of each
the memory holds a path and a label.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from kerasdl.data.pictures import MAX_PIXELS, PictureError, open_picture, prepare
from kerasdl.data.reading import in_order
from kerasdl.data.spec import Spec
from kerasdl.data.splits import PictureSplit, Split, Splits, channel_statistics, held_out

log = logging.getLogger("kerasdl")
FITS_IN_MEMORY = 2_000_000_000  # bytes of decoded pictures
STATISTICS_SAMPLE = 2000


def image_folder(path: str, side: int = 32, grey: bool = False, valid: float = 0.1, test: float = 0.2, seed: int = 0) -> Splits:
    """Your own pictures, one folder a class.

    They are cut to the centre square and resized to side x side.

    Args:
        path: the folder.
        side: side of the pictures in pixels.
        grey: one channel in place of RGB.
        valid, test: shares held out where the folder has no `valid`/`val` or `test` folder of its own.
        seed: of that draw.

    Raises ValueError when the folder is missing, or holds fewer than two classes or too few pictures.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise ValueError(f"image_folder needs a folder with one folder a class. Received: {path!r}")
    shape = (side, side, 1 if grey else 3)
    steps = ({"op": "center_crop"}, {"op": "resize", "size": [side, side], "method": "bilinear"})
    decode = partial(_decode, shape=shape, steps=steps)
    own = {name: folder for name in ("train", "valid", "val", "test") if (folder := root / name).is_dir()}
    top = own["train"] if "train" in own else root
    labels = tuple(sorted(folder.name for folder in top.iterdir() if folder.is_dir() and not folder.name.startswith(".")))
    if len(labels) < 2:
        raise ValueError(f"image_folder needs at least two class folders. Received: {list(labels)} in {top}")

    bad: list[str] = []
    files, numbers = _list(top, labels, bad)
    parts: dict[str, tuple[list[str], np.ndarray]] = {}
    for name, share in (("test", test), ("valid", valid)):
        folder = own.get(name) or (own.get("val") if name == "valid" else None)
        if "train" in own and folder:
            parts[name] = _list(folder, labels, bad)
        else:
            if len(files) < 3:
                raise ValueError(f"image_folder needs at least 3 readable pictures to split. Received: {len(files)} in {top}")
            kept, out = held_out(numbers, share, seed)
            parts[name] = ([files[i] for i in out], numbers[out])
            files, numbers = [files[i] for i in kept], numbers[kept]
    for sentence in bad:
        log.warning("skipped: %s", sentence)

    train = _split(files, numbers, decode, shape)
    some = np.sort(np.random.default_rng(0).permutation(len(train))[:STATISTICS_SAMPLE])
    mean, std = channel_statistics(train.arrays(some)["image"])
    spec = Spec(shape, labels, mean, std, steps, root.name)
    card = {
        "name": root.name,
        "source": "a folder of pictures, one folder a class",
        "licence": "the owner's",
        "synthetic": False,
        "counts": {"train": len(train), "valid": len(parts["valid"][0]), "test": len(parts["test"][0])},
        "skipped": bad,
    }
    return Splits(train, *(_split(*parts[name], decode, shape) for name in ("valid", "test")), spec=spec, card=card)


def _list(top: Path, labels: tuple[str, ...], bad: list[str]) -> tuple[list[str], np.ndarray]:
    """Readable pictures in a fixed order with their label numbers; a sentence on each of the others goes to `bad`."""
    files: list[str] = []
    numbers: list[int] = []
    for number, label in enumerate(labels):
        found = [os.path.join(folder, name) for folder, _, names in os.walk(top / label) for name in names if not name.startswith(".")]
        files += sorted(found, key=lambda file: file.split(os.sep))
        numbers += [number] * len(found)
    problems = list(in_order(_problem, files, title="checking pictures"))
    bad += [f"{os.path.relpath(file, top)}: {problem}" for file, problem in zip(files, problems, strict=True) if problem]
    good = [i for i, problem in enumerate(problems) if problem is None]
    return [files[i] for i in good], np.asarray(numbers, np.int64)[good]


def _problem(file: str) -> str | None:
    """Why a file is no usable picture; None when it is. It is read to its end, for a cut one has a sound beginning."""
    try:
        with Image.open(file) as picture:
            if picture.format == "JPEG" and picture.width * picture.height <= MAX_PIXELS:
                picture.draft("L", (max(picture.width // 8, 1), max(picture.height // 8, 1)))  # all bytes, an eighth of the arithmetic
                picture.load()
                ImageOps.exif_transpose(picture)
                return None
    except Exception:  # `open_picture` finds the words, and has the last one
        pass
    try:
        open_picture(file)
    except PictureError as problem:
        return str(problem)
    return None


def _decode(file: str, shape: tuple[int, int, int], steps: tuple[dict[str, Any], ...]) -> np.ndarray:
    return prepare(open_picture(file, "grey" if shape[-1] == 1 else "rgb"), shape, steps)


def _split(files: list[str], labels: np.ndarray, decode: Any, shape: tuple[int, int, int]) -> Split:
    return PictureSplit(files, labels, decode).held(FITS_IN_MEMORY, shape)
