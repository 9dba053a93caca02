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
import json, sys
for absent in ("tensorflow", "tensorflow_datasets"):
    sys.modules[absent] = None
import keras, kerasdl, numpy as np
name, shape, options = json.loads(sys.argv[1])
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
print(json.dumps([keras.backend.backend(), float(np.ravel(value)[0]), all(moved)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("cheap", FAMILIES, ids=str)
def test_a_model_of_each_family_trains_on_jax(cheap):
    arguments = json.dumps([cheap.name, cheap.image_shape, cheap.options])
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", CODE, arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr[-3000:]
    backend, loss, moved = json.loads(done.stdout.splitlines()[-1])
    assert backend == "jax" and 0 < loss < 20 and moved
