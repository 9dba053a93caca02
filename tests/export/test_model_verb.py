"""python -m export model: random weights in one file with its card, never where bundles are, and nothing half-written."""

import json
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest

from export import models, zoo
from export.__main__ import main
from export.card import digest_of_file
from export.verbs import model


def test_a_registered_model_becomes_a_file_and_its_card(tmp_path, capsys):
    out = tmp_path / "budgets"
    assert main(["model", "lenet5", "--out", str(out), "--classes", "3", "--opset", "18"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["lenet5.json", "lenet5.onnx"]
    card = json.loads((out / "lenet5.json").read_text(encoding="utf-8"))
    assert card["kind"] == "random weights: for size, operator counts and latency only"
    # 5x5x6+6, 5x5x6x16+16, 400x120+120, 120x84+84 and, for three classes, 84x3+3
    assert card["parameters"] == 156 + 2416 + 48120 + 10164 + 255
    assert card["multiply_adds"] is None and card["opset"] == 18  # the table's are those of ten classes
    assert card["values"]["image"] == {"dtype": "uint8", "shape": ["batch", 32, 32, 1]}
    assert card["values"]["logits"] == {"dtype": "float32", "shape": ["batch", 3]}
    assert card["operators"]["Conv"] == 2 and card["nodes"] == sum(card["operators"].values())
    assert card["bytes"] == (out / "lenet5.onnx").stat().st_size and card["sha256"] == digest_of_file(out / "lenet5.onnx")
    assert 0 < card["parity"]["relative_error"] <= card["parity"]["tolerance"]
    told = {entry.key: entry.value for entry in onnx.load(out / "lenet5.onnx").metadata_props}
    assert told["kerasdl.kind"] == card["kind"]
    session = onnxruntime.InferenceSession(str(out / "lenet5.onnx"), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": np.zeros((2, 32, 32, 1), np.uint8)})
    assert np.asarray(logits).shape == (2, 3)
    assert capsys.readouterr().out.startswith("lenet5: 61,111 parameters, ")


def test_the_published_size_has_its_multiply_adds_and_the_same_weights_each_time(tmp_path):
    first, _ = (models.export_model("softmax_regression", tmp_path / name) for name in ("one", "two"))
    assert first["multiply_adds"] == 7840
    one, two = (onnx.load(tmp_path / name / "softmax_regression.onnx").graph.initializer for name in ("one", "two"))
    assert [held.raw_data for held in one] == [held.raw_data for held in two]


@pytest.mark.parametrize("place", ["saved_models", "saved_models/deeper", "bundles", "bundles/mine"])
def test_random_weights_are_kept_away_from_bundles(tmp_path, capsys, place):
    bundle = tmp_path / "bundles" / "mine"
    bundle.mkdir(parents=True)
    (bundle / "card.json").write_text("{}", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    assert main(["model", "lenet5", "--out", str(tmp_path / place)]) == 1
    assert "random weights are kept away from bundles: the folder must be another one. Received: " in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unknown_name_suggests_the_nearest_before_anything_is_made(tmp_path, capsys):
    assert main(["model", "mlp", "lenet6", "--out", str(tmp_path / "new")]) == 1
    assert capsys.readouterr().err == "export: mlp, lenet6: unknown model. Received: 'lenet6'. Did you mean 'lenet5'?\n"
    assert not (tmp_path / "new").exists()


def test_what_is_too_large_or_not_the_same_leaves_nothing(tmp_path, capsys, monkeypatch):
    words = ["--out", str(tmp_path / "new")]
    assert main(["model", "vit_h14", *words]) == 1
    assert "written to one file, of at most 2 GB. Received: 632,045,800 parameters" in capsys.readouterr().err
    assert main(["model", "mlp", *words, "--opset", "3"]) == 1
    assert "opset must be 17 to" in capsys.readouterr().err
    monkeypatch.setattr(zoo, "compare", lambda served, opset, seed: (None, 0.5))
    assert main(["model", "mlp", *words]) == 1
    assert "onnxruntime must be within 0.0001 of Keras. Received: 0.5" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_write_that_breaks_off_leaves_what_was_there(tmp_path):
    (tmp_path / "mlp.onnx").write_bytes(b"old")
    with pytest.raises(OSError, match="disk"), models.staged(tmp_path, "mlp") as (onnx_path, _):
        onnx_path.write_bytes(b"half")
        raise OSError("the disk is full")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("mlp.onnx", b"old")]


@pytest.mark.parametrize("shape", ["224,224", "a,b,c", "0,1,1"])
def test_a_shape_that_is_none_is_told(tmp_path, capsys, shape):
    with pytest.raises(SystemExit) as stopped:
        main(["model", "lenet5", "--out", str(tmp_path), "--image-shape", shape])
    assert stopped.value.code == 2 and "as 224,224,3. Received: " in capsys.readouterr().err


def test_several_models_have_a_process_each(tmp_path, monkeypatch, capsys):
    commands = []

    def run(command):
        commands.append(command[3:])
        return SimpleNamespace(returncode=int("mlp" in command))

    monkeypatch.setattr(model.subprocess, "run", run)
    out = str(tmp_path / "lenet5")  # a folder may be called as a model is
    assert main(["model", "mlp", "lenet5", "--out", out, "--image-shape", "8,8,1", "--classes", "2", "--quiet"]) == 1
    same = ["--out", out, "--opset", "17", "--quiet", "--classes", "2", "--image-shape", "8,8,1"]
    assert commands == [["model", "mlp", *same], ["model", "lenet5", *same]]
    assert capsys.readouterr().err == "export: 1 of 2 models failed: mlp\n"
