"""Pictures of identities from folders, tables and Omniglot: roles, names, what is refused and in which words."""

import io
import logging
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kerasdl.data import find_data
from kerasdl.data.identities import held_out_people, query_and_gallery
from kerasdl.data.market import market, parse_name
from kerasdl.data.omniglot import _files, omniglot, one_shot_accuracy
from kerasdl.data.reid_lists import reid_list
from kerasdl.data.splits import PictureSplit, Splits

TRAIN = [f"{pid:04d}_c{camera}s1_{n:06d}_00.png" for pid in (2, 7, 10, 11, 12) for camera in (1, 12) for n in (1, 2)]
QUERY = ["0001_c1s1_000001_00.png", "0003_c12s3_000001_00.png"]
GALLERY = [
    "-1_c3s2_000001_00.png",
    "0000_c1s1_000001_00.png",
    "0001_c12s1_000002_00.png",
    "0001_c1s1_000002_00.png",
    "0003_c1s1_000002_00.png",
]
FOLDERS = {"bounding_box_train": TRAIN, "query": QUERY, "bounding_box_test": GALLERY}


def write(folder: Path, names: list[str], first: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names, first):
        Image.new("RGB", (8, 16), (number, number, number)).save(folder / name)


def write_market(root: Path) -> Path:
    for tens, (folder, names) in enumerate(FOLDERS.items()):
        write(root / folder, names, 50 * tens)
    return root


def columns(splits: Splits, role: str, *names: str) -> list[list[int]]:
    fields = splits.split(role).arrays()
    return [fields[name].tolist() for name in names]


# ---- Market-1501 naming


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("0002_c1s1_000451_03.jpg", (2, 1)),
        ("-1_c1s1_000401_03.jpg", (-1, 1)),
        ("0000_c6s3_000001_01.jpg", (0, 6)),
        ("0042_c12_f0046182.jpg", (42, 12)),
        ("run7_c3/0005_c10s1_000001_00.jpg", (5, 10)),
        ("9_c8_x/0005_c10.png", (5, 10)),
    ],
)
def test_only_the_files_own_name_is_read_and_cameras_may_have_two_digits(file, expected):
    assert parse_name(file) == expected


@pytest.mark.parametrize("file", ["picture.jpg", "x0001_c1.jpg", "0001_d1.jpg", "run7_c3/1.jpg"])
def test_another_name_gets_a_sentence(file):
    with pytest.raises(ValueError, match=f"a name begins with PID_cCAMERA.*Received: '{Path(file).name}'"):
        parse_name(file)


def test_market_folders_become_splits_and_roles(tmp_path):
    splits = market(str(write_market(tmp_path / "run7_c3")), height=32, width=16, valid=0.4)
    assert splits.spec.image_shape == (32, 16, 3) and splits.spec.data_name == "run7_c3"
    assert columns(splits, "query", "pid", "camid", "label") == [[1, 3], [1, 12], [-1, -1]]
    assert columns(splits, "gallery", "pid", "camid") == [[-1, 0, 1, 1, 3], [3, 1, 12, 1, 1]]
    assert columns(splits, "test", "pid") == [[1, 3, -1, 0, 1, 1, 3]]
    images = splits.roles["gallery"].arrays()["image"]
    assert images.shape == (5, 32, 16, 3) and images.dtype == np.uint8 and images[:, 0, 0, 0].tolist() == [100, 101, 102, 103, 104]
    assert splits.card["counts"] == {
        "train": 12, "valid": 8, "test": 7, "valid_query": 4, "valid_gallery": 4, "query": 2, "gallery": 5
    }  # fmt: skip
    assert splits.card["identities"] == {"train": 3, "valid": 2, "test": 2} and splits.card["cameras"] == 3


def test_training_labels_are_contiguous_and_identities_disjoint(tmp_path):
    splits = market(str(write_market(tmp_path)), height=16, width=8, valid=0.4)
    train = splits.train.arrays()
    assert sorted(set(train["label"])) == [0, 1, 2] and train["label"].dtype == train["pid"].dtype == train["camid"].dtype == np.int64
    assert [int(splits.spec.labels[label]) for label in train["label"]] == train["pid"].tolist()
    people = [set(splits.split(part).arrays()["pid"]) - {-1, 0} for part in ("train", "valid", "test")]
    assert len(set.union(*people)) == sum(map(len, people)) == 7
    again = market(str(tmp_path), height=16, width=8, valid=0.4)
    np.testing.assert_array_equal(again.train.arrays()["image"], train["image"])
    assert columns(again, "valid_query", "pid", "camid") == columns(splits, "valid_query", "pid", "camid")


