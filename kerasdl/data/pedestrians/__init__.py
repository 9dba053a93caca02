"""`pedestrians`: people who do not exist, drawn by this package, for re-identification without anybody's picture.

An identity is a set of shared attributes and proportions (identity.py), drawn as a body in a gait (figure.py, canvas.py, cloth.py) in the
place of a camera (scene.py), which has its own colours, sharpness and noise (camera.py). Everything follows from the seed. What is
taken from others' experience with drawn people: identities matter more than pictures of each, look-alikes and accessories make
the task, and cameras must differ strongly (RandPerson, Wang et al. 2020; UnrealPerson, Zhang et al. 2021; SyRI, Bak et al. 2018).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerasdl.data.attributes import PREFIX, numbered
from kerasdl.data.pedestrians.camera import CAMERAS
from kerasdl.data.pedestrians.folder import market_name, write_market
from kerasdl.data.pedestrians.identity import CHOICES, WORN, Identity, people
from kerasdl.data.pedestrians.layout import sightings, trial
from kerasdl.data.pedestrians.picture import Shot, render
from kerasdl.data.spec import Spec
from kerasdl.data.splits import PictureSplit, Splits, channel_statistics

__all__ = ["CAMERAS", "Identity", "Shot", "market_name", "pedestrians", "people", "render", "sightings", "trial", "write_market"]
TRAIN, VALID = 0.6, 0.1  # shares of the identities; the rest is the test
CROSS = 0.15  # people of the other domain, as a share of the identities
STATISTICS_SAMPLE = 96  # pictures drawn at once, for mean and standard deviation


class Studio:
    """Draws shots of one size and keeps what it drew, uint8 (height,width,3)."""

    def __init__(self, height: int, width: int):
        self.height, self.width = height, width
        self._kept: dict[tuple[str, int, int, int], np.ndarray] = {}

    def __call__(self, shot: Shot) -> np.ndarray:
        name = shot.domain, shot.pid, shot.camid, shot.number
        if name not in self._kept:
            picture = render(shot, self.height, self.width)
            picture.setflags(write=False)  # whoever asks next must get what was drawn
            self._kept[name] = picture
        return self._kept[name]


def pedestrians(identities: int = 800, height: int = 128, seed: int = 0, domain: str = "street") -> Splits:
    """Drawn people seen by six cameras, about 15 pictures of each; pictures (height, height / 2) are drawn when asked for, and kept.

    Args:
        identities: people in all: 60 % for training, 10 % for validation, 30 % for the test, no person in two of them.
        height: of the pictures in pixels, 64, 128 or 256 as a rule; the width is half of it.
        seed: of people, poses and everything else. The same seed at another height gives the same views.
        domain: "street" or "mall", each with its own places, cameras and clothes; the other one gives the cross roles.

    Examples have `image` uint8, `label` (0..N-1 in training, elsewhere -1), `pid` (in a gallery -1 is junk and 0 a distractor) and `camid`
    (1..6), int64, and `attribute_NAME` of the names in `identity.WORN`, -1 where a box is cut or shows nobody known. Roles: query,
    gallery (`test` is both in this order), valid_query, valid_gallery, cross_query, cross_gallery.
    Raises ValueError for an unknown domain, fewer than 20 identities, or a height that is odd or below 32.
    """
    if domain not in CAMERAS:
        raise ValueError(f"domain must be one of {', '.join(CAMERAS)}. Received: {domain!r}")
    if identities < 20:
        raise ValueError(f"pedestrians needs at least 20 identities, so that each part has two. Received: identities={identities}")
    if height < 32 or height % 2:
        raise ValueError(f"height must be even and at least 32. Received: height={height}")
    studio = Studio(height, height // 2)
    persons = people(identities, seed, domain)
    first, second = round(TRAIN * identities), round((TRAIN + VALID) * identities)
    shots = sightings(persons[:first], 1, domain, seed)
    train = _split(shots, studio, labels=[shot.pid - 1 for shot in shots])
    other = next(name for name in CAMERAS if name != domain)
    strangers = people(max(round(CROSS * identities), 2), seed, other)
    trials = {
        "valid": trial(persons[first:second], first + 1, domain, seed),
        "test": trial(persons[second:], second + 1, domain, seed),
        "cross": trial(strangers, identities + 1, other, seed),  # numbers that nobody here has
    }
    roles = {
        f"{name if name != 'test' else ''}_{role}".strip("_"): _split(part, studio)
        for name, both in trials.items()
        for role, part in zip(("query", "gallery"), both, strict=True)
    }
    valid, test = (_split([*trials[name][0], *trials[name][1]], studio) for name in ("valid", "test"))
    some = np.sort(np.random.default_rng(seed).permutation(len(train))[:STATISTICS_SAMPLE])
    mean, std = channel_statistics(train.arrays(some)["image"])
    resize = {"op": "resize", "size": [height, height // 2], "method": "bilinear"}
    labels, name = tuple(str(pid) for pid in range(1, first + 1)), f"drawn pedestrians ({domain})"
    spec = Spec((height, height // 2, 3), labels, mean, std, (resize,), name, {worn: tuple(CHOICES[worn]) for worn in WORN})
    counts = {"train": len(train), "valid": len(valid), "test": len(test), **{name: len(split) for name, split in roles.items()}}
    card = {
        "name": spec.data_name,
        "source": f"kerasdl.data.pedestrians, domain {domain}, seed {seed}: people who do not exist, drawn by this package",
        "licence": "Apache-2.0",
        "synthetic": True,
        "counts": counts,
        "identities": {"train": first, "valid": second - first, "test": identities - second, "cross": len(strangers)},
        "cameras": len(CAMERAS[domain]),
    }
    return Splits(train, valid, test, spec=spec, card=card, roles=roles)


def _split(shots: Sequence[Shot], studio: Studio, labels: Sequence[int] | None = None) -> PictureSplit:
    label = np.full(len(shots), -1, np.int64) if labels is None else np.array(labels, np.int64)
    more = {name: np.array([getattr(shot, name) for shot in shots], np.int64) for name in ("pid", "camid")}
    return PictureSplit(shots, label, studio, more | {PREFIX + name: _worn(shots, name) for name in WORN})


def _worn(shots: Sequence[Shot], name: str) -> np.ndarray:
    return numbered([getattr(shot.person, name) if shot.person and shot.box == "good" else "" for shot in shots], list(CHOICES[name]))
