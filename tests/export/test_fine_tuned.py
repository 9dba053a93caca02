"""From a torch file to a bundle: weights and scaling from elsewhere, the first stage kept as it was, the rest trained, all proven."""

import dataclasses
import json
import shutil
from functools import partial

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from export.bundle import export_recipe_run
from export.gates import ExportRefused
from kerasdl.models import load_model
from kerasdl.models.resnet import resnet
from kerasdl.recipe import list_recipes
from kerasdl.train import train

NET = partial(resnet, blocks=(1, 1), name="tiny", bottleneck=False, small=True, width=8)
CONFIG = {"pretrained_cfg": {"mean": [0.25], "std": [0.5], "input_size": [1, 32, 32]}}
UNITS = {  # ours: torchvision's convolution and norm
    "stem": ("conv1", "bn1"),
    "s1b1_a": ("layer1.0.conv1", "layer1.0.bn1"),
    "s1b1_b": ("layer1.0.conv2", "layer1.0.bn2"),
    "s2b1_a": ("layer2.0.conv1", "layer2.0.bn1"),
    "s2b1_b": ("layer2.0.conv2", "layer2.0.bn2"),
    "s2b1_proj": ("layer2.0.downsample.0", "layer2.0.downsample.1"),
}


@pytest.fixture(scope="module")
def torch_file(tmp_path_factory):
    """A file with the classifier of another task, three classes of its own, and the scaling in the config beside it."""
    generator = np.random.default_rng(0)
    model = NET(image_shape=(32, 32, 1))
    tensors = {"fc.weight": np.zeros((3, 16), np.float32), "fc.bias": np.zeros(3, np.float32)}
    for ours, (conv, norm) in UNITS.items():
        kernel = model.get_layer(f"{ours}_conv").kernel.shape  # (h, w, in, out)
        tensors[f"{conv}.weight"] = generator.normal(0, 0.2, (kernel[3], kernel[2], *kernel[:2])).astype("float32")
        for name in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{norm}.{name}"] = generator.uniform(0.5, 1.5, kernel[3]).astype("float32")
        tensors[f"{norm}.num_batches_tracked"] = np.array(7)
    folder = tmp_path_factory.mktemp("weights")
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    return folder / "model.safetensors", tensors


@pytest.fixture(scope="module")
def run(torch_file, tmp_path_factory):
    base = list_recipes()["digits-lenet5"]
    recipe = dataclasses.replace(base, name="tuned", model=NET, augment=(), epochs=10, weights=str(torch_file[0]), freeze="stage1")
    return train(recipe, tmp_path_factory.mktemp("runs"), verbose=0)


def layer(model: keras.Model, name: str) -> keras.layers.Layer:
    return next(layer for layer in model._flatten_layers() if layer.name == name)


def test_the_frozen_stage_is_the_files_and_its_statistics_too(run, torch_file):
    model, tensors = load_model(run / "model.keras"), torch_file[1]
    for ours in ("stem", "s1b1_a", "s1b1_b"):
        conv, norm = UNITS[ours]
        np.testing.assert_array_equal(layer(model, f"{ours}_conv").kernel, tensors[f"{conv}.weight"].transpose(2, 3, 1, 0))
        for mine, theirs in {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}.items():
            np.testing.assert_array_equal(getattr(layer(model, f"{ours}_bn"), mine), tensors[f"{norm}.{theirs}"])


def test_the_rest_learnt(run, torch_file):
    model, tensors = load_model(run / "model.keras"), torch_file[1]
    kernel = np.asarray(layer(model, "s2b1_a_conv").kernel)
    moved = np.abs(kernel - tensors["layer2.0.conv1.weight"].transpose(2, 3, 1, 0)).max()
    assert 1e-3 < moved < np.abs(kernel).max(), "trained on from the file's values"
    assert np.any(np.asarray(layer(model, "s2b1_a_bn").moving_mean) != tensors["layer2.0.bn1.running_mean"])
    assert layer(model, "logits").kernel.shape == (16, 10)


def test_the_pictures_are_scaled_as_the_weights_expect(run):
    spec = json.loads((run / "spec.json").read_text(encoding="utf-8"))
    assert (spec["mean"], spec["std"]) == ([0.25], [0.5])
    scaling = layer(load_model(run / "model.keras"), "scaling")
    np.testing.assert_allclose((scaling.scale, scaling.offset), ([1 / (255 * 0.5)], [-0.5]))


def test_the_run_becomes_a_bundle_by_its_name(run, tmp_path):
    bundle = export_recipe_run("tuned", run.parent, tmp_path)
    card = json.loads((bundle / "card.json").read_text(encoding="utf-8"))
    assert all(row["max_error"] <= 1e-5 and row["decisions_equal"] for row in card["parity"])
    assert card["metrics"]["accuracy"]["value"] > 0.5, "five times chance after a short training"


def test_the_scaling_may_come_with_the_weights_and_nothing_else_may_differ(run, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(run, runs / "tuned")
    spec = json.loads((run / "spec.json").read_text(encoding="utf-8"))
    (runs / "tuned" / "spec.json").write_text(json.dumps({**spec, "labels": spec["labels"][::-1]}), encoding="utf-8")
    with pytest.raises(ExportRefused, match="its facts now differ"):
        export_recipe_run("tuned", runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()
