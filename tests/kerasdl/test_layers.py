"""Our own layers: by hand, through a `.keras` file, and refused with a sentence when asked for the impossible."""

from typing import Any

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.layers.gem import GeM
from kerasdl.layers.locally_connected import LocallyConnected2D
from kerasdl.layers.maxout import Maxout
from kerasdl.layers.stochastic_depth import StochasticDepth

LAYERS = {
    "maxout": (lambda: Maxout(4, pieces=3), (5,)),
    "maxout_on_pixels": (lambda: Maxout(4), (3, 2, 5)),
    "locally_connected": (lambda: LocallyConnected2D(3, 3, strides=2), (7, 9, 2)),
    "gem": (lambda: GeM(2.5, learnable=False), (4, 3, 2)),
    "gem_of_tokens": (lambda: GeM(), (5, 2)),
    "stochastic_depth": (lambda: StochasticDepth(0.5, seed=1), (4, 4, 2)),
}


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def randomised(model: Any) -> Any:
    """Every weight, biases included, becomes a random number: what is zero hides mistakes."""
    model.set_weights([numbers(*w.shape, seed=n) for n, w in enumerate(model.get_weights())])
    return model


def as_model(make: Any, shape: tuple[int, ...]) -> keras.Model:
    x = keras.Input(shape)
    return keras.Model(x, make()(x))


@pytest.mark.parametrize("make, shape", LAYERS.values(), ids=LAYERS)
def test_a_saved_layer_is_the_same_function(make, shape, tmp_path):
    model = randomised(as_model(make, shape))
    model.save(tmp_path / "model.keras")
    again = kerasdl.load_model(tmp_path / "model.keras")
    assert again.layers[-1].get_config() == model.layers[-1].get_config()
    np.testing.assert_array_equal(model.predict_on_batch(numbers(2, *shape)), again.predict_on_batch(numbers(2, *shape)))


@pytest.mark.parametrize("make, shape", LAYERS.values(), ids=LAYERS)
def test_the_announced_shape_is_the_shape(make, shape):
    layer = make()
    assert layer(numbers(2, *shape)).shape == layer.compute_output_shape((2, *shape))


@pytest.mark.parametrize("make, shape", LAYERS.values(), ids=LAYERS)
def test_a_layer_computes_in_the_dtype_it_is_told(make, shape):
    layer = make()
    half = type(layer).from_config({**layer.get_config(), "dtype": "mixed_bfloat16"})
    assert keras.backend.standardize_dtype(half(numbers(2, *shape)).dtype) == "bfloat16"
    assert {keras.backend.standardize_dtype(w.dtype) for w in half.trainable_weights} <= {"float32"}


def test_the_layers_train_on_jax(on_jax):
    script = """
import keras, numpy as np
from kerasdl.layers.locally_connected import LocallyConnected2D
from kerasdl.layers.maxout import Maxout
from kerasdl.layers.stochastic_depth import StochasticDepth
from kerasdl.layers.upsampling import resize_conv
image = keras.Input((6, 6, 2))
x = resize_conv(LocallyConnected2D(3, 3)(image), 2, 3, 2, "up")
x = Maxout(4)(keras.layers.Add()([x, StochasticDepth(0.5, seed=0)(x)]))
model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
before = model.get_weights()
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(np.random.default_rng(0).normal(size=(8, 6, 6, 2)), np.arange(8) % 2, verbose=0)
answer = [bool((a != b).any()) for a, b in zip(before, model.get_weights())]
"""
    assert on_jax(script) == [True] * 10  # every weight has moved


# --- maxout ---


def test_maxout_takes_the_largest_of_its_linear_functions():
    layer = Maxout(1, pieces=2)
    layer.build((None, 2))
    layer.set_weights([np.array([[1.0], [2.0]]), np.array([0.5]), np.array([[3.0], [-1.0]]), np.array([0.0])])
    # W1 x + b1 = x1 + 2 x2 + 0.5 and W2 x + b2 = 3 x1 - x2
    np.testing.assert_allclose(layer(np.array([[1.0, 1.0], [2.0, 0.0], [-1.0, -4.0]])), [[3.5], [6.0], [1.0]])


def test_maxout_with_a_zero_piece_is_relu():
    x, weights = numbers(4, 3), [numbers(3, 2, seed=1), numbers(2, seed=2)]
    layer, dense = Maxout(2), keras.layers.Dense(2, activation="relu")
    for built in (layer, dense):
        built.build((None, 3))
    layer.set_weights([*weights, np.zeros((3, 2)), np.zeros(2)])
    dense.set_weights(weights)
    np.testing.assert_allclose(layer(x), dense(x), atol=1e-6)


@pytest.mark.parametrize("pieces", [2, 5])
def test_maxout_has_a_dense_layer_of_parameters_for_every_piece(pieces):
    layer = Maxout(7, pieces)
    layer.build((None, 3))
    assert layer.count_params() == pieces * (3 * 7 + 7)


@pytest.mark.parametrize("options", [{"units": 0}, {"units": 3, "pieces": 1}])
def test_maxout_of_one_piece_is_refused(options):
    with pytest.raises(ValueError, match="at least 1 unit and 2 pieces. Received: units="):
        Maxout(**options)


# --- generalised mean ---


