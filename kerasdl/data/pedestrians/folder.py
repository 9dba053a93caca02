"""The drawn people as files in Market-1501's folders and names, for any tool that reads those."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from kerasdl.data.pedestrians.picture import Shot
from kerasdl.data.reading import in_order
from kerasdl.data.splits import PictureSplit, Split, Splits


def market_name(shot: Shot) -> str:
    """`0002_c1s1_000451_01.jpg`: person, camera, sequence, frame, box; junk is `-1_...` and a distractor `0000_...`."""
    who = "-1" if shot.pid == -1 else f"{shot.pid:04d}"
    return f"{who}_c{shot.camid}s1_{shot.number:06d}_01.jpg"


def write_market(folder: str | Path, splits: Splits) -> dict[str, int]:
    """Draws all pictures of `pedestrians(...)` into bounding_box_train, query and bounding_box_test; answers how many in each.

    The people of the validation split stand in bounding_box_train, as Market-1501 has none; the other domain is not written.
    Raises ValueError when the splits are not those of `pedestrians`, or the folder already has one of the three.
    """
    held_out = [splits.roles[name] for name in ("valid_query", "valid_gallery") if name in splits.roles]
    parts = {
        "bounding_box_train": [shot for split in (splits.train, *held_out) for shot in _shots(split) if shot.pid > 0],
        "query": _shots(splits.split("query")),
        "bounding_box_test": _shots(splits.split("gallery")),
    }
    studio = _studio(splits.train)
    for name, shots in parts.items():
        if (Path(folder) / name).exists():
            raise ValueError(f"write_market writes new folders only. Received: {str(folder)!r}, which has {name}")
        (Path(folder) / name).mkdir(parents=True)
        for shot, picture in zip(shots, in_order(studio, shots, title=f"drawing {name}"), strict=True):
            Image.fromarray(picture).save(Path(folder) / name / market_name(shot), quality=95, subsampling=0)
    return {name: len(shots) for name, shots in parts.items()}


def _shots(split: Split) -> Sequence[Shot]:
    if not isinstance(split, PictureSplit) or not isinstance(split.sources[0], Shot):
        raise ValueError(f"write_market writes the splits of pedestrians(...). Received: a {type(split).__name__} of something else")
    return split.sources


def _studio(split: Split) -> Callable[[Shot], np.ndarray]:
    assert isinstance(split, PictureSplit)  # _shots has seen it
    return split.decode
