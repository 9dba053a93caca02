"""Data sets by name. Each is a function that returns `Splits`; adding one is a file and a line in `__all__`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kerasdl.data.california import california
from kerasdl.data.caption_table import caption_table
from kerasdl.data.coco_captions import coco
from kerasdl.data.diabetes import diabetes
from kerasdl.data.digits import digits
from kerasdl.data.flickr8k import flickr8k
from kerasdl.data.image_folder import image_folder
from kerasdl.data.market import market
from kerasdl.data.omniglot import omniglot
from kerasdl.data.pedestrians import pedestrians
from kerasdl.data.reid_lists import reid_list
from kerasdl.data.scenes import scenes
from kerasdl.data.spec import Spec
from kerasdl.data.splits import Splits
from kerasdl.data.table_spec import Column, TableSpec, open_spec
from kerasdl.data.tables import table
from kerasdl.data.tfds_sets import cifar10, mnist, tfds_set
from kerasdl.data.wave import wave
from kerasdl.names import nearest

__all__ = [
    "Column",
    "Spec",
    "Splits",
    "TableSpec",
    "california",
    "caption_table",
    "cifar10",
    "coco",
    "diabetes",
    "digits",
    "find_data",
    "flickr8k",
    "image_folder",
    "market",
    "mnist",
    "omniglot",
    "open_spec",
    "pedestrians",
    "reid_list",
    "scenes",
    "table",
    "tfds_set",
    "wave",
]
DATASETS = {
    "digits": digits,
    "mnist": mnist,
    "cifar10": cifar10,
    "omniglot": omniglot,
    "flickr8k": flickr8k,
    "pedestrians": pedestrians,
    "scenes": scenes,
    "diabetes": diabetes,
    "california": california,
    "wave": wave,
}
FAMILIES = {
    "tfds": tfds_set,
    "image_folder": image_folder,
    "market": market,
    "reid_list": reid_list,
    "coco": coco,
    "flickr8k": flickr8k,
    "captions": caption_table,
    "table": table,
}
ARGUMENTS = {
    "tfds": "tfds:NAME",
    "image_folder": "image_folder:PATH",
    "market": "market:PATH",
    "reid_list": "reid_list:FILE.csv",
    "coco": "coco:FOLDER",
    "flickr8k": "flickr8k:FOLDER",
    "captions": "captions:FILE.csv",
    "table": "table:FILE.csv",
}
TABLES = ("diabetes", "california", "wave", "table")  # what a number is predicted from; the others hold pictures


def find_data(name: str) -> Callable[..., Splits]:
    """A data set by its name, or by family and argument as in ARGUMENTS (`image_folder:PATH`), as a function that loads it."""
    family, colon, rest = name.partition(":")
    if colon and family in FAMILIES and rest:
        return partial(FAMILIES[family], rest)
    if name in DATASETS:
        return DATASETS[name]
    known = [*DATASETS, *ARGUMENTS.values()]
    raise ValueError(f"unknown data set. Received: {name!r}. {nearest(name, known)}")
