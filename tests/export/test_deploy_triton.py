"""config.pbtxt, read by Triton's own protobuf: names, types and sides are those of the ONNX file."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import np_to_triton_dtype

from apps.runtime import load_bundle
from export.deploy.triton import config
from export.gates import ExportRefused
from tests.export.deploying import BUNDLES, deploy_shipped

NAMES = ("digits-lenet5", "pedestrians-reid", "scenes-captioner", "california-mlp")


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in NAMES:
        deploy_shipped(name, triton=folder)
    return folder


def read(text: str) -> model_config_pb2.ModelConfig:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_there_is_a_model_for_every_graph(repository):
    found = {path.name for path in repository.iterdir()}
    assert found == {"digits-lenet5", "pedestrians-reid", "scenes-captioner_encoder", "scenes-captioner_decoder", "california-mlp"}
    for model in repository.iterdir():
        assert [path.name for path in model.iterdir() if path.is_dir()] == ["1"]


@pytest.mark.parametrize(
    "model", ["digits-lenet5", "pedestrians-reid", "scenes-captioner_encoder", "scenes-captioner_decoder", "california-mlp"]
)
def test_tensors_are_those_of_the_graph(repository, model):
    told, graph = read((repository / model / "config.pbtxt").read_text()), onnx.load(repository / model / "1" / "model.onnx").graph
    assert (told.name, told.platform) == (model, "onnxruntime_onnx")
    assert told.max_batch_size > 1 and told.HasField("dynamic_batching") and told.instance_group[0].count == 1
    for entries, values in ((told.input, graph.input), (told.output, graph.output)):
        assert [entry.name for entry in entries] == [value.name for value in values]
        for entry, value in zip(entries, values, strict=True):
            tensor = value.type.tensor_type
            dtype = np_to_triton_dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
            assert model_config_pb2.DataType.Name(entry.data_type) == f"TYPE_{dtype}"
            batch, *sides = [-1 if side.dim_param else side.dim_value for side in tensor.shape.dim]
            assert batch == -1
            given = entry.reshape.shape if entry.HasField("reshape") else entry.dims
            assert list(given) == sides and len(entry.dims)


def test_labels_stand_on_the_lines_of_their_places(repository):
    bundle = load_bundle(BUNDLES / "digits-lenet5")
    told = read((repository / "digits-lenet5" / "config.pbtxt").read_text())
    assert told.output[0].label_filename == "labels.txt"
    assert (repository / "digits-lenet5" / "labels.txt").read_text().splitlines() == bundle.labels
    words = (repository / "scenes-captioner_decoder" / "labels.txt").read_text().splitlines()
    assert words == load_bundle(BUNDLES / "scenes-captioner").labels
    assert not (repository / "pedestrians-reid" / "labels.txt").exists()


def test_a_decoder_says_whose_the_loop_is(repository):
    assert "a loop that the client keeps" in (repository / "scenes-captioner_decoder" / "config.pbtxt").read_text()
    assert "loop" not in (repository / "scenes-captioner_encoder" / "config.pbtxt").read_text()


def test_a_graph_of_one_fixed_batch_takes_none_from_triton():
    fixed = {"name": 'a "strange" name', "dtype": "int64", "shape": [1, 5]}
    free = {"name": "out", "dtype": "float16", "shape": ["n", "m"]}
    told = read(config("odd", {"inputs": [fixed], "outputs": [free]}, []))
    assert told.max_batch_size == 0 and not told.HasField("dynamic_batching")
    assert told.input[0].name == fixed["name"] and list(told.input[0].dims) == [1, 5]
    assert list(told.output[0].dims) == [-1, -1]


def test_a_type_that_triton_does_not_know_is_refused():
    slot = {"name": "x", "dtype": "bfloat16", "shape": ["batch", 2]}
    with pytest.raises(ExportRefused, match="Received: bfloat16 for x"):
        config("odd", {"inputs": [slot], "outputs": []}, [])


def test_the_graph_that_is_deployed_answers(repository):
    import onnxruntime

    with np.load(BUNDLES / "digits-lenet5" / "sample.npz") as sample:
        given, wanted = sample["model/input/image"], sample["model/output/probabilities"]
    session = onnxruntime.InferenceSession(repository / "digits-lenet5" / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], {"image": given})
    np.testing.assert_allclose(np.asarray(found), wanted, atol=1e-5)
