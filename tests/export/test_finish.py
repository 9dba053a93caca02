"""Finishing keeps the function of a graph and leaves the operators a person would have written; what only looks alike stays."""

from collections import Counter

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers, ops

from export import convert
from export.finishing import Graph, fold_constants, layout, operators, shapes, simplify
from export.zoo import randomise
from kerasdl.layers.local_response_norm import LocalResponseNormalization
from kerasdl.models import find_model
from kerasdl.models.conv import conv_bn, max_pool
from kerasdl.models.vit import vit_ti16


def kinds(proto):
    return Counter(node.op_type for node in proto.graph.node)


def parse(text, opset=17):
    """A graph in onnx' own text form: `g (float[N,4] x) => (float[N,4] y) { y = Relu(x) }`."""
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> {text}')
    onnx.checker.check_model(proto, full_check=True)
    return proto


def run(proto, **feeds):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def applied(change, proto):
    """How often a pass changed the graph, and the valid graph it left."""
    graph = Graph(proto)
    changed = change(graph)
    graph.refresh()
    onnx.checker.check_model(graph.proto, full_check=True)
    return changed, graph.proto


def exported(body, shape=(12, 10, 3), opset=17, batches=(1, 3)):
    """The finished graph of a small model, which gives Keras' numbers."""
    keras.utils.set_random_seed(0)
    image = keras.Input(shape, name="image")
    model = keras.Model(image, {"y": body(image)})
    randomise(model)
    proto = convert.to_onnx(model, opset=opset)
    onnx.checker.check_model(proto, full_check=True)
    assert {entry.domain for entry in proto.opset_import} == {""}
    assert [entry.version for entry in proto.opset_import] == [opset]
    rng = np.random.default_rng(0)
    for batch in batches:
        pictures = rng.normal(size=(batch, *shape)).astype("float32")
        wanted = np.asarray(model(pictures, training=False)["y"])
        np.testing.assert_allclose(run(proto, image=pictures)[0], wanted, atol=2e-6 * max(1.0, float(np.abs(wanted).max())))
    return proto


# --- convolutions ---


def test_a_grouped_convolution_is_one_conv():
    proto = exported(lambda x: layers.Conv2D(8, 3, padding="same", groups=2)(layers.Conv2D(6, 3)(x)))
    assert kinds(proto) == {"Transpose": 2, "Conv": 2}
    groups = [attribute.i for node in proto.graph.node for attribute in node.attribute if attribute.name == "group"]
    assert groups == [1, 2]


def test_a_strided_grouped_convolution_with_dilation_and_bias_keeps_its_numbers():
    proto = exported(lambda x: layers.Conv2D(9, 3, strides=2, groups=3)(layers.Conv2D(6, 3, dilation_rate=2, groups=3)(x)))
    assert kinds(proto)["Conv"] == 2 and set(kinds(proto)) == {"Transpose", "Conv"}


def test_keras_has_its_own_convolution_back_after_an_export():
    from keras.src.backend.tensorflow import nn

    before = nn.conv
    with convert.plain_grouped_convolution():
        assert nn.conv is not before
    assert nn.conv is before


def test_batch_normalisation_folds_into_the_convolution_before_it_and_padding_into_the_one_behind():
    def body(x):
        x = conv_bn(x, 4, 3, 1, "a")
        return conv_bn(x, 4, 3, 2, "b")  # ZeroPadding2D, then a strided window

    proto = exported(body)
    assert kinds(proto) == {"Transpose": 2, "Conv": 2, "Relu": 2}


def test_batch_normalisation_behind_a_concatenation_is_a_mul_and_an_add():
    def body(x):
        x = layers.Concatenate()([conv_bn(x, 4, 3, 1, "a"), conv_bn(x, 4, 1, 1, "b")])
        return layers.Conv2D(4, 1)(layers.ReLU()(layers.BatchNormalization()(x)))

    assert kinds(exported(body)) == {"Transpose": 2, "Conv": 3, "Relu": 3, "Concat": 1, "Mul": 1, "Add": 1}


