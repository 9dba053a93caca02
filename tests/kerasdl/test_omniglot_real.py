"""Omniglot for training and for choices: turned characters, runs drawn for validation, the one-shot figure of a run."""

import importlib.util
import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.spatial.distance import cdist

from kerasdl.data.omniglot import omniglot, one_shot_accuracy
from kerasdl.data.splits import Splits
from kerasdl.models import load_model
from kerasdl.recipe import find_recipe
from kerasdl.tasks import Embedding
from kerasdl.train import build, train

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("KERASDL_DATA_DIR", "absent")) / "omniglot"
real = pytest.mark.skipif(not REAL.is_dir(), reason="KERASDL_DATA_DIR holds no folder omniglot")
CHARACTERS = {"Aleph": 3, "Beth": 21, "Gimel": 20, "Daleth": 22}


def tool():
    spec = importlib.util.spec_from_file_location("one_shot", ROOT / "tools" / "one_shot.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawing(character: int, drawer: int) -> bytes:
    """Three strokes that are the character's, each end shaken by the drawer's hand; black on white, 105x105."""
    ends = np.random.default_rng(character).integers(15, 90, (6, 2)) + np.random.default_rng([character, drawer]).integers(-4, 5, (6, 2))
    picture = Image.new("1", (105, 105), 1)
    for start, end in ends.reshape(3, 2, 2):
        ImageDraw.Draw(picture).line([tuple(start.tolist()), tuple(end.tolist())], fill=0, width=3)
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    return encoded.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> str:
    """Four alphabets by two drawers, and two runs of twenty further characters."""
    folder = tmp_path_factory.mktemp("omniglot")
    with zipfile.ZipFile(folder / "images_background.zip", "w") as archive:
        for alphabet, (name, count) in enumerate(CHARACTERS.items()):
            for character in range(1, count + 1):
                for drawer in (1, 2):
                    file = f"images_background/{name}/character{character:02d}/{character:04d}_{drawer:02d}.png"
                    archive.writestr(file, drawing(100 * alphabet + character, drawer))
    with zipfile.ZipFile(folder / "all_runs.zip", "w") as archive:
        for run in (1, 2):
            for n in range(1, 21):
                archive.writestr(f"run{run:02d}/training/class{n:02d}.png", drawing(1000 * run + n, 1))
                archive.writestr(f"run{run:02d}/test/item{n:02d}.png", drawing(1000 * run + n, 2))
            lines = [f"run{run:02d}/test/item{n:02d}.png run{run:02d}/training/class{n:02d}.png" for n in range(1, 21)]
            archive.writestr(f"run{run:02d}/class_labels.txt", "\n".join(lines))
    return str(folder)


@pytest.fixture(scope="module")
def splits(made) -> Splits:
    return omniglot(made, valid=2, test=1, seed=5)


def test_turned_characters_are_further_identities_and_only_of_training(made):
    plain, turned = omniglot(made), omniglot(made, turned=True)
    one, four = plain.train.arrays(), turned.train.arrays()
    n, classes = len(plain.train), plain.spec.classes
    assert len(turned.train) == 4 * n and turned.spec.classes == len(set(four["label"])) == len(set(four["pid"])) == 4 * classes
    for quarter in range(4):
        part = slice(quarter * n, (quarter + 1) * n)
        np.testing.assert_array_equal(four["image"][part], np.rot90(one["image"], quarter, axes=(1, 2)))
        np.testing.assert_array_equal(four["label"][part], one["label"] + quarter * classes)
        np.testing.assert_array_equal(four["camid"][part], one["camid"])
    assert turned.spec.labels[: classes + 1] == (*plain.spec.labels, f"{plain.spec.labels[0]} turned 90")
    assert turned.card["turned"] and not plain.card["turned"]
    for name in ("valid", "test", *plain.roles):
        assert not set(turned.split(name).arrays()["pid"]) & set(four["pid"]) or name.startswith("one_shot")
        np.testing.assert_array_equal(turned.split(name).arrays()["image"], plain.split(name).arrays()["image"])


def test_validation_runs_are_twenty_characters_of_one_alphabet_by_two_drawers(made, splits):
    assert splits.card["alphabets"]["valid"] == ["Beth", "Gimel"], "both have twenty characters"
    query, gallery = (splits.roles[f"valid_one_shot_{role}"].arrays() for role in ("query", "gallery"))
    known = {"Beth": set(range(4, 25)), "Gimel": set(range(47, 67))}  # pids count through the alphabets in order, from 1
    for run in range(1, 101):
        asked, shown = (fields["pid"][fields["run"] == run] for fields in (query, gallery))
        assert len(set(asked)) == 20 and asked.tolist() == shown.tolist()
        assert set(asked) <= known[("Beth", "Gimel")[(run - 1) % 2]]
        hands = [set(fields["camid"][fields["run"] == run]) for fields in (query, gallery)]
        assert len(hands[0]) == len(hands[1]) == 1 and hands[0] != hands[1]
    again = omniglot(made, valid=2, test=1, seed=5).roles["valid_one_shot_query"].arrays()
    np.testing.assert_array_equal(query["image"], again["image"])


def test_an_alphabet_of_fewer_characters_gives_no_validation_runs(made):
    splits = omniglot(made, seed=1)
    assert splits.card["alphabets"]["valid"] == ["Aleph"]
    assert "one_shot_query" in splits.roles and not [name for name in splits.roles if name.startswith("valid_one_shot")]


def pixels(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A predictor without a model: the pixels as a vector of length 1."""
    x = inputs["image"].reshape(len(inputs["image"]), -1).astype("float32")
    return {"embedding": x / np.linalg.norm(x, axis=1, keepdims=True)}


@pytest.mark.parametrize("split", ["test", "valid"])
def test_the_tool_scores_pixels_as_their_nearest_neighbours(splits, split):
    found = tool().measure(Embedding(), pixels, splits, split)
    prefix = {"test": "one_shot", "valid": "valid_one_shot"}[split]
    query, gallery = (splits.roles[f"{prefix}_{role}"].arrays() for role in ("query", "gallery"))
    asked, known = (pixels(fields)["embedding"].astype("float64") for fields in (query, gallery))
    assert found["one_shot"] == one_shot_accuracy(2 - 2 * asked @ known.T, query, gallery)  # the squared Euclidean distance
    assert found["pixels"] == found["one_shot"]["accuracy"]
    low, high = found["interval"]
    assert 0.05 < low < found["one_shot"]["accuracy"] < high, "above chance, one of twenty"
    assert found["n"] == len(query["pid"]) and found["ranking"] == Embedding().evaluate(pixels, splits, split)


def test_the_tool_prints_the_figures_of_a_run(made, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KERASDL_DATA_DIR", str(tmp_path))
    shutil.copytree(made, tmp_path / "omniglot")
    recipe, run = find_recipe("omniglot-embed"), tmp_path / "runs" / "omniglot-embed"
    run.mkdir(parents=True)
    spec = omniglot(made, turned=True).spec
    build(recipe, spec).save(run / "model.keras")  # not trained: the figures are not the claim
    for name, facts in (("recipe.json", recipe.to_json()), ("spec.json", spec.to_json())):
        (run / name).write_text(json.dumps(facts))
    monkeypatch.setattr("sys.argv", ["one_shot.py", recipe.name, "--run-dir", str(tmp_path / "runs")])
    tool().main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("run01  ") and len(lines) == 4
    assert "n = 40" in lines[1] and lines[2].startswith("nearest pixels") and "mAP" in lines[3]
    (tmp_path / "omniglot" / "all_runs.zip").unlink()
    with pytest.raises(SystemExit):
        tool().main()
    assert "hold no one-shot runs for test" in capsys.readouterr().err


@real
def test_pixels_of_the_real_runs_have_the_figure_that_the_pages_state():
    splits = omniglot(str(REAL), turned=True)
    assert splits.spec.classes == 524 and len(splits.train) == 10480
    query, gallery = (splits.roles[f"one_shot_{role}"].arrays() for role in ("query", "gallery"))
    flat = [fields["image"].reshape(len(fields["run"]), -1).astype("float64") for fields in (query, gallery)]
    assert one_shot_accuracy(cdist(flat[0], flat[1], "cosine"), query, gallery)["accuracy"] == 0.5975


@real
@pytest.mark.slow
def test_the_recipe_keeps_its_promise(tmp_path):
    recipe = find_recipe("omniglot-embed")
    run = train(recipe, tmp_path, verbose=0)
    splits = recipe.data()
    predict = recipe.task.serving(load_model(run / "model.keras"), splits.spec)["model"].predict_on_batch
    found = tool().measure(recipe.task, predict, splits, "test")
    for name, least in recipe.expect.items():
        assert found["ranking"][name] >= least
