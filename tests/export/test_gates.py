"""Every gate fires on a model made to trip it, says why in a sentence, and leaves nothing behind."""

import keras
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export import ExportRefused, convert, gates, parity
from kerasdl.tasks import Classification

LETTERS = {"image": ("uint8", ["batch", 4, 4, 1])}
ANSWERS = {"probabilities": ("float32", ["batch", 16])}


class Resized(keras.layers.Layer):
    """What the converter cannot do (antialias: ScaleAndTranslate) or onnxruntime cannot load (bicubic on NHWC)."""

    def __init__(self, antialias=False, interpolation="bilinear", **options):
        super().__init__(**options)
        self.antialias, self.interpolation = antialias, interpolation

    def call(self, x):
        return keras.ops.image.resize(x, (13, 13), interpolation=self.interpolation, antialias=self.antialias)


class Noise(keras.layers.Layer):
    """Randomness that stays at inference: stateless draws are unknown to the converter, the others convert."""

    def __init__(self, stateless, **options):
        super().__init__(**options)
        self.stateless = stateless

    def call(self, x):
        import tensorflow as tf

        return x + (tf.random.stateless_uniform(tf.shape(x), seed=(1, 2)) if self.stateless else tf.random.uniform(tf.shape(x)))


class Leaky(keras.layers.Layer):
    """Batch normalisation that was left in training mode."""

    def __init__(self, **options):
        super().__init__(**options)
        self.norm = keras.layers.BatchNormalization()

    def build(self, shape):
        self.norm.build(shape)

    def call(self, x):
        return self.norm(x, training=True)


def proto(node="Softmax", domain="", **changes):
    """A small graph that keeps the contract: uint8 [batch,4,4,1] to float32 [batch,16]."""
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["x"], ["y"]),
        helper.make_node(node, ["y"], ["probabilities"], domain=domain),
    ]
    shapes = {"image": ["batch", 4, 4, 1], "probabilities": ["batch", 16], **changes}
    inputs = [helper.make_tensor_value_info("image", changes.get("dtype", TensorProto.UINT8), shapes["image"])]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shapes["probabilities"])]
    graph = helper.make_graph(nodes, "model", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def assert_nothing_was_written(tmp_path):
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layer", [Resized(antialias=True), Noise(stateless=True)], ids=["lanczos", "random"])
def test_an_operator_that_the_converter_only_logs_about_is_refused(layer, craft, export, tmp_path):
    with pytest.raises(ExportRefused, match="converter must know every operator. Received: Tensorflow op"):
        export(craft.serving_model(layer))
    assert_nothing_was_written(tmp_path)


@pytest.mark.parametrize("layer", [Noise(stateless=False), Resized(interpolation="bicubic")], ids=["random", "bicubic"])
def test_an_operator_that_converts_to_another_function_is_refused(layer, craft, export, tmp_path):
    with pytest.raises(ExportRefused, match="onnxruntime"):  # an onnxruntime that cannot load the bicubic resize is right too
        export(craft.serving_model(layer))
    assert_nothing_was_written(tmp_path)


def test_a_normalization_layer_makes_an_extra_graph_input_and_is_refused(craft, export, tmp_path):
    layer = keras.layers.Normalization(mean=0.5, variance=2.0, axis=None)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ExportRefused, match=r"graph's inputs must be image. Received: image, .+"):
        export(craft.serving_model(layer))
    assert_nothing_was_written(tmp_path)


def test_an_opset_that_the_exporter_does_not_write_is_refused(craft, export, tmp_path):
    with pytest.raises(ExportRefused, match="opset must be 17 to 26. Received: 99"):
        export(craft.serving_model(lambda x: x), opset=99)
    assert_nothing_was_written(tmp_path)


def test_a_model_that_does_not_trace_is_refused_in_a_sentence(craft, export, tmp_path, monkeypatch):
    def broken(model):
        def fail(image):
            raise TypeError("no such tensor")

        return tf.function(fail, input_signature=convert.signature(model), autograph=False)

    import tensorflow as tf

    monkeypatch.setattr(convert, "serving_function", broken)
    with pytest.raises(ExportRefused, match="must convert to ONNX. Received: TypeError: no such tensor"):
        export(craft.serving_model(lambda x: x))
    assert_nothing_was_written(tmp_path)


