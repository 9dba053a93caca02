"""A classifier trained for real on scikit-learn's digits, its bundle, and serving models made to break the exporter."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import pytest

from kerasdl.data import digits
from kerasdl.models import lenet5
from kerasdl.tasks import Classification

SHAPE = (32, 32, 1)


@dataclasses.dataclass(frozen=True)
class Ready(Classification):
    """Serves the model it is given as it is."""

    def serving(self, model: keras.Model, spec: Any) -> dict[str, keras.Model]:
        return {"model": model}


@pytest.fixture(scope="session")
def splits():
    return digits()


@pytest.fixture(scope="session")
def trained(splits) -> keras.Model:
    """LeNet-5 after five short epochs."""
    keras.utils.set_random_seed(0)
    model = Classification().build(lenet5(), splits.spec)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    options: dict[str, Any] = {"jit_compile": False}
    model.compile(keras.optimizers.Adam(2e-3), {"logits": loss}, **options)
    train = splits.train.arrays()
    options = {"batch_size": 64, "epochs": 5, "verbose": 0}
    model.fit({"image": train["image"].astype("float32")}, {"logits": train["label"]}, **options)
    return model


@pytest.fixture(scope="session")
def bundle(trained, splits, tmp_path_factory) -> Path:
    """The exported bundle; tests that change it copy it first."""
    from export import export_run

    out = tmp_path_factory.mktemp("bundles")
    return export_run(trained, Classification(), splits.test.arrays(), out, spec=splits.spec, name="digits-tiny", splits=splits)


@pytest.fixture
def copied(bundle, tmp_path) -> Path:
    """A copy of the bundle that a test may spoil."""
    import shutil

    return Path(shutil.copytree(bundle, tmp_path / "saved_models" / bundle.name))


@pytest.fixture
def export(splits, tmp_path) -> Callable[..., Path]:
    """Export a serving model as it is, under `tmp_path/out`."""
    from export import export_run

    def run(model: keras.Model, name: str = "crafted", **options: Any) -> Path:
        given = {"task": Ready(), "samples": splits.test.arrays(), "spec": splits.spec, **options}
        return export_run(model, given.pop("task"), given.pop("samples"), tmp_path / "out", name=name, **given)

    return run


def serving_model(body: Callable[[Any], Any], **outputs: Callable[[Any], Any]) -> keras.Model:
    """uint8 pictures through `body` to ten probabilities; further named outputs are functions of what `body` gives."""
    keras.utils.set_random_seed(1)
    image = keras.Input(SHAPE, dtype="uint8", name="image")
    x = body(keras.layers.Rescaling(1 / 255, dtype="float32")(keras.ops.cast(image, "float32")))
    flat = keras.layers.Flatten()(x)
    answers = {"probabilities": keras.layers.Dense(10, activation="softmax", dtype="float32", name="probabilities")(flat)}
    return keras.Model({"image": image}, {**answers, **{name: make(flat) for name, make in outputs.items()}})


@pytest.fixture(scope="session")
def craft() -> SimpleNamespace:
    return SimpleNamespace(serving_model=serving_model, Ready=Ready)
