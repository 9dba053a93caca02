"""Pictures with captions from COCO's JSON, Flickr8k's files and tables: what becomes an example, what is left out, and in which words."""

import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kerasdl.data import coco, find_data, flickr8k
from kerasdl.data.augment import alternating_flip, flip
from kerasdl.data.caption_table import caption_table
from kerasdl.data.captions import PairSplit
from kerasdl.data.pipeline import evaluation_batches
from kerasdl.data.splits import ArraySplit, PictureSplit, Splits
from kerasdl.recipe import find_recipe
from kerasdl.text import TOKENIZER, Vocabulary


def picture(file: Path, level: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), (level, level, level)).save(file)


def said(number: int) -> list[str]:
    return [f"A dog number {number} runs.", f"The dog, number {number}!"]


def levels(splits: Splits, part: str) -> list[int]:
    return splits.split(part).arrays()["image"][:, 0, 0, 0].tolist()


# ---- Flickr8k


def write_flickr8k(root: Path, lists: bool = True, extra: str = "") -> str:
    """Ten pictures of two captions each: seven train, one dev, two test."""
    names = [f"{number}_aa.png" for number in range(10)]
    for number, name in enumerate(names):
        picture(root / "Flicker8k_Dataset" / name, 10 * number)
    lines = [f"{name}#{i}\t{caption}" for number, name in enumerate(names) for i, caption in enumerate(said(number))]
    (root / "Flickr8k.token.txt").write_text("\n".join(lines) + "\n" + extra, encoding="utf-8")
    if lists:
        for part, some in (("train", names[:7]), ("dev", names[7:8]), ("test", names[8:])):
            (root / f"Flickr_8k.{part}Images.txt").write_text("\n".join(some) + "\n")
    return str(root)


