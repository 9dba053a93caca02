"""Flickr8k (Hodosh, Young, Hockenmaier 2013): 8,092 photographs of people and dogs in action, five captions each: `flickr8k:FOLDER`.

    FOLDER/Flickr8k.token.txt                   1000268201_693b08cb0e.jpg#0 <tab> A child in a pink dress is climbing ...
    FOLDER/Flickr_8k.trainImages.txt            6,000 file names, a line each; devImages and testImages 1,000 each
    FOLDER/Flicker8k_Dataset/*.jpg              any folder down to the second level

The text files may be one folder deeper. The copy of Kaggle has `captions.txt` instead, a table with the columns image and caption, and no
lists: then the parts are drawn here, and scores do not compare with published ones.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

from kerasdl.data.captions import PICTURES, Captioned, caption_splits, examples_of
from kerasdl.data.splits import Splits

LISTS = {"train": "trainImages.txt", "valid": "devImages.txt", "test": "testImages.txt"}


def flickr8k(path: str | None = None, side: int = 224, least: int = 5, longest: int = 30, seed: int = 0) -> Splits:
    """Photographs with captions in the files of Flickr8k.

    Args:
        path: the folder; by default the folder flickr8k in KERASDL_DATA_DIR.
        side, least, longest: as `caption_splits`.
        seed: of the draw of an eighth each for validation and test, where there are no lists.

    Raises ValueError when the captions, or some of the lists, are not there or of another form, and as `caption_splits`.
    """
    root = _root(path)
    captions = _captions(root)
    skipped: list[str] = []
    pictures = {file.name: str(file) for depth in ("*/*/*", "*/*", "*") for file in root.glob(depth) if file.suffix.lower() in PICTURES}
    if absent := [name for name in captions if name not in pictures]:
        skipped.append(f"skipped: {len(absent)} pictures with captions are not there: {examples_of(absent)}")
    captions = {name: some for name, some in captions.items() if name in pictures}
    lists = _lists(root)
    chosen = _listed(captions, lists, skipped) if lists else {"train": captions}
    parts = {part: Captioned.of({pictures[name]: captions[name] for name in names}) for part, names in chosen.items()}
    source = "Flickr8k, " + ("its own train, dev and test lists" if lists else f"parts drawn by seed {seed}, not the published lists")
    return caption_splits(
        parts,
        "Flickr8k",
        source,
        side,
        least,
        longest,
        valid=0.125,
        test=0.125,
        seed=seed,
        licence="research use (Hodosh et al. 2013); the photographs are their owners'",
        skipped=skipped,
    )


def _root(path: str | None) -> Path:
    if path is not None:
        root = Path(path).expanduser()
    elif folder := os.environ.get("KERASDL_DATA_DIR"):
        root = Path(folder).expanduser() / "flickr8k"
    else:
        raise ValueError("flickr8k needs a path, or KERASDL_DATA_DIR with a folder flickr8k in it. Received: neither")
    if not root.is_dir():
        raise ValueError(f"flickr8k needs a folder that is there. Received: {str(root)!r}")
    return root


def _captions(root: Path) -> dict[str, list[str]]:
    """Captions by the name of the picture, in the order of the file."""
    if file := _text(root, "token.txt"):
        return _tokens(file)
    if file := _text(root, "captions.txt"):
        return _table(file)
    raise ValueError(f"flickr8k needs Flickr8k.token.txt, or Kaggle's captions.txt. Received: {str(root)!r}, which has neither")


def _tokens(file: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").split("\n"), 1):
        picture, tab, caption = line.partition("\t")
        name, sign, _ = picture.rpartition("#")
        if line.strip() and not (tab and sign):
            raise ValueError(f"a line is NAME.jpg#NUMBER, a tab and a caption. Received: {line[:60]!r} in line {number} of {file.name}")
        if line.strip():
            found.setdefault(name, []).append(caption)
    return found


def _table(file: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with file.open(encoding="utf-8-sig", newline="") as opened:
        table = csv.DictReader(opened)
        if not {"image", "caption"} <= {*(table.fieldnames or ())}:
            raise ValueError(f"{file.name} needs the columns image and caption. Received: {table.fieldnames}")
        for row in table:
            found.setdefault(row["image"], []).append(row["caption"] or "")
    return found


def _lists(root: Path) -> dict[str, list[str]]:
    """The names in the three lists; none where there is no list."""
    files = {part: _text(root, name) for part, name in LISTS.items()}
    if not any(files.values()):
        return {}
    if missing := [LISTS[part] for part, file in files.items() if not file]:
        raise ValueError(f"flickr8k needs all of {', '.join(LISTS.values())}, or none. Received: no {', '.join(missing)}")
    return {part: list(dict.fromkeys(file.read_text(encoding="utf-8-sig").split())) for part, file in files.items() if file}


def _listed(captions: dict[str, list[str]], lists: dict[str, list[str]], skipped: list[str]) -> dict[str, list[str]]:
    """The lists, without what has no picture or no caption."""
    everywhere = {name for names in lists.values() for name in names}
    if absent := sorted(everywhere - {*captions}):
        skipped.append(f"skipped: {len(absent)} listed pictures have no caption or are not there: {examples_of(absent)}")
    if unlisted := [name for name in captions if name not in everywhere]:
        skipped.append(f"skipped: {len(unlisted)} pictures are in none of the lists: {examples_of(unlisted)}")
    return {part: [name for name in names if name in captions] for part, names in lists.items()}


def _text(root: Path, ending: str) -> Path | None:
    """The text file of such a name, in the folder or one deeper: macOS leaves a ._ twin of each behind, which is none."""
    found = [file for file in (*root.glob(f"*{ending}"), *root.glob(f"*/*{ending}")) if not file.name.startswith(".")]
    return next(iter(sorted(found, key=lambda file: (len(file.parts), file.name))), None)