def test_a_padded_pool_behind_a_relu_is_one_pool():
    assert kinds(exported(lambda x: max_pool(layers.ReLU()(x), 3, 2, "pool", 1))) == {"Transpose": 2, "Relu": 1, "MaxPool": 1}


PADDED = "g (float[N,2,5,5] x) => (float[N,2,3,3] y) <int64[8] p = {0,0,1,1,0,0,1,1}> { %s }"


def test_zeros_around_negative_values_do_not_become_the_minus_infinity_of_a_max_pool():
    body = "a = Pad(x, p) y = MaxPool<kernel_shape=[3,3], strides=[2,2]>(a)"
    assert applied(layout.merge_pads, parse(PADDED % body))[0] == 0
    assert applied(layout.merge_pads, parse(PADDED % f"b = Relu(x) {body.replace('(x', '(b')}"))[0] == 1


def test_folding_constants_leaves_those_zeros_where_they_are():
    """onnxruntime 1.31 merges them too, and would change the function."""
    body = "a = Pad(x, p) y = MaxPool<kernel_shape=[3,3], strides=[2,2]>(a)"
    assert kinds(fold_constants(parse(PADDED % body))) == {"Pad": 1, "MaxPool": 1}


def test_padding_joins_the_pads_that_an_average_pool_and_a_conv_have():
    x = -np.random.default_rng(0).random((2, 2, 5, 5), dtype="float32")
    body = "a = Pad(x, p) y = AveragePool<kernel_shape=[3,3], strides=[2,2]>(a)"
    changed, proto = applied(layout.merge_pads, parse(PADDED % body))
    assert changed == 1 and kinds(proto) == {"AveragePool": 1}
    np.testing.assert_allclose(run(proto, x=x)[0], run(parse(PADDED % body), x=x)[0], rtol=1e-6)

    text = (
        "g (float[N,1,4,4] x) => (float[N,1,6,7] y) <int64[8] p = {0,0,1,0,0,0,0,2}, float[1,1,3,3] w = {1,2,3,4,5,6,7,8,9}> "
        "{ a = Pad(x, p) y = Conv<pads=[1,1,2,2]>(a, w) }"
    )
    changed, proto = applied(layout.merge_pads, parse(text))
    x = np.random.default_rng(1).normal(size=(2, 1, 4, 4)).astype("float32")
    assert changed == 1 and kinds(proto) == {"Conv": 1}
    np.testing.assert_allclose(run(proto, x=x)[0], run(parse(text), x=x)[0], rtol=1e-5)


@pytest.mark.parametrize("sides", ["0,1,1,1,0,0,1,1", "0,0,-1,1,0,0,1,1", "1,0,1,1,0,0,1,1"])
def test_padding_of_channels_and_cropping_stay(sides):
    text = "g (float[N,1,6,6] x) => (float[n,c,h,w] y) <int64[8] p = {%s}> { a = Relu(x) b = Pad(a, p) y = MaxPool<kernel_shape=[2,2]>(b) }"
    assert applied(layout.merge_pads, parse(text % sides))[0] == 0


def test_padding_that_another_node_takes_too_stays_for_that_one():
    body = "b = Relu(x) a = Pad(b, p) m = AveragePool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(a) "
    body += "z = MaxPool<kernel_shape=[3,3], strides=[2,2]>(a) y = Add(z, m)"
    x = np.random.default_rng(0).normal(size=(2, 2, 5, 5)).astype("float32")
    changed, proto = applied(layout.merge_pads, parse(PADDED % body))
    assert changed == 1 and kinds(proto)["Pad"] == 1
    np.testing.assert_allclose(run(proto, x=x)[0], run(parse(PADDED % body), x=x)[0], rtol=1e-6)


# --- transposes and shapes ---