def test_batch_normalisation_left_in_training_mode_fails_parity(craft, export, tmp_path):
    with pytest.raises(ExportRefused, match=r"onnxruntime at batch \d must be within 1e-05 of Keras"):
        export(craft.serving_model(Leaky()))
    assert_nothing_was_written(tmp_path)


def test_a_converter_that_leaks_training_mode_fails_parity(craft, export, tmp_path, monkeypatch):
    import tensorflow as tf

    def leaky(model):
        return tf.function(lambda image: model({"image": image}, training=True), input_signature=convert.signature(model))

    monkeypatch.setattr(convert, "serving_function", leaky)
    with pytest.raises(ExportRefused, match="must be within 1e-05 of Keras|converter must know"):
        export(craft.serving_model(keras.layers.BatchNormalization()))
    assert_nothing_was_written(tmp_path)


def test_an_onnx_file_with_other_weights_fails_parity(trained, splits, export, tmp_path, monkeypatch):
    original = convert.to_onnx

    def perturbed(*args, **options):
        graph = original(*args, **options)
        held = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        values = onnx.numpy_helper.to_array(held) * np.float32(1.01)
        held.CopyFrom(onnx.numpy_helper.from_array(values, held.name))
        return graph

    monkeypatch.setattr(convert, "to_onnx", perturbed)
    with pytest.raises(ExportRefused, match="onnxruntime at batch 1 must be within 1e-05 of Keras. Received: max error 0.0"):
        export(trained, task=Classification())
    assert_nothing_was_written(tmp_path)


def test_a_saved_model_with_other_weights_fails_parity(craft, export, tmp_path, monkeypatch):
    original, other = convert.to_saved_model, craft.serving_model(lambda x: 1.5 * x)
    monkeypatch.setattr(convert, "to_saved_model", lambda graphs, folder: original({"model": other}, folder))
    with pytest.raises(ExportRefused, match="saved_model at batch 1 must be within 1e-05 of Keras"):
        export(craft.serving_model(lambda x: x))
    assert_nothing_was_written(tmp_path)


def test_more_parameters_than_memory_can_export_are_refused_before_the_conversion(craft, export, tmp_path, monkeypatch):
    monkeypatch.setattr(gates, "free_memory", lambda: 10_000_000_000)
    model = craft.serving_model(lambda x: x)
    model.count_params = lambda: 600_000_000
    with pytest.raises(ExportRefused, match="for each parameter. Received: 600,000,000 parameters, 24.0 GB where 10.0 can be had"):
        export(model)
    assert_nothing_was_written(tmp_path)
    gates.check_size(250_000_000)
    monkeypatch.setattr(gates, "free_memory", lambda: None)
    gates.check_size(600_000_000)  # a system that does not tell


def test_what_a_process_holds_already_counts_as_memory_it_can_have():
    if gates.free_memory() is None:
        pytest.skip("this system does not tell how much memory is free")
    held = np.ones(50_000_000)
    free, found = gates.bytes_of("/proc/meminfo", "MemAvailable"), gates.free_memory()
    assert found is not None and found > free + 0.9 * held.nbytes


def test_a_layer_that_computes_in_half_precision_is_refused(craft):
    model = craft.serving_model(keras.layers.Conv2D(2, 3, dtype="mixed_bfloat16", name="half"))
    with pytest.raises(ExportRefused, match="compute in float32. Received: layer half in bfloat16"):
        gates.check_float32(model)


def test_a_mixed_precision_model_that_cannot_be_rebuilt_is_refused(craft, export, tmp_path):
    class Local(keras.layers.Dense):
        def get_config(self):
            return {**super().get_config(), "units": "many"}

    with pytest.raises(ExportRefused, match="rebuildable from its config in float32"):
        export(craft.serving_model(Local(4, dtype="mixed_bfloat16")))
    assert_nothing_was_written(tmp_path)


