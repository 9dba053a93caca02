"""A strided first convolution becomes one over blocks of pixels, and stays the same function."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import gates
from export.variants import quantise
from export.variants.stem import as_blocks

RNG = np.random.default_rng(0)


def network(kernel, strides, pads, sides=(24, 36), channels=3, **options):
    """image uint8 (B,24,36,3) -> Cast -> Transpose -> Conv 5 -> Relu."""
    weights = RNG.standard_normal((5, channels, *kernel)).astype("float32")
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["levels"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["levels"], ["maps"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["maps", "weights", "bias"], ["edges"], "stem", strides=strides, pads=pads, **options),
            helper.make_node("Relu", ["edges"], ["bent"]),
        ],
        "model",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *sides, channels])],
        [helper.make_tensor_value_info("bent", TensorProto.FLOAT, ["batch", 5, None, None])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.arange(5, dtype="float32"), "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def answer(proto, image):
    (found,) = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"image": image})
    return np.asarray(found)


def kinds(proto):
    return [node.op_type for node in proto.graph.node]


@pytest.mark.parametrize(
    ("kernel", "stride", "pads"),
    [
        ((7, 7), 2, (3, 3, 3, 3)),  # ResNet, DenseNet, GoogLeNet
        ((11, 11), 4, (2, 2, 2, 2)),  # AlexNet
        ((3, 3), 2, (0, 0, 1, 1)),  # TensorFlow's "same"
        ((4, 4), 4, (0, 0, 0, 0)),  # patches
        ((5, 2), 2, (2, 0, 1, 0)),
        ((6, 3), 3, (4, 1, 2, 1)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_function_over_blocks(kernel, stride, pads, channels):
    exact = network(kernel, [stride, stride], pads, channels=channels)
    proto = onnx.ModelProto.FromString(exact.SerializeToString())
    as_blocks(proto)
    gates.check_proto(proto)
    assert kinds(proto) == ["Cast", "Transpose", "SpaceToDepth", "Conv", "Relu"]
    image = RNG.integers(0, 256, (2, 24, 36, channels), dtype=np.uint8)
    wanted = answer(exact, image)
    np.testing.assert_allclose(answer(proto, image), wanted, atol=2e-6 * wanted.max())


@pytest.mark.parametrize(
    "options",
    [
        {"kernel": (3, 3), "strides": [1, 1], "pads": [1, 1, 1, 1]},
        {"kernel": (3, 3), "strides": [2, 1], "pads": [1, 1, 1, 1]},
        {"kernel": (3, 3), "strides": [2, 2], "pads": [1, 1, 1, 1], "sides": (25, 36)},
        {"kernel": (3, 3), "strides": [2, 2], "pads": [1, 1, 1, 1], "sides": ("height", "width")},
        {"kernel": (3, 3), "strides": [2, 2], "pads": [1, 1, 1, 1], "channels": 8},
        {"kernel": (3, 3), "strides": [2, 2], "pads": [1, 1, 1, 1], "dilations": [2, 2]},
        {"kernel": (1, 1), "strides": [4, 4], "pads": [0, 0, 0, 0], "sides": (24, 39)},
    ],
    ids=["no stride", "two strides", "an odd side", "any size", "many channels", "dilated", "a side that is left over"],
)
def test_every_other_stem_is_left_alone(options):
    proto = network(**options)
    before = proto.SerializeToString()
    as_blocks(proto)
    assert proto.SerializeToString() == before


def test_the_stem_in_int8_reads_blocks_and_is_near_float32():
    exact = network((7, 7), [2, 2], [3, 3, 3, 3])
    image = RNG.integers(0, 256, (4, 24, 36, 3), dtype=np.uint8)
    ready = quantise.calibrate(exact, [{"image": image}])
    proto = quantise.quantise(ready, "U8S8")
    assert "SpaceToDepth" in kinds(proto) and ready.weighed == ["stem"]
    wanted = answer(exact, image)
    assert np.abs(answer(proto, image) - wanted).max() < 0.02 * wanted.max()