def test_transposes_in_a_row_are_one_or_none():
    text = "g (float[N,2,3,4] x) => (float[N,2,3,4] y) { a = Transpose<perm=[0,2,3,1]>(x) b = Transpose<perm=[0,3,1,2]>(a) y = Relu(b) }"
    graph = Graph(parse(text))
    assert layout.merge_transposes(graph) == 1
    graph.refresh()
    assert shapes.drop_identities(graph) == 1
    graph.refresh()
    assert kinds(graph.proto) == {"Relu": 1}

    text = "g (float[N,2,3,4] x) => (float[N,4,3,2] y) { a = Transpose<perm=[0,2,3,1]>(x) y = Transpose<perm=[0,2,1,3]>(a) }"
    changed, proto = applied(layout.merge_transposes, parse(text))
    x = np.arange(48, dtype="float32").reshape(2, 2, 3, 4)
    assert changed == 1 and kinds(proto) == {"Transpose": 1}
    np.testing.assert_array_equal(run(proto, x=x)[0], x.transpose(0, 2, 3, 1).transpose(0, 2, 1, 3))


ONES = "g (float[N,%d] x) => (float[a,b,c,d] y) <int64[4] s = {-1,%s}> { r = Reshape(x, s) y = Transpose<perm=[0,3,1,2]>(r) }"


def test_a_transpose_of_ones_joins_the_reshape_before_it_and_a_real_one_stays():
    proto = simplify(parse(ONES % (4, "1,1,4")))
    x = np.arange(8, dtype="float32").reshape(2, 4)
    assert kinds(proto) == {"Reshape": 1}
    np.testing.assert_array_equal(run(proto, x=x)[0], x.reshape(2, 4, 1, 1))
    assert kinds(simplify(parse(ONES % (8, "2,1,4")))) == {"Reshape": 1, "Transpose": 1}


def test_flattened_channels_last_pictures_need_no_transpose_in_front_of_a_dense_layer():
    proto = exported(lambda x: layers.Dense(5)(layers.Flatten()(layers.Conv2D(3, 3)(x))))
    assert kinds(proto) == {"Transpose": 1, "Conv": 1, "Flatten": 1, "Gemm": 1}


def test_dense_layers_on_tokens_leave_no_shape_arithmetic():
    def body(x):
        x = layers.Reshape((-1, 6))(layers.Conv2D(6, 2, 2)(x))
        return layers.Dense(4)(layers.Dense(8, "relu")(x))

    proto = exported(body)
    assert kinds(proto) == {"Transpose": 2, "Conv": 1, "Reshape": 1, "MatMul": 2, "Add": 2, "Relu": 1}


ROWS = """g (float[N,3,4] x, float[4,2] w) => (float[N,3,2] y)
<int64[2] rows = {-1,4}, int64[3] back = {%s}> { a = Reshape(x, rows) b = MatMul(a, w) y = Reshape(b, back) }"""


def test_a_product_of_rows_is_a_product_unless_the_rows_are_dealt_out_anew():
    changed, proto = applied(shapes.matmul_of_rows, parse(ROWS % "-1,3,2"))
    assert changed == 1 and kinds(proto) == {"MatMul": 1}
    other = parse((ROWS % "3,-1,2").replace("[N,3,2]", "[a,b,c]"))
    assert applied(shapes.matmul_of_rows, other)[0] == 0


def test_a_slice_of_one_row_is_a_gather_and_of_two_is_not():
    text = (
        "g (float[N,3,4] x) => (float[N,4] y) <int64[1] s = {%d}, int64[1] e = {%d}, int64[1] a = {1}> "
        "{ b = Slice(x, s, e, a) y = Squeeze(b, a) }"
    )
    changed, proto = applied(shapes.index_instead_of_slice, parse(text % (1, 2)))
    x = np.arange(24, dtype="float32").reshape(2, 3, 4)
    assert changed == 1 and kinds(proto) == {"Gather": 1}
    np.testing.assert_array_equal(run(proto, x=x)[0], x[:, 1])
    wide = "g (float[N,3,4] x) => (float[N,2,4] y) <int64[1] s = {0}, int64[1] e = {2}, int64[1] a = {1}> { y = Slice(x, s, e, a) }"
    assert applied(shapes.index_instead_of_slice, parse(wide))[0] == 0


