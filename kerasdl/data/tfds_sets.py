"""Image-classification sets of TensorFlow Datasets: MNIST, CIFAR-10, and any other by its name.

MNIST (LeCun, Cortes, Burges): 60,000 + 10,000 grey 28x28 digits, CC BY-SA 3.0.
CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 colour 32x32 pictures of 10 classes.
`TFDS_DATA_DIR` names the folder; prepared data found there is read without asking anybody. Version 3.0.2 of CIFAR-10 comes from
the original file; a copy whose pictures went through JPEG is found by its file format and named "CIFAR-10 (JPEG)" in every result.
"""

from __future__ import annotations

import os
import warnings
from functools import partial
from typing import Any

import numpy as np

from kerasdl.data.pictures import open_picture, prepare
from kerasdl.data.spec import Spec
from kerasdl.data.splits import ArraySplit, PictureSplit, Split, Splits, channel_statistics, held_out

CIFAR10_LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FITS_IN_MEMORY = 2_000_000_000  # bytes of decoded pictures that are kept as one array


def mnist(valid: int = 5000, seed: int = 0) -> Splits:
    """MNIST: 60,000 + 10,000 grey 28x28 digits.

    `valid` of the training pictures, drawn by `seed`, are the validation split.
    """
    steps = (
        {"op": "ink", "margin": 0.2, "center": "mass"},  # the digit fills 20 of 28 pixels, centred by its mass
        {"op": "resize", "size": [28, 28], "method": "bilinear"},
    )
    return tfds_set("mnist", valid=valid, seed=seed, steps=steps, title="MNIST", licence="CC BY-SA 3.0")


def cifar10(valid: int = 5000, seed: int = 0) -> Splits:
    """CIFAR-10: 50,000 + 10,000 colour 32x32 pictures of 10 classes.

    `valid` of the training pictures, drawn by `seed`, are the validation split.
    """
    licence = "none stated; research use (Krizhevsky 2009)"
    return tfds_set("cifar10", valid=valid, seed=seed, title="CIFAR-10", licence=licence, labels=CIFAR10_LABELS)


def tfds_set(
    name: str,
    side: int | None = None,
    valid: float = 0.1,
    seed: int = 0,
    steps: tuple[dict[str, Any], ...] | None = None,
    title: str | None = None,
    licence: str = "see the data set's page in the TFDS catalogue",
    labels: tuple[str, ...] | None = None,
) -> Splits:
    """Any image-classification set of TensorFlow Datasets.

    Args:
        name: the TFDS name, with a configuration and version if wanted (`oxford_flowers102:2.1.1`).
        side: pictures become side x side; by default their own size where it is fixed, else 224.
        valid: validation pictures taken from the training split where the set has none: a count, or a share below 1.
        seed: of that draw.
        steps: the resize rule; centre crop and antialiased bilinear resize by default.

    Raises ValueError with what to do when the set is unknown, has no labels, or is absent while offline.
    """
    import tensorflow_datasets as tfds

    builder = _builder(name)
    features = builder.info.features
    if not {"image", "label"} <= set(features or ()):
        raise ValueError(
            f"an image-classification set needs the features image and label. Received: {name!r} with {sorted(features or ())}"
        )
    shape = _shape(features["image"].shape, side)
    steps = steps or ({"op": "center_crop"}, {"op": "resize", "size": list(shape[:2]), "method": "bilinear"})
    decode = partial(_decode, shape=shape, steps=steps)

    raw = {}
    for split in ("train", "validation", "test"):
        if split in builder.info.splits:
            raw[split] = _encoded(builder, split, tfds)
    if "train" not in raw:
        raise ValueError(f"a set needs a split named train. Received: {name!r} with {sorted(builder.info.splits)}")
    jpeg = title == "CIFAR-10" and raw["train"][0][0][:2] == b"\xff\xd8"  # the first bytes of a JPEG file
    train_pictures, train_labels = raw["train"]
    if "test" not in raw:
        kept, out = held_out(train_labels, 0.1, seed=0)
        raw["test"] = ([train_pictures[i] for i in out], train_labels[out])
        train_pictures, train_labels = [train_pictures[i] for i in kept], train_labels[kept]
    if "validation" not in raw:
        kept, out = held_out(train_labels, valid if valid < 1 else valid / len(train_labels), seed)
        raw["validation"] = ([train_pictures[i] for i in out], train_labels[out])
        train_pictures, train_labels = [train_pictures[i] for i in kept], train_labels[kept]

    train = _split(train_pictures, train_labels, decode, shape)
    valid_split, test = (_split(raw[part][0], raw[part][1], decode, shape) for part in ("validation", "test"))
    raw.clear()  # the encoded bytes of what is held decoded
    del train_pictures
    some = np.sort(np.random.default_rng(0).permutation(len(train))[:5000])  # enough for four digits, and a large set stays on disk
    mean, std = channel_statistics(train.arrays(None if len(train) <= 100_000 and isinstance(train, ArraySplit) else some)["image"])
    data_name = f"{title or name}{' (JPEG)' if jpeg else ''}"
    spec = Spec(shape, labels or tuple(features["label"].names), mean, std, steps, data_name)
    card = {
        "name": data_name,
        "source": f"TensorFlow Datasets {builder.info.full_name}"
        + ("; this copy went through JPEG once, about 4 points harder than the lossless set" if jpeg else ""),
        "licence": licence,
        "synthetic": False,
        "counts": {"train": len(train), "valid": len(valid_split), "test": len(test)},
    }
    return Splits(train, valid_split, test, spec=spec, card=card)


def _builder(name: str) -> Any:
    """The prepared builder; downloads only where nothing prepared is found, and says in one sentence why when it cannot."""
    import tensorflow_datasets as tfds

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            builder = tfds.builder(name, data_dir=os.environ.get("TFDS_DATA_DIR"))
    except (tfds.core.registered.DatasetNotFoundError, ValueError) as problem:
        raise ValueError(f"TensorFlow Datasets knows no such set. Received: {name!r}") from problem
    if not builder.info.splits:
        try:
            builder.download_and_prepare()
        except Exception as problem:  # offline, a closed proxy, a moved address: every protocol has its own exception
            folder = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
            raise ValueError(
                f"{name} is not under {folder} and could not be downloaded ({type(problem).__name__}): set TFDS_DATA_DIR to a "
                f"folder that holds the prepared set, or run `tfds build {name}` on a machine with a network and copy it"
            ) from problem
    return builder


def _shape(declared: tuple[int | None, ...], side: int | None) -> tuple[int, int, int]:
    height, width, channels = declared
    if side is not None:
        return (side, side, channels or 3)
    return (height or 224, width or 224, channels or 3)


def _encoded(builder: Any, split: str, tfds: Any) -> tuple[list[bytes], np.ndarray]:
    dataset = builder.as_dataset(
        split=split, decoders={"image": tfds.decode.SkipDecoding()}, read_config=tfds.ReadConfig(interleave_cycle_length=1)
    )
    pictures, labels = [], []
    for example in dataset.as_numpy_iterator():
        pictures.append(example["image"])
        labels.append(example["label"])
    return pictures, np.asarray(labels, np.int64)


def _decode(encoded: bytes, shape: tuple[int, int, int], steps: tuple[dict[str, Any], ...]) -> np.ndarray:
    return prepare(open_picture(encoded, "grey" if shape[-1] == 1 else "rgb"), shape, steps)


def _split(pictures: list[bytes], labels: np.ndarray, decode: Any, shape: tuple[int, int, int]) -> Split:
    return PictureSplit(pictures, labels, decode).held(FITS_IN_MEMORY, shape)
