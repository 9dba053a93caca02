"""The verbs on runs of tables: `kerasdl predict` of a CSV file, `evaluate --report`, `show`, and `compare` of runs without epochs."""

import csv
import dataclasses
import json
import re
from functools import partial

import numpy as np
import pytest
from PIL import Image

from kerasdl import table_predictions
from kerasdl.cli import main, open_run
from kerasdl.data.table_spec import TableSpec
from kerasdl.data.tables import table
from kerasdl.recipe import find_recipe
from kerasdl.tasks import keras_predictor
from kerasdl.train import train

HEADER = "town,age [years],note\n"
TITLES = ["price [kEUR]", "price low [kEUR]", "price high [kEUR]"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The run `houses`, prices that town and age explain; and what `heavy` and `both` say of themselves, a worse one and two targets."""
    folder = tmp_path_factory.mktemp("tables")
    random, town = np.random.default_rng(0), np.tile([0, 1], 30)
    age = random.uniform(0, 50, 60)
    price = 100 + 40 * town - age + random.normal(0, 5, 60)
    with (folder / "houses.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["town", "age [years]", "price [kEUR]"])
        writer.writerows(zip(np.array(["Pisa", "Ulm"])[town], age, price, strict=True))
    data = partial(table, str(folder / "houses.csv"), targets="price", choices="town")
    houses = train(dataclasses.replace(find_recipe("diabetes-ridge"), name="houses", data=data), folder / "runs", verbose=0)
    facts = json.loads((houses / "metrics.json").read_text(encoding="utf-8"))
    worse = {**facts["valid"], "R2": facts["valid_intervals"]["R2"][0]}
    two = {f"{score} {name}": value for score, value in facts["valid"].items() for name in ("price", "rent")}
    for name, told in (("heavy", {"valid": worse}), ("both", {"valid": two, "valid_intervals": {}})):
        told_by(houses, folder / "runs" / name, {**facts, **told})
    return folder / "runs"


def told_by(run, folder, facts):
    """A run folder without its model."""
    folder.mkdir()
    for part in ("recipe", "data"):
        (folder / f"{part}.json").write_bytes((run / f"{part}.json").read_bytes())
    (folder / "metrics.json").write_text(json.dumps(facts), encoding="utf-8")


def told(words, capsys, code=0):
    assert main(words) == code
    return capsys.readouterr()


def answers(runs, features):
    recipe, spec, model = open_run("houses", str(runs))
    found = keras_predictor(recipe.task, model, spec)({"features": np.array(features, np.float32)})
    return np.concatenate([np.asarray(found["value"])[:, :, None], np.asarray(found["interval"])], axis=2)[:, 0]


def test_rows_get_a_value_an_interval_or_a_problem(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(table_predictions, "BATCH", 2)
    (tmp_path / "asked.csv").write_text(HEADER + "Ulm,20,a\nPisa,old,b\nPisa,30,c\nUlm,1000,d\n", encoding="utf-8")
    words = ["predict", "houses", str(tmp_path / "asked.csv"), "--run-dir", str(runs)]
    printed = told(words, capsys)
    wanted = answers(runs, [[0, 1, 20], [1, 0, 30], [0, 1, 1000]])
    (value, low, high), *_ = wanted
    first, third, fourth = printed.out.splitlines()
    assert first == f"row 1 price {value:.6g} kEUR ({low:.6g} .. {high:.6g})" and third.startswith("row 3 price ")
    assert fourth.endswith("(outside the training rows: age)")
    assert "not used: the columns note\n" in printed.err
    assert "skipped: row 2 (line 3): the column age must hold a number. Received: 'old'" in printed.err

    printed = told([*words, "--csv", str(tmp_path / "answers.csv")], capsys)
    assert "answers.csv: 3 rows predicted, 1 not readable" in printed.out
    with (tmp_path / "answers.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["row", *TITLES, "outside", "problem"]
    good = [row for row in rows if not row["problem"]]
    np.testing.assert_array_equal(np.array([[row[title] for title in TITLES] for row in good], np.float32), wanted)
    assert [row["row"] for row in rows] == ["1", "2", "3", "4"] and [row["outside"] for row in rows] == ["", "", "", "age"]
    assert rows[1]["price [kEUR]"] == "" and "line 3" in rows[1]["problem"]


@pytest.mark.parametrize(
    ("text", "more", "sentence"),
    [
        ("town,years\nUlm,3\n", [], "asked.csv has no column of that name. Received: 'age'"),
        ("town,age [months]\nUlm,3\n", [], "the column age is in years"),
        (HEADER + "Ulm,?,\nRome,1,\n", [], "none of the 2 rows is readable"),
        (HEADER + "Ulm,1,\n", ["--top", "2"], "--top is of labels. Received: --top 2 with houses, of regression"),
        (None, [], "no such picture or folder, nor a table. Received"),
    ],
)
def test_wrong_files_get_a_sentence(text, more, sentence, runs, tmp_path, capsys):
    if text is not None:
        (tmp_path / "asked.csv").write_text(text, encoding="utf-8")
    printed = told(["predict", "houses", str(tmp_path / "asked.csv"), "--run-dir", str(runs), *more], capsys, code=1)
    assert sentence in printed.err and "Traceback" not in printed.err


def test_a_report_draws_the_fit(runs, tmp_path, capsys):
    path = tmp_path / "fit.png"
    printed = told(["evaluate", "houses", "--split", "test", "--report", str(path), "--run-dir", str(runs)], capsys)
    assert f"wrote {path}" in printed.out and "R2 " in printed.out and "test split, n = 12" in printed.out
    with Image.open(path) as opened:
        assert len(opened.convert("RGB").getcolors(100_000) or []) > 20
    printed = told(["show", "houses", "--explain", str(path), "--run-dir", str(runs)], capsys, code=1)
    assert "explain" in printed.err and "Traceback" not in printed.err


def test_runs_without_epochs_are_compared_by_their_scores(runs, tmp_path, capsys):
    words = ["compare", "houses", "heavy", "--run-dir", str(runs), "--out", str(tmp_path / "both.png")]
    out = told(words, capsys).out
    facts = json.loads((runs / "houses" / "metrics.json").read_text(encoding="utf-8"))
    first, (low, high) = facts["valid"]["R2"], facts["valid_intervals"]["R2"]
    assert 0.5 < low < first < high < 1
    assert f"{first:.4f} ({low:.4f} .. {high:.4f})" in out
    assert f"houses is {100 * (first - low):.2f} points of R2 above heavy, but their" in out
    assert re.search(r"epochs +solved in closed form +solved in closed form", out) and "validation RMSE" in out and "accuracy" not in out
    assert "No picture" in out and not (tmp_path / "both.png").exists()


def test_a_run_with_epochs_beside_one_without_is_drawn_alone(runs, tmp_path, capsys):
    told_by(runs / "houses", tmp_path / "late", json.loads((runs / "houses" / "metrics.json").read_text(encoding="utf-8")))
    (tmp_path / "late" / "history.csv").write_text("epoch,loss,val_loss,seconds\n1,0.5,0.6,2\n2,0.4,0.5,2\n", encoding="utf-8")
    path = tmp_path / "both.png"
    out = told(["compare", "houses", str(tmp_path / "late"), "--run-dir", str(runs), "--out", str(path)], capsys).out
    assert f"{path}: validation loss over epochs and minutes; without houses, solved in closed form" in out
    assert "houses and late are equal on 10 validation rows." in out
    with Image.open(path) as opened:
        assert opened.width > 2 * opened.height  # one row of axes: there is no accuracy


def test_of_several_targets_no_run_is_called_the_better(runs, capsys):
    out = told(["compare", "both", "houses", "--run-dir", str(runs), "--out", "unused.png"], capsys).out
    assert "validation R2 rent" in out and "Each target has scores of its own" in out


def test_units_and_choices_are_in_the_spec_of_a_run(runs):
    spec = TableSpec.from_json(runs / "houses" / "spec.json")
    assert [column.title for column in spec.columns] == ["town=Pisa", "town=Ulm", "age [years]"] and spec.labels == ("price",)
