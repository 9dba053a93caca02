"""The numbers of the course (docs/course.md), computed by the layers that the models are made of.

Every expected value was worked out by hand or in double precision outside this package.
"""

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import kerasdl
from kerasdl.layers.locally_connected import LocallyConnected2D
from kerasdl.layers.toeplitz import convolution_matrix
from kerasdl.layers.upsampling import resize_conv
from kerasdl.models.conv import conv, max_pool
from kerasdl.weightless import weightless

PICTURE = np.array([[4, 5, 8, 7], [1, 8, 8, 8], [3, 6, 6, 4], [6, 5, 7, 8]], "float32")
KERNEL = np.array([[1, 4, 1], [1, 4, 3], [3, 3, 1]], "float32")


def grey(picture: Any) -> np.ndarray:
    """(H, W) as the batch (1, H, W, 1)."""
    return np.asarray(picture, "float32")[None, :, :, None]


def plane(tensor: Any) -> np.ndarray:
    """(1, H, W, 1) back to (H, W)."""
    return np.asarray(tensor)[0, :, :, 0]


def our_conv(shape: tuple[int, int, int], *arguments: Any, **options: Any) -> keras.Model:
    """The convolution of the zoo as a model."""
    image = keras.Input(shape)
    return keras.Model(image, conv(image, *arguments, name="c", **options))


def our_conv_of(kernel: np.ndarray, picture: np.ndarray, **options: Any) -> np.ndarray:
    model = our_conv((*picture.shape, 1), 1, len(kernel), pad=0, **options)
    model.set_weights([kernel[:, :, None, None]])
    return plane(model(grey(picture)))


def params(layer: Any) -> int:
    return sum(int(np.prod(w.shape)) for w in layer.trainable_weights)


def gradient(function: Any, x: float) -> float:
    import tensorflow as tf

    point = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(point)
        y = function(point)
    slope: Any = tape.gradient(y, point)
    return float(slope)


# --- B4 to B6, B17, B19: networks of dense layers, softmax, cross-entropy ---


def test_a_perceptron_with_a_hidden_layer_computes_xor():
    """relu(a + b) - 2 relu(a + b - 1), which no single linear layer can."""
    model = kerasdl.create_model("mlp", classes=1, image_shape=(1, 2, 1), width=2, depth=1)
    model.set_weights([np.ones((2, 2)), np.array([0.0, -1.0]), np.array([[1.0], [-2.0]]), np.zeros(1)])
    assert np.ravel(model(np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]).reshape(4, 1, 2, 1))).tolist() == [0, 1, 1, 0]


def test_softmax_of_large_scores_stays_finite():
    scores = np.array([1.0, 2.0, 4.0], "float32")
    np.testing.assert_allclose(keras.ops.softmax(scores), [0.042010, 0.114195, 0.843795], atol=1e-6)
    np.testing.assert_allclose(keras.ops.softmax(scores + 1000), keras.ops.softmax(scores), atol=1e-6)  # e^1000 alone overflows


def cross_entropy(scores: Any, label: int) -> float:
    return float(keras.losses.SparseCategoricalCrossentropy(from_logits=True)(np.array([label]), np.asarray([scores], "float32")))


@pytest.mark.parametrize("classes, start", [(2, 0.693147), (10, 2.302585), (100, 4.605170), (1000, 6.907755)])
def test_cross_entropy_by_hand_and_at_the_start(classes, start):
    assert cross_entropy([3.2, 5.1, -1.7], 0) == pytest.approx(2.040355, abs=1e-5)
    assert cross_entropy(np.full(classes, 0.3), 1) == pytest.approx(start, abs=1e-5)


# --- B8 to B12: activations ---


def test_sigmoid():
    sigmoid = keras.activations.sigmoid
    np.testing.assert_allclose([sigmoid(2.0), 1 - sigmoid(1.3)], [0.880797, 0.214165], atol=1e-6)  # 1 - s(x) = 1 / (1 + e^x)


def test_sigmoid_has_slope_a_quarter_at_zero_and_saturates():
    assert gradient(keras.activations.sigmoid, 0.0) == pytest.approx(0.25)
    assert gradient(keras.activations.sigmoid, 10.0) < 5e-5 and gradient(keras.activations.sigmoid, -10.0) < 5e-5