def test_an_identity_goes_and_a_result_of_the_graph_keeps_its_name():
    text = "g (float[N,4] x) => (float[N,4] y) { a = Identity(x) b = Cast<to=1>(a) c = Relu(b) y = Identity(c) }"
    assert kinds(simplify(parse(text))) == {"Relu": 1, "Identity": 1}
    text = "g (float[N,4] x) => (int64[N,4] y) { y = Cast<to=7>(x) }"
    assert kinds(simplify(parse(text))) == {"Cast": 1}


def test_an_expanded_token_asks_the_input_for_the_batch():
    class Token(layers.Layer):
        def build(self, shape):
            self.token = self.add_weight(shape=(1, 1, shape[-1]), name="token")

        def call(self, x):
            return ops.concatenate([ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1])), x], axis=1)

    proto = exported(lambda x: Token()(layers.Reshape((-1, 3))(x)))
    assert kinds(proto) == {"Reshape": 1, "Shape": 1, "Concat": 2, "Expand": 1}


# --- operators with a name ---


@pytest.mark.parametrize("options", [{}, {"center": False}, {"scale": False}, {"center": False, "scale": False}])
@pytest.mark.parametrize("dims", [3, 4])
def test_layer_normalization_is_one_operator(options, dims):
    def body(x):
        x = layers.Reshape((-1, 3))(x) if dims == 3 else x
        return layers.LayerNormalization(epsilon=1e-3, **options)(x)

    proto = exported(body)
    assert kinds(proto) == {"LayerNormalization": 1, **({"Reshape": 1} if dims == 3 else {})}
    (node,) = (node for node in proto.graph.node if node.op_type == "LayerNormalization")
    found = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert found["axis"] == -1 and found["epsilon"] == pytest.approx(1e-3)


@pytest.mark.parametrize("layer", [layers.LayerNormalization(axis=1), layers.LayerNormalization(axis=[1, 2]), layers.GroupNormalization(1)])
def test_a_normalisation_over_other_axes_stays(layer):
    assert "LayerNormalization" not in kinds(exported(layer))


NORM = """g (float[N,5,4] x) => (%s)
<int64[1] last = {-1}, float e = {0.001}, float[4] gamma = {1,2,3,4}, float[4] beta = {4,3,2,1}> {
 m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) q = Mul(d, d) v = ReduceMean<axes=[-1]>(q) a = Add(v, e) r = Sqrt(a) i = Reciprocal(r)
 s = Mul(i, gamma) p = Mul(x, s) n = Neg(m) t = Mul(n, s) b = Add(t, beta) y = Add(p, b) %s }"""


def test_an_inner_value_that_is_used_elsewhere_is_still_computed():
    text = NORM % ("float[N,5,4] y, float[N,5,1] z", "z = Exp(v)")
    changed, proto = applied(operators.layer_normalization, parse(text))
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    assert changed == 1 and kinds(proto)["LayerNormalization"] == kinds(proto)["Exp"] == 1
    for found, wanted in zip(run(proto, x=x), run(parse(text), x=x), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("v = ReduceMean<axes=[-1]>(q)", "v = ReduceMean<axes=[1]>(q)"),
        ("q = Mul(d, d)", "q = Mul(d, x)"),
        ("d = Sub(x, m)", "d = Sub(m, x)"),
        ("n = Neg(m)", "n = Neg(v)"),
        ("p = Mul(x, s)", "p = Mul(d, s)"),
        ("t = Mul(n, s)", "t = Mul(n, i)"),
        ("i = Reciprocal(r)", "i = Reciprocal(a)"),
    ],
)
def test_a_group_that_only_looks_like_layer_normalization_stays(old, new):
    text = NORM % ("float[N,5,4] y", "")
    assert applied(operators.layer_normalization, parse(text))[0] == 1
    assert old in text and applied(operators.layer_normalization, parse(text.replace(old, new)))[0] == 0


@pytest.mark.parametrize("shape", ["N", "4,N"])
def test_a_last_axis_whose_size_nobody_knows_has_no_scale_to_be_found(shape):
    text = f"g (float[{shape}] x, float[{shape}] w) => (float[{shape}] y) {{ p = Mul(x, w) y = Add(p, x) }}"
    assert applied(operators.layer_normalization, parse(text))[0] == 0