def test_fewer_than_256_samples_are_refused(craft, splits, export, tmp_path):
    with pytest.raises(ExportRefused, match="at least 256 real samples.*Received: {'image': 255, 'label': 255}"):
        export(craft.serving_model(lambda x: x), samples=splits.test.arrays(np.arange(255)))
    assert_nothing_was_written(tmp_path)


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a/b", "a b"])
def test_a_name_that_is_no_folder_name_is_refused(name, craft, export, tmp_path):
    with pytest.raises(ExportRefused, match="bundle's name"):
        export(craft.serving_model(lambda x: x), name=name)
    assert_nothing_was_written(tmp_path)


def test_a_serving_model_without_the_tasks_output_is_refused(export, tmp_path):
    image = keras.Input((32, 32, 1), dtype="uint8", name="image")
    answer = keras.layers.Dense(10)(keras.layers.Flatten()(keras.ops.cast(image, "float32")))
    with pytest.raises(ExportRefused, match="must give probabilities. Received: logits"):
        export(keras.Model({"image": image}, {"logits": answer}))
    with pytest.raises(ExportRefused, match="dict of named outputs"):
        export(keras.Model(image, answer))
    assert_nothing_was_written(tmp_path)


def test_more_than_one_graph_is_refused_where_the_task_has_one(craft, export, tmp_path):
    class Two(Classification):
        def serving(self, model, spec):
            return {"encoder": model, "decoder": model}

    with pytest.raises(ExportRefused, match="one graph named model, of captions .* Received: encoder, decoder"):
        export(craft.serving_model(lambda x: x), task=Two())
    assert_nothing_was_written(tmp_path)


def test_the_small_graph_of_these_tests_passes_every_gate():
    graph = proto()
    gates.check_domains(graph)
    gates.check_contract(graph, LETTERS, ANSWERS)
    gates.check_proto(graph)
    assert gates.open_session(graph.SerializeToString()).get_inputs()[0].name == "image"


def test_a_foreign_operator_domain_is_refused():
    with pytest.raises(ExportRefused, match="ai.onnx domain. Received: com.microsoft:Gelu"):
        gates.check_domains(proto("Gelu", domain="com.microsoft"))


def test_a_foreign_operator_inside_a_branch_is_refused():
    body = helper.make_graph([helper.make_node("Gelu", ["y"], ["z"], domain="com.microsoft")], "body", [], [])
    graph = proto()
    graph.graph.node.append(helper.make_node("If", ["c"], ["w"], then_branch=body, else_branch=body))
    with pytest.raises(ExportRefused, match="com.microsoft:Gelu"):
        gates.check_domains(graph)


def test_a_foreign_operator_set_is_refused_even_when_no_node_uses_it():
    graph = proto()
    graph.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(ExportRefused, match="com.microsoft"):
        gates.check_domains(graph)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image": [1, 4, 4, 1]}, r"inputs image must have the shape \['batch', 4, 4, 1\]. Received: \[1, 4, 4, 1\]"),
        ({"image": ["n", 4, 4, 1]}, "inputs image must have the shape"),
        ({"probabilities": ["batch", 3]}, "outputs probabilities must have the shape"),
        ({"dtype": TensorProto.INT32}, "inputs image must be uint8, one of uint8, int32, int64, float32. Received: int32"),
    ],
)
def test_a_graph_that_breaks_the_contract_is_refused(changes, sentence):
    with pytest.raises(ExportRefused, match=sentence):
        gates.check_contract(proto(**changes), LETTERS, ANSWERS)


def test_a_contract_that_breaks_the_house_rules_is_refused():
    for inputs, sentence in [
        ({"image": ("uint8", [1, 4, 4, 1])}, "batch as its named first dimension"),
        ({"image": ("int32", ["batch", 4, 4, 1])}, "image must be uint8"),
        ({"image": ("uint8", ["batch", 4, 4, 2])}, "image must be uint8"),
        ({"tokens": ("float16", ["batch", 4])}, "one of uint8, int32, int64, float32"),
    ]:
        for name, (dtype, shape) in inputs.items():
            with pytest.raises(ExportRefused, match=sentence):
                gates.check_value("inputs", name, (dtype, shape), dtype, shape, gates.INPUT_TYPES)