def test_tanh_is_odd_and_a_stretched_sigmoid():
    x = np.array([-2, -1, 0, 1, 2], "float32")
    y = np.asarray(keras.activations.tanh(x))
    assert y[3] == pytest.approx(0.761594, abs=1e-6)
    np.testing.assert_allclose(y, -y[::-1], atol=1e-7)
    np.testing.assert_allclose(y, 2 * np.asarray(keras.activations.sigmoid(2 * x)) - 1, atol=1e-6)


def test_relu_passes_gradient_only_where_its_input_is_positive():
    np.testing.assert_array_equal(layers.ReLU()(np.array([-2.0, 0.0, 3.0])), [0, 0, 3])
    assert [gradient(keras.activations.relu, x) for x in (-2.0, 3.0)] == [0, 1]


def test_leaky_relu_and_its_three_common_slopes():
    x = np.array([-1.0, 2.0], "float32")
    np.testing.assert_allclose(layers.LeakyReLU(0.1)(x), [-0.1, 2], rtol=1e-6)  # the course's
    np.testing.assert_allclose(layers.LeakyReLU(0.01)(x), [-0.01, 2], rtol=1e-6)  # the usual one
    np.testing.assert_allclose(layers.LeakyReLU()(x), [-0.3, 2], rtol=1e-6)  # what Keras takes unasked


@pytest.mark.parametrize("make", [layers.LeakyReLU, lambda slope: layers.PReLU(keras.initializers.Constant(slope))])
def test_a_slope_above_one_stays_on_the_negative_side(make):
    """max(2x, x) would give 2 at x = 1; the form by cases gives 1."""
    np.testing.assert_array_equal(make(2.0)(np.array([[1.0, -1.0]])), [[1, -2]])


def test_prelu_learns_one_slope_a_channel_when_asked():
    prelu = layers.PReLU(shared_axes=[1, 2])
    prelu.build((None, 4, 4, 3))
    assert params(prelu) == 3
    prelu.set_weights([np.array([[[0.1, 0.5, 2.0]]], "float32")])
    np.testing.assert_allclose(np.asarray(prelu(-np.ones((1, 4, 4, 3), "float32")))[0, 2, 1], [-0.1, -0.5, -2], rtol=1e-6)


def test_elu():
    np.testing.assert_allclose(layers.ELU()(np.array([-1.0, 2.0], "float32")), [-0.632121, 2], atol=1e-6)
    np.testing.assert_allclose(layers.ELU(alpha=0.5)(np.array([-1.0], "float32")), [-0.316060], atol=1e-6)


# --- C1 to C5: what a convolution layer computes ---


def test_one_dimensional_convolution_is_the_layer_with_a_mirrored_kernel():
    """f * g with g = (1, 0, -1) on {-1, 0, 1}: (f * g)[n] = f[n+1] - f[n-1], defined for n = 1..N-1."""
    layer = layers.Conv1D(1, 3, use_bias=False)
    layer.build((None, 5, 1))
    layer.set_weights([np.array([1, 0, -1], "float32")[::-1, None, None]])
    np.testing.assert_array_equal(np.asarray(layer(np.array([1, 2, 4, 8, 16], "float32")[None, :, None]))[0, :, 0], [3, 6, 12])


def test_convolution_needs_a_signal_as_long_as_the_kernel():
    """f on {0..N}, g on {-M..M}: outputs exist when 2M <= N, so that N = 2, M = 1 gives one and N = 1 none (M <= N is not enough)."""
    assert layers.Conv1D(1, 3).compute_output_shape((1, 3, 1)) == (1, 1, 1)
    with pytest.raises(ValueError, match="zero or negative"):
        layers.Conv1D(1, 3).compute_output_shape((1, 2, 1))


def test_libraries_correlate():
    np.testing.assert_array_equal(our_conv_of(KERNEL, PICTURE), [[122, 148], [126, 134]])


def test_true_convolution_is_the_layer_with_a_mirrored_kernel():
    np.testing.assert_array_equal(our_conv_of(KERNEL[::-1, ::-1].copy(), PICTURE), [[119, 148], [121, 143]])


