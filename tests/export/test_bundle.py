"""A bundle of a really trained classifier: whole, true to Keras, and never half-written."""

import json
import os

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from export import ExportRefused, convert, export_run, pictures
from export import bundle as writing
from export import card as cards
from kerasdl.tasks import Classification


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_card(folder):
    return json.loads((folder / "card.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def card(bundle):
    return read_card(bundle)


def test_the_card_has_every_field_of_the_format(card):
    cards.check_card(card)
    assert list(card) == list(cards.FIELDS)
    assert card["format"] == "1.0" and card["name"] == "digits-tiny" and card["task"] == "classification"
    assert set(card["source"]) == {"commit", "dirty", "versions", "seed", "device", "training_minutes", "command"}
    assert {"keras", "tensorflow", "onnx", "tf2onnx", "python"} <= set(card["source"]["versions"])
    assert card["data"]["counts"] == {"train": 1293, "valid": 144, "test": 360} and card["data"]["synthetic"] is False
    assert card["labels"] == [str(digit) for digit in range(10)] and card["variants"] == {}


def test_the_card_tells_the_graphs_contract(card, bundle, splits):
    graph = card["graphs"]["model.onnx"]
    assert graph["opset"] == 17 and graph["parameters"] == 61_706
    assert graph["inputs"] == [
        {
            "name": "image",
            "dtype": "uint8",
            "shape": ["batch", 32, 32, 1],
            "color": "grey",
            "range": [0, 255],
            "prepare": list(splits.spec.prepare),
        }
    ]
    assert graph["outputs"] == [{"name": "probabilities", "dtype": "float32", "shape": ["batch", 10], "range": [0, 1]}]
    proto = onnx.load(bundle / "model.onnx")
    assert graph["ir_version"] == proto.ir_version and sum(graph["operators"].values()) == len(proto.graph.node)
    assert graph["operators"]["Conv"] == 2 and [entry.domain for entry in proto.opset_import] == [""]


def test_the_card_lists_every_file_with_its_sum_and_size(card, bundle):
    files = tree(bundle)
    assert set(card["files"]) == set(files) - {"card.json"}
    assert {"model.onnx", "README.md", "sample.npz", "saved_model/saved_model.pb"} <= set(files)
    assert card["sizes"]["model.onnx"] == len(files["model.onnx"]) and card["sizes"]["keras"] > 0
    assert card["sizes"]["saved_model"] == sum(len(data) for path, data in files.items() if path.startswith("saved_model/"))
    assert sum(map(len, files.values())) < 1_500_000
    assert card["graphs"]["model.onnx"]["sha256"] == card["files"]["model.onnx"]


def test_the_weights_are_stored_once(card):
    assert card["sizes"]["saved_model"] < 1.5 * 4 * card["graphs"]["model.onnx"]["parameters"]


def test_the_score_is_that_of_the_trained_model_on_the_test_split(card, trained, splits):
    test = splits.test.arrays()
    logits = trained.predict_on_batch({"image": test["image"].astype("float32")})["logits"]
    accuracy = float((logits.argmax(1) == test["label"]).mean())
    entry = card["metrics"]["accuracy"]
    assert entry["value"] == pytest.approx(accuracy) and accuracy > 0.8
    assert entry["n"] == 360 and entry["protocol"] == "test split, onnxruntime on model.onnx"
    assert 0 < entry["interval"][0] < accuracy < entry["interval"][1] <= 1
    assert "top5" in card["metrics"]


def test_parity_is_shown_for_both_runtimes_and_three_batch_sizes(card):
    assert [(row["runtime"], row["batch"]) for row in card["parity"]] == [
        (runtime, batch) for runtime in ("saved_model", "onnxruntime") for batch in (1, 2, 7)
    ]
    for row in card["parity"]:
        assert row["samples"] == 360 and row["max_error"] <= 1e-5 and row["decisions_equal"] is True
        assert set(row) == {"runtime", "batch", "samples", "max_error", "tolerance", "decisions_equal", "near_ties"}


def test_latency_is_measured_for_three_runtimes(card):
    assert set(card["latency"]) == {"onnxruntime", "keras", "saved_model", "device"}
    for runtime in ("onnxruntime", "keras", "saved_model"):
        entry = card["latency"][runtime]
        assert entry["batch"] == 1 and 0 < entry["p50_ms"] <= entry["p95_ms"]
    assert card["latency"]["onnxruntime"]["threads"] == 1


def test_onnxruntime_reads_the_metadata(bundle, card):
    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    assert found["kerasdl.name"] == "digits-tiny" and found["kerasdl.task"] == "classification"
    assert json.loads(found["kerasdl.labels"]) == card["labels"]
    assert json.loads(found["kerasdl.input"]) == card["graphs"]["model.onnx"]["inputs"]
    assert found["names"] == str(dict(enumerate(card["labels"])))
    assert found["model_license"] == "Apache-2.0" and found["model_author"] == "kerasdl" and found["kerasdl.recipe_sha256"] == ""
    assert session.get_inputs()[0].shape == ["batch", 32, 32, 1] and session.get_outputs()[0].shape == ["batch", 10]


def test_the_sample_holds_eight_inputs_and_what_keras_answered(bundle, trained, splits):
    with np.load(bundle / "sample.npz") as sample:
        assert sample.files == ["model/input/image", "model/output/probabilities"]
        image, probabilities = sample["model/input/image"], sample["model/output/probabilities"]
    assert image.shape == (8, 32, 32, 1) and image.dtype == np.uint8 and probabilities.shape == (8, 10)
    logits = trained.predict_on_batch({"image": image.astype("float32")})["logits"]
    np.testing.assert_allclose(probabilities, keras.ops.softmax(logits), atol=1e-6)


def test_the_examples_are_pictures_of_the_data_named_by_their_label(bundle, splits):
    from PIL import Image

    paths = sorted((bundle / "examples").glob("*.png"))
    assert len(paths) == pictures.EXAMPLES
    test = splits.test.arrays()
    for path in paths:
        label, number = path.stem.rsplit("-", 1)
        assert label == str(test["label"][int(number)])
        np.testing.assert_array_equal(np.asarray(Image.open(path)), test["image"][int(number), ..., 0])


def test_the_saved_model_has_the_signature_model_and_serves_by_default(bundle, splits):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(bundle / "saved_model"))
    assert set(loaded.signatures) == {"model", "serving_default"}
    image = splits.test.arrays([0, 1])["image"]
    first = loaded.signatures["model"](image=tf.constant(image))["probabilities"]
    second = loaded.signatures["serving_default"](image=tf.constant(image))["probabilities"]
    np.testing.assert_array_equal(first, second)


def test_exact_gelu_passes_through_the_erfc_handler(craft, export):
    folder = export(craft.serving_model(lambda x: keras.activations.gelu(4 * x - 2, approximate=False)))
    card = read_card(folder)
    assert card["graphs"]["model.onnx"]["operators"]["Erf"] == 1 and "Erfc" not in card["graphs"]["model.onnx"]["operators"]


def test_the_main_answer_is_output_0_whatever_the_names_of_the_others(craft, export):
    model = craft.serving_model(lambda x: x, activation=lambda x: keras.layers.Dense(3)(x), zeta=lambda x: keras.layers.Dense(2)(x))
    folder = export(model)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["probabilities", "activation", "zeta"]
    assert [output["name"] for output in read_card(folder)["graphs"]["model.onnx"]["outputs"]] == ["probabilities", "activation", "zeta"]


def test_a_mixed_precision_model_is_exported_as_its_float32_twin(craft, export):
    model = craft.serving_model(keras.layers.Conv2D(4, 3, strides=4, activation="relu", dtype="mixed_bfloat16"))
    folder = export(model)
    proto = onnx.load(folder / "model.onnx")
    halves = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    assert not any(tensor.data_type in halves for tensor in proto.graph.initializer)
    twin = convert.float32_twin(model)
    assert twin is not model
    for mine, theirs in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_float32_model_is_its_own_twin(trained):
    assert convert.float32_twin(trained) is trained


def test_without_splits_the_samples_are_scored_and_the_card_says_so(craft, export, splits):
    told = {"data": {"name": "my digits", "licence": "CC0"}, "limits": "Only a test.", "source": {"seed": 7}}
    card = read_card(export(craft.serving_model(lambda x: x), card=told))
    assert card["metrics"]["accuracy"]["n"] == 360
    assert card["metrics"]["accuracy"]["protocol"].startswith("the examples given to export_run")
    assert card["data"]["name"] == "my digits" and card["limits"] == "Only a test." and card["source"]["seed"] == 7
    assert card["source"]["versions"]


def test_without_labels_nothing_is_scored(craft, export, splits):
    folder = export(craft.serving_model(lambda x: x), samples={"image": splits.test.arrays()["image"]})
    assert read_card(folder)["metrics"] == {} and "Not measured." in (folder / "README.md").read_text()


@pytest.mark.parametrize("field", ["licence", "metrics", "parity", "files"])
def test_what_is_measured_or_unknown_cannot_be_told(field, craft, export, tmp_path):
    with pytest.raises(ExportRefused, match=f"card may set recipe, source, .* only. Received: {field}"):
        export(craft.serving_model(lambda x: x), card={field: {}})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("problem", [ExportRefused("no"), KeyboardInterrupt(), RuntimeError("full disk")], ids=lambda p: type(p).__name__)
def test_an_old_bundle_survives_a_failed_export(problem, copied, trained, splits, monkeypatch):
    before = tree(copied.parent)

    def stop(*args):
        raise problem

    monkeypatch.setattr(writing, "write_card", stop)  # the last step before the checks
    with pytest.raises(type(problem)):
        export_run(trained, Classification(), splits.test.arrays(), copied.parent, spec=splits.spec, name=copied.name)
    assert tree(copied.parent) == before and os.listdir(copied.parent) == [copied.name]


def test_a_new_bundle_takes_the_place_of_the_old_one(tmp_path):
    (tmp_path / "name").mkdir()
    (tmp_path / "name" / "old").write_text("old")
    with writing.staged(tmp_path, "name") as folder:
        (folder / "new").write_text("new")
        assert (tmp_path / "name" / "old").exists()
    assert tree(tmp_path) == {"name/new": b"new"}
    assert (tmp_path / "name").stat().st_mode & 0o777 == 0o755


def test_a_bundle_set_aside_by_a_stopped_machine_comes_back(tmp_path):
    (tmp_path / ".name.previous").mkdir()
    (tmp_path / ".name.previous" / "old").write_text("old")
    with pytest.raises(RuntimeError), writing.staged(tmp_path, "name"):
        raise RuntimeError("this export fails too")
    assert tree(tmp_path) == {"name/old": b"old"}


def test_real_samples_come_from_the_test_split_first_and_from_the_others_when_it_is_short(splits):
    assert len(writing.real_samples(splits)["image"]) == 256
    assert len(writing.real_samples(splits, "valid")["image"]) == 256  # 144 of validation, the rest of test
    np.testing.assert_array_equal(writing.real_samples(splits, "valid")["label"][:144], splits.valid.arrays()["label"])