def test_features_alone_must_be_a_table():
    with pytest.raises(ExportRefused, match="features must be float32"):
        gates.check_columns("float32", ["batch", 2, 2])
    gates.check_columns("float32", ["batch", 2])


def test_wrong_names_are_refused():
    with pytest.raises(ExportRefused, match="graph's outputs must be embedding. Received: probabilities"):
        gates.check_contract(proto(), LETTERS, {"embedding": ("float32", ["batch", 16])})


def test_a_corrupted_graph_is_refused_by_the_checker():
    graph = proto()
    graph.graph.node[1].input[0] = "nowhere"
    with pytest.raises(ExportRefused, match="onnx.checker must accept the graph"):
        gates.check_proto(graph)


def test_an_unknown_operator_is_refused_by_the_checker():
    with pytest.raises(ExportRefused, match="onnx.checker must accept the graph. Received: No Op registered for Erfc"):
        gates.check_proto(proto("Erfc"))


def test_bytes_that_are_no_graph_are_refused_by_onnxruntime():
    with pytest.raises(ExportRefused, match="onnxruntime must load the graph"):
        gates.open_session(b"no graph at all")


def test_a_valid_graph_without_a_kernel_is_refused_by_onnxruntime():
    graph = proto("Sinh")
    graph.graph.node[0].attribute[0].i = TensorProto.DOUBLE  # no CPU kernel for a sinh in double precision
    graph.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    gates.check_proto(graph)
    with pytest.raises(ExportRefused, match="onnxruntime must load the graph. Received: .*NOT_IMPLEMENTED"):
        gates.open_session(graph.SerializeToString())


def row(**changes):
    good = {"runtime": "onnxruntime", "batch": 2, "max_error": 1e-7, "tolerance": 1e-5, "decisions_equal": True}
    return {**good, **changes}


def test_parity_is_refused_beyond_the_tolerance_and_where_a_number_is_missing():
    gates.check_parity(row())
    for error in (2e-5, float("inf"), float("nan")):
        with pytest.raises(ExportRefused, match="onnxruntime at batch 2 must be within 1e-05 of Keras"):
            gates.check_parity(row(max_error=error))


def test_another_decision_is_refused_and_a_near_tie_is_counted():
    task = Classification()
    wanted = {"probabilities": np.array([[0.5, 0.3, 0.2], [0.400004, 0.399996, 0.2]], np.float32)}
    tied = {"probabilities": np.array([[0.5, 0.3, 0.2], [0.399996, 0.400004, 0.2]], np.float32)}
    error, equal, near = parity.compare(task, wanted, tied)
    assert error < task.tolerance and equal and near == 1
    flipped = {"probabilities": wanted["probabilities"][:, [1, 0, 2]]}
    assert parity.compare(task, wanted, flipped)[1:] == (False, 1)
    with pytest.raises(ExportRefused, match="must decide as Keras does"):
        gates.check_parity(row(decisions_equal=False))


def test_a_missing_number_and_another_shape_or_type_are_infinitely_far():
    ones = np.ones((2, 3), np.float32)
    assert parity.difference(ones, np.full((2, 3), np.nan, np.float32)) == np.inf
    assert parity.difference(ones, ones[:, :2]) == np.inf
    assert parity.difference(ones, ones.astype("float64")) == np.inf
    assert parity.difference(ones, ones + np.float32(0.5)) == 0.5


def test_parity_runs_every_sample_at_each_batch_size_with_the_remainder():
    sizes = []

    def run(feeds):
        sizes.append(len(feeds["image"]))
        return {"probabilities": feeds["image"]}

    feeds = {"image": np.tile(np.array([[0.9, 0.1]], np.float32), (10, 1))}
    rows = parity.measure(Classification(), "onnxruntime", run, feeds, {"probabilities": feeds["image"]})
    assert sizes == [1] * 10 + [2] * 5 + [7, 3]
    assert [(r["batch"], r["samples"], r["max_error"], r["near_ties"]) for r in rows] == [(1, 10, 0, 0), (2, 10, 0, 0), (7, 10, 0, 0)]