def test_a_layer_adds_its_input_channels_and_a_bias():
    """Three channels, k = 0..2: 1 * 4 + 10 * 5 + 100 * 6 + bias 7 in the first map, the red channel alone in the second."""
    model = our_conv((1, 1, 3), 2, 1, bias=True)
    model.set_weights([np.array([[[[1, 1], [10, 0], [100, 0]]]], "float32"), np.array([7, 0], "float32")])
    np.testing.assert_array_equal(np.asarray(model(np.array([[[[4, 5, 6]]]], "float32"))).ravel(), [661, 4])


def test_kernel_is_height_width_in_out_in_keras():
    """The course and torch write out x in x height x width; the same 54 numbers are (3, 3, 2, 3) here."""
    model = our_conv((8, 8, 2), 3, 3)
    assert model.get_layer("c").kernel.shape == (3, 3, 2, 3)
    assert params(model) == 54 and params(our_conv((8, 8, 2), 3, 3, bias=True)) == 57


@pytest.mark.parametrize("dimensions, layer", [(1, layers.Conv1D), (2, layers.Conv2D), (3, layers.Conv3D)])
def test_the_kernel_of_a_d_dimensional_convolution_has_two_dimensions_more(dimensions, layer):
    built = layer(4, 3)
    built.build((None, *[5] * dimensions, 2))
    assert built.kernel.shape == (*[3] * dimensions, 2, 4)


# --- C6 to C8: sizes and counts ---


@pytest.mark.parametrize("side, kernel, pad, stride, out", [(7, 3, 0, 1, 5), (7, 3, 0, 2, 3), (32, 5, 2, 1, 32), (227, 11, 0, 4, 55)])
def test_output_size_of_a_convolution(side, kernel, pad, stride, out):
    """floor((side + 2 pad - kernel) / stride) + 1; dividing by stride + 1 would give 2, 1.33, 15.5 and 43.2."""
    assert our_conv((side, side, 1), 1, kernel, stride, pad=pad).output.shape == (None, out, out, 1)


@pytest.mark.parametrize("pad, out", [(1, 5), (0, 3), (2, 7)], ids=["half", "none", "full"])
def test_padding(pad, out):
    assert our_conv((5, 5, 1), 1, 3, pad=pad).output.shape == (None, out, out, 1)


def test_dilation_widens_the_window_at_no_weights():
    model = our_conv((7, 7, 1), 1, 3, pad=0, dilation_rate=2)
    assert model.output.shape == (None, 3, 3, 1) and params(model) == 9
    model.set_weights([np.ones((3, 3, 1, 1), "float32")])
    far = np.zeros((7, 7))
    far[::2, ::2] = 1  # what a window of 5 pixels with holes looks at
    assert plane(model(grey(far))).tolist() == [[9, 0, 9], [0, 0, 0], [9, 0, 9]]


def test_a_strided_window_is_padded_alike_on_all_sides():
    """Keras' own "same" would centre the first window on pixel 1 of 4; the papers and torch centre it on pixel 0."""
    model = our_conv((4, 4, 1), 1, 3, 2)
    model.set_weights([np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], "float32")[:, :, None, None]])
    assert plane(model(grey(np.arange(16).reshape(4, 4)))).tolist() == [[0, 2], [8, 10]]
    same = layers.Conv2D(1, 3, 2, "same", use_bias=False)
    same.build((None, 4, 4, 1))
    same.set_weights(model.get_weights())
    assert plane(same(grey(np.arange(16).reshape(4, 4)))).tolist() == [[5, 7], [13, 15]]


def test_parameters_of_a_convolution():
    """(F F D) K weights and K biases: 11 * 11 * 3 * 96 + 96 = 34,944, whatever the size of the picture."""
    assert {params(our_conv((side, side, 3), 96, 11, 4, bias=True)) for side in (227, 64)} == {34_944}


# --- C9: locality, sharing, separability ---


def test_dense_local_and_shared_weights_of_one_map():
    """From N = 36 pixels to M = 16 with windows of P = 9: N M, P M and P weights."""
    picture = (6, 6, 1)
    dense, local, shared = layers.Dense(16, use_bias=False), LocallyConnected2D(1, 3), layers.Conv2D(1, 3, use_bias=False)
    dense.build((None, 36))
    local.build((None, *picture))
    shared.build((None, *picture))
    assert (params(dense), int(np.prod(local.kernel.shape)), params(shared)) == (576, 144, 9)


