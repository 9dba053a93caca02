"""A run: its folder, same seed same weights, resume, and what happens when something is in the way."""

import csv
import dataclasses
import json
import shutil
import sys
from functools import partial

import keras
import numpy as np
import pytest
from PIL import Image

from kerasdl import checkpoint
from kerasdl.averaging import reestimate_norms
from kerasdl.data.augment import pad_crop
from kerasdl.data.digits import digits
from kerasdl.data.fake import fake
from kerasdl.data.spec import Spec
from kerasdl.data.splits import Splits
from kerasdl.data.table_spec import Column, TableSpec
from kerasdl.fused_norm import use_fused_norms
from kerasdl.recipe import Recipe, list_recipes
from kerasdl.schedules import cosine, one_cycle
from kerasdl.train import _command, build, compile_model, train

SPEC = Spec((8, 8, 1), ("a", "b", "c"), (0.5,), (0.25,), ({"op": "resize", "size": [8, 8], "method": "bilinear"},), "a set")


def data(train: int = 48) -> Splits:
    return fake(SPEC, train=train, valid=12, test=12)


def net(image_shape, dropout=0.2) -> keras.Model:
    layers = keras.layers
    image = keras.Input(image_shape, name="image")
    x = layers.Conv2D(8, 3, name="conv")(image)
    x = layers.BatchNormalization(momentum=0.9, name="norm")(x)
    x = layers.Dropout(dropout)(layers.ReLU()(x))
    return keras.Model(image, x, name="net")


TINY = dataclasses.replace(
    list_recipes()["digits-lenet5"], name="tiny", data=data, model=net, augment=(partial(pad_crop, pad=1),), epochs=4, batch_size=16
)


def weights(run) -> list[np.ndarray]:
    return keras.saving.load_model(run / "model.keras", compile=False).get_weights()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(dataclasses.replace(TINY, deterministic=True), tmp_path_factory.mktemp("runs"), verbose=0)


