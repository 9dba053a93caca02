"""K-fold: which examples a fold holds out, what is trained again, and what the table says."""

import csv
import dataclasses
import json
from functools import partial

import numpy as np
import pytest

from kerasdl import kfold as module
from kerasdl.cli import main
from kerasdl.data import diabetes, pedestrians
from kerasdl.data.digits import digits
from kerasdl.data.folds import Chosen, fold, folded
from kerasdl.data.splits import ArraySplit
from kerasdl.kfold import Folds, kfold, table
from kerasdl.recipe import Recipe, find_recipe, list_recipes
from kerasdl.train import train

RIDGE = list_recipes()["diabetes-ridge"]


@pytest.fixture
def in_process(monkeypatch):
    """Folds trained here, one after another, by name: fresh processes take seconds each."""
    trained = []

    def train_here(recipe, folder, overwrite, quiet, path):
        trained.append(recipe.name)
        train(recipe, folder, resume=not overwrite, overwrite=overwrite, verbose=0)

    monkeypatch.setattr(module, "_train_apart", train_here)
    return trained


# --- the data of a fold ---


def test_chosen_examples_come_in_the_order_asked_for():
    parts = [ArraySplit({"x": np.arange(4), "label": np.arange(4) % 2}), ArraySplit({"x": np.arange(10, 13), "label": np.zeros(3, int)})]
    some = Chosen(parts, np.array([6, 0, 4, 3]))
    assert len(some) == 4 and some.arrays()["x"].tolist() == [12, 0, 10, 3]
    assert some.arrays([2, 1])["x"].tolist() == [10, 0] and some.arrays([1])["label"].tolist() == [0]
    held = some.fields_in_memory()
    assert held is not None and held["x"].tolist() == [12, 0, 10, 3]


def test_folds_of_pictures_hold_each_out_once_and_share_the_classes_out():
    whole = digits()
    parts = [fold(digits, number, k=3) for number in (1, 2, 3)]
    keys = [[image.tobytes() for image in part.valid.arrays()["image"]] for part in parts]
    pool = [image.tobytes() for split in (whole.train, whole.valid) for image in split.arrays()["image"]]
    assert sorted(key for fold_keys in keys for key in fold_keys) == sorted(pool)
    for part in parts:
        assert part.card["counts"] == {"train": len(part.train), "valid": len(part.valid), "test": 360}
        assert len(part.train) + len(part.valid) == len(pool)
        np.testing.assert_array_equal(part.test.arrays()["label"], whole.test.arrays()["label"])
    counts = np.array([np.bincount(part.valid.arrays()["label"]) for part in parts])
    assert np.ptp(counts, axis=0).max() <= 1


def test_a_fold_of_a_table_is_standardised_by_its_own_training_rows():
    parts = [fold(diabetes, number, k=5, seed=2) for number in range(1, 6)]
    assert {(len(part.train), len(part.valid), len(part.test)) for part in parts} == {(282, 71, 89), (283, 70, 89)}
    for part in parts:
        ages = part.train.arrays()["features"][:, 0]
        assert part.spec.columns[0].mean == pytest.approx(ages.mean(), rel=1e-5) and part.spec.columns[0].unit == "years"
        np.testing.assert_array_equal(part.test.arrays()["target"], diabetes().test.arrays()["target"])
    assert len({tuple(column.mean for column in part.spec.columns) for part in parts}) == 5


def test_folds_are_of_classes_and_tables(tmp_path):
    with pytest.raises(ValueError, match="folds are of classes and tables. Received: .*, of identities or captions"):
        fold(partial(pedestrians, identities=20, height=32), 1)
    with pytest.raises(ValueError, match="the number of a fold is from 1 to 5. Received: 6"):
        fold(diabetes, 6)
    with pytest.raises(ValueError, match="k must be at least 2. Received: k=1"):
        kfold(RIDGE, 1, tmp_path)


