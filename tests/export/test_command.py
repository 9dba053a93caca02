"""python -m export: what it exports, what it says, and how it fails."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from export.__main__ import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One run of the digits recipe, a single epoch long."""
    from kerasdl import find_recipe
    from kerasdl.train import train

    folder = tmp_path_factory.mktemp("runs")
    train(dataclasses.replace(find_recipe("digits-lenet5"), epochs=1), folder, verbose=0)
    return folder


def test_help_says_how_and_is_quick():
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", "export", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    for word in ("--run-dir", "--out", "--all", "verify", "--quiet", "CUDA_VISIBLE_DEVICES"):
        assert word in done.stdout
    assert "tensorflow" not in done.stderr and "numpy" not in done.stderr


def test_a_run_becomes_a_bundle_and_a_table(runs, tmp_path, capsys):
    out = tmp_path / "saved_models"
    assert main(["digits-lenet5", "--run-dir", str(runs), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    for line in ("converting to ONNX", "comparing onnxruntime with Keras on 256 examples", "checking the bundle with apps.runtime"):
        assert line in told
    for words in ("test accuracy", "n = 360, 95 % interval", "saved_model = Keras", "at batch 7", "latency onnxruntime", "size"):
        assert words in told
    card = json.loads((out / "digits-lenet5" / "card.json").read_text(encoding="utf-8"))
    metrics = json.loads((runs / "digits-lenet5" / "metrics.json").read_text(encoding="utf-8"))
    assert card["recipe"] == json.loads((runs / "digits-lenet5" / "recipe.json").read_text(encoding="utf-8"))
    assert card["source"]["seed"] == metrics["seed"] and card["source"]["training_minutes"] == metrics["train_minutes"]
    assert card["source"]["device"] == metrics["device"] and card["source"]["command"] == metrics["command"]
    assert card["sizes"]["keras"] == (runs / "digits-lenet5" / "model.keras").stat().st_size


def test_another_operator_set_passes_the_same_gates(runs, tmp_path, capsys):
    words = ["digits-lenet5", "--run-dir", str(runs), "--quiet", "--out"]
    assert main([*words, str(tmp_path / "out"), "--opset", "20"]) == 0
    card = json.loads((tmp_path / "out" / "digits-lenet5" / "card.json").read_text(encoding="utf-8"))
    assert card["graphs"]["model.onnx"]["opset"] == 20
    assert all(row["max_error"] <= row["tolerance"] and row["decisions_equal"] for row in card["parity"])
    assert main([*words, str(tmp_path / "none"), "--opset", "27"]) == 1
    assert capsys.readouterr().err == "export: digits-lenet5: opset must be 17 to 26. Received: 27\n"
    assert not (tmp_path / "none").exists()


def test_a_whole_loop_of_what_makes_no_sentences_is_refused(runs, tmp_path, capsys):
    words = ["digits-lenet5", "--run-dir", str(runs), "--quiet", "--out", str(tmp_path / "none"), "--whole-loop"]
    assert main(words) == 1
    assert capsys.readouterr().err == "export: digits-lenet5: --whole-loop is of captioners. Received: a run of classification\n"
    assert not (tmp_path / "none").exists()


def test_all_exports_every_run_in_its_own_process_and_names_what_failed(runs, tmp_path):
    both = Path(shutil.copytree(runs, tmp_path / "runs"))
    shutil.copytree(both / "digits-lenet5", both / "broken")
    (both / "broken" / "metrics.json").unlink()
    (both / "unfinished").mkdir()
    out = tmp_path / "out"
    command = [sys.executable, "-m", "export", "--all", "--run-dir", str(both), "--out", str(out), "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and done.stdout == ""
    assert [path.name for path in out.iterdir()] == ["digits-lenet5"]
    first, last = done.stderr.splitlines()
    assert first.startswith("export: a run must have been trained to its end. Received: ")
    assert last == "export: 1 of 2 exports failed: broken"


def test_an_unknown_run_suggests_the_nearest(runs, tmp_path, capsys):
    assert main(["digits-lenet", "--run-dir", str(runs), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == (
        f"export: there must be a run {runs / 'digits-lenet'}. Did you mean 'digits-lenet5'? Train it with: kerasdl train digits-lenet\n"
    )
    assert not (tmp_path / "out").exists()


def test_an_unfinished_run_and_an_empty_folder_are_told(tmp_path, capsys):
    (tmp_path / "half").mkdir()
    assert main(["half", "--run-dir", str(tmp_path)]) == 1
    assert "trained to its end. Received:" in capsys.readouterr().err
    assert main(["--all", "--run-dir", str(tmp_path)]) == 1
    assert "there must be a run to export" in capsys.readouterr().err
    assert main(["verify", "--out", str(tmp_path)]) == 1
    assert "there must be a bundle to verify" in capsys.readouterr().err


def test_an_unknown_bundle_suggests_the_nearest(bundle, capsys):
    assert main(["verify", "digits-tin", "--out", str(bundle.parent)]) == 1
    assert "Did you mean 'digits-tiny'?" in capsys.readouterr().err


def test_data_that_changed_since_the_training_is_refused(runs, tmp_path, capsys):
    changed = Path(shutil.copytree(runs, tmp_path / "runs")) / "digits-lenet5" / "spec.json"
    spec = json.loads(changed.read_text(encoding="utf-8"))
    changed.write_text(json.dumps({**spec, "labels": spec["labels"][::-1]}), encoding="utf-8")
    assert main(["digits-lenet5", "--run-dir", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--quiet"]) == 1
    assert "the data must be what the run was trained on" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_broken_model_file_is_told_in_a_sentence(runs, tmp_path, capsys):
    broken = Path(shutil.copytree(runs, tmp_path / "runs")) / "digits-lenet5" / "model.keras"
    broken.write_bytes(b"no model")
    assert main(["digits-lenet5", "--run-dir", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--quiet"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("export: digits-lenet5: ") and told.count("\n") == 1


def test_a_name_or_all_must_be_given(capsys):
    with pytest.raises(SystemExit):
        main([])
    assert "give the name of a run, or --all" in capsys.readouterr().err
