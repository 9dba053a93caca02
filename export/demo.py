"""gallery.zip of a bundle for re-identification: people of the test to search among, and examples of them, and of others, elsewhere.

Only of people who do not exist: a bundle is public, and nobody's picture should be.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FILE = "gallery.zip"
PEOPLE, PICTURES = 200, 3  # in the gallery, and of each, all from different cameras
SHOWN = 4  # people in the gallery and people who are not, among the examples
QUALITY = 85
EPOCH = (1980, 1, 1, 0, 0, 0)  # in the zip, so that the same pictures make the same file


@dataclass(frozen=True)
class Sighting:
    """A picture of the split, its queries and then its gallery, by its number there."""

    number: int
    pid: int
    camid: int


@dataclass(frozen=True)
class Known:
    """A person in the gallery: what is kept, and what other cameras saw, each of them first once."""

    kept: list[Sighting]
    elsewhere: list[Sighting]


def can_be_made(splits: Any, split: str, task: Any) -> bool:
    """Of drawn people who have queries and a gallery."""
    return task.name == "embedding" and bool(getattr(splits, "card", {}).get("synthetic")) and task.has_roles(splits, split)


def write(folder: Path, part: Any) -> tuple[dict[str, int], list[str]]:
    """gallery.zip and examples/ of a split, whatever the answers.

    Two people of three are in the gallery, at most 200, with up to three pictures of as many cameras, named as Market-1501 names them.
    The examples idPID-camCAMID-NUMBER.png are of four of them by cameras that the gallery lacks, stranger-id...png of four of the others.

    Returns:
        {"people", "pictures"} of gallery.zip, and the paths of the examples.
    """
    people = [one for one in by_person(sightings(part)) if len({sighting.camid for sighting in one}) > 1]
    insiders = [known(one, turn) for turn, one in enumerate(one for place, one in enumerate(people) if place % 3 != 2)][:PEOPLE]
    strangers = people[2::3]
    with zipfile.ZipFile(folder / FILE, "w") as archive:
        for sighting in (sighting for one in insiders for sighting in one.kept):
            archive.writestr(zipfile.ZipInfo(market_name(sighting), EPOCH), jpeg(pixels(part, sighting)))
    (folder / "examples").mkdir()
    shown = [("", sighting) for one in spaced(insiders, SHOWN) for sighting in one.elsewhere[:2]]
    shown += [("stranger-", one[0]) for one in spaced(strangers, SHOWN)]
    names = [f"examples/{word}id{one.pid}-cam{one.camid}-{one.number}.png" for word, one in shown]
    for name, (_, sighting) in zip(names, shown, strict=True):
        Image.fromarray(pixels(part, sighting)).save(folder / name, optimize=True)
    return {"people": len(insiders), "pictures": sum(len(one.kept) for one in insiders)}, sorted(names)


def sightings(part: Any) -> list[Sighting]:
    """Those of people, neither junk nor distractors."""
    from kerasdl.data.splits import facts

    told = facts(part)
    found = (Sighting(*map(int, one)) for one in zip(range(len(part)), told["pid"], told["camid"], strict=True))
    return [one for one in found if one.pid > 0]


def by_person(found: Sequence[Sighting]) -> list[list[Sighting]]:
    return [[one for one in found if one.pid == pid] for pid in sorted({one.pid for one in found})]


def known(seen: Sequence[Sighting], turn: int) -> Known:
    """One picture each of up to three cameras is kept; one camera, in turn another, is left for the examples."""
    cameras = sorted({one.camid for one in seen})
    kept_cameras = [camera for camera in cameras if camera != cameras[turn % len(cameras)]][:PICTURES]
    first = {one.camid: one for one in reversed(seen)}
    others = [first[camera] for camera in cameras if camera not in kept_cameras]
    more = [one for one in seen if one.camid not in kept_cameras and one not in others]
    return Known([first[camera] for camera in kept_cameras], [*others, *more])


def spaced(values: Sequence[Any], count: int) -> list[Any]:
    """Up to `count` of them, evenly spaced."""
    return [values[number] for number in np.unique(np.linspace(0, len(values) - 1, count).round().astype(int))] if values else []


def pixels(part: Any, sighting: Sighting) -> np.ndarray:
    image = part.arrays([sighting.number])["image"][0]
    return image[..., 0] if image.shape[-1] == 1 else image


def jpeg(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "jpeg", quality=QUALITY, subsampling=0)
    return stream.getvalue()


def market_name(sighting: Sighting) -> str:
    """0705_c3s1_000065_00.jpg: person, camera, sequence, number, box."""
    return f"{sighting.pid:04d}_c{sighting.camid}s1_{sighting.number:06d}_00.jpg"
