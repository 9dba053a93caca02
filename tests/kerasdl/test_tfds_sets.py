"""TensorFlow Datasets, on small prepared sets that the tests make: nothing is downloaded."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerasdl.data import find_data
from kerasdl.data.tfds_sets import CIFAR10_LABELS


def prepare(folder, name, version, shape, labels, sizes, encoding="png", counts=(("train", 40), ("test", 10)), ids=False):
    """A prepared set on disk, as `tfds build` leaves it; pictures are noise of the given sizes."""
    random = np.random.default_rng(0)
    channels = shape[-1]

    def examples(count):
        for n in range(count):
            side = sizes[n % len(sizes)]
            example = {"image": random.integers(0, 256, (side, side, channels), dtype=np.uint8), "label": n % len(labels)}
            yield n, {**example, "id": str(n)} if ids else example

    features = {"image": tfds.features.Image(shape=shape, encoding_format=encoding), "label": tfds.features.ClassLabel(names=list(labels))}
    if ids:
        features["id"] = tfds.features.Text()
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version=version,
        data_dir=str(folder),
        features=tfds.features.FeaturesDict(features),
        split_datasets={split: examples(count) for split, count in counts},
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    return tmp_path


def test_mnist_is_read_from_the_folder(folder):
    prepare(folder, "mnist", "3.0.1", (28, 28, 1), "0123456789", [28])
    splits = find_data("mnist")(valid=10)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (30, 10, 10)
    assert splits.spec.image_shape == (28, 28, 1) and splits.spec.data_name == "MNIST"
    assert splits.train.arrays()["image"].dtype == np.uint8
    assert splits.card["source"] == "TensorFlow Datasets mnist/3.0.1"


@pytest.mark.parametrize(("encoding", "name"), [("png", "CIFAR-10"), ("jpeg", "CIFAR-10 (JPEG)")])
def test_cifar10_says_whether_its_pictures_went_through_jpeg(folder, encoding, name):
    prepare(folder, "cifar10", "3.0.2", (32, 32, 3), [str(n) for n in range(10)], [32], encoding, ids=True)
    splits = find_data("cifar10")(valid=10)
    assert splits.spec.data_name == splits.card["name"] == name
    assert splits.spec.labels == CIFAR10_LABELS
    assert np.bincount(splits.valid.arrays()["label"]).tolist() == [1] * 10


def test_any_other_set_is_resized_and_gets_the_splits_it_lacks(folder):
    prepare(folder, "small_pets", "1.0.0", (None, None, 3), ["cat", "dog"], [50, 33, 20], counts=[("train", 40)])
    splits = find_data("tfds:small_pets")(side=24)
    assert splits.spec.image_shape == (24, 24, 3) and splits.spec.labels == ("cat", "dog")
    assert splits.card["counts"] == {"train": 32, "valid": 4, "test": 4}
    again = find_data("tfds:small_pets")(side=24)
    np.testing.assert_array_equal(splits.test.arrays()["image"], again.test.arrays()["image"])


def test_a_large_set_stays_encoded_and_gives_the_same_pictures(folder, monkeypatch):
    prepare(folder, "small_pets", "1.0.0", (None, None, 3), ["cat", "dog"], [50, 33])
    held = find_data("tfds:small_pets")(side=24)
    monkeypatch.setattr("kerasdl.data.tfds_sets.FITS_IN_MEMORY", 1000)
    lazy = find_data("tfds:small_pets")(side=24)
    assert held.train.fields_in_memory() is not None and lazy.train.fields_in_memory() is None
    np.testing.assert_array_equal(held.train.arrays()["image"], lazy.train.arrays()["image"])
    assert held.spec == lazy.spec


def test_a_set_without_labels_gets_a_sentence(folder):
    tfds.dataset_builders.store_as_tfds_dataset(
        name="only_text",
        version="1.0.0",
        data_dir=str(folder),
        features=tfds.features.FeaturesDict({"text": tfds.features.Text()}),
        split_datasets={"train": [(0, {"text": "a"})]},
    )
    with pytest.raises(ValueError, match=r"needs the features image and label. Received: 'only_text' with \['text'\]"):
        find_data("tfds:only_text")()