@pytest.mark.parametrize("opset", [17, 20, 21])
def test_exact_gelu_is_the_operator_where_the_opset_has_it(opset):
    found = kinds(exported(lambda x: layers.Dense(4, "gelu")(layers.Reshape((-1, 3))(x)), opset=opset))
    extra = {"Gelu": 1} if opset >= 20 else {"Div": 1, "Erf": 1, "Mul": 2}
    assert found == {"Reshape": 1, "MatMul": 1, "Add": 1 if opset >= 20 else 2, **extra}


def test_the_tanh_approximation_of_gelu_is_no_exact_gelu():
    assert "Gelu" not in kinds(exported(lambda x: layers.Activation(lambda t: ops.gelu(t, approximate=True))(x), opset=20))


ERF = (
    "g (float[N,4] x) => (float[N,4] y) <float h = {0.5}, float k = {%s}, float one = {1}> { a = Mul(x, k) b = Erf(a) c = Add(b, one) %s }"
)
ORDERS = ["d = Mul(x, h) y = Mul(d, c)", "d = Mul(c, h) y = Mul(x, d)", "d = Mul(c, x) y = Mul(h, d)"]


@pytest.mark.parametrize("order", ORDERS)
def test_gelu_is_found_in_every_order_of_its_factors(order):
    text = ERF % (0.70710678, order)
    changed, proto = applied(operators.gelu, parse(text, 20))
    assert changed == 1 and kinds(proto) == {"Gelu": 1}
    x = np.linspace(-3, 3, 8, dtype="float32").reshape(2, 4)
    np.testing.assert_allclose(run(proto, x=x)[0], run(parse(text, 20), x=x)[0], atol=1e-6)


@pytest.mark.parametrize(
    "text", [ERF % (0.7, ORDERS[0]), ERF % (-0.70710678, ORDERS[0]), ERF % (0.70710678, "d = Mul(b, h) y = Mul(x, d)")]
)
def test_a_product_with_erf_that_is_no_gelu_stays(text):
    assert applied(operators.gelu, parse(text, 20))[0] == 0


def test_local_response_normalization_is_one_operator():
    def body(x):
        return layers.MaxPooling2D(2)(LocalResponseNormalization(5, 2.0, 0.3, 0.75)(layers.Conv2D(8, 3)(x)))

    assert kinds(exported(body)) == {"Transpose": 2, "Conv": 1, "LRN": 1, "MaxPool": 1}


# --- whole nets ---


def served(name, shape, **options):
    from export.zoo import serving

    model = find_model(name)(image_shape=shape, **options)
    model = serving(keras.Model(model.input, layers.Dense(10, name="logits")(layers.GlobalAveragePooling2D(name="pool")(model.output))))
    randomise(model)
    return model


INPUT = {"Cast": 1, "Mul": 1, "Add": 1, "Transpose": 1}  # uint8 to float32, scale, channels first
HEAD = {"GlobalAveragePool": 1, "Squeeze": 1, "Gemm": 1}


def test_resnet18_has_the_operators_of_its_drawing():
    proto = convert.to_onnx(served("resnet18", (64, 64, 3)))
    assert kinds(proto) == Counter(INPUT) + Counter(HEAD) + Counter({"Conv": 20, "Relu": 17, "Add": 8, "MaxPool": 1})


@pytest.fixture(scope="module")
def small_vit():
    from export.zoo import serving

    body = vit_ti16(image_shape=(64, 64, 3), depth=3)
    model = serving(keras.Model(body.input, layers.Dense(10, name="logits")(body.output)))
    randomise(model)
    return model, convert.to_onnx(model)


def test_a_vision_transformer_of_three_blocks_stays_below_a_hundred_nodes(small_vit):
    _, proto = small_vit
    found = kinds(proto)
    assert found["LayerNormalization"] == 7 and found["Erf"] == 3 and found["Softmax"] == 3
    assert found["MatMul"] + found["Gemm"] == 6 * 3 + 1
    assert found.keys().isdisjoint({"Shape", "Reciprocal", "Sqrt", "GlobalAveragePool", "ReduceMean"})
    assert sum(found.values()) < 100


