"""Several devices and several hosts give the training of one; half precision gives a float32 model. Each in processes of its own."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from kerasdl import strategy
from kerasdl.hosts import Hosts, find_hosts
from kerasdl.strategy import OneDevice, spread

ROOT = Path(__file__).parents[2]
# No dropout: each device draws its own. 17 validation pictures cannot be shared evenly: all count in the scores, 16 in the history.
RECIPE = """
import dataclasses, json, sys
from functools import partial
from pathlib import Path
import keras, numpy as np
from kerasdl import checkpoint
from kerasdl.data.fake import fake
from kerasdl.data.spec import Spec
from kerasdl.recipe import Recipe
from kerasdl.tasks import Classification

SPEC = Spec((8, 8, 1), ("a", "b", "c"), (0.5,), (0.25,), ({"op": "resize", "size": [8, 8], "method": "bilinear"},), "a set")


def data():
    return fake(SPEC, train=64, valid=17, test=12)


def net(image_shape, norm=True):
    image = keras.Input(image_shape, name="image")
    x = keras.layers.Conv2D(8, 3, padding="same")(image)
    x = keras.layers.BatchNormalization(momentum=0.9)(x) if norm else x
    return keras.Model(image, keras.layers.ReLU()(x), name="net")


def constant(total_steps):
    return 0.05


BASE = Recipe(
    name="shared", note="", data=data, model=net, task=Classification(), epochs=2, batch_size=16, schedule=constant,
    optimizer=partial(keras.optimizers.SGD, momentum=0.9),
)


def weights(run):
    return keras.saving.load_model(run / "model.keras", compile=False).get_weights()
"""


def run_code(folder: Path, code: str, backend: str = "tensorflow", *arguments: str) -> subprocess.Popen:
    (folder / "shared_recipe.py").write_text(RECIPE)
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "MPLBACKEND": "Agg",
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, "-c", "from shared_recipe import *\nfrom kerasdl.train import train\n" + code, *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen):
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, output + errors
    return json.loads(output.splitlines()[-1])


def history(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "history.csv").read_text().splitlines()))


MIRRORED = """
def difference(name, recipe):
    two = train(dataclasses.replace(recipe, name="two"), name, verbose=0, devices=2)
    one = train(dataclasses.replace(recipe, name="one"), name, verbose=0)
    scores = [json.loads((run / "metrics.json").read_text())["valid"] for run in (one, two)]
    return {"weights": max(float(np.abs(a - b).max()) for a, b in zip(weights(one), weights(two), strict=True)), "scores": scores}

class Killed(Exception):
    pass

save, kills = checkpoint.save, []
def save_and_die(model, folder, epoch, *facts):
    save(model, folder, epoch, *facts)
    if epoch == 1 and facts[2] == 2:
        kills.append(epoch)
        raise Killed
answers = {
    "plain": difference("plain", dataclasses.replace(BASE, model=partial(net, norm=False))),
    "norm": difference("norm", BASE),
    "ema": difference("ema", dataclasses.replace(BASE, ema=0.5)),
    "half": difference("half", dataclasses.replace(BASE, precision="mixed_bfloat16")),
}
whole = train(dataclasses.replace(BASE, deterministic=True), "whole", verbose=0, devices=2)
checkpoint.save, checkpoint.WITHIN_EPOCH = save_and_die, 0.0
try:
    train(dataclasses.replace(BASE, deterministic=True), "parts", verbose=0, devices=2)
except Killed:
    checkpoint.save = save
parts = train(dataclasses.replace(BASE, deterministic=True), "parts", verbose=0, devices=2, resume=True)
answers["kills"] = len(kills)
answers["resumed"] = [bool(np.array_equal(a, b)) for a, b in zip(weights(whole), weights(parts), strict=True)]
saved = keras.saving.load_model(parts / "model.keras", compile=False)
answers["synchronised"] = any(getattr(layer, "synchronized", False) for layer in saved._flatten_layers())
for wrong in ({"optimizer": partial(keras.optimizers.SGD, clipnorm=1.0)}, {"precision": "mixed_float16"}, {"batch_size": 15}):
    try:
        train(dataclasses.replace(BASE, name="wrong", **wrong), "wrong", verbose=0, devices=2)
    except ValueError as problem:
        answers.setdefault("refused", []).append(str(problem))
print(json.dumps(answers))
"""


@pytest.mark.slow
def test_two_devices_of_tensorflow_train_as_one(tmp_path):
    answers = answer(run_code(tmp_path, MIRRORED))
    assert answers["plain"]["weights"] <= 1e-5
    assert answers["norm"]["weights"] <= 1e-4
    assert answers["ema"]["weights"] <= 1e-4
    assert answers["half"]["weights"] <= 2e-2, "bfloat16 has 8 bits"
    for name in ("plain", "norm"):
        one, two = answers[name]["scores"]
        assert one == pytest.approx(two, abs=1e-4)
        for a, b in zip(history(tmp_path / name / "one"), history(tmp_path / name / "two"), strict=True):
            for column in ("loss", "accuracy"):
                assert float(a[column]) == pytest.approx(float(b[column]), abs=1e-4), column
            assert float(a["val_loss"]) == pytest.approx(float(b["val_loss"]), abs=0.2), "16 of the 17 pictures"
    assert answers["kills"] == 1 and all(answers["resumed"]) and not answers["synchronised"]
    clipping, precision, batch = answers["refused"]
    assert "clipnorm" in clipping and "mixed_float16" in precision and "Received: 2 for a batch of 15" in batch


HALF = """
recipe = dataclasses.replace(BASE, precision=sys.argv[1], epochs=3)
run = train(recipe, "half", verbose=0)
saved = keras.saving.load_model(run / "model.keras", compile=False)
with np.load(run / "checkpoints" / "epoch-00003.npz") as file:
    stored = [file[f"v{i}"] for i in range(len(saved.get_weights()))]