def test_no_validation_is_an_empty_split(tmp_path):
    splits = market(str(write_market(tmp_path)), height=16, width=8, valid=0.0)
    assert (len(splits.valid), len(splits.roles["valid_query"]), splits.spec.classes) == (0, 0, 5)


def test_pictures_too_many_for_memory_stay_files_with_the_same_content(tmp_path, monkeypatch):
    held = market(str(write_market(tmp_path)), height=16, width=8)
    monkeypatch.setattr(sys.modules["kerasdl.data.identities"], "FITS_IN_MEMORY", 100)
    lazy = market(str(tmp_path), height=16, width=8)
    assert all(isinstance(split, PictureSplit) for split in (lazy.train, lazy.test, lazy.roles["query"]))
    for name in ("train", "valid", "test", *held.roles):
        for field, values in held.split(name).arrays().items():
            np.testing.assert_array_equal(values, lazy.split(name).arrays()[field], err_msg=f"{name} {field}")


def test_what_is_left_out_is_named(tmp_path, caplog):
    write_market(tmp_path)
    (tmp_path / "query" / "Thumbs.db").write_text("of Windows")
    write(tmp_path / "query", ["somebody.png"])
    write(tmp_path / "bounding_box_train", ["-1_c1s1_000009_00.png", "0000_c1s1_000009_00.png"])
    (tmp_path / "bounding_box_test" / "0001_c5s1_000009_00.jpg").write_text("no picture")
    with caplog.at_level(logging.WARNING, logger="kerasdl"):
        splits = market(str(tmp_path), height=16, width=8)
    assert splits.card["skipped"] == [
        "query: a name begins with PID_cCAMERA, as 0002_c1s1_000451_03.jpg. Received: 'somebody.png'",
        "gallery: 0001_c5s1_000009_00.jpg is not a readable picture (UnidentifiedImageError).",
        "2 train pictures of pid -1 or 0, which are for the gallery",
    ]
    assert caplog.text.count("skipped: ") == 3 and splits.card["counts"]["test"] == 7


def test_a_folder_that_is_not_market_gets_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="bounding_box_train, query, bounding_box_test. Received: .*, which has no bounding_box_train"):
        market(str(tmp_path))
    write_market(tmp_path)
    for file in (tmp_path / "query").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match="query needs pictures with names as"):
        market(str(tmp_path))
    write(tmp_path / "query", ["0002_c1s1_000001_00.png"])
    with pytest.raises(ValueError, match=r"train and test identities must be disjoint. Received: 1 in both, for example \[2\]"):
        market(str(tmp_path), valid=0.0)


# ---- tables


