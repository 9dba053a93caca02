"""Two exports of one run are the same files, whatever order a process' hash tables have."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import bundle as writing
from export.finishing.names import order_constants

ROOT = Path(__file__).parents[2]
SAME = (".onnx", ".data", ".npz", ".png")
PROGRAM = """
import sys
from pathlib import Path

import keras

from export import export_run, graphs
from export.contracts import Form
from kerasdl.data import digits
from kerasdl.tasks import Captioning, Classification
from tests.export import test_caption_bundle as patterns

keras.utils.set_random_seed(0)
out, splits = Path(sys.argv[1]), digits()
conv, norm = keras.layers.Conv2D, keras.layers.BatchNormalization
image = keras.Input((32, 32, 1), name="image")
x = norm()(conv(16, 3, 2, activation="relu")(image))
x = keras.layers.GlobalAveragePooling2D()(norm()(x + conv(16, 3, padding="same", activation="gelu")(x)))
model = Classification().build(keras.Model(image, x, name="tiny"), splits.spec)
for variable in model.variables:  # zeros and ones would fold away
    if len(variable.shape) == 1:
        variable.assign(1 + 0.1 * keras.random.uniform(variable.shape))
options = {"spec": splits.spec, "splits": splits, "form": Form(external_data=True)}
export_run(model, Classification(), splits.test.arrays(), out, name="classifier", **options)

task = Captioning("transformer", width=8, heads=2, blocks=1)
image = keras.Input((12, 8, 3), name="image")
model = task.build(keras.Model(image, norm()(conv(8, 4, 4, activation="gelu")(image)), name="tiny"), patterns.SPEC)
for name, graph in graphs.converted(task, graphs.to_serve(task, model, patterns.SPEC), patterns.SPEC, 17).items():
    (out / f"{name}.onnx").write_bytes(graph.proto.SerializeToString())
"""


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """The two folders, each written by a process of its own with other hashes."""
    folders = [tmp_path_factory.mktemp(f"process{seed}") for seed in (1, 2)]
    for seed, folder in enumerate(folders, 1):
        setting = {**os.environ, "PYTHONHASHSEED": str(seed), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(folder)], cwd=ROOT, env=setting, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stderr[-2000:]
    return folders


def sums(folder):
    files = (path for path in folder.rglob("*") if path.name.endswith(SAME) and "saved_model" not in path.parts)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_two_exports_are_the_same_files(exports):
    first, second = map(sums, exports)
    assert first == second
    assert {"classifier/model.onnx", "classifier/model.onnx.data", "classifier/sample.npz", "encoder.onnx", "decoder.onnx"} <= set(first)
    assert len([name for name in first if name.endswith(".png")]) == 6


@pytest.mark.slow
def test_two_exports_have_cards_that_only_time_tells_apart(exports):
    one, other = (json.loads((folder / "classifier" / "card.json").read_text(encoding="utf-8")) for folder in exports)
    for card in (one, other):
        card["files"] = {name: digest for name, digest in card["files"].items() if not name.startswith(("saved_model/", "README"))}
        del card["latency"], card["sizes"]
    assert one == other


@pytest.mark.slow
def test_two_exports_have_saved_models_of_equal_answers(exports):
    from export.parity import saved_model_runner

    with np.load(exports[0] / "classifier" / "sample.npz") as sample:
        given = {"image": sample["model/input/image"]}
    one, other = (saved_model_runner(folder / "classifier" / "saved_model")(given) for folder in exports)
    np.testing.assert_array_equal(one["probabilities"], other["probabilities"])


def test_constants_are_written_in_the_order_in_which_nodes_take_them():
    body = helper.make_graph([helper.make_node("Add", ["x", "inner"], ["z"])], "body", [], [])
    nodes = [
        helper.make_node("Mul", ["x", "second"], ["y"]),
        helper.make_node("If", ["c"], ["z"], then_branch=body, else_branch=body),
        helper.make_node("Add", ["first", "second"], ["w"]),
    ]
    held = [numpy_helper.from_array(np.zeros((), np.float32), name) for name in ("unused", "inner", "first", "second")]
    info = helper.make_tensor_value_info("w", TensorProto.FLOAT, [])
    proto = helper.make_model(helper.make_graph(nodes, "model", [], [info], held))
    order_constants(proto)
    assert [tensor.name for tensor in proto.graph.initializer] == ["second", "inner", "first", "unused"]
    assert onnx.numpy_helper.to_array(proto.graph.initializer[0]) == 0


def test_a_sample_has_no_time_in_it(tmp_path, monkeypatch):
    calls = {"model": ({"image": np.zeros((9, 2, 2, 1), np.uint8)}, {"probabilities": np.ones((9, 3), np.float32)})}
    for name, moment in (("one", 1_000_000_000), ("two", 1_700_000_000)):
        monkeypatch.setattr("time.time", lambda moment=moment: moment)
        writing.write_sample(tmp_path / f"{name}.npz", calls)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
