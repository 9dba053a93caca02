"""`kerasdl compare`: the facts of run folders, finished or not, what differs, and whether the difference is more than chance."""

import csv
import json

import pytest
from PIL import Image

from kerasdl.cli import main
from kerasdl.compare import compare, read_run

RECIPE = {
    "name": "x",
    "note": "words",
    "model": ["kerasdl.models.lenet:lenet5", {"activation": "tanh"}],
    "augment": [["kerasdl.data.augment:pad_crop", {"pad": 2}]],
    "schedule": ["kerasdl.schedules:one_cycle", {"peak": 0.1}],
    "epochs": 3,
    "seed": 0,
    "ema": None,
}


def make_run(folder, accuracies, finished=True, data="a set", valid=1000, **changes):
    folder.mkdir(parents=True)
    rows = [{"epoch": i + 1, "loss": 1.0, "val_loss": 1.1, "val_accuracy": a, "seconds": 30.0} for i, a in enumerate(accuracies)]
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "recipe.json").write_text(json.dumps({**RECIPE, "name": folder.name, **changes}))
    (folder / "data.json").write_text(json.dumps({"name": data, "counts": {"train": 6000, "valid": valid}}))
    if finished:
        facts = {
            "valid": {"accuracy": accuracies[-1]},
            "train_minutes": 1.25,
            "device": "CPU: a",
            "seed": 0,
            "commit": "0123456789",
            "dirty": True,
        }
        (folder / "metrics.json").write_text(json.dumps(facts))


def lines(text):
    """The table's and the differences' rows by their first word."""
    return {row[0]: row[1:] for row in ([c.strip() for c in line.split("  ") if c.strip()] for line in text.splitlines()) if row}


def test_the_table_holds_the_facts_and_the_intervals(tmp_path):
    make_run(tmp_path / "a", [0.5, 0.95, 0.9])
    make_run(tmp_path / "b", [0.5, 0.8], finished=False)
    table = lines(compare(["a", "b"], tmp_path))
    assert table["run"] == ["a", "b"] and table["data"] == ["a set", "a set"] and table["model"] == ["lenet5", "lenet5"]
    assert table["epochs"] == ["3", "2 of 3, not finished"]
    assert table["validation accuracy"] == ["0.9000", "0.8000"] and table["of the best epoch"] == ["0.9500", "0.8000"]
    # Wilson for 900 of 1000: (0.9 + 0.00192073 -+ 1.959964 sqrt(0.00009 + 9.6e-7)) / 1.00384146
    assert table["95 % interval"][0] == "0.8798 .. 0.9171"
    assert table["minutes"] == ["1.2", "1.0"] and table["images/s"] == ["200", "200"]
    assert table["device"] == ["CPU: a", "-"] and table["commit"] == ["01234567 with changes", "-"]


def test_differences_go_down_to_the_arguments(tmp_path):
    make_run(tmp_path / "a", [0.5])
    other = {"schedule": ["kerasdl.schedules:one_cycle", {"peak": 0.2}], "epochs": 9, "augment": [], "note": "other words"}
    make_run(tmp_path / "b", [0.5], **other)
    recipe = json.loads((tmp_path / "a" / "recipe.json").read_text())
    del recipe["ema"]  # a field that an older version did not have
    (tmp_path / "a" / "recipe.json").write_text(json.dumps(recipe))
    text = compare(["a", "b"], tmp_path).split("\n\n")[1]
    found = lines(text)
    assert found == {
        "recipe": ["a", "b"],
        "epochs": ["3", "9"],
        "augment": ["pad_crop(pad=2)", "none"],
        "schedule.peak": ["0.1", "0.2"],
    }
    make_run(tmp_path / "c", [0.5])
    make_run(tmp_path / "d", [0.5])
    assert "Their recipes are the same." in compare(["c", "d"], tmp_path)


def test_the_verdict_is_honest_about_chance(tmp_path):
    for name, accuracy in (("low", 0.80), ("mid", 0.885), ("top", 0.900)):
        make_run(tmp_path / name, [accuracy])
    assert "top is 1.50 points above mid, but their 95 % intervals overlap" in compare(["low", "mid", "top"], tmp_path)
    assert "top is 10.00 points above low, and their 95 % intervals on 1,000" in compare(["low", "top"], tmp_path)
    make_run(tmp_path / "else", [0.9], data="another")
    assert "not to be compared" in compare(["low", "else"], tmp_path)
    make_run(tmp_path / "uncounted", [0.9], valid=0)
    assert "nothing can be said on chance" in compare(["low", "uncounted"], tmp_path)
    make_run(tmp_path / "same", [0.9])
    assert "top and same are equal" in compare(["top", "same"], tmp_path)


def test_the_score_of_the_saved_model_counts_not_that_of_the_last_epoch(tmp_path):
    make_run(tmp_path / "ema", [0.5, 0.6])
    (tmp_path / "ema" / "metrics.json").write_text(json.dumps({"valid": {"accuracy": 0.7}}))
    assert read_run(tmp_path / "ema").accuracy == 0.7


def test_paths_and_names_mix_and_equal_names_keep_their_paths(tmp_path):
    make_run(tmp_path / "one" / "a", [0.5])
    make_run(tmp_path / "two" / "a", [0.6])
    text = compare(["a", str(tmp_path / "two" / "a")], tmp_path / "one")
    assert lines(text)["run"] == [str(tmp_path / "one" / "a"), str(tmp_path / "two" / "a")]


def test_missing_runs_and_runs_without_an_epoch_get_sentences(tmp_path):
    make_run(tmp_path / "digits", [0.5])
    with pytest.raises(ValueError, match="no such run in .* Received: 'digit'. Did you mean 'digits'"):
        compare(["digits", "digit"], tmp_path)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "recipe.json").write_text(json.dumps(RECIPE))
    with pytest.raises(ValueError, match="none of its epochs was finished"):
        compare(["digits", "begun"], tmp_path)
    with pytest.raises(ValueError, match="at least two runs. Received: digits"):
        compare(["digits"], tmp_path)


def test_the_command_prints_and_draws(tmp_path, capsys):
    make_run(tmp_path / "a", [0.5, 0.6, 0.7])
    make_run(tmp_path / "b", [0.4], finished=False)
    picture = tmp_path / "both.png"
    assert main(["compare", "a", "b", "--run-dir", str(tmp_path), "--out", str(picture)]) == 0
    assert "validation accuracy  0.7000" in capsys.readouterr().out
    with Image.open(picture) as opened:
        assert opened.width > 800 and len(opened.convert("RGB").getcolors(100_000) or []) > 20
    assert main(["compare", "a", "absent", "--run-dir", str(tmp_path)]) == 1
    assert "no such run" in capsys.readouterr().err
