"""Pictures of people in folders and names as those of Market-1501 (Zheng et al. 2015): `market:PATH`.

    PATH/bounding_box_train/0002_c1s1_000451_03.jpg     pid 2, camera 1 (then sequence, frame and box, which count for nothing)
    PATH/query/0001_c12_anything.png                    any number of digits, anything behind them
    PATH/bounding_box_test/-1_c3s2_000001_00.jpg        -1 is junk, 0000 a distractor

The original has 12,936 training pictures of 751 people, 3,368 queries of 750 others, 19,732 in the gallery (3,819 of them junk), and
six cameras. Only the file's own name is read: a folder may be called anything, `run7_c3` too.
"""

from __future__ import annotations

import re
from pathlib import Path

from kerasdl.data.identities import Sightings, identity_splits
from kerasdl.data.splits import Splits

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
NAME = re.compile(r"(-?\d+)_c(\d+)(?!\d)")


def market(path: str, height: int = 128, width: int = 64, valid: float = 0.1, seed: int = 0) -> Splits:
    """People in Market-1501's folders and file names.

    Args:
        path: the folder that holds bounding_box_train, query and bounding_box_test.
        height, width: of the pictures in pixels; they are resized to it, not cut.
        valid: share of the training identities that is held out for validation.
        seed: of that draw.

    Gives the roles query, gallery, valid_query and valid_gallery. What is no readable picture, or has another name, is logged and
    left out. Raises ValueError when a folder is missing or holds no picture with such a name, and as `identity_splits`.
    """
    root = Path(path).expanduser()
    parts, skipped = {}, []
    for role, folder in FOLDERS.items():
        if not (root / folder).is_dir():
            raise ValueError(f"market needs the folders {', '.join(FOLDERS.values())}. Received: {path!r}, which has no {folder}")
        parts[role] = _sightings(root / folder, skipped)
    return identity_splits(parts, root.resolve().name, "a folder in Market-1501 naming", (height, width), valid, seed, skipped)


def parse_name(file: str | Path) -> tuple[int, int]:
    """(pid, camid) of a file's own name; ValueError where it has none."""
    found = NAME.match(Path(file).name)
    if not found:
        raise ValueError(f"a name begins with PID_cCAMERA, as 0002_c1s1_000451_03.jpg. Received: {Path(file).name!r}")
    return int(found[1]), int(found[2])


def _sightings(folder: Path, skipped: list[str]) -> Sightings:
    rows = []
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in PICTURES or file.name.startswith("."):
            continue  # the original has Windows' Thumbs.db in it
        try:
            rows.append((str(file), *parse_name(file)))
        except ValueError as problem:
            skipped.append(f"{folder.name}: {problem}")
    if not rows:
        raise ValueError(f"{folder.name} needs pictures with names as 0002_c1s1_000451_03.jpg. Received: none in {str(folder)!r}")
    return Sightings.of(rows)
