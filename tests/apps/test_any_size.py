"""A bundle whose graph takes pictures of any size, or channels first, is served as every other: the card says which it is."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from apps.classification import answer_card
from apps.engine import Engine
from apps.library import Library
from apps.repository import Repository
from apps.runtime import BundleError, PictureError, load_bundle

LAYOUTS = {"NHWC": ["batch", "height", "width", 3], "NCHW": ["batch", 3, "height", "width"]}


def resizing(model: onnx.ModelProto, layout: str) -> onnx.ModelProto:
    """The colours' network behind a resize of its own."""
    network = [node for node in model.graph.node if node.op_type != "Cast"]
    turned = [helper.make_node("Transpose", ["numbers"], ["planes"], perm=[0, 3, 1, 2] if layout == "NHWC" else [0, 1, 2, 3])]
    nodes = [
        helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.FLOAT),
        *turned,
        helper.make_node("Shape", ["image"], ["many"], start=0, end=1),
        helper.make_node("Concat", ["many", "inside"], ["sizes"], axis=0),
        helper.make_node("Resize", ["planes", "", "", "sizes"], ["fitted"], mode="linear", coordinate_transformation_mode="half_pixel"),
        helper.make_node("Transpose", ["fitted"], ["levels"], perm=[0, 2, 3, 1]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, LAYOUTS[layout])
    constants = [numpy_helper.from_array(np.array([3, 32, 32]), "inside"), *model.graph.initializer]
    graph = helper.make_graph([*nodes, *network], "model", [image], list(model.graph.output), constants)
    found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(found, full_check=True)
    return found


@pytest.fixture(scope="module", params=LAYOUTS)
def folder(request, make_bundle, rewrite_card, tmp_path_factory):
    """saved_models/ with one bundle, of the colours."""
    parent = tmp_path_factory.mktemp("any")
    bundle = make_bundle(parent, "colors")
    onnx.save(resizing(onnx.load(bundle / "model.onnx"), request.param), bundle / "model.onnx")
    graphs = json.loads((bundle / "card.json").read_text())["graphs"]
    rule = {"where": "graph", "rule": "stretch", "size": [32, 32], "method": "bilinear", "antialias": False}
    graphs["model.onnx"]["inputs"][0] |= {"shape": LAYOUTS[request.param], "layout": request.param, "prepare": [], "resize": rule}
    rewrite_card(bundle, graphs=graphs)
    return parent


@pytest.fixture
def library(folder):
    repository, engine = Repository(folder), Engine(workers=1)
    repository.load_all()
    yield Library(repository, engine, max_pixels=200_000)
    engine.close()


def test_a_visitors_picture_goes_in_as_it_is(library, tmp_path):
    Image.new("RGB", (500, 300), "red").save(tmp_path / "red.png")
    answer = library.classify("colors-templates", tmp_path / "red.png")
    assert answer.predictions[0]["label"] == "red" and answer.seen.shape == (300, 500, 3)
    assert "as the network saw it, 500 x 300 pixels" in answer_card(answer)


def test_more_pixels_than_the_server_takes_are_refused(library, tmp_path):
    Image.new("RGB", (500, 500), "red").save(tmp_path / "red.png")
    with pytest.raises(PictureError, match="at most 0.2 million pixels"):
        library.classify("colors-templates", tmp_path / "red.png")


def test_pictures_of_several_sizes_are_answered_in_their_order(folder):
    bundle = load_bundle(folder / "colors-templates")
    names = ("blue", "red", "yellow", "blue")
    pictures = [Image.new("RGB", size, name) for size, name in zip([(9, 80), (32, 32), (1, 1), (9, 80)], names, strict=True)]
    assert [answer[0]["label"] for answer in bundle.classify(pictures)] == list(names)
    assert bundle.shape == (32, 32, 3) and bundle.any_size


def test_arrays_stay_height_width_channels_whatever_the_graph_takes(folder):
    bundle = load_bundle(folder / "colors-templates")
    array = np.zeros((20, 40, 3), np.uint8)
    array[..., 2] = 255
    assert bundle.classify([array])[0][0]["label"] == "blue"
    assert bundle.batch([array]).shape == ((1, 3, 20, 40) if bundle.channels_first else (1, 20, 40, 3))
    with pytest.raises(BundleError, match=r"A picture must be uint8 \[H, W, 3\]. Received: uint8 \(20, 40\)"):
        bundle.batch([array[..., 0]])