def test_gem_is_the_power_mean():
    """p = 2 over 1, 7, 5, 5: the root of (1 + 49 + 25 + 25) / 4 = 25. A negative or zero place counts 1e-6."""
    map_ = np.array([[1.0, 7.0], [5.0, 5.0]])
    x = np.stack([map_, np.where(map_ == 1, -3.0, 0.0), 2 * map_], axis=-1)[None]
    np.testing.assert_allclose(GeM(2.0)(x), [[5.0, 1e-6, 10.0]], rtol=1e-6)


@pytest.mark.parametrize("p", [0.5, 1.0, 3.0, 6.5])
def test_gem_equals_its_formula_in_float64(p):
    x = numbers(3, 4, 5, 6)
    expected = np.mean(np.maximum(x.astype(np.float64), 1e-6) ** p, axis=(1, 2)) ** (1 / p)
    np.testing.assert_allclose(GeM(p)(x), expected, rtol=1e-5)


def test_gem_lies_between_the_average_and_the_maximum():
    x = np.abs(numbers(3, 4, 5, 6)) + 0.1
    np.testing.assert_allclose(GeM(1.0)(x), x.mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(GeM(1000.0)(x), x.max(axis=(1, 2)), rtol=5e-3)  # 20 ** (1 / 1000) at most


def test_the_exponent_of_gem_learns_by_the_formulas_derivative():
    """Central differences of the float64 formula, also where every place is dead: 1e-6 to the 8th is no float32."""
    import tensorflow as tf

    x = numbers(2, 3, 3, 4)
    x[0, :, :, 0] = -1.0
    layer = GeM(8.0)
    layer.build(x.shape)
    with tf.GradientTape() as tape:
        inputs = tf.constant(x)
        tape.watch(inputs)
        total = keras.ops.sum(layer(inputs))
    by_p, by_x = (np.asarray(g) for g in tape.gradient(total, [layer.exponent.value, inputs]))

    def formula(p: float, pixels: np.ndarray) -> float:
        return float(np.sum(np.mean(np.maximum(pixels, 1e-6) ** p, axis=(1, 2)) ** (1 / p)))

    exact = x.astype(np.float64)
    np.testing.assert_allclose(by_p, (formula(8.001, exact) - formula(7.999, exact)) / 0.002, rtol=1e-4)
    for place in np.ndindex(x.shape):
        step = np.zeros_like(exact)
        step[place] = 1e-5
        np.testing.assert_allclose(by_x[place], (formula(8.0, exact + step) - formula(8.0, exact - step)) / 2e-5, atol=1e-4)


def test_gem_trains_one_number_or_none():
    for learnable in (True, False):
        layer = GeM(learnable=learnable)
        layer.build((None, 4, 4, 8))
        assert [w.shape for w in layer.weights] == [()] and bool(layer.trainable_weights) == learnable


def test_gem_refuses_what_it_cannot_pool():
    with pytest.raises(ValueError, match="p must be above 0. Received: 0"):
        GeM(0)
    with pytest.raises(ValueError, match=r"pools a map \(B,H,W,C\) or tokens \(B,N,C\). Received: input_shape=\(2, 3\)"):
        GeM()(numbers(2, 3))


# --- locally connected ---


def test_a_locally_connected_layer_with_equal_kernels_is_a_convolution():
    x, kernel, bias = numbers(2, 7, 9, 2), numbers(3, 3, 2, 4, seed=1), numbers(4, seed=2)
    layer, conv = LocallyConnected2D(4, 3, strides=2), keras.layers.Conv2D(4, 3, strides=2)
    for built in (layer, conv):
        built.build(x.shape)
    layer.set_weights([np.broadcast_to(kernel.reshape(18, 4), (3, 4, 18, 4)), np.broadcast_to(bias, (3, 4, 4))])
    conv.set_weights([kernel, bias])
    np.testing.assert_allclose(layer(x), conv(x), atol=1e-5)


def test_every_position_of_a_locally_connected_layer_has_its_own_kernel():
    """A 1x1 window on a 2x2 picture: four numbers, four weights, four biases."""
    layer = LocallyConnected2D(1, 1)
    layer.build((None, 2, 2, 1))
    layer.set_weights([np.array([[1.0, 10.0], [100.0, 1000.0]])[:, :, None, None], np.array([[0.0, 1.0], [2.0, 3.0]])[:, :, None]])
    found = layer(np.array([[1.0, 2.0], [3.0, 4.0]])[None, :, :, None])
    assert np.asarray(found)[0, :, :, 0].tolist() == [[1, 21], [302, 4003]]


def test_a_locally_connected_layer_starts_with_glorots_bound():
    layer = LocallyConnected2D(6, 3)
    layer.build((None, 12, 12, 2))
    bound = (6 / (18 + 6)) ** 0.5
    largest = np.abs(layer.get_weights()[0]).max()
    assert 0.99 * bound < largest <= bound


@pytest.mark.parametrize("shape", [(None, None, 8, 1), (None, 8, 2, 1)])
def test_a_picture_that_is_unknown_or_too_small_is_refused(shape):
    with pytest.raises(ValueError, match="must be known and at least 3. Received: input_shape="):
        LocallyConnected2D(1, 3).build(shape)


def test_a_locally_connected_layer_without_filters_is_refused():
    with pytest.raises(ValueError, match="must be at least 1. Received: filters=0, kernel_size=3, strides=1"):
        LocallyConnected2D(0, 3)