def write_table(root: Path, rows: list[str], header: str = "path,pid,camid,role") -> str:
    write(root / "pictures", [f"{n}.png" for n in range(20)])
    (root / "list.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return str(root / "list.csv")


def test_a_table_with_roles_is_followed(tmp_path):
    roles = ["train"] * 6 + ["valid_query", "valid_gallery", "query", "gallery", "gallery"]
    pids, cameras = [5, 5, 9, 9, 6, 6, 1, 1, 2, 2, -1], [1, 2, 1, 2, 1, 22, 1, 2, 1, 3, 4]
    rows = [f"pictures/{n}.png,{p},{c},{r}" for n, (p, c, r) in enumerate(zip(pids, cameras, roles, strict=True))]
    rows[0] = f"{tmp_path}/pictures/0.png,5,1,train"  # an absolute path
    splits = find_data(f"reid_list:{write_table(tmp_path, rows)}")(height=16, width=8)
    assert columns(splits, "train", "label", "pid", "camid") == [[0, 0, 2, 2, 1, 1], [5, 5, 9, 9, 6, 6], [1, 2, 1, 2, 1, 22]]
    assert columns(splits, "gallery", "pid", "camid") == [[2, -1], [3, 4]]
    assert columns(splits, "valid", "pid") == [[1, 1]] and splits.spec.labels == ("5", "6", "9")
    assert splits.train.arrays()["image"][:, 0, 0, 0].tolist() == list(range(6))


def test_a_table_without_roles_is_split_by_identity(tmp_path):
    rows = [f"pictures/{n}.png,{n // 4 + 1},{n % 2 + 1}" for n in range(16)] + ["pictures/16.png,0,1"]
    splits = reid_list(write_table(tmp_path, rows, "path,pid,camid"), height=16, width=8, valid=0.0, test=0.5)
    train, query, gallery = (columns(splits, role, "pid", "camid") for role in ("train", "query", "gallery"))
    assert len(set(train[0])) == 2 and not set(train[0]) & {*query[0], *gallery[0]}
    assert len(query[0]) == 4 and len(set(zip(*query, strict=True))) == 4, "one a camera of each identity"
    assert len(gallery[0]) == 5 and 0 in gallery[0]


@pytest.mark.parametrize(
    ("header", "row", "sentence"),
    [
        ("path,pid", "a.png,1", r"list.csv needs the columns path, pid, camid. Received: \['path', 'pid'\], without camid"),
        ("path,pid,camid", "a.png,one,1", "pid and camid are whole numbers. Received: 'one' and '1' in line 2 of list.csv"),
        ("path,pid,camid", "a.png,1", "whole numbers. Received: '1' and None in line 2"),
        ("path,pid,camid", ",1,1", "a row needs a path. Received: none in line 2"),
        ("path,pid,camid,role", "a.png,1,1,probe", "a role is one of train, .* Received: 'probe' in line 2"),
        ("path,pid,camid,role", "a.png,1,1,train", "needs rows of train, query, gallery. Received: none of query, gallery"),
        ("path,pid,camid", "", "needs rows of all. Received: none of all"),
    ],
)
def test_a_bad_table_gets_a_sentence_with_its_line(tmp_path, header, row, sentence):
    with pytest.raises(ValueError, match=sentence):
        reid_list(write_table(tmp_path, [row], header))


def test_an_absent_table_and_absent_pictures_get_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="reid_list needs a CSV file"):
        reid_list(str(tmp_path / "absent.csv"))
    rows = [f"nowhere/{n}.png,{n // 2 + 1},1,{role}" for n, role in enumerate(["train"] * 4 + ["query", "gallery"])]
    with pytest.raises(ValueError, match="training needs at least two identities. Received: 0"):
        reid_list(write_table(tmp_path, rows))


# ---- queries and held-out people


def test_one_query_a_camera_and_never_the_only_picture_of_one():
    pids = np.array([1, 1, 1, 1, 2, 2, 3, 0, -1, 4, 4, 4])
    camids = np.array([1, 1, 2, 2, 1, 2, 1, 1, 1, 5, 5, 6])
    query, gallery = query_and_gallery(pids, camids, seed=0)
    assert sorted([*query, *gallery]) == list(range(12)), "each picture once"
    assert list(zip(pids[query], camids[query], strict=True)) == [(1, 1), (1, 2), (2, 1), (4, 5)]
    for q in query:
        assert ((pids[gallery] == pids[q]) & (camids[gallery] != camids[q])).any(), "found again in another camera"


def test_held_out_people_are_a_share_of_the_identities():
    pids = np.repeat(np.arange(-1, 11), 3)
    out = held_out_people(pids, 0.3, seed=1)
    assert len(np.unique(pids[out])) == 3 and out.sum() == 9 and pids[out].min() > 0
    assert not held_out_people(pids, 0, seed=1).any() and len(np.unique(pids[held_out_people(pids, 0.01, seed=1)])) == 1
    with pytest.raises(ValueError, match="in .0, 1.. Received: 1"):
        held_out_people(pids, 1, seed=1)


# ---- Omniglot