def test_every_shape_in_the_file_is_the_shape_of_the_value(small_vit):
    """All inner values as results, at two batch sizes."""
    _, proto = small_vit
    bare = onnx.ModelProto.FromString(proto.SerializeToString())
    told = {value.name: value.type.tensor_type for value in proto.graph.value_info}
    made = [name for node in proto.graph.node for name in node.output]
    assert set(made) <= {*told, "logits"}
    for value in bare.graph.value_info:
        bare.graph.output.append(value)
    session = onnxruntime.InferenceSession(bare.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    for batch in (1, 3):
        results = session.run(None, {"image": np.zeros((batch, 64, 64, 3), np.uint8)})
        for name, result in zip(names, results, strict=True):
            if name not in told:
                continue
            dims = [batch if dim.dim_param == "batch" else dim.dim_value for dim in told[name].shape.dim]
            assert dims == list(np.shape(result)), name
            assert onnx.helper.tensor_dtype_to_np_dtype(told[name].elem_type) == np.asarray(result).dtype


def test_nodes_and_constants_are_called_after_their_layers(small_vit):
    _, proto = small_vit
    names = [node.name for node in proto.graph.node]
    assert len(set(names)) == len(names) and all(names)
    assert {"patch_conv/Conv", "block2_norm1/LayerNormalization", "block3_fc2/MatMul", "logits/Gemm"} <= set(names)
    constants = [tensor.name for tensor in proto.graph.initializer]
    assert len(set(constants)) == len(constants)
    assert {"patch_conv/Conv/weight", "block1_qkv/MatMul/weight", "block2_norm1/LayerNormalization/scale"} <= set(constants)


def test_a_second_finishing_changes_nothing(small_vit):
    _, proto = small_vit
    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    assert [node.SerializeToString() for node in simplify(copy).graph.node] == [node.SerializeToString() for node in proto.graph.node]


def test_large_weights_do_not_pass_through_the_converter():
    model = served("resnet18_small", (16, 16, 3))
    function, weights = convert.with_weights_as_inputs(model)
    large = {v.path for v in model.variables if len(v.shape) > 1 and np.prod(v.shape) >= 1024}
    assert {variable.path for variable in weights.values()} == large and len(large) == 21  # 20 convolutions and the head
    assert [spec.name for spec in function.input_signature] == ["image", *weights]


ADDED = "g (float[N,2,3] x) => (float[N,2,3] y%s) <float[1,2,3] a = {1,2,3,4,5,6}, float[%s] b = {%s}> { s = Add(a, x) y = Add(s, b)%s }"


@pytest.mark.parametrize(("shape", "values"), [("1,2,3", "6,5,4,3,2,1"), ("3", "1,2,3"), ("1", "7")])
def test_two_constants_are_added_once(shape, values):
    exact = parse(ADDED % ("", shape, values, ""))
    x = np.random.default_rng(0).normal(size=(4, 2, 3)).astype("float32")
    wanted = run(exact, x=x)[0]
    changed, proto = applied(operators.sum_of_constants, exact)
    assert changed == 1 and kinds(proto) == {"Add": 1} and len(proto.graph.initializer) == 1
    np.testing.assert_allclose(run(proto, x=x)[0], wanted, rtol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        ADDED % (", float[N,2,3] z", "3", "1,2,3", " z = Relu(s)"),
        ADDED % (", float[N,2,3] s", "3", "1,2,3", ""),
        "g (float[N,2,3] x) => (float[N,2,3] y) <float[2,1] a = {1,2}, float[3] b = {1,2,3}> { s = Add(x, a) y = Add(s, b) }",
        "g (float[N,2,3] x) => (float[N,2,3] y) <float[3] b = {1,2,3}> { s = Add(x, x) y = Add(s, b) }",
    ],
    ids=["the first sum is wanted elsewhere", "the first sum is a result", "the sum would be larger than both", "one constant"],
)
def test_other_sums_stay(text):
    assert applied(operators.sum_of_constants, parse(text))[0] == 0