full = train(dataclasses.replace(recipe, precision="float32"), "full", verbose=0)
scores = [json.loads((folder / "metrics.json").read_text())["valid"] for folder in (run, full)]
types = sorted({layer.compute_dtype for layer in saved._flatten_layers()})
sums = [sorted(float(np.sum(w, dtype="float64")) for w in some) for some in (saved.get_weights(), stored)]
print(json.dumps({"types": types, "same": sums[0] == sums[1], "scores": scores}))
"""


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_saves_its_weights_in_a_float32_model(precision, tmp_path):
    answers = answer(run_code(tmp_path, HALF, "tensorflow", precision))
    assert answers["types"] == ["float32"] and answers["same"]
    half, full = answers["scores"]
    assert half["accuracy"] == pytest.approx(full["accuracy"], abs=0.2)


HOST = """
import kerasdl.train as module
from kerasdl.hosts import find_hosts
put = module.put_in_place
def put_and_tell(aside, path):
    total = [float(np.abs(w).sum()) for w in keras.saving.load_model(aside, compile=False).get_weights()]
    put(aside, path)
    print(json.dumps({"weights": total, "folder": str(path.parent)}), flush=True)
module.put_in_place = put_and_tell
addresses, index, resume, stop = sys.argv[1:]
if stop == "stop":
    save = checkpoint.save
    def save_and_die(*facts):
        save(*facts)
        if facts[2] == 1:
            import os
            os._exit(9)
    checkpoint.save = save_and_die
hosts = find_hosts(addresses, int(index)) if addresses else None
train(dataclasses.replace(BASE, ema=0.5), "hosts" if hosts else "alone", resume == "resume", verbose=0, hosts=hosts)
"""


@pytest.mark.slow
def test_two_processes_of_jax_train_as_one_and_resume(tmp_path, free_port):
    def together(*options: str) -> list[subprocess.Popen]:
        addresses = f"127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
        return [run_code(tmp_path, HOST, "jax", addresses, str(index), *options) for index in (1, 0)]

    alone = answer(run_code(tmp_path, HOST, "jax", "", "0", "", ""))
    stopped = together("", "stop")
    stopped[1].communicate(timeout=200)
    assert stopped[1].returncode == 9
    stopped[0].communicate(timeout=200)
    second, first = (answer(process) for process in together("resume", ""))
    assert first["weights"] == second["weights"]
    np.testing.assert_allclose(first["weights"], alone["weights"], rtol=1e-5, atol=1e-6)
    assert first["folder"].endswith("hosts/shared") and not Path(second["folder"]).exists()
    for a, b in zip(history(tmp_path / "alone" / "shared"), history(tmp_path / "hosts" / "shared"), strict=True):
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-5)
        assert float(a["accuracy"]) == float(b["accuracy"])


def test_hosts_that_do_not_fit_get_a_sentence(monkeypatch):
    monkeypatch.delenv("KERAS_DISTRIBUTION_JOB_ADDRESSES", raising=False)
    monkeypatch.delenv("KERAS_DISTRIBUTION_PROCESS_ID", raising=False)
    assert find_hosts() is None
    with pytest.raises(ValueError, match="go together"):
        find_hosts("10.0.0.1:7000,10.0.0.2:7000")
    with pytest.raises(ValueError, match="--host is 0 to 1.* Received: 2"):
        find_hosts("10.0.0.1:7000,10.0.0.2:7000", 2)
    with pytest.raises(ValueError, match="HOST:PORT. Received: '10.0.0.2'"):
        find_hosts("10.0.0.1:7000,10.0.0.2", 0)
    with pytest.raises(ValueError, match="two addresses or more"):
        find_hosts("10.0.0.1:7000", 0)
    with pytest.raises(ValueError, match="need KERAS_BACKEND=jax, because .* Received: KERAS_BACKEND=tensorflow"):
        find_hosts("10.0.0.1:7000,10.0.0.2:7000", 0)
    monkeypatch.setenv("KERAS_DISTRIBUTION_JOB_ADDRESSES", "10.0.0.1:7000,10.0.0.2:7000")
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "1")
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    assert find_hosts() == Hosts(("10.0.0.1:7000", "10.0.0.2:7000"), 1)


def test_devices_that_are_not_there_get_a_sentence(monkeypatch):
    with pytest.raises(ValueError, match="devices must be at least 1. Received: 0"), spread(0, 8):
        pass
    with spread(1, 7) as one:
        assert type(one) is OneDevice and one.validation(17, 8) == (17, 8)
    monkeypatch.setattr(strategy.device, "gpus", lambda: ["A", "B", "C"])
    assert strategy.idle(1) == "2 of 3 GPUs stay idle: --devices 3 trains on all" and not strategy.idle(3)


def test_validation_goes_into_equal_shares(monkeypatch):
    monkeypatch.setattr(keras.distribution, "DataParallel", lambda **options: None)
    four = strategy.DataParallel(["cpu:0"] * 4)
    for count, batch in ((17, 32), (5000, 256), (9998, 64), (4, 100)):
        used, size = four.validation(count, batch)
        assert size % 4 == 0 and used % size == 0 and size <= batch and 0 <= count - used < 4 * -(-count // batch)
    with pytest.raises(ValueError, match="Received: 3 for 4 devices"):
        four.validation(3, 8)
