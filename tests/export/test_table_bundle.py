"""The bundle of a regression: a run of two targets and a column of words, from a small table of one's own."""

import csv
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest

from export import ExportRefused, export_run, tables, verify_bundle
from export.__main__ import summary
from export.bundle import export_recipe_run, real_samples
from export.card import digest_of_file, fingerprint
from kerasdl.data.tables import table
from kerasdl.models import load_model
from kerasdl.recipe import Recipe, find_recipe
from kerasdl.tasks import Regression
from kerasdl.train import train

ROWS, TASK = 60, Regression(ridge=1.0)
TITLES = ["age [years]", "income, gross [kEUR]", "town", "price [kEUR]", "year"]


def houses(path: Path) -> Path:
    """60 rows: years spread by 11 about 1990, which float32 steps through by 1e-4."""
    random = np.random.default_rng(0)
    age, income, town = random.uniform(20, 80, ROWS), random.uniform(10, 90, ROWS), random.integers(3, size=ROWS)
    price = 3 * income + 50 * town + random.normal(0, 10, ROWS)
    year = 1990 + 11 * random.normal(size=ROWS).round(2)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(TITLES)
        writer.writerows(zip(age, income, np.array(["Modena", "Pisa", "Ulm"])[town], price, year, strict=True))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    told = {"name": "houses", "synthetic": True}
    data = partial(table, str(houses(folder / "houses.csv")), targets="price,year", choices="town", card=told)
    return train(dataclasses.replace(find_recipe("diabetes-ridge"), name="houses-ridge", data=data), folder / "runs", verbose=0)


@pytest.fixture(scope="module")
def splits(run) -> Any:
    return Recipe.from_json(run / "recipe.json").data()


@pytest.fixture(scope="module")
def model(run) -> keras.Model:
    return load_model(run / "model.keras")


@pytest.fixture(scope="module")
def bundle(run, tmp_path_factory) -> Path:
    return export_recipe_run(run.name, run.parent, tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def card(bundle) -> dict[str, Any]:
    return read(bundle)


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "card.json").read_text(encoding="utf-8"))


def test_the_card_tells_columns_targets_and_interval(card, splits):
    names = ["age", "income, gross", "town=Modena", "town=Pisa", "town=Ulm"]
    (entry,) = card["graphs"]["model.onnx"]["inputs"]
    assert entry == {"name": "features", "dtype": "float32", "shape": ["batch", 5], "columns": names}
    outputs = card["graphs"]["model.onnx"]["outputs"]
    assert [(o["name"], o["shape"]) for o in outputs] == [("value", ["batch", 2]), ("interval", ["batch", 2, 2])]
    assert card["labels"] == ["price", "year"] and card["task"] == "regression"
    section = card["table"]
    assert section["columns"] == [dataclasses.asdict(column) for column in splits.spec.columns]
    assert section["targets"] == [dataclasses.asdict(column) for column in splits.spec.targets]
    assert [column["choice"] for column in section["columns"]] == ["", "", "town", "town", "town"]
    assert section["interval"] == {"level": 0.95, "measured_on": "valid"}
    assert card["recipe"]["name"] == card["name"] == "houses-ridge"


def test_the_onnx_file_tells_its_columns_too(bundle, card):
    props = {entry.key: entry.value for entry in onnx.load(bundle / "model.onnx").metadata_props}
    told = json.loads(props["kerasdl.table"])
    assert told == {"columns": card["table"]["columns"], "targets": card["table"]["targets"]}
    assert json.loads(props["kerasdl.labels"]) == ["price", "year"]


def test_the_scores_are_those_of_the_test_split_with_intervals(card, model, splits):
    predict = TASK.predictor({"model": TASK.serving(model, splits.spec)["model"].predict_on_batch}, splits.spec)
    wanted = TASK.evaluate(predict, splits, "test")
    assert set(card["metrics"]) == {f"{score} {name}" for score in ("MAE", "RMSE", "R2", "coverage") for name in ("price", "year")}
    for name, metric in card["metrics"].items():
        assert metric["value"] == pytest.approx(wanted[name], rel=1e-4) and metric["n"] == 12
        low, high = metric["interval"]
        assert low <= metric["value"] + 1e-4 and metric["value"] <= high + 1e-4


def test_parity_is_counted_in_standard_deviations_of_each_target(card, splits):
    year = splits.spec.targets[1]
    for row in card["parity"]:
        assert row["unit"] == "standard deviations of the target" and row["samples"] == 256
        assert row["max_error"] <= row["tolerance"]
        assert row["tolerance"] == pytest.approx(2 * 2.0**-13 / year.std, rel=0.05)  # 1024..2048 in float32: steps of 2^-13


