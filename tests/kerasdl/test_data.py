"""Data sets, their facts, and the pipeline: what comes, in which order, and what happens to bad files."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kerasdl.data import Spec, find_data
from kerasdl.data.augment import flip, pad_crop
from kerasdl.data.digits import digits
from kerasdl.data.fake import fake
from kerasdl.data.image_folder import image_folder
from kerasdl.data.pictures import PictureError, open_picture, prepare
from kerasdl.data.pipeline import evaluation_batches, place, training_batches
from kerasdl.data.reading import in_order
from kerasdl.data.splits import ArraySplit, PictureSplit, channel_statistics, held_out

SPEC = Spec(
    (8, 8, 3), ("a", "b", "c"), (0.4, 0.5, 0.6), (0.2, 0.25, 0.2), ({"op": "resize", "size": [8, 8], "method": "bilinear"},), "a set"
)


def numbered(count: int) -> ArraySplit:
    images = np.zeros((count, 4, 4, 1), np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None, None]
    return ArraySplit({"image": images, "label": np.arange(count, dtype=np.int64)})


def labels_of(batches, count: int) -> list[int]:
    return [int(x) for _, (_, y) in zip(range(count), batches, strict=False) for x in y["logits"]]


def test_digits_are_the_bundled_scans_with_a_fixed_fifth_for_test():
    splits = digits()
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (1293, 144, 360)
    assert splits.card["counts"] == {"train": 1293, "valid": 144, "test": 360} and splits.card["synthetic"] is False
    images = splits.test.arrays()["image"]
    assert images.shape == (360, 32, 32, 1) and images.dtype == np.uint8 and images.max() == 255
    np.testing.assert_array_equal(images, digits(seed=5).test.arrays()["image"])
    assert np.bincount(splits.test.arrays()["label"]).min() >= 34


def test_no_example_is_in_two_splits():
    splits = digits()
    seen = [x.tobytes() for part in (splits.train, splits.valid, splits.test) for x in part.arrays()["image"]]
    assert len(seen) == 1797 and len(set(seen)) >= 1797 - 2  # the set itself may hold a duplicate scan


def test_spec_survives_json_and_refuses_nonsense(tmp_path):
    (tmp_path / "spec.json").write_text(json.dumps(SPEC.to_json()))
    assert Spec.from_json(tmp_path / "spec.json") == SPEC
    with pytest.raises(ValueError, match="1 .grey. or 3 .RGB. channels"):
        Spec((8, 8, 2), ("a",), (0.0, 0.0), (1.0, 1.0), (), "x")
    with pytest.raises(ValueError, match="a spec has the fields"):
        Spec.from_json({"labels": []})


def test_channel_statistics_equal_numpy():
    images = np.random.default_rng(0).integers(0, 256, (50, 6, 5, 3), dtype=np.uint8)
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), atol=5e-5)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), atol=5e-5)


def test_held_out_is_stratified_and_fixed():
    labels = np.repeat(np.arange(4), 25)
    kept, out = held_out(labels, 0.2, seed=3)
    assert np.bincount(labels[out]).tolist() == [5, 5, 5, 5] and not set(kept) & set(out)
    np.testing.assert_array_equal(out, held_out(labels, 0.2, seed=3)[1])


def test_each_pass_sees_every_example_once_in_another_order():
    order = labels_of(training_batches(numbered(40), 8, seed=1), 10)
    first, second = order[:40], order[40:]
    assert sorted(first) == sorted(second) == list(range(40)) and first != second


def test_order_and_draws_are_functions_of_seed_and_examples_consumed():
    split = fake(SPEC, train=30).train
    augment = (pad_crop, flip)
    whole = [x["image"].numpy() for _, (x, _) in zip(range(9), training_batches(split, 4, 7, augment), strict=False)]
    resumed = [x["image"].numpy() for _, (x, _) in zip(range(5), training_batches(split, 4, 7, augment, start=16), strict=False)]
    np.testing.assert_array_equal(whole[4:], resumed)
    other = next(iter(training_batches(split, 4, 8, augment)))[0]["image"].numpy()
    assert not np.array_equal(other, whole[0])


def test_place_is_a_permutation_of_each_pass():
    indices = [int(place(np.int64(p), 7, 0)[0]) for p in range(21)]
    assert all(sorted(indices[i : i + 7]) == list(range(7)) for i in (0, 7, 14))


def test_training_drops_the_short_batch_and_evaluation_keeps_it():
    assert [len(y["logits"]) for _, (_, y) in zip(range(3), training_batches(numbered(10), 4, 0), strict=False)] == [4, 4, 4]
    evaluation = list(evaluation_batches(numbered(10), 4))
    assert [len(y["logits"]) for _, y in evaluation] == [4, 4, 2]
    assert labels_of(evaluation, 3) == list(range(10))


def test_lazy_and_in_memory_splits_give_the_same_batches(tmp_path):
    arrays = fake(SPEC, train=12).train.arrays()
    files = []
    for number, picture in enumerate(arrays["image"]):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
        files.append(tmp_path / f"{number}.png")
    lazy = PictureSplit(files, arrays["label"], lambda f: prepare(open_picture(f), SPEC.image_shape, ()))
    for (a, b), (c, d) in zip(evaluation_batches(lazy, 5), evaluation_batches(ArraySplit(arrays), 5), strict=True):
        np.testing.assert_array_equal(a["image"], c["image"])
        np.testing.assert_array_equal(b["logits"], d["logits"])


def make_folder(root, per_class=6):
    random = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for n in range(per_class):
            Image.fromarray(random.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(root / label / f"{n}.png")


def test_image_folder_splits_the_same_way_every_time_and_names_corrupt_files(tmp_path, caplog):
    make_folder(tmp_path / "pets")
    (tmp_path / "pets" / "cat" / "broken.png").write_text("no picture")
    with caplog.at_level(logging.WARNING, logger="kerasdl"):
        splits = image_folder(str(tmp_path / "pets"), side=16, test=0.25, valid=0.25)
    assert "cat/broken.png" in caplog.text and splits.card["skipped"]
    assert splits.spec.labels == ("cat", "dog") and splits.spec.image_shape == (16, 16, 3)
    assert sum(splits.card["counts"].values()) == 12
    again = image_folder(str(tmp_path / "pets"), side=16, test=0.25, valid=0.25)
    np.testing.assert_array_equal(splits.test.arrays()["image"], again.test.arrays()["image"])


def test_image_folder_respects_own_splits(tmp_path):
    make_folder(tmp_path / "train", 8)
    make_folder(tmp_path / "test", 2)
    splits = image_folder(str(tmp_path), side=8)
    assert len(splits.test) == 4 and len(splits.train) + len(splits.valid) == 16


@pytest.mark.parametrize("content", [{}, {"only": 3}])
def test_image_folder_without_classes_gets_a_sentence(tmp_path, content):
    for name in content:
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="at least two class folders"):
        image_folder(str(tmp_path))
    with pytest.raises(ValueError, match="one folder a class"):
        image_folder(str(tmp_path / "absent"))


def test_find_data_suggests_the_nearest():
    assert find_data("digits") is digits
    with pytest.raises(ValueError, match="Did you mean 'digits'"):
        find_data("digit")
    with pytest.raises(ValueError, match="no such set"):
        find_data("tfds:no_such_set_of_pictures")()


def test_absent_tfds_data_offline_say_what_to_do(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def offline(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", offline)
    with pytest.raises(ValueError, match="set TFDS_DATA_DIR"):
        find_data("tfds:mnist")()


def test_fake_data_look_like_their_spec():
    splits = fake(SPEC, train=300)
    mean, std = channel_statistics(splits.train.arrays()["image"])
    np.testing.assert_allclose(mean, SPEC.mean, atol=0.05)
    np.testing.assert_allclose(std, SPEC.std, atol=0.05)
    assert splits.card["synthetic"] is True


def test_ink_finds_a_dark_drawing_on_light_paper():
    paper = np.full((200, 300), 240, np.uint8)
    paper[50:150, 220:240] = 10  # a tall stroke at the right
    result = prepare(Image.fromarray(paper), (32, 32, 1), digits().spec.prepare)
    assert result.shape == (32, 32, 1) and result.max() > 200 and result[:, :8].max() < 30
    columns = np.nonzero(result.max((0, 2)) > 128)[0]
    assert abs(columns.mean() - 15.5) < 1.5  # in the middle


def test_open_picture_refuses_with_a_sentence(tmp_path):
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(PictureError, match="a.png is not a readable picture"):
        open_picture(tmp_path / "a.png")
    with pytest.raises(PictureError, match="does not exist"):
        open_picture(tmp_path / "b.png")
    Image.new("L", (2000, 1000)).save(tmp_path / "large.png")
    with pytest.raises(PictureError, match="at most 1 million pixels. Received: 2000 x 1000"):
        open_picture(tmp_path / "large.png", max_pixels=1_000_000)


def test_image_folder_names_what_is_cut_short_and_what_is_no_picture(tmp_path, caplog):
    make_folder(tmp_path, 80)  # more than FEW: through the threads
    cut = tmp_path / "cat" / "cut.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(cut)
    cut.write_bytes(cut.read_bytes()[:-400])  # its header is sound
    (tmp_path / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with caplog.at_level(logging.WARNING, logger="kerasdl"):
        splits = image_folder(str(tmp_path), side=16)
    assert splits.card["skipped"] == ["cat/cut.jpg: cut.jpg is not a readable picture (OSError).", "dog/gone.png: gone.png does not exist."]
    assert caplog.text.count("skipped: ") == 2 and sum(splits.card["counts"].values()) == 160


def test_a_folder_too_large_for_memory_gives_the_same_pictures_and_batches(tmp_path, monkeypatch):
    make_folder(tmp_path, 60)
    held = image_folder(str(tmp_path), side=16)
    monkeypatch.setattr(sys.modules["kerasdl.data.image_folder"], "FITS_IN_MEMORY", 1000)
    lazy = image_folder(str(tmp_path), side=16)
    assert held.train.fields_in_memory() is not None and lazy.train.fields_in_memory() is None
    assert held.spec == lazy.spec and all(isinstance(file, str) for file in lazy.train.sources)  # pyright: ignore
    for name, values in held.train.arrays().items():
        np.testing.assert_array_equal(values, lazy.train.arrays()[name])
    pairs = zip(training_batches(held.train, 12, 3, (flip,)), training_batches(lazy.train, 12, 3, (flip,)), strict=True)
    for _, ((a, b), (c, d)) in zip(range(9), pairs, strict=False):
        np.testing.assert_array_equal(a["image"], c["image"])
        np.testing.assert_array_equal(b["logits"], d["logits"])


def test_reading_in_threads_keeps_the_order_and_the_errors(monkeypatch, capsys):
    assert list(in_order(lambda n: n * n, range(1000))) == [n * n for n in range(1000)]
    assert list(in_order(str, [])) == []
    running, most = set(), []

    def watched(number):
        running.add(number)
        most.append(len(running))
        return number

    for number in in_order(watched, range(20_000)):
        running.discard(number)
    assert max(most) < 5000, "a bounded number of answers waits, whatever is asked for"

    def broken(number):
        if number == 700:
            raise PictureError("no picture")
        return number

    with pytest.raises(PictureError, match="no picture"):
        list(in_order(broken, range(1000)))
    monkeypatch.setattr("kerasdl.data.reading.SAY_AFTER", 0.0)
    list(in_order(str, range(3), title="checking"))
    assert capsys.readouterr().err.startswith("checking: 1 of 3, about 0 s left\n"), "a log file gets whole lines"


@pytest.mark.slow  # a process of its own, for its memory is the claim
def test_a_large_folder_streams_without_growing():
    bench = Path(__file__).parents[1] / "bench" / "memory.py"
    command = [sys.executable, str(bench), "streaming", "--files", "800", "--batches", "40", "--batch", "50", "--side", "160", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    # 1,400 pictures of 160 x 160 x 3 are 108 MB
    assert found["MB after 2,000 pictures"] - found["MB after 600 pictures"] < 30, found
