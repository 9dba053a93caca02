"""The zoo on another backend: one model of each family trains with JAX where TensorFlow does not exist."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.zoo import FAMILIES

ROOT = Path(__file__).parents[2]
CODE = """
import keras, kerasdl, numpy as np
name, shape, options = question
keras.utils.set_random_seed(0)
model = kerasdl.create_model(name, 4, shape, **options)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
outputs = list(model.output) if isinstance(model.output, dict) else ["logits"]
model.compile(keras.optimizers.SGD(1e-3), {output: loss for output in outputs} if len(outputs) > 1 else loss)
labels = np.arange(4)
targets = {output: labels for output in outputs} if len(outputs) > 1 else labels
pictures = np.random.default_rng(0).normal(size=(4, *shape)).astype("float32")
before = [np.array(weight) for weight in model.trainable_weights]
value = model.train_on_batch(pictures, targets)
moved = [bool(np.any(np.array(weight) != old)) for weight, old in zip(model.trainable_weights, before)]
answer = [float(np.ravel(value)[0]), all(moved)]
"""


@pytest.mark.slow
@pytest.mark.parametrize("cheap", FAMILIES, ids=str)
def test_a_model_of_each_family_trains_on_jax(cheap, on_jax):
    loss, moved = on_jax(CODE, [cheap.name, cheap.image_shape, cheap.options])
    assert 0 < loss < 20 and moved


WHOLE_RUN = """
import dataclasses, json, sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec  # as where it is not installed: Keras also looks into sys.modules
PathFinder.find_spec = lambda name, *rest: None if name.split(".")[0] in ("tensorflow", "tensorflow_datasets") else find(name, *rest)
from functools import partial
import keras, numpy as np
from kerasdl import checkpoint
from kerasdl.data.augment import flip, random_affine
from kerasdl.data.mixing import mixup
from kerasdl.recipe import find_recipe
from kerasdl.train import train
from tests.kerasdl.test_train import TINY

recipe = dataclasses.replace(TINY, augment=(flip, partial(random_affine, degrees=10)), mix=mixup, epochs=3, ema=0.5)
whole = train(recipe, "whole", verbose=0)
class Killed(Exception):
    pass
save = checkpoint.save
def save_and_die(model, folder, epoch, *facts):
    save(model, folder, epoch, *facts)
    if epoch == 2:
        raise Killed
checkpoint.save = save_and_die
try:
    train(recipe, "parts", verbose=0)
except Killed:
    checkpoint.save = save
parts = train(recipe, "parts", verbose=0, resume=True)
load = lambda run: keras.saving.load_model(run / "model.keras", compile=False).get_weights()
same = [bool(np.array_equal(a, b)) for a, b in zip(load(whole), load(parts), strict=True)]
print(json.dumps([keras.backend.backend(), same]))
"""


@pytest.mark.slow
def test_a_recipe_with_augmentation_and_mixing_trains_and_resumes_without_tensorflow(tmp_path):
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WHOLE_RUN]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr[-3000:]
    backend, same = json.loads(done.stdout.splitlines()[-1])
    assert backend == "jax" and all(same)