def test_a_small_table_is_filled_by_mixed_rows_that_keep_its_words_whole(card, splits):
    assert card["table"]["parity_rows"] == {"data": ROWS, "mixed": 256 - ROWS}
    rows = {"features": splits.test.arrays()["features"]}
    feeds, counts = tables.filled(rows, splits.spec)
    np.testing.assert_array_equal(feeds["features"][:12], rows["features"])
    assert counts == {"data": 12, "mixed": 244} and feeds["features"].shape == (256, 5)
    np.testing.assert_array_equal(feeds["features"][:, 2:].sum(1), 1.0)
    for column in range(5):
        assert set(feeds["features"][:, column]) <= set(rows["features"][:, column])


def test_examples_are_rows_of_the_test_split_to_the_last_bit(bundle, splits):
    with (bundle / "examples" / "rows.csv").open(newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    assert names == ["age", "income, gross", "town=Modena", "town=Pisa", "town=Ulm", "price", "year"]
    part = splits.test.arrays()
    wanted = np.concatenate([part["features"], part["target"]], axis=1)
    assert sorted(map(tuple, np.array(rows, np.float32).tolist())) == sorted(map(tuple, wanted.tolist()))
    assert np.array(rows, np.float32).tolist() != wanted.tolist()  # in an order of their own


def test_the_python_client_runs_on_numpy_and_onnxruntime_alone(bundle, model, splits):
    text = (bundle / "README.md").read_text(encoding="utf-8")
    (client,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert set(re.findall(r"^(?:import|from) (\w+)", client, re.MULTILINE)) == {"csv", "json", "numpy", "onnxruntime"}
    done = subprocess.run([sys.executable, "-W", "error", "-I", "-c", client], cwd=bundle, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    first, *others = done.stdout.splitlines()
    with (bundle / "examples" / "rows.csv").open(newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    features = np.array([[float(row[column.name]) for column in splits.spec.columns]], np.float32)
    answer = TASK.serving(model, splits.spec)["model"].predict_on_batch({"features": features})
    low, high = np.asarray(answer["interval"])[0, 0]
    found = re.fullmatch(r"price (\S+), between (\S+) and (\S+); it was (\S+)", first)
    assert found, first
    assert [float(number) for number in found.groups()[:3]] == pytest.approx(
        [float(np.asarray(answer["value"])[0, 0]), low, high], rel=1e-5
    )
    assert found[4] == row["price"] and len(others) == 6
    assert float(others[-1].removeprefix("difference to Keras ")) <= 1e-3


def test_the_readme_names_units_ranges_limits_and_how_parity_was_measured(bundle, card):
    text = (bundle / "README.md").read_text(encoding="utf-8")
    age = card["table"]["columns"][0]
    assert f"| 1 | age | years | {age['low']:.6g} | {age['high']:.6g} | {age['mean']:.6g} | {age['std']:.6g} |" in text
    assert "Of the columns `town=...` one is 1, the others are 0." in text and "![predicted against true" in text
    assert f"on {ROWS} rows of the data and {256 - ROWS} more that mix the columns of these, in standard deviations" in text
    assert "price and year with a 95 % interval" in text and "it extrapolates" in text and "says nothing about real data" not in text
    assert "the figures say nothing about real data" in text
    assert "standard deviations of the target, 256 samples at batch 7" in summary(card)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda card: card.pop("table"), "a regression must have a section table"),
        (lambda card: card["table"].pop("interval"), "no usable interval"),
        (lambda card: card["table"].update(columns={}), "no usable columns"),
        (lambda card: card["table"]["columns"][0].pop("unit"), "a column has name, unit"),
        (lambda card: card["table"]["targets"][0].update(std=0.0), "std above 0"),
        (lambda card: card["table"]["columns"][0].update(low=1e9), "in this order"),
        (lambda card: card["table"]["columns"][0].update(name="height"), "must be those of the graph and of the labels"),
        (lambda card: card["table"]["targets"][0].update(name="cost"), "must be those of the graph and of the labels"),
        (lambda card: card["table"]["columns"][0].update(choice="town"), "the columns of a choice must stand together"),
        (lambda card: card["table"]["interval"].update(level=95), "a level between 0 and 1"),
        (lambda card: card["table"]["interval"].update(measured_on="test"), "measured_on as one of valid, train"),
        (lambda card: card["table"]["parity_rows"].update(data=256), "must be those of the parity"),
        (lambda card: card["table"]["columns"][0].update(mean=50.0), "another kerasdl.table"),
    ],
)
def test_a_section_that_was_spoilt_is_found(edit, sentence, bundle, tmp_path):
    folder = copy(bundle, tmp_path)
    rewrite(folder, edit)
    with pytest.raises(ExportRefused, match=sentence):
        verify_bundle(folder)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n1,2\n", "must have the columns of the card"),
        ("{header}\n", "must have the columns of the card and up to 24 rows. Received: 0"),
        ("{header}\n1,2,0,0,1,x,3\n", "must hold numbers"),
        ("{header}\n1,2,0,0,1,5,3\n1,2,0,0,1,nan,3\n", "must hold finite numbers. Received: another in row 2"),
    ],
)
def test_rows_that_were_spoilt_are_found(text, sentence, bundle, tmp_path):
    folder = copy(bundle, tmp_path)
    rows = folder / "examples" / "rows.csv"
    rows.write_text(text.format(header=rows.read_text(encoding="utf-8").splitlines()[0]), encoding="utf-8")
    rewrite(folder, lambda card: None)
    with pytest.raises(ExportRefused, match=sentence):
        verify_bundle(folder)