def test_a_run_folder_holds_what_the_design_says(run):
    names = {path.name for path in run.iterdir()}
    assert names >= {
        "recipe.json",
        "spec.json",
        "history.csv",
        "tensorboard",
        "checkpoints",
        "curves.png",
        "confusion.png",
        "metrics.json",
        "model.keras",
    }
    assert not [name for name in names if "tmp" in name]
    with (run / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert [row["epoch"] for row in history] == ["1", "2", "3", "4"]
    assert set(history[0]) >= {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"}
    facts = json.loads((run / "metrics.json").read_text())
    assert 0 <= facts["valid"]["accuracy"] <= 1 and facts["seed"] == 0 and facts["device"] and facts["versions"]["keras"]
    for picture in ("curves.png", "confusion.png"):
        with Image.open(run / picture) as figure:
            assert figure.width > 300
    assert list((run / "tensorboard").rglob("events*"))
    assert Recipe.from_json(run / "recipe.json").epochs == 4


def test_the_recorded_command_repeats_the_training_anywhere(monkeypatch):
    words = ["train", "digits-lenet5", "--run-dir", "/home/me/runs", "--set", "epochs=3", "--resume", "--quiet", "--run-dir=there"]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/kerasdl", *words])
    assert _command(TINY) == "kerasdl train digits-lenet5 --set epochs=3"
    monkeypatch.setattr(sys, "argv", ["my_script.py"])
    assert _command(TINY) == "train('tiny')"


def test_same_seed_same_weights_bit_for_bit(run, tmp_path):
    again = train(dataclasses.replace(TINY, deterministic=True), tmp_path, verbose=0)
    for a, b in zip(weights(run), weights(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_seed_gives_other_weights(run, tmp_path):
    other = train(dataclasses.replace(TINY, deterministic=True, seed=1), tmp_path, verbose=0)
    assert any(not np.array_equal(a, b) for a, b in zip(weights(run), weights(other), strict=True))


class Interrupted(Exception):
    pass


def interrupt_after(monkeypatch, epoch: int) -> None:
    save = checkpoint.save

    def save_and_stop(model, folder, done, *facts):
        save(model, folder, done, *facts)
        if done == epoch:
            raise Interrupted

    monkeypatch.setattr(checkpoint, "save", save_and_stop)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A folder with a run that stopped after its second epoch; go on with a copy."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        interrupt_after(patch, 2)
        train(dataclasses.replace(TINY, deterministic=True), folder, verbose=0)
    return folder


def test_a_resumed_run_ends_with_the_weights_of_the_uninterrupted_one(run, stopped, tmp_path):
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    resumed = train(dataclasses.replace(TINY, deterministic=True), tmp_path, resume=True, verbose=0)
    for a, b in zip(weights(run), weights(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len((resumed / "history.csv").read_text().splitlines()) == 5


def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(run, stopped, tmp_path, caplog):
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    last = tmp_path / "tiny" / "checkpoints" / "epoch-00002.npz"
    last.write_bytes(last.read_bytes()[:500])
    resumed = train(dataclasses.replace(TINY, deterministic=True), tmp_path, resume=True, verbose=0)
    assert "epoch-00002.npz is damaged" in caplog.text
    for a, b in zip(weights(run), weights(resumed), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_in_the_way_is_not_overwritten_unasked(run):
    before = (run / "model.keras").read_bytes()
    with pytest.raises(FileExistsError, match="holds a run already"):
        train(TINY, run.parent, verbose=0)
    assert (run / "model.keras").read_bytes() == before


def test_resume_refuses_another_recipe(run):
    with pytest.raises(ValueError, match="Received: another batch_size"):
        train(dataclasses.replace(TINY, deterministic=True, batch_size=8), run.parent, resume=True, verbose=0)


def test_a_batch_larger_than_the_data_gets_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="Received: 64 for 48 examples"):
        train(dataclasses.replace(TINY, batch_size=64), tmp_path, verbose=0)
    assert not list(tmp_path.iterdir())  # nothing half-begun stands in the way of the next try


def test_half_precision_training_saves_a_float32_twin(tmp_path):
    run = train(dataclasses.replace(TINY, name="half", precision="mixed_bfloat16", epochs=1), tmp_path, verbose=0)
    model = keras.saving.load_model(run / "model.keras", compile=False)
    assert {layer.compute_dtype for layer in model._flatten_layers()} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


def test_averaged_weights_are_the_result_and_a_finished_run_resumes_to_them(run, tmp_path):
    """The module's run has the same steps, but for the average."""
    recipe = dataclasses.replace(TINY, name="ema", ema=0.5, deterministic=True)
    averaged = train(recipe, tmp_path, verbose=0)
    before = weights(averaged)
    assert any(not np.allclose(a, b) for a, b in zip(before, weights(run), strict=True))
    (averaged / "model.keras").unlink()  # as if it was killed just before the end
    for a, b in zip(before, weights(train(recipe, tmp_path, resume=True, verbose=0)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_any_iterable_of_numpy_batches_trains(tmp_path):
    starts = []

    def batches(splits, recipe, start):
        starts.append(start)
        arrays = splits.train.arrays()
        while True:
            for i in range(0, len(splits.train), recipe.batch_size):
                part = slice(i, i + recipe.batch_size)
                yield {"image": arrays["image"][part].astype("float32")}, {"logits": arrays["label"][part]}

    run = train(dataclasses.replace(TINY, name="numpy", epochs=2), tmp_path, batches=batches, verbose=0)
    assert starts == [0] and len((run / "history.csv").read_text().splitlines()) == 3


def test_reestimated_norms_are_the_plain_mean_over_batches():
    model = TINY.task.build(net((8, 8, 1), dropout=0.0), SPEC)
    pictures = data().train.arrays()["image"].astype("float32")
    batches = [({"image": pictures[i : i + 16]}, None) for i in (0, 16, 32)]
    reestimate_norms(model, batches, steps=3)
    inner = model.get_layer("net")
    before = keras.Model(inner.input, inner.get_layer("conv").output)
    scaled = [model.get_layer("scaling")(x["image"]) for x, _ in batches]
    expected = np.mean([np.asarray(before(x)).mean((0, 1, 2)) for x in scaled], axis=0)
    np.testing.assert_allclose(inner.get_layer("norm").moving_mean, expected, atol=1e-5)
    assert inner.get_layer("norm").momentum == 0.9


def test_the_fused_norm_is_the_same_function():
    results = []
    for fused in (False, True):
        keras.utils.set_random_seed(3)
        model = TINY.task.build(net((8, 8, 1), dropout=0.0), SPEC)
        compile_model(model, TINY, total_steps=10)
        if fused:
            assert use_fused_norms(model) == 1
        arrays = data().train.arrays()
        losses = [model.train_on_batch({"image": arrays["image"].astype("float32")}, {"logits": arrays["label"]})[0] for _ in range(3)]
        results.append((losses, model.get_weights()))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-4)
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


def two_headed(image_shape) -> keras.Model:
    backbone = net(image_shape)
    branch = keras.layers.GlobalAveragePooling2D()(backbone.get_layer("conv").output)
    return keras.Model(backbone.input, {"features": backbone.output, "aux1": branch}, name="two_headed")


def test_an_auxiliary_classifier_learns_the_labels_and_is_not_served(tmp_path):
    run = train(dataclasses.replace(TINY, name="aux", model=two_headed, epochs=2), tmp_path, verbose=0)
    history = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    for row in history:
        total = float(row["logits_loss"]) + 0.3 * float(row["aux1_loss"])
        assert float(row["loss"]) == pytest.approx(total, rel=0.02), "0.3 is the paper's weight"
    assert {"accuracy", "val_accuracy"} <= set(history[0]), "under the names that every other run has"
    model = keras.saving.load_model(run / "model.keras", compile=False)
    assert list(model.output) == ["logits", "aux1"]
    serving = TINY.task.serving(model, SPEC)["model"]
    assert "aux1" not in {layer.name for layer in serving._flatten_layers()}
    assert list(serving.output) == ["probabilities"]


def test_numpy_batches_teach_an_auxiliary_classifier_too(tmp_path):
    def batches(splits, recipe, start):
        arrays = splits.train.arrays()
        while True:
            yield {"image": arrays["image"][:16].astype("float32")}, {"logits": arrays["label"][:16]}

    run = train(dataclasses.replace(TINY, name="aux", model=two_headed, epochs=1), tmp_path, batches=batches, verbose=0)
    assert "aux1_loss" in (run / "history.csv").read_text()


def test_a_model_that_cannot_be_built_leaves_no_run_and_keeps_an_old_one(run, tmp_path):
    shutil.copytree(run, tmp_path / "old")
    before = sorted(path.name for path in (tmp_path / "old").rglob("*"))
    for name in ("old", "new"):
        with pytest.raises(ValueError, match="no layer has that name"):
            train(dataclasses.replace(TINY, name=name, freeze="stage7"), tmp_path, overwrite=True, verbose=0)
    assert sorted(path.name for path in (tmp_path / "old").rglob("*")) == before
    assert not (tmp_path / "new").exists()


def test_a_frozen_stage_needs_a_stage_that_is_there():
    with pytest.raises(ValueError, match="no layer has that name. Received: 'stage7'"):
        build(dataclasses.replace(TINY, freeze="stage7"), SPEC)
    model = build(dataclasses.replace(TINY, freeze="norm"), SPEC)
    assert {v.path.split("/")[0] for v in model.trainable_variables} == {"logits"}


def test_decay_and_regularisation_skip_biases_and_norms():
    recipe = dataclasses.replace(TINY, regularisation=partial(keras.regularizers.L2, 0.01))
    model = build(recipe, SPEC)
    regularised = {v.name for v in model.trainable_variables if v.regularizer is not None}
    assert regularised == {"kernel"}
    compile_model(model, recipe, total_steps=10)
    model.optimizer.build(model.trainable_variables)
    decayed = {v.name for v in model.trainable_variables if model.optimizer._use_weight_decay(v)}
    assert decayed == {"kernel"}


def test_one_cycle_rises_to_its_peak_and_ends_at_zero():
    schedule = one_cycle(100, peak=0.5, warmup=0.3, start=0.1)
    at = [float(schedule(step)) for step in (0, 15, 30, 65, 100)]
    np.testing.assert_allclose(at, [0.05, 0.275, 0.5, 0.25, 0.0], atol=1e-6)
    np.testing.assert_allclose([float(cosine(10, 1.0)(s)) for s in (0, 5, 10)], [1, 0.5, 0], atol=1e-6)
    with pytest.raises(ValueError, match="warmup is the share"):
        one_cycle(100, peak=0.5, warmup=1.0)


def test_weights_start_from_a_file_and_must_fit(run, tmp_path):
    recipe = dataclasses.replace(TINY, weights=str(run / "model.keras"))
    for a, b in zip(build(recipe, SPEC).get_weights(), weights(run), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(
        ValueError, match="weights must be a .keras, .weights.h5 or .safetensors file, or OWNER/NAME of the Hugging Face hub"
    ):
        build(dataclasses.replace(TINY, weights=str(tmp_path / "none.keras")), SPEC)
    with pytest.raises(ValueError, match="a pickle can run any code"):
        build(dataclasses.replace(TINY, weights=str(tmp_path / "resnet.pth")), SPEC)
    with pytest.raises(ValueError, match="the same architecture"):
        build(dataclasses.replace(recipe, model=list_recipes()["digits-lenet5"].model), digits().spec)


RECIPES = list_recipes()
TABLES = [name for name, recipe in RECIPES.items() if recipe.task.name == "regression"]


@pytest.mark.parametrize("name", TABLES)
def test_every_recipe_of_a_table_trains_on_look_alike_rows(name, tmp_path):
    recipe = RECIPES[name]
    columns = (Column("age", "years", -3, 3, 0, 1), Column("town=Rome", "", 0, 1, 0.4, 0.5, "town"))
    spec = TableSpec(columns, (Column("price", "$", 0, 1e6, 2e5, 1e5),), "look-alike")
    small = dataclasses.replace(recipe, data=partial(fake, spec, train=32), epochs=min(recipe.epochs, 1), batch_size=16)
    scores = json.loads((train(small, tmp_path, verbose=0) / "metrics.json").read_text())["valid"]
    assert set(recipe.expect) <= set(scores) and scores["MAE"] <= scores["RMSE"]
    assert scores["R2"] <= 1 and 0 <= scores["coverage"] <= 1


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in TABLES])
def test_every_recipe_trains_on_look_alike_data(name, tmp_path):
    recipe = RECIPES[name]
    captions = recipe.task.name == "captioning"
    side = 64 if captions else 32  # attention needs more than one place
    channels = 1 if "digits" in name else 3
    spec = Spec((side, side, channels), tuple("abcd"), (0.5,) * channels, (0.25,) * channels, (), "look-alike")
    if captions:
        spec = dataclasses.replace(spec, labels=("<pad>", "<start>", "<end>", "<unk>", *"abc"), caption_length=6)
        recipe = dataclasses.replace(recipe, task=dataclasses.replace(recipe.task, slots=None, beam=1))  # these words have no grammar
    small = dataclasses.replace(recipe, data=partial(fake, spec, train=32), epochs=1, batch_size=16, precision="float32")
    run = train(small, tmp_path, verbose=0)
    scores = json.loads((run / "metrics.json").read_text())["valid"]
    assert set(recipe.expect) - ({"all_slots"} if captions else set()) <= set(scores)
    assert all(0 <= score <= (10 if name == "CIDEr-D" else 1) for name, score in scores.items())


@pytest.mark.slow
def test_digits_lenet5_keeps_its_promise(tmp_path):
    """The promise is on the test split; this retrains the shipped recipe and scores it."""
    recipe = list_recipes()["digits-lenet5"]
    run = train(recipe, tmp_path, verbose=0)
    splits = recipe.data()
    serving = recipe.task.serving(keras.saving.load_model(run / "model.keras", compile=False), splits.spec)["model"]
    assert recipe.task.evaluate(serving.predict_on_batch, splits, "test")["accuracy"] >= recipe.expect["accuracy"]
