"""Every operator set that the exporter writes: a small CNN and a small ViT through the same gates, written as low as the set allows."""

from collections import Counter

import keras
import numpy as np
import onnx
import pytest

import kerasdl
from export import ExportRefused, convert, external, fitting, gates, graphs, parity, zoo

IR = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11, 24: 12, 25: 13, 26: 13}  # the ONNX releases that brought both
MEANS = (10, 20, 30)


def cnn():
    """Every kind of operator that changed between the sets: pooling, padding, a reduction, a resize."""
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = keras.layers.MaxPooling2D(padding="same")(keras.layers.BatchNormalization()(x))
    x = keras.layers.UpSampling2D(2, interpolation="bilinear")(keras.layers.AveragePooling2D(2)(x))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="gelu")(x))
    return keras.Model(image, keras.layers.Dense(4)(x), name="cnn")


MODELS = {"cnn": cnn, "vit": lambda: kerasdl.create_model("vit_ti4", 4, (8, 8, 3), depth=1, width=16, heads=2)}


@pytest.fixture(scope="module", params=MODELS)
def converted(request):
    """(name, serving model, what tf2onnx wrote, its weights, pictures, Keras' answers); converted once for all sets."""
    keras.utils.set_random_seed(0)
    model = MODELS[request.param]()
    zoo.randomise(model)
    served = zoo.serving(model)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    return request.param, served, *convert.converted(served), pictures, parity.keras_runner(served)({"image": pictures})


@pytest.mark.parametrize("opset", convert.OPSETS)
def test_the_set_passes_the_gates_with_parity(opset, converted):
    name, served, proto, weights, pictures, wanted = converted
    found = convert.finished(onnx.ModelProto.FromString(proto.SerializeToString()), weights, served, ("logits",), opset)
    assert [(entry.domain, entry.version) for entry in found.opset_import] == [("", opset)] and found.ir_version == IR[opset]
    graphs.check_graph(found, *convert.contract(served, ("logits",)))
    given = graphs.onnx_run(found)({"image": pictures})
    np.testing.assert_allclose(given["logits"], wanted["logits"], atol=1e-5)
    counts = Counter(node.op_type for node in found.graph.node)
    assert counts["Gelu"] == (1 if opset >= 20 else 0) and counts["Erf"] == 1 - counts["Gelu"]
    assert counts["LayerNormalization"] == (3 if name == "vit" else 0)


def test_what_is_beyond_them_is_refused(converted):
    for opset in (16, 27):
        with pytest.raises(ExportRefused, match=f"opset must be 17 to 26. Received: {opset}"):
            convert.to_onnx(converted[1], ("logits",), opset)


def test_channels_first_costs_a_cnn_no_transpose():
    served = fitting.fitted(zoo.serving(cnn()), "none", True, MEANS)
    proto = convert.to_onnx(served, ("logits",))
    graphs.check_graph(proto, *convert.contract(served, ("logits",)))
    assert "Transpose" not in {node.op_type for node in proto.graph.node}
    assert gates.signature_of(proto.graph.input[0]) == ("uint8", ["batch", 3, 8, 8])


def test_a_graph_beyond_two_gigabytes_takes_the_way_over_files(converted, monkeypatch, tmp_path):
    """The limit is lowered; the way is the same."""
    name, served, proto, weights, pictures, wanted = converted
    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    monkeypatch.setattr(external, "LARGEST", 100)
    found = convert.finished(copy, weights, served, ("logits",))
    assert external.is_large(found)
    with external.loadable(found) as path:
        assert isinstance(path, str)
        held = onnx.load(path, load_external_data=False).graph.initializer
        assert {entry.value for tensor in held for entry in tensor.external_data if entry.key == "location"} == {"graph.onnx.data"}
    graphs.check_graph(found, *convert.contract(served, ("logits",)))
    np.testing.assert_allclose(graphs.onnx_run(found)({"image": pictures})["logits"], wanted["logits"], atol=1e-5)
    external.save(found, tmp_path / "model.onnx")
    for kept, read in zip(found.graph.initializer, onnx.load(tmp_path / "model.onnx").graph.initializer, strict=True):
        assert kept.name == read.name
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(kept), onnx.numpy_helper.to_array(read))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["model.onnx", "model.onnx.data"]
    with pytest.raises(ExportRefused, match="--whole-loop needs graphs of at most 100 bytes of weights together. Received: "):
        external.check_whole(found)
