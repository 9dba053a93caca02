"""Data sets by name. Each is a function that returns `Splits`; adding one is a file and a line in `__all__`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kerasdl.data.digits import digits
from kerasdl.data.image_folder import image_folder
from kerasdl.data.market import market
from kerasdl.data.omniglot import omniglot
from kerasdl.data.pedestrians import pedestrians
from kerasdl.data.reid_lists import reid_list
from kerasdl.data.spec import Spec
from kerasdl.data.splits import Splits
from kerasdl.data.tfds_sets import cifar10, mnist, tfds_set
from kerasdl.names import nearest

__all__ = [
    "Spec",
    "Splits",
    "cifar10",
    "digits",
    "find_data",
    "image_folder",
    "market",
    "mnist",
    "omniglot",
    "pedestrians",
    "reid_list",
    "tfds_set",
]
DATASETS = {"digits": digits, "mnist": mnist, "cifar10": cifar10, "omniglot": omniglot, "pedestrians": pedestrians}
FAMILIES = {"tfds": tfds_set, "image_folder": image_folder, "market": market, "reid_list": reid_list}
ARGUMENTS = {"tfds": "tfds:NAME", "image_folder": "image_folder:PATH", "market": "market:PATH", "reid_list": "reid_list:FILE.csv"}


def find_data(name: str) -> Callable[..., Splits]:
    """A data set by its name, or `tfds:NAME`, `image_folder:PATH`, `market:PATH`, `reid_list:FILE.csv`, as a function that loads it."""
    family, colon, rest = name.partition(":")
    if colon and family in FAMILIES and rest:
        return partial(FAMILIES[family], rest)
    if name in DATASETS:
        return DATASETS[name]
    known = [*DATASETS, *ARGUMENTS.values()]
    raise ValueError(f"unknown data set. Received: {name!r}. {nearest(name, known)}")
