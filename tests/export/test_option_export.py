"""The options of a model that change its graph, exported with random weights and compared as the zoo is."""

import keras
import numpy as np
import pytest

import kerasdl
from export import convert, export_run, zoo
from kerasdl.data.fake import fake
from kerasdl.data.spec import Spec
from kerasdl.layers import ensemble
from kerasdl.models import resnet20
from kerasdl.tasks import Classification


@pytest.mark.parametrize(
    "name, options",
    [
        ("resnet20", {"norm": "batch", "drop": 0.5}),
        ("resnet20", {"norm": "layer"}),
        ("resnet20", {"norm": "instance"}),
        ("resnet20", {"norm": "group", "shortcut": "B"}),
        ("mlp", {"drop_connect": 0.5, "dropout": 0.2, "width": 16}),
    ],
    ids=str,
)
def test_an_option_exports_with_parity(name, options):
    model = kerasdl.create_model(name, 4, (8, 8, 3), **options)
    zoo.randomise(model)
    proto, error = zoo.compare(zoo.serving(model))
    assert error <= zoo.TOLERANCE
    kinds = {node.op_type for node in proto.graph.node}
    assert not kinds & {"Dropout", "RandomUniform", "RandomUniformLike", "Where", "If"}


SPEC = Spec((16, 16, 3), ("a", "b", "c"), (0.5,) * 3, (0.25,) * 3, ({"op": "resize", "size": [16, 16], "method": "bilinear"},), "noise")


def trained_a_little(task: Classification, seed: int) -> keras.Model:
    """Statistics of norms near what the layers give: with those of chance an untrained net's answers grow without bound."""
    keras.utils.set_random_seed(seed)
    model = task.build(resnet20(SPEC.image_shape), SPEC)
    model.compile("sgd", {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}, jit_compile=False)
    arrays = fake(SPEC, train=64).train.arrays()
    model.fit({"image": arrays["image"].astype("float32")}, {"logits": arrays["label"]}, epochs=3, batch_size=16, verbose=0)
    return model


@pytest.mark.parametrize("views", ["flip", "flip-shift"])
def test_views_are_part_of_the_file_and_proven_as_everything_else(views, tmp_path):
    task = Classification(views=views)
    splits = fake(SPEC, train=16, valid=16, test=256)
    model = trained_a_little(task, 0)
    bundle = export_run(model, task, splits.test.arrays(), tmp_path, spec=SPEC, name="views", splits=splits)
    plain = convert.to_onnx(Classification().serving(model, SPEC)["model"], ("probabilities",))
    weights = sum(np.prod(one.dims) for one in plain.graph.initializer)
    assert (bundle / "model.onnx").stat().st_size < 1.2 * 4 * weights, "the weights are there once"


def test_an_ensemble_is_one_proven_file(tmp_path):
    task = Classification()
    splits = fake(SPEC, train=16, valid=16, test=256)
    together = ensemble([trained_a_little(task, seed) for seed in (0, 1)])
    bundle = export_run(together, task, splits.test.arrays(), tmp_path, spec=SPEC, name="ensemble", splits=splits)
    assert (bundle / "model.onnx").is_file()
