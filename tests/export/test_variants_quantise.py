"""quantise and half, on graphs small enough to see through."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import gates
from export.variants import half, quantise
from export.variants.judge import race

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(0, 0.3, (4, 3, 3, 3)).astype("float32") * np.array([0.01, 0.1, 1, 10], np.float32)[:, None, None, None]
WEIGHTS = RNG.normal(0, 0.5, (4, 5)).astype("float32")


def network() -> onnx.ModelProto:
    """image uint8 (B,3,8,8) -> /255 -> Conv 4 -> Relu -> mean -> MatMul 5 -> logits, and Softmax of them."""
    constants = {"scale": np.float32(1 / 255), "kernel": KERNEL, "weights": WEIGHTS}
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["levels"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["levels", "scale"], ["scaled"], "scaling"),
            helper.make_node("Conv", ["scaled", "kernel"], ["maps"], "conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["maps"], ["bent"], "bend"),
            helper.make_node("GlobalAveragePool", ["bent"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"], "head"),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "model",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.metadata_props.add(key="kerasdl.name", value="tiny")
    onnx.checker.check_model(model, full_check=True)
    return model


def pictures(count: int) -> dict[str, np.ndarray]:
    return {"image": RNG.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)}


@pytest.fixture(scope="module")
def calibrated() -> quantise.Calibrated:
    return quantise.calibrate(network(), [pictures(4) for _ in range(4)])


def run(proto: onnx.ModelProto):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda feeds: {name: np.asarray(value) for name, value in zip(names, session.run(names, feeds), strict=True)}


def kinds(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


@pytest.mark.parametrize(("scheme", "maps"), [("U8S8", TensorProto.UINT8), ("S8S8", TensorProto.INT8)])
def test_maps_and_weights_have_the_types_of_the_scheme(calibrated, scheme, maps):
    proto = quantise.quantise(calibrated, scheme)
    gates.check_proto(proto)
    gates.check_domains(proto)
    held = {constant.name: constant for constant in proto.graph.initializer}
    given = {held[node.input[2]].data_type for node in proto.graph.node if node.op_type == "QuantizeLinear"}
    assert given == {maps}
    assert held["kernel_quantized"].data_type == held["weights_quantized"].data_type == TensorProto.INT8
    feeds = pictures(32)
    error = np.abs(run(proto)(feeds)["probabilities"] - run(network())(feeds)["probabilities"]).max()
    assert 0 < error < 0.05


def test_each_channel_of_a_kernel_has_its_own_scale(calibrated):
    proto = quantise.quantise(calibrated, "U8S8")
    held = {constant.name: numpy_helper.to_array(constant) for constant in proto.graph.initializer}
    largest = np.abs(KERNEL).max(axis=(1, 2, 3))
    assert held["kernel_scale"] == pytest.approx(2 * largest / 254, rel=0.02)  # one scale for all would leave nothing of the first
    found = held["kernel_quantized"] * held["kernel_scale"][:, None, None, None]
    assert np.all(np.abs(found - KERNEL).max(axis=(1, 2, 3)) <= 0.51 * held["kernel_scale"])


def test_scaling_before_the_first_layer_and_the_softmax_behind_the_last_stay_float32(calibrated):
    assert calibrated.conclusion == [calibrated.proto.graph.node[-1].name] and "head" not in calibrated.preparation
    assert calibrated.weighed == ["conv", "head"] and "scaling" in calibrated.preparation and "bend" not in calibrated.preparation
    proto = quantise.quantise(calibrated, "U8S8")
    made_by = {output: node for node in proto.graph.node for output in node.output}
    (conv,) = [node for node in proto.graph.node if node.op_type == "Conv"]
    (softmax,) = [node for node in proto.graph.node if node.op_type == "Softmax"]
    rounded = made_by[made_by[conv.input[0]].input[0]]
    assert rounded.op_type == "QuantizeLinear" and made_by[rounded.input[0]].op_type == "Mul"
    assert made_by[softmax.input[0]].op_type in ("MatMul", "Gemm")  # logits go on unrounded


def test_a_bias_behind_the_last_product_is_added_in_float32():
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["rows", "weights"], ["sums"], "head"), helper.make_node("Add", ["sums", "bias"], ["logits"], "bias")],
        "model",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", 2, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2, 5])],
        [numpy_helper.from_array(WEIGHTS, "weights"), numpy_helper.from_array(WEIGHTS[0], "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    rows = RNG.normal(0, 1, (64, 2, 4)).astype("float32")
    proto = quantise.quantise(quantise.calibrate(model, [{"rows": rows}]), "U8S8")
    assert kinds(proto).count("QuantizeLinear") == 1 and kinds(proto)[-1] == "Add"  # of the rows alone
    steps = len(np.unique(run(proto)({"rows": rows})["logits"]))
    assert steps > 300  # rounded there would be 256 at most


def test_nodes_may_be_left_out_or_taken_alone(calibrated):
    exact = quantise.quantise(calibrated, "U8S8", float32=["conv", "head"])
    held = [constant.name for constant in exact.graph.initializer]
    assert "kernel" in held and "weights" in held
    alone = [constant.name for constant in quantise.quantise(calibrated, "U8S8", only=["head"]).graph.initializer]
    assert "kernel" in alone and "weights_quantized" in alone


def test_the_most_sensitive_layer_is_the_one_whose_rounding_shows_most(calibrated):
    calls = [pictures(8)]
    wanted = run(calibrated.proto)(calls[0])["probabilities"]

    def change(node):
        return np.abs(run(quantise.quantise(calibrated, "U8S8", only=[node]))(calls[0])["probabilities"] - wanted).mean()

    assert quantise.sensitivity(calibrated, "U8S8", calls, run) == sorted(["conv", "head"], key=change, reverse=True)


def test_distances_are_relative_and_what_is_no_number_is_the_farthest():
    one = {"a": np.array([3.0, 4.0]), "b": np.array([1, 2])}
    assert quantise.distance(one, {"a": np.array([3.0, 4.5]), "b": np.array([9, 9])}) == pytest.approx(0.1)
    assert quantise.distance(one, {"a": np.array([np.nan, 4.0]), "b": np.array([1, 2])}) == float("inf")


def test_metadata_stays_and_what_the_tools_leave_behind_goes(calibrated):
    for proto, told in ((quantise.quantise(calibrated, "S8S8"), "int8 S8S8"), (half.halve(network()), "fp16")):
        assert {entry.key: entry.value for entry in proto.metadata_props} == {"kerasdl.name": "tiny", "kerasdl.variant": told}
        assert [entry.domain for entry in proto.opset_import] == [""] and not proto.graph.value_info
        read = {name for node in proto.graph.node for name in node.input}
        assert {constant.name for constant in proto.graph.initializer} <= read


def test_calls_with_an_empty_state_do_not_calibrate():
    """A decoder's first step has a past of no words: there is no least value of nothing."""
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", 4])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["rows", "weights"], ["sums"])],
        "decoder",
        [rows],
        [helper.make_tensor_value_info("sums", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(WEIGHTS, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    row = np.array([[1, -2, 3, 0]], np.float32)
    found = quantise.calibrate(model, [{"rows": row[:0]}, {"rows": row}])
    low, high = found.ranges["rows"].range_value
    assert (float(np.squeeze(low)), float(np.squeeze(high))) == (-2.0, 3.0)


def test_float16_keeps_inputs_and_outputs_and_halves_the_weights():
    exact, proto = network(), half.halve(network())
    gates.check_proto(proto)
    assert list(proto.graph.input) == list(exact.graph.input) and list(proto.graph.output) == list(exact.graph.output)
    held = {constant.name: constant for constant in proto.graph.initializer}
    assert held["kernel"].data_type == held["weights"].data_type == TensorProto.FLOAT16
    feeds = pictures(32)
    error = np.abs(run(proto)(feeds)["probabilities"] - run(exact)(feeds)["probabilities"]).max()
    assert 0 < error < 2e-3


def test_what_float16_has_no_operator_for_stays_float32():
    number = TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["rows", "weights"], ["sums"]),
            helper.make_node("Max", ["sums", "least"], ["bounded"]),
            helper.make_node("MatMul", ["bounded", "more"], ["answer"]),
        ],
        "model",
        [helper.make_tensor_value_info("rows", number, ["batch", 4])],
        [helper.make_tensor_value_info("answer", number, ["batch", 4])],
        [
            numpy_helper.from_array(value, name)
            for name, value in (("weights", WEIGHTS), ("more", WEIGHTS.T), ("least", np.array([0.1], np.float32)))
        ],
    )
    proto = half.halve(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    gates.check_proto(proto)  # the casts around Max stand where they are read
    row = np.array([[1, -2, 3, 0]], np.float32)
    assert run(proto)({"rows": row})["answer"] == pytest.approx(np.maximum(row @ WEIGHTS, 0.1) @ WEIGHTS.T, abs=2e-2)


def test_a_race_takes_turns_of_a_few_and_tells_each_ones_time_against_the_first():
    asked = []

    def answer(name, waits):
        def run(feeds):
            asked.append(name)
            assert len(feeds["x"]) == 1
            sum(range(waits))

        return run

    found = race({"slow": answer("slow", 200_000), "fast": answer("fast", 20_000)}, {"x": np.zeros((3, 1))}, seconds=0)
    assert found["slow"]["ratio"] == 1.0 and found["fast"]["ratio"] > 2 and found["fast"]["p50_ms"] <= found["fast"]["p95_ms"]
    slow, fast = ["slow"] * 6, ["fast"] * 6  # the first of six is not timed
    assert asked[:24] == [*slow, *fast, *fast, *slow] and len(asked) == 7 * 12