def test_a_separable_convolution_is_a_convolution_with_a_factorised_kernel():
    rng = np.random.default_rng(0)
    inside, across = rng.normal(size=(3, 3, 2, 1)).astype("float32"), rng.normal(size=(1, 1, 2, 4)).astype("float32")
    separable, full = layers.SeparableConv2D(4, 3, use_bias=False), layers.Conv2D(4, 3, use_bias=False)
    for layer in (separable, full):
        layer.build((None, 6, 6, 2))
    separable.set_weights([inside, across])
    full.set_weights([inside * across])  # (3, 3, 2, 4)
    picture = rng.normal(size=(1, 6, 6, 2)).astype("float32")
    np.testing.assert_allclose(separable(picture), full(picture), atol=1e-5)
    assert (params(separable), params(full)) == (26, 72)


# --- C10 to C12: the matrix, its transpose, and larger pictures ---


def test_convolution_as_a_matrix():
    rows = ["1410143033100000", "0141014303310000", "0000141014303310", "0000014101430331"]
    matrix = convolution_matrix(KERNEL, (4, 4))
    assert matrix.tolist() == [[int(digit) for digit in row] for row in rows]
    assert (matrix @ PICTURE.ravel()).tolist() == our_conv_of(KERNEL, PICTURE).ravel().tolist() == [122, 148, 126, 134]


def test_the_matrix_of_a_strided_convolution_leaves_out_rows():
    picture = np.arange(35).reshape(5, 7)
    found = convolution_matrix(KERNEL, (5, 7), stride=2) @ picture.ravel()
    np.testing.assert_array_equal(found.reshape(2, 3), our_conv_of(KERNEL, picture, stride=2))


@pytest.mark.parametrize("arguments", [(KERNEL, (2, 9)), (KERNEL[0], (4, 4)), (KERNEL, (4, 4), 0)])
def test_a_matrix_that_cannot_be_is_refused(arguments):
    with pytest.raises(ValueError, match="no larger than the picture.*Received: kernel of shape"):
        convolution_matrix(*arguments)


def transposed(kernel: Any, picture: Any, stride: int = 1) -> np.ndarray:
    layer = layers.Conv2DTranspose(1, len(kernel), stride, use_bias=False)
    layer.build((None, *np.shape(picture), 1))
    layer.set_weights([np.asarray(kernel, "float32")[:, :, None, None]])
    return plane(layer(grey(picture)))


def test_transposed_convolution_multiplies_by_the_transposed_matrix():
    wanted = [[1, 6, 9, 2], [4, 22, 30, 10], [6, 25, 32, 14], [9, 21, 15, 4]]
    assert transposed(KERNEL, [[1, 2], [3, 4]]).tolist() == wanted
    assert (convolution_matrix(KERNEL, (4, 4)).T @ [1, 2, 3, 4]).reshape(4, 4).tolist() == wanted


def test_transposed_convolution_is_not_the_inverse():
    assert transposed(KERNEL, our_conv_of(KERNEL, PICTURE))[0, 0] == 122 != PICTURE[0, 0]


@pytest.mark.parametrize(
    "stride, wanted",
    [(1, [[0, 0, 1], [0, 4, 6], [4, 12, 9]]), (2, [[0, 0, 0, 1], [0, 0, 2, 3], [0, 2, 0, 3], [4, 6, 6, 9]])],
)
def test_transposed_convolution_pastes_the_kernel_and_adds(stride, wanted):
    square = [[0, 1], [2, 3]]
    assert transposed(square, square, stride).tolist() == wanted


def periods(row: np.ndarray) -> list[int]:
    """The shifts 1, 2, 4 after which the inside of a row repeats itself."""
    inside = row[8:-8]
    return [shift for shift in (1, 2, 4) if np.allclose(inside[shift:], inside[:-shift])]


def test_transposed_convolutions_leave_checkerboards():
    """A constant picture through stride 2 with a kernel of 3: a pattern of two pixels after one layer, of four after two."""
    ones = np.ones((3, 3))
    once = transposed(ones, np.ones((16, 16)), 2)
    assert once[8:12, 8:12].tolist() == [[4, 2, 4, 2], [2, 1, 2, 1], [4, 2, 4, 2], [2, 1, 2, 1]]
    assert periods(once[8]) == [2, 4]
    assert periods(transposed(ones, once, 2)[16]) == [4]
    assert periods(transposed(np.ones((4, 4)), np.ones((16, 16)), 2)[8]) == [1, 2, 4]  # unless the stride divides the kernel