def test_in_training_a_pair_is_an_example_elsewhere_a_picture(tmp_path):
    splits = find_data(f"flickr8k:{write_flickr8k(tmp_path)}")(side=8, least=1)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (14, 1, 2)
    assert levels(splits, "train") == [10 * (number // 2) for number in range(14)] and levels(splits, "test") == [80, 90]
    assert splits.references == {"valid": [said(7)], "test": [said(8), said(9)]}
    fields = splits.train.arrays()
    assert {name: (values.dtype, values.shape) for name, values in fields.items()} == {
        "image": (np.uint8, (14, 8, 8, 3)), "label": (np.int64, (14,)), "tokens": (np.int32, (14, 7))
    }  # fmt: skip
    assert not fields["label"].any()
    vocabulary = Vocabulary(**{name: splits.card["vocabulary"][name] for name in ("words", "counts")})
    assert [vocabulary.decode(ids) for ids in fields["tokens"][4:6]] == ["a dog number 2 runs", "the dog number 2"]
    assert [vocabulary.decode(ids) for ids in splits.test.arrays()["tokens"]] == ["a dog number runs"] * 2, "8 and 9 are unknown"


def test_the_spec_says_words_and_length(tmp_path):
    splits = flickr8k(write_flickr8k(tmp_path), side=8, least=2)
    assert splits.spec.labels[:9] == ("<pad>", "<start>", "<end>", "<unk>", "dog", "number", "a", "runs", "the")
    assert splits.spec.caption_length == 7 and splits.spec.image_shape == (8, 8, 3) and splits.spec.data_name == "Flickr8k"
    assert splits.spec.prepare == ({"op": "resize", "size": [8, 8], "method": "bilinear"},), "squeezed, not cut"
    assert splits.card["tokenizer"] == TOKENIZER == splits.card["vocabulary"]["tokenizer"]
    assert splits.card["counts"] == {"train": 14, "valid": 1, "test": 2}
    assert splits.card["pictures"] == {"train": 7, "valid": 1, "test": 2} and splits.card["captions"] == {
        "train": 14,
        "valid": 2,
        "test": 4,
    }
    json.dumps(splits.card)


def test_the_words_are_those_of_the_training_captions(tmp_path):
    splits = flickr8k(write_flickr8k(tmp_path), side=8, least=1)
    assert {"0", "6"} <= {*splits.spec.labels} and not {"7", "8", "9"} & {*splits.spec.labels}
    assert "test: 22.2% of the words are <unk>, 2 different ones: 8, 9" in splits.card["skipped"]


def test_long_captions_are_cut_and_counted(tmp_path):
    splits = flickr8k(write_flickr8k(tmp_path), side=8, least=1, longest=4)
    assert splits.spec.caption_length == 6
    assert "train: 7 captions have more than 4 words and are cut" in splits.card["skipped"]
    tokens = splits.train.arrays()["tokens"]
    assert (tokens[::2] != 2).all() and (tokens[1::2, -1] == 2).all(), "a sentence that goes on has no end"


def test_without_lists_the_pictures_are_drawn_and_disjoint(tmp_path):
    one, same, other = (flickr8k(write_flickr8k(tmp_path, lists=False), side=8, least=1, seed=seed) for seed in (0, 0, 1))
    found = {part: set(levels(one, part)) for part in ("train", "valid", "test")}
    assert sorted(sum(map(sorted, found.values()), [])) == list(range(0, 100, 10)), "each picture in one part"
    assert [len(found[part]) for part in found] == [8, 1, 1] and "not the published lists" in one.card["source"]
    assert levels(one, "train") == levels(same, "train") != levels(other, "train")


def test_the_table_of_kaggle_is_read_too(tmp_path):
    write_flickr8k(tmp_path, lists=False)
    (tmp_path / "Flickr8k.token.txt").unlink()
    (tmp_path / "Flicker8k_Dataset").rename(tmp_path / "Images")
    rows = [f'{number}_aa.png,"{caption}"' for number in range(10) for caption in said(number)]
    (tmp_path / "captions.txt").write_text("\n".join(["image,caption", *rows]))
    splits = flickr8k(str(tmp_path), side=8, least=1)
    assert len(splits.train) == 16 and splits.references["test"][0][1].startswith("The dog, number")


def test_its_folder_may_be_in_the_data_folder(tmp_path, monkeypatch):
    write_flickr8k(tmp_path / "flickr8k")
    monkeypatch.setenv("KERASDL_DATA_DIR", str(tmp_path))
    assert len(find_data("flickr8k")(side=8, least=1).train) == 14
    monkeypatch.delenv("KERASDL_DATA_DIR")
    with pytest.raises(ValueError, match="flickr8k needs a path, or KERASDL_DATA_DIR"):
        flickr8k()


def test_the_recipe_takes_a_folder_of_that_layout_as_it_is(tmp_path, monkeypatch):
    write_flickr8k(tmp_path / "flickr8k")
    monkeypatch.setenv("KERASDL_DATA_DIR", str(tmp_path))
    recipe = find_recipe("flickr8k-captioner")
    splits = recipe.data()
    assert splits.spec.image_shape == (224, 224, 3) and splits.spec.labels[4:] == ("dog", "number", "a", "runs", "the")
    assert not {step.func for step in recipe.augment} & {flip, alternating_flip}, "captions say left and right"
    assert "0.15 to 0.21" in recipe.note


def test_what_is_left_out_or_unknown_is_told(tmp_path, caplog):
    root = write_flickr8k(tmp_path, extra="0_aa.png#2\t ...\nabsent.jpg.1#0\tA cat.\nnone.png#0\tA ☃ .\n2_aa.png#7\tA ☃ dog.\n")
    picture(tmp_path / "Flicker8k_Dataset" / "none.png", 1)
    (tmp_path / "Flicker8k_Dataset" / "1_aa.png").write_bytes(b"no picture")
    with (tmp_path / "Flickr_8k.trainImages.txt").open("a") as file:
        file.write("lost.jpg\n")
    with caplog.at_level(logging.WARNING, logger="kerasdl"):
        splits = flickr8k(root, side=8, least=1)
    assert splits.card["skipped"] == [
        "skipped: 1 pictures with captions are not there: absent.jpg.1",
        "skipped: 1 listed pictures have no caption or are not there: lost.jpg",
        "skipped: 1 pictures are in none of the lists: none.png",
        "skipped: 1 train captions without a word",
        "skipped: train: 1_aa.png is not a readable picture (UnidentifiedImageError).",
        "valid: 22.2% of the words are <unk>, 1 different ones: 7",
        "test: 22.2% of the words are <unk>, 2 different ones: 8, 9",
        "captions hold 1 unusual characters, kept as words of their own: '\\u2603' 1 times",
    ]
    assert all(sentence in caplog.text for sentence in splits.card["skipped"])
    assert caplog.text.count("unusual characters") == 1, "told once"
    assert len(splits.train) == 13 and "☃" in splits.spec.labels


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda root: (root / "Flickr8k.token.txt").unlink(), "needs Flickr8k.token.txt, or Kaggle's captions.txt. Received: .*neither"),
        (lambda root: (root / "Flickr_8k.devImages.txt").unlink(), "needs all of trainImages.txt, .* or none. Received: no devImages.txt"),
        (
            lambda root: (root / "Flickr8k.token.txt").write_text("a.png#0\tA dog.\nA cat.\n"),
            "a line is NAME.jpg#NUMBER, a tab and a caption. Received: 'A cat.' in line 2 of Flickr8k.token.txt",
        ),
        (
            lambda root: (root / "Flickr_8k.devImages.txt").write_text("9_aa.png"),
            "valid and test pictures must be disjoint. Received: 1 in",
        ),
        (
            lambda root: (root / "Flickr_8k.testImages.txt").write_text("x.png"),
            "needs a readable picture with a caption. Received: none in test",
        ),
    ],
)
def test_a_folder_that_is_not_flickr8k_gets_a_sentence(tmp_path, spoil, sentence):
    write_flickr8k(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        flickr8k(str(tmp_path), side=8, least=1)


def test_an_absent_folder_gets_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="flickr8k needs a folder that is there. Received: .*absent"):
        flickr8k(str(tmp_path / "absent"))
    with pytest.raises(ValueError, match="longest must be at least 1 word. Received: 0"):
        flickr8k(write_flickr8k(tmp_path), longest=0)
    with pytest.raises(ValueError, match="a word that comes 99 times"):
        flickr8k(str(tmp_path), side=8, least=99)


