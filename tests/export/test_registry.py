"""Every registered model, briefly trained on real scans, passes all gates: what any of them learns can be exported and proven."""

import json
from typing import Any

import keras
import numpy as np
import pytest

from export import export_run
from kerasdl.models import find_model, list_models
from kerasdl.tasks import Classification


@pytest.mark.parametrize("name", list_models())
def test_every_model_exports_with_parity(name, splits, tmp_path):
    keras.utils.set_random_seed(0)
    task = Classification()
    model = task.build(find_model(name)(image_shape=splits.spec.image_shape), splits.spec)
    options: dict[str, Any] = {"jit_compile": False}
    model.compile(keras.optimizers.Adam(1e-3), {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}, **options)
    some = splits.train.arrays(np.arange(512))
    model.fit({"image": some["image"].astype("float32")}, {"logits": some["label"]}, batch_size=32, epochs=1, verbose=0)
    bundle = export_run(model, task, splits.test.arrays(), tmp_path, spec=splits.spec, name=f"digits-{name}", splits=splits)
    card = json.loads((bundle / "card.json").read_text(encoding="utf-8"))
    assert {(row["runtime"], row["batch"]) for row in card["parity"]} == {(r, b) for r in ("saved_model", "onnxruntime") for b in (1, 2, 7)}
    assert all(row["max_error"] <= 1e-5 and row["decisions_equal"] and row["samples"] >= 256 for row in card["parity"])
    nodes = sum(card["graphs"]["model.onnx"]["operators"].values())
    assert nodes <= 20 + 5 * sum(len(layer.weights) > 0 for layer in model._flatten_layers()), "the graph grew beyond its layers"