def test_differences_are_each_in_the_measure_of_their_target():
    difference = tables.difference_of([{"std": 2.0}, {"std": 0.5}])
    value = np.zeros((3, 2), np.float32)
    assert difference(value, value + np.array([1, 0], np.float32)) == 0.5
    assert difference(value, value + np.array([0, 1], np.float32)) == 2.0
    interval = np.zeros((3, 2, 2), np.float32)
    assert difference(interval, interval + np.array([[0, 0], [0, 0.25]], np.float32)) == 0.5
    assert difference(value, value[:, :1]) == np.inf and difference(value, value + np.nan) == np.inf


def test_the_tolerance_is_never_coarser_than_a_thousandth():
    def facts(**changes):
        return {"low": 0.0, "high": 1.0, "std": 1.0, **changes}

    assert tables.tolerance(1e-5, [facts()]) == 1e-5
    assert tables.tolerance(1e-5, [facts(), facts(low=-2048.0, std=10.0)]) == pytest.approx(2 * 2.0**-12 / 10, rel=0.05)
    assert tables.tolerance(1e-5, [facts(high=1e9)]) == 1e-3


def test_what_cannot_be_a_regression_is_refused(model, splits, tmp_path):
    samples = real_samples(splits)
    given = {"spec": splits.spec, "name": "houses-ridge"}
    with pytest.raises(ExportRefused, match="features and target, as many of each. Received: 60 of features"):
        export_run(model, TASK, {"features": samples["features"]}, tmp_path, **given)
    with pytest.raises(ExportRefused, match="at least 2 rows to be scored on. Received: 1 in the test split"):
        export_run(model, TASK, {name: values[:1] for name, values in samples.items()}, tmp_path, **given)
    assert not list(tmp_path.iterdir())


def test_an_interval_that_nobody_measured_is_refused(splits):
    endless = {"value": np.zeros((3, 2), np.float32), "interval": np.full((3, 2, 2), np.inf, np.float32)}
    with pytest.raises(ExportRefused, match="the interval must be finite: task.after_training"):
        tables.measure(TASK, splits.spec, "onnxruntime", lambda feeds: endless, {"features": np.zeros((3, 5))}, endless)


def test_a_run_whose_table_has_changed_is_refused(run, tmp_path):
    folder = Path(shutil.copytree(run, tmp_path / run.name))
    spec = folder / "spec.json"
    spec.write_text(spec.read_text(encoding="utf-8").replace('"age"', '"height"'), encoding="utf-8")
    with pytest.raises(ExportRefused, match="the data must be what the run was trained on"):
        export_recipe_run(run.name, tmp_path, tmp_path / "bundles")


def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / bundle.name))


def rewrite(folder: Path, edit: Any) -> None:
    """Edits the card as a careful forger would: README's fingerprint and every sum are renewed."""
    found = read(folder)
    before = fingerprint(found)
    edit(found)
    readme = folder / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8").replace(before, fingerprint(found)), encoding="utf-8")
    found["files"] = {name: digest_of_file(folder / name) for name in found["files"]}
    (folder / "card.json").write_text(json.dumps(found), encoding="utf-8")