def test_resize_convolution_leaves_none():
    image = keras.Input((16, 16, 1))
    x = resize_conv(image, 1, 3, 2, "up1", kernel_initializer="ones", use_bias=False)
    model = keras.Model(image, resize_conv(x, 1, 3, 2, "up2", kernel_initializer="ones", use_bias=False))
    larger = plane(model(grey(np.ones((16, 16)))))
    assert larger.shape == (64, 64)
    assert set(larger[8:-8, 8:-8].ravel()) == {81}


def test_resize_convolution_copies_each_pixel_before_it_convolves():
    image = keras.Input((2, 2, 1))
    model = keras.Model(image, resize_conv(image, 1, 1, 2, "up", kernel_initializer="ones"))
    assert plane(model(grey([[1, 2], [3, 4]]))).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]


# --- C13 to C15: 1x1 convolution, pooling, what a CNN is blind to ---


def test_a_one_by_one_convolution_is_a_dense_layer_on_every_pixel():
    pictures = np.random.default_rng(0).normal(size=(2, 5, 4, 6)).astype("float32")
    pointwise, dense = our_conv((5, 4, 6), 3, 1, bias=True), layers.Dense(3)
    dense.build((None, 6))
    kernel, bias = np.random.default_rng(1).normal(size=(6, 3)).astype("float32"), np.array([1, 2, 3], "float32")
    pointwise.set_weights([kernel[None, None], bias])
    dense.set_weights([kernel, bias])
    np.testing.assert_allclose(pointwise(pictures), dense(pictures), atol=1e-5)


def test_pooling():
    picture = grey(np.arange(16).reshape(4, 4))
    assert plane(layers.MaxPooling2D(2)(picture)).tolist() == [[5, 7], [13, 15]]
    assert plane(max_pool(picture, 2, 2, "pool")).tolist() == [[5, 7], [13, 15]]
    assert plane(layers.AveragePooling2D(2)(picture)).tolist() == [[2.5, 4.5], [10.5, 12.5]]


