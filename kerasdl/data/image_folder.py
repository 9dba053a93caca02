"""Pictures in folders, one folder a class: `image_folder:PATH`.

    PATH/cat/1.jpg  PATH/cat/2.png  PATH/dog/1.jpg          split here, stratified, fixed by the seed
    PATH/train/cat/1.jpg ... PATH/test/cat/9.jpg            an own test (and valid or val) folder is respected

Every file is opened once at the start: what is no readable picture is named in a warning and left out, never silently.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.data.pictures import PictureError, open_picture, prepare
from kerasdl.data.spec import Spec
from kerasdl.data.splits import ArraySplit, PictureSplit, Split, Splits, channel_statistics, held_out

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
    files, numbers = _list(top, labels, decode, bad)
    parts: dict[str, tuple[list[Path], np.ndarray]] = {}
    for name, share in (("test", test), ("valid", valid)):
        folder = own.get(name) or (own.get("val") if name == "valid" else None)
        if "train" in own and folder:
            parts[name] = _list(folder, labels, decode, bad)
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


def _list(top: Path, labels: tuple[str, ...], decode: Any, bad: list[str]) -> tuple[list[Path], np.ndarray]:
    files, numbers = [], []
    for number, label in enumerate(labels):
        for file in sorted(p for p in (top / label).rglob("*") if p.is_file() and not p.name.startswith(".")):
            try:
                decode(file)
            except PictureError as problem:
                bad.append(f"{file.relative_to(top)}: {problem}")
                continue
            files.append(file)
            numbers.append(number)
    return files, np.asarray(numbers, np.int64)


def _decode(file: Path, shape: tuple[int, int, int], steps: tuple[dict[str, Any], ...]) -> np.ndarray:
    return prepare(open_picture(file, "grey" if shape[-1] == 1 else "rgb"), shape, steps)


def _split(files: list[Path], labels: np.ndarray, decode: Any, shape: tuple[int, int, int]) -> Split:
    lazy = PictureSplit(files, labels, decode)
    fits = files and len(files) * int(np.prod(shape)) <= FITS_IN_MEMORY
    return ArraySplit(lazy.arrays()) if fits else lazy