# ---- pairs


def test_a_picture_is_kept_once_however_many_captions_it_has(tmp_path, monkeypatch):
    root = write_flickr8k(tmp_path)
    held = flickr8k(root, side=8, least=1)
    assert isinstance(held.train, PairSplit) and isinstance(held.train.pictures, ArraySplit) and len(held.train.pictures) == 7
    monkeypatch.setattr(sys.modules["kerasdl.data.captions"], "FITS_IN_MEMORY", 10)
    decoded = []
    lazy = flickr8k(root, side=8, least=1).train
    assert isinstance(lazy, PairSplit) and isinstance(lazy.pictures, PictureSplit)
    pictures = lazy.pictures
    watched = PairSplit(
        PictureSplit(pictures.sources, pictures.labels, lambda file: decoded.append(file) or pictures.decode(file)),
        lazy.numbers,
        lazy.tokens,
    )
    for name, values in watched.arrays([5, 0, 4, 1, 5]).items():
        np.testing.assert_array_equal(values, held.train.arrays([5, 0, 4, 1, 5])[name], err_msg=name)
    assert len(decoded) == 2, "two pictures under five pairs"


def test_pairs_go_through_the_pipeline(tmp_path):
    splits = flickr8k(write_flickr8k(tmp_path), side=8, least=1)
    images = np.concatenate([inputs["image"] for inputs, _ in evaluation_batches(splits.train, 4).as_numpy_iterator()])
    np.testing.assert_array_equal(images, splits.train.arrays()["image"])


# ---- COCO


def write_coco(root: Path, year: str = "2017", test: bool = False) -> Path:
    first = 0
    for part, count in (("train", 20), ("val", 3), *([("test", 2)] if test else [])):
        numbers = range(first, first + count)
        for number in numbers:
            picture(root / f"{part}{year}" / f"{number:012d}.png", number)
        facts = {
            "images": [{"id": number, "file_name": f"{number:012d}.png", "width": 12} for number in reversed(numbers)],
            "annotations": [
                {"id": 2 * number + i, "image_id": number, "caption": caption}
                for number in numbers
                for i, caption in enumerate(said(number))
            ],
        }
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"captions_{part}{year}.json").write_text(json.dumps(facts))
        first += count
    return root


def test_val_is_the_test_of_coco_and_validation_is_drawn_from_train(tmp_path):
    splits = find_data(f"coco:{write_coco(tmp_path / 'coco')}")(side=8, least=1, valid=0.1)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (36, 2, 3)
    assert levels(splits, "test") == [20, 21, 22] and not {*levels(splits, "valid")} & {*levels(splits, "train")}
    assert splits.references["test"] == [said(20), said(21), said(22)] and splits.spec.data_name == "coco"
    valid = levels(splits, "valid")
    assert splits.references["valid"] == [said(number) for number in valid], "captions stay with their pictures"


def test_with_a_test_file_val_is_for_validation(tmp_path):
    splits = coco(str(write_coco(tmp_path, test=True)), side=8, least=1)
    assert (levels(splits, "valid"), levels(splits, "test"), len(splits.train)) == ([20, 21, 22], [23, 24], 40)


def test_the_parts_of_karpathy_are_followed(tmp_path):
    write_coco(tmp_path)
    images = [
        {"filepath": folder, "filename": f"{number:012d}.png", "split": part, "sentences": [{"raw": caption} for caption in said(number)]}
        for folder, number, part in [("train2017", 3, "train"), ("val2017", 20, "restval"), ("val2017", 21, "val"), ("val2017", 22, "test")]
    ]
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": images}))
    splits = coco(str(tmp_path), side=8, least=1)
    assert [levels(splits, part) for part in ("train", "valid", "test")] == [[3, 3, 20, 20], [21], [22]]
    assert "Karpathy" in splits.card["source"]