def two_layers_and_a_mean() -> tuple[keras.Model, keras.Model]:
    """Feature maps of a small random CNN at full resolution, and their mean over the picture."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 1))
    x = layers.ReLU()(conv(image, 4, 3, name="c1"))
    x = layers.ReLU()(conv(x, 4, 3, name="c2"))
    return keras.Model(image, x), keras.Model(image, layers.GlobalAveragePooling2D()(x))


def test_convolution_moves_with_the_picture_and_does_not_turn_with_it():
    """Equivariant to translation; the mean over the picture is then invariant. Rotation and scale are not free."""
    maps, mean = two_layers_and_a_mean()
    picture = np.zeros((16, 16))
    picture[5:8, 5:8] = [[1, 2, 3], [0, 5, 0], [0, 0, 9]]
    moved = np.roll(picture, (3, 2), (0, 1))
    np.testing.assert_allclose(np.roll(maps(grey(picture)), (3, 2), (1, 2)), maps(grey(moved)), atol=1e-5)
    np.testing.assert_allclose(mean(grey(picture)), mean(grey(moved)), atol=1e-6)
    assert np.abs(np.asarray(mean(grey(picture))) - np.asarray(mean(grey(np.rot90(picture))))).max() > 1e-3


def test_pooling_forgives_a_small_shift_and_not_every_one():
    row = np.zeros((2, 8))
    row[0, 2] = 1
    pooled = [plane(layers.MaxPooling2D(2)(grey(np.roll(row, shift, 1)))).tolist() for shift in (0, 1, 2)]
    assert pooled == [[[0, 1, 0, 0]], [[0, 1, 0, 0]], [[0, 0, 1, 0]]]


# --- C16: LeNet ---


def test_sizes_and_counts_of_lenet():
    model = kerasdl.create_model("lenet5", classes=10, image_shape=(32, 32, 1), activation="relu", pool="max")
    sizes = [model.get_layer(name).output.shape[1:] for name in ("c1", "stage1", "c3", "stage2", "flatten")]
    assert sizes == [(28, 28, 6), (14, 14, 6), (10, 10, 16), (5, 5, 16), (400,)]
    assert [params(model.get_layer(name)) for name in ("c1", "c3", "c5", "f6", "logits")] == [156, 2_416, 48_120, 10_164, 850]
    colour = kerasdl.create_model("lenet5", classes=10, image_shape=(32, 32, 3))
    assert params(colour.get_layer("c1")) == 456 and params(colour) == 62_006


# --- C17 to C20: the nets that followed (C21 to C23: test_blocks.py) ---


def weightless_model(name: str, classes: int = 1000) -> keras.Model:
    with weightless():
        return kerasdl.create_model(name, classes)


def depth(model: keras.Model) -> int:
    """Convolutions and dense layers on the longest way from the picture to the logits."""
    deepest: dict[str, int] = {}
    for layer in model.layers:  # parents come first
        parents = [parent.operation.name for node in layer._inbound_nodes for parent in node.parent_nodes]
        here = isinstance(layer, layers.Conv2D | layers.Dense)
        deepest[layer.name] = here + max((deepest.get(name, 0) for name in parents), default=0)
    return deepest["logits"]


@pytest.mark.parametrize(
    "name, count",
    [
        ("alexnet", 8),
        ("vgg16", 16),
        ("vgg19", 19),
        ("googlenet", 22),
        ("resnet34", 34),
        ("resnet152", 152),
        ("densenet121", 121),
    ],
)
def test_the_number_of_layers_is_the_one_that_the_course_gives(name, count):
    """AlexNet's 8 are the course's 7 hidden layers and the classifier."""
    assert depth(weightless_model(name)) == count


def test_conv5_of_alexnet():
    """On all 384 maps, as the course counts, and in two halves of 192, as it was published."""
    full = our_conv((13, 13, 384), 256, 3)
    assert full.output.shape == (None, 13, 13, 256) and 13 * 13 * 256 == 43_264
    assert params(full) == 884_736 and params(full) * 13 * 13 == 149_520_384
    assert params(our_conv((13, 13, 384), 256, 3, bias=True)) == 884_992

    published = weightless_model("alexnet_2012")
    assert published.get_layer("c5").output.shape == (None, 13, 13, 256)
    weights = sum(int(np.prod(published.get_layer(f"c5{half}_conv").kernel.shape)) for half in "ab")
    assert weights == 442_368 and weights * 13 * 13 == 74_760_192
    assert [published.get_layer(name).units for name in ("fc6", "fc7", "logits")] == [4096, 4096, 1000]


def test_widths_of_vgg16():
    model = weightless_model("vgg16")
    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    assert {layer.kernel_size for layer in convolutions} == {(3, 3)}


def test_an_inception_module_has_four_ways_of_which_three_are_narrowed_first():
    model = weightless_model("googlenet_2014")
    modules = [layer for layer in model.layers if isinstance(layer, layers.Concatenate)]
    assert len(modules) == 9 and {len(layer.input) for layer in modules} == {4}
    side = {name: model.get_layer(f"i3a_{name}_conv").kernel_size[0] for name in ("1x1", "3x3r", "3x3", "5x5r", "5x5", "pool")}
    assert side == {"1x1": 1, "3x3r": 1, "3x3": 3, "5x5r": 1, "5x5": 5, "pool": 1}
    assert params(model.get_layer("i3a_3x3r_conv")) + params(model.get_layer("i3a_3x3_conv")) < 9 * 192 * 128  # than without the narrowing


def test_a_residual_block_whose_branch_is_silent_is_the_identity():
    """y = F(x) + x: where the last norm of the branch is zero, x passes."""
    model = kerasdl.create_model("resnet20", classes=10)
    for block in (1, 2, 3):
        model.get_layer(f"s1b{block}_b_bn").gamma.assign(np.zeros(16))
    ends = kerasdl.features(model, "stem_relu", "stage1").predict_on_batch(np.random.default_rng(0).normal(size=(2, 32, 32, 3)))
    assert ends["stem_relu"].max() > 0
    np.testing.assert_array_equal(ends["stage1"], ends["stem_relu"])