def test_the_recipe_of_a_fold_survives_json():
    recipe = folded(list_recipes()["cifar10-resnet20"], 2, 5)
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again.name == "cifar10-resnet20-fold2" and again.to_json() == recipe.to_json()
    assert again.data.keywords["number"] == 2 and again.data.keywords["data"].keywords == {"valid": 1000}


# --- the trainings ---


def test_what_is_finished_is_not_trained_again(in_process, tmp_path):
    first = kfold(RIDGE, 3, tmp_path)
    assert in_process == [f"diabetes-ridge-fold{n}" for n in (1, 2, 3)]
    (first.folder / "diabetes-ridge-fold2" / "model.keras").unlink()  # as if killed before its end
    in_process.clear()
    said: list[str] = []
    assert kfold(RIDGE, 3, tmp_path, say=said.append).scores == first.scores
    assert in_process == ["diabetes-ridge-fold2"]
    assert said[0].endswith("diabetes-ridge-fold1 is finished") and "training" in said[1]
    in_process.clear()
    other = dataclasses.replace(RIDGE, task=dataclasses.replace(RIDGE.task, ridge=1000.0))
    with pytest.raises(ValueError, match="the folds of a folder have one recipe .--overwrite trains anew.. Received: another task in"):
        kfold(other, 3, tmp_path)
    assert in_process == [] and kfold(other, 3, tmp_path, overwrite=True).scores != first.scores


def test_folds_csv_and_the_table_have_each_fold_and_mean_and_spread(in_process, tmp_path):
    done = kfold(RIDGE, 4, tmp_path)
    with (done.folder / "folds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["fold"] for row in rows] == list("1234") and list(rows[0]) == ["fold", "MAE", "RMSE", "R2", "coverage", "minutes"]
    assert [float(row["R2"]) for row in rows] == done.column("R2").tolist()
    assert 0.3 < done.column("R2").mean() < 0.6 and len(set(done.column("R2"))) == 4


def test_the_table_by_hand():
    done = Folds(RIDGE, [{"R2": 0.5, "RMSE": 1200.0}, {"R2": 0.7, "RMSE": 1000.0}], [0.5, 0.25])  # pyright: ignore[reportArgumentType]
    assert table(done).splitlines() == [
        "fold      R2     RMSE      minutes",
        "1     0.5000  1,200.0         0.50",
        "2     0.7000  1,000.0         0.25",
        "mean  0.6000  1,100.0  0.75 in all",
        "std   0.1414    141.4",
    ]


def test_folds_in_fresh_processes_from_the_command_line(tmp_path, capfd):
    file = tmp_path / "my_folds.py"
    file.write_text(
        "from dataclasses import replace\nfrom kerasdl.recipes.tables import DIABETES_RIDGE\nfrom kerasdl.models import linear_regression\n"
        "def mine(image_shape):\n    return linear_regression(image_shape)\n"
        "MINE = replace(DIABETES_RIDGE, name='mine', model=mine)\n"
    )
    assert main(["kfold", f"{file}:MINE", "-k", "2", "--quiet", "--run-dir", str(tmp_path / "runs")]) == 0
    out = capfd.readouterr().out
    assert "fold 2 of 2: training" in out and "\nmean  " in out and "the test split was not touched" in out
    folder = tmp_path / "runs" / "mine-2fold"
    assert sorted(path.name for path in folder.iterdir()) == ["folds.csv", "mine-fold1", "mine-fold2"]
    here = train(folded(find_recipe(f"{file}:MINE"), 1, 2), tmp_path / "here", verbose=0)
    there = json.loads((folder / "mine-fold1" / "metrics.json").read_text())["valid"]
    assert json.loads((here / "metrics.json").read_text())["valid"] == pytest.approx(there, rel=1e-6)


def test_a_fold_that_fails_says_why(tmp_path, capfd):
    broken = dataclasses.replace(RIDGE, batch_size=100_000)
    with pytest.raises(ValueError, match="every fold must train to its end. Received: diabetes-ridge-fold1, which ended with code 1"):
        kfold(broken, 2, tmp_path)
    assert "kerasdl: batch_size must not exceed the training examples" in capfd.readouterr().err