def test_absent_pictures_of_coco_are_told(tmp_path):
    write_coco(tmp_path)
    for number in range(5):
        (tmp_path / "train2017" / f"{number:012d}.png").unlink()
    splits = coco(str(tmp_path), side=8, least=1)
    assert splits.card["skipped"][0] == (
        "skipped: 5 pictures of captions_train2017.json are not there: 000000000000.png, 000000000001.png, 000000000002.png, ..."
    )
    assert splits.card["pictures"]["train"] + splits.card["pictures"]["valid"] == 15


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "captions_train2017.json must be a JSON file"),
        ("[]", "a captions file has images with id and file_name.*Received: captions_train2017.json, where TypeError"),
        ('{"images": [{"id": 1}], "annotations": []}', "Received: captions_train2017.json, where KeyError 'file_name' came up"),
        (
            '{"images": [], "annotations": [{"id": 1, "image_id": 7, "caption": "x"}]}',
            "Received: captions_train2017.json, where KeyError 7 came up",
        ),
    ],
)
def test_a_broken_file_of_coco_gets_a_sentence(tmp_path, content, sentence):
    write_coco(tmp_path)
    (tmp_path / "annotations" / "captions_train2017.json").write_text(content)
    with pytest.raises(ValueError, match=sentence):
        coco(str(tmp_path), side=8)


def test_a_folder_that_is_not_coco_gets_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="coco needs a folder with annotations/captions_train.*absent"):
        coco(str(tmp_path / "absent"))
    with pytest.raises(ValueError, match=r"needs captions_train\*.json and captions_val\*.json. Received: \[\]"):
        coco(str(tmp_path))
    write_coco(tmp_path)
    (tmp_path / "captions_train2014.json").write_text((tmp_path / "annotations" / "captions_val2017.json").read_text())
    with pytest.raises(ValueError, match="needs one file a part. Received: a second one for train"):
        coco(str(tmp_path))


# ---- tables


def write_table(root: Path, rows: list[str], header: str = "path,caption,split") -> str:
    for number in range(12):
        picture(root / "pictures" / f"{number}.png", number)
    (root / "mine.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return str(root / "mine.csv")


def test_a_table_with_splits_is_followed(tmp_path):
    parts = ["train"] * 3 + ["valid", "test"]
    rows = [f'pictures/{number}.png,"{caption}",{part}' for number, part in enumerate(parts) for caption in said(number)]
    rows[0] = f'{tmp_path}/pictures/0.png,"{said(0)[0]}",train'  # an absolute path
    splits = find_data(f"captions:{write_table(tmp_path, rows)}")(side=8)
    assert [levels(splits, part) for part in ("train", "valid", "test")] == [[0, 0, 1, 1, 2, 2], [3], [4]]
    assert splits.references == {"valid": [said(3)], "test": [said(4)]} and splits.spec.data_name == "mine"


def test_a_table_without_splits_is_drawn(tmp_path):
    rows = [f'pictures/{number}.png,"{caption}"' for number in range(12) for caption in said(number)]
    splits = caption_table(write_table(tmp_path, rows, "path,caption"), side=8, valid=0.25, test=0.25)
    assert splits.card["pictures"] == {"train": 6, "valid": 3, "test": 3}
    assert splits.references["test"] == [said(number) for number in levels(splits, "test")]
    with pytest.raises(ValueError, match=r"must be in \(0, 1\) and leave pictures to train on. Received: .*0.5.*0.5"):
        caption_table(str(tmp_path / "mine.csv"), side=8, valid=0.5, test=0.5)


@pytest.mark.parametrize(
    ("header", "row", "sentence"),
    [
        ("path,text", "a.png,x", r"mine.csv needs the columns path, caption. Received: \['path', 'text'\], without caption"),
        ("path,caption,split", "a.png,x,dev", "a split is one of train, valid, test. Received: 'dev' in line 2 of mine.csv"),
        ("path,caption", ",x", "a row needs a path and a caption. Received: .* in line 2 of mine.csv"),
        ("path,caption", "a.png", "a row needs a path and a caption. Received: .* in line 2 of mine.csv"),
        ("path,caption,split", "a.png,x,test", "mine.csv needs rows of train. Received: rows of test"),
        ("path,caption", "", "mine.csv needs rows of train. Received: rows of nothing"),
        ("path,caption", "absent.png,x", "needs a readable picture with a caption. Received: none in train"),
    ],
)
def test_a_bad_table_gets_a_sentence_with_its_line(tmp_path, header, row, sentence):
    with pytest.raises(ValueError, match=sentence):
        caption_table(write_table(tmp_path, [row], header), side=8)


def test_an_absent_table_gets_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="captions need a CSV file with the columns path, caption. Received: .*absent.csv"):
        caption_table(str(tmp_path / "absent.csv"))


def test_references_must_be_as_many_as_pictures(tmp_path):
    splits = flickr8k(write_flickr8k(tmp_path), side=8, least=1)
    with pytest.raises(ValueError, match="test needs captions for each of its 2 pictures. Received: 1"):
        Splits(splits.train, splits.valid, splits.test, splits.spec, splits.card, references={"test": [["a"]]})
