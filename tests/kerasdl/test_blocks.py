"""The blocks of the convolutional nets against the formulas of their papers, worked in NumPy."""

import keras
import numpy as np
import pytest

from kerasdl.layers import StochasticDepth
from kerasdl.models import densenet_bc_40_12, find_model, resnet50_sd
from kerasdl.models.conv import conv, max_pool
from kerasdl.models.densenet import densenet, densenet_small
from kerasdl.models.resnet import residual, resnet, squeeze_excitation
from kerasdl.models.resnet_cifar import resnet_cifar, shortcut_b


def model_of(function, *shape) -> keras.Model:
    image = keras.Input(shape, name="image")
    return keras.Model(image, function(image))


def random(*shape) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize(("side", "kernel", "stride"), [(6, 3, 2), (7, 3, 2), (9, 7, 2), (5, 3, 1), (6, 1, 2)])
def test_convolution_pads_the_same_number_of_pixels_on_every_side(side, kernel, stride):
    model = model_of(lambda x: conv(x, 2, kernel, stride, "c"), side, side, 1)
    picture, weights = random(1, side, side, 1), np.asarray(model.get_layer("c").kernel)
    pad = kernel // 2
    padded = np.pad(picture[0, :, :, 0], pad)
    size = (side + 2 * pad - kernel) // stride + 1
    expected = np.zeros((size, size, 2), np.float32)
    for i in range(size):
        for j in range(size):
            window = padded[i * stride : i * stride + kernel, j * stride : j * stride + kernel]
            expected[i, j] = np.tensordot(window, weights[:, :, 0], 2)
    np.testing.assert_allclose(model.predict_on_batch(picture)[0], expected, atol=1e-5)


def test_padded_max_pooling_of_a_rectified_picture():
    picture = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    result = model_of(lambda x: max_pool(x, 3, 2, "p", pad=1), 4, 4, 1).predict_on_batch(picture)
    np.testing.assert_array_equal(result[0, :, :, 0], [[5, 7], [13, 15]])


def test_squeeze_and_excitation_is_its_formula():
    model = model_of(lambda x: squeeze_excitation(x, 2, "se"), 3, 3, 4)
    model.set_weights([random(*w.shape) for w in model.get_weights()])
    x = random(2, 3, 3, 4)
    w1, b1, w2, b2 = model.get_weights()
    s = np.maximum(x.mean((1, 2)) @ w1 + b1, 0) @ w2 + b2
    np.testing.assert_allclose(model.predict_on_batch(x), x / (1 + np.exp(-s))[:, None, None], rtol=1e-5, atol=1e-6)


def test_a_residual_block_adds_its_branch_to_its_input():
    def branch(x, filters, stride, name):
        return keras.layers.Rescaling(-3.0, 1.0, name=name)(x)

    model = model_of(lambda x: residual(x, branch, 2, 1, 0, 0.0, "b", "last"), 2, 2, 2)
    x = random(1, 2, 2, 2)
    np.testing.assert_allclose(model.predict_on_batch(x), np.maximum(x + 1 - 3 * x, 0), atol=1e-6)


def test_stochastic_depth_drops_whole_pictures_and_keeps_the_mean():
    layer = StochasticDepth(0.25, seed=0)
    x = np.ones((4000, 2, 3), np.float32)
    y = np.asarray(layer(x, training=True))
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert (y == y[:, :1, :1]).all(), "one coin for a whole picture"
    assert abs(y.mean() - 1) < 4 * np.sqrt(0.25 / 0.75 / 4000), "within four standard errors"
    np.testing.assert_array_equal(layer(x, training=False), x)
    again = StochasticDepth.from_config(layer.get_config())
    assert (again.rate, again.seed) == (0.25, 0)
    with pytest.raises(ValueError, match=r"in \[0, 1\). Received: 1"):
        StochasticDepth(1)


def test_the_survival_probability_falls_linearly_to_one_half():
    rates = [layer.rate for layer in resnet50_sd((64, 64, 3)).layers if isinstance(layer, StochasticDepth)]
    np.testing.assert_allclose(rates, 0.5 * np.arange(1, 17) / 16)


def test_stochastic_depth_leaves_no_trace_in_inference():
    options = {"blocks": (1, 1), "image_shape": (32, 32, 3), "width": 4, "small": True}
    plain, random_depth = resnet(name="a", **options), resnet(name="b", drop=0.5, **options)
    for layer in plain.layers:
        random_depth.get_layer(layer.name).set_weights(layer.get_weights())
    x = random(2, 32, 32, 3)
    np.testing.assert_array_equal(plain.predict_on_batch(x), random_depth.predict_on_batch(x))


def test_shortcut_b_projects_with_weights():
    model = model_of(lambda x: shortcut_b(x, 8, 2, "s"), 4, 4, 4)
    assert model.output.shape == (None, 2, 2, 8) and model.count_params() == 4 * 8 + 4 * 8
    assert model_of(lambda x: shortcut_b(x, 4, 1, "s"), 4, 4, 4).count_params() == 0


def test_every_layer_of_a_dense_block_sees_the_maps_of_all_before_it():
    model = densenet((3, 2), 4, (16, 16, 3), "tiny", stem=6, small=True)
    inputs = [model.get_layer(f"d1l{i}_a_conv").kernel.shape[2] for i in (1, 2, 3)]
    assert inputs == [6, 10, 14]
    assert model.get_layer("stage1").output.shape == (None, 16, 16, 18)
    assert model.get_layer("t1_conv").kernel.shape == (1, 1, 18, 9), "half of the channels"
    assert model.output.shape == (None, 8, 8, 17)
    cut = keras.Model(model.input, [model.get_layer("stem_conv").output, model.get_layer("d1l1_concat").output])
    before, after = cut.predict_on_batch(random(1, 16, 16, 3))
    np.testing.assert_array_equal(after[..., :6], before)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: densenet_small(41, 12, (32, 32, 3), "d", bottleneck=False), "depth must be 4 + 3n, for three equal blocks"),
        (lambda: densenet_bc_40_12(depth=42), "depth must be 4 + 6n, for three equal blocks of n layers. Received: depth=42"),
        (lambda: find_model("densenet121")((31, 32, 3)), "densenet121 halves the picture 5 times and needs sides of at least 32 pixels"),
        (lambda: resnet_cifar(21, (32, 32, 3), "r"), "depth must be 6n+2"),
        (lambda: find_model("resnet20")(shortcut="C"), "shortcut must be 'A' (zero channels) or 'B' (projection). Received: 'C'"),
        (lambda: find_model("resnet50")((16, 64, 3)), "resnet50 needs sides of at least 32 pixels. Received: image_shape=(16, 64, 3)"),
        (lambda: resnet50_sd(drop=1.0), "drop is a probability in [0, 1). Received: 1.0"),
    ],
)
def test_bad_arguments_get_a_sentence(call, sentence):
    with pytest.raises(ValueError) as problem:
        call()
    assert sentence in str(problem.value)