def drawing(number: int) -> bytes:
    """Black ink on white, 105x105: a bar whose place is lost and whose angle tells the number."""
    picture = np.full((105, 105), 255, np.uint8)
    along = np.arange(-30, 31)
    rows, columns = ((52 + along * turn(number / 7)).round().astype(int) for turn in (np.sin, np.cos))
    for thick in range(9):
        picture[rows + thick // 3, columns + thick % 3] = 0
    encoded = io.BytesIO()
    Image.fromarray(picture).convert("1").save(encoded, "PNG")
    return encoded.getvalue()


def omniglot_files() -> dict[str, bytes]:
    files = {}
    for part, alphabets in (("small1", "ABG"), ("small2", "GCD")):  # G is in both
        for alphabet in alphabets:
            for character in (1, 2):
                for drawer in (1, 2, 3):
                    name = (
                        f"images_background_{part}/{alphabet}/character{character:02d}/{ord(alphabet):02d}{character:02d}_{drawer:02d}.png"
                    )
                    files[name] = drawing(10 * ord(alphabet) + character)
    for run in (1, 2):
        for number in range(1, 21):
            files[f"run{run:02d}/training/class{number:02d}.png"] = drawing(number)
            files[f"run{run:02d}/test/item{number:02d}.png"] = drawing(21 - number)
        lines = [f"run{run:02d}/test/item{n:02d}.png run{run:02d}/training/class{21 - n:02d}.png" for n in range(1, 21)]
        files[f"run{run:02d}/class_labels.txt"] = "\n".join(lines).encode()
    return files


def write_omniglot(root: Path, zipped: bool) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    files = omniglot_files()
    if zipped:
        for stem in ("images_background_small1", "images_background_small2", "run"):
            with zipfile.ZipFile(root / f"{'all_runs' if stem == 'run' else stem}.zip", "w") as archive:
                for name, content in files.items():
                    if name.startswith(stem):
                        archive.writestr(name, content)
    else:
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
    return root


@pytest.mark.parametrize("zipped", [True, False], ids=["zip files", "folders"])
def test_omniglot_is_characters_and_drawers_of_disjoint_alphabets(tmp_path, monkeypatch, zipped):
    write_omniglot(tmp_path / "omniglot", zipped)
    monkeypatch.setenv("KERASDL_DATA_DIR", str(tmp_path))
    splits = find_data("omniglot")()
    assert splits.card["identities"] == {"train": 4, "valid": 2, "test": 4}, "five alphabets of two characters: one stands in both files"
    assert splits.spec.image_shape == (32, 32, 1) and splits.spec.data_name == "Omniglot (small background sets)"
    chosen = splits.card["alphabets"]
    assert sorted(sum(chosen.values(), [])) == ["A", "B", "C", "D", "G"]
    assert [len(chosen[part]) for part in ("train", "valid", "test")] == [2, 1, 2]
    train, test = splits.train.arrays(), splits.roles["query"].arrays()
    assert sorted(set(train["label"])) == [0, 1, 2, 3] and set(test["label"]) == {-1} and set(train["camid"]) == {1, 2, 3}
    assert [splits.spec.labels[i] for i in range(4)] == [f"{a}/character{c:02d}" for a in chosen["train"] for c in (1, 2)]
    assert not set(train["pid"]) & set(test["pid"]) and len(train["pid"]) == 12
    assert train["image"].max() > 200 and np.median(train["image"]) == 0, "light ink on black"


def test_zip_files_and_folders_hold_the_same(tmp_path):
    one, other = (omniglot(str(write_omniglot(tmp_path / str(zipped), zipped))) for zipped in (True, False))
    assert one.spec == other.spec and one.card == other.card
    for name in ("train", "valid", "test", *one.roles):
        for field, values in one.split(name).arrays().items():
            np.testing.assert_array_equal(values, other.split(name).arrays()[field])


def test_one_shot_runs_are_answered_within_their_run(tmp_path):
    splits = omniglot(str(write_omniglot(tmp_path, zipped=True)))
    query, gallery = (splits.roles[f"one_shot_{role}"].arrays() for role in ("query", "gallery"))
    assert len(query["pid"]) == len(gallery["pid"]) == 40 and sorted(gallery["pid"]) == sorted(query["pid"]) == list(range(1, 41))
    assert query["pid"][:3].tolist() == [20, 19, 18] and query["run"].tolist() == [1] * 20 + [2] * 20
    flat = [fields["image"].reshape(40, -1).astype(float) for fields in (query, gallery)]
    distance = ((flat[0][:, None] - flat[1][None]) ** 2).sum(-1)
    assert one_shot_accuracy(distance, query, gallery) == {"accuracy": 1.0, "run01": 1.0, "run02": 1.0}
    distance[:20, 20:] = -1  # the other run's characters are no choice
    distance[20] = 0  # equal distances: the first of the run, which is pid 21, while the query is pid 40
    assert one_shot_accuracy(distance, query, gallery) == {"accuracy": 39 / 40, "run01": 1.0, "run02": 0.95}
    with pytest.raises(ValueError, match="queries x gallery, 40 x 40. Received: shape .40, 20."):
        one_shot_accuracy(distance[:, :20], query, gallery)


def test_omniglot_without_its_files_gets_a_sentence(tmp_path, monkeypatch):
    monkeypatch.delenv("KERASDL_DATA_DIR", raising=False)
    with pytest.raises(ValueError, match="omniglot needs a path, or KERASDL_DATA_DIR"):
        omniglot()
    with pytest.raises(ValueError, match="that is there. Received: .*absent"):
        omniglot(str(tmp_path / "absent"))
    with pytest.raises(ValueError, match="images_background.*zip of github.com/brendenlake/omniglot"):
        omniglot(str(tmp_path))
    (tmp_path / "images_background.zip").write_bytes(b"PK cut short")
    with pytest.raises(ValueError, match="a zip file must be whole"):
        omniglot(str(tmp_path))
    root = str(write_omniglot(tmp_path / "whole", zipped=True))
    with pytest.raises(ValueError, match="Received: valid=2 and test=3 of 5 alphabets"):
        omniglot(root, valid=2, test=3)
    with pytest.raises(ValueError, match="not the 105 pixels"):
        omniglot(root, side=105)


REAL = Path(os.environ.get("KERASDL_DATA_DIR", "absent")) / "omniglot"
real = pytest.mark.skipif(not REAL.is_dir(), reason="KERASDL_DATA_DIR holds no folder omniglot")


@real
def test_the_small_sets_hold_242_characters_of_8_alphabets_by_20_drawers():
    splits = omniglot(str(REAL))
    assert sum(splits.card["identities"].values()) == 242 and sum(len(s) for s in (splits.train, splits.valid, splits.test)) == 4840
    for part in (splits.train, splits.valid, splits.test):
        fields = part.arrays()
        assert len(set(zip(fields["pid"], fields["camid"], strict=True))) == len(part) and set(fields["camid"]) == set(range(1, 21))
    assert len(splits.roles["one_shot_query"]) == len(splits.roles["one_shot_gallery"]) == 400


@real
@pytest.mark.slow
def test_the_modified_hausdorff_distance_errs_in_38_8_percent_of_the_runs_as_published():
    """The baseline of the data set's own demonstration (omniglot: python/one-shot-classification/demo.py)."""
    from scipy.spatial import cKDTree

    files = {name[name.index("run") :]: content for name, content in _files(REAL).items() if "images_background" not in name}

    def points(fields, folder: str, stem: str) -> list[np.ndarray]:
        found = []
        for number in range(400):
            name = f"run{number // 20 + 1:02d}/{folder}/{stem}{number % 20 + 1:02d}.png"
            ink = np.argwhere(~np.asarray(Image.open(io.BytesIO(files[name])), bool))
            found.append(ink - ink.mean(axis=0))
        assert len(found) == len(fields["run"])
        return found

    splits = omniglot(str(REAL))
    query, gallery = (splits.roles[f"one_shot_{role}"].arrays() for role in ("query", "gallery"))
    asked, known = points(query, "test", "item"), points(gallery, "training", "class")
    trees = [cKDTree(ink) for ink in known]
    distance = np.full((400, 400), np.inf)
    for q in range(400):
        tree = cKDTree(asked[q])
        for g in range(q // 20 * 20, q // 20 * 20 + 20):
            distance[q, g] = max(trees[g].query(asked[q])[0].mean(), tree.query(known[g])[0].mean())
    assert one_shot_accuracy(distance, query, gallery)["accuracy"] == 0.6125  # of 400; published rounded
