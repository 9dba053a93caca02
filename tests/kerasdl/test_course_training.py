"""The training chapters of the course (docs/course.md): what Keras computes against the corrected formulas, by hand or in NumPy."""

from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops, optimizers, regularizers

import kerasdl
from kerasdl.data import augment, mixing
from kerasdl.data.spec import Spec
from kerasdl.layers import PatchWhitening
from kerasdl.models import find_model
from kerasdl.models.conv import norm
from kerasdl.models.resnet_cifar import GROUPS
from kerasdl.tasks import Classification


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(x, "float64")))


def tape(function: Any, *points: Any) -> tuple[Any, list[np.ndarray]]:
    """Value of `function(*points)` and its gradients, float32."""
    import tensorflow as tf

    tensors = [tf.constant(np.asarray(p, "float32")) for p in points]
    with tf.GradientTape() as recorder:
        for tensor in tensors:
            recorder.watch(tensor)
        value = function(*tensors)
    return value, [np.asarray(g) for g in recorder.gradient(value, tensors)]


def descend(optimizer: Any, steps: int = 3, w: float = 1.0) -> list[float]:
    """The places of w after each step down f(w) = w^2, whose slope is 2w."""
    variable, places = keras.Variable([w]), []
    for _ in range(steps):
        optimizer.apply([2 * ops.convert_to_tensor(variable)], [variable])
        places.append(float(np.asarray(variable)[0]))
    return places


# --- L1 to L3: descent ---


def test_gradient_descent_lowers_the_loss_by_the_rate_times_the_squared_slope():
    """f = w^2 at 1: slope 2; a small rate lowers f by 4 of it, a rate of 0.9 swings across, one above 1 climbs."""
    for rate in (1e-3, 1e-2):
        (w,) = descend(optimizers.SGD(rate), 1)
        assert 1 - w**2 == pytest.approx(4 * rate, rel=2 * rate)
    np.testing.assert_allclose(descend(optimizers.SGD(0.9)), [-0.8, 0.64, -0.512], rtol=1e-5)
    assert abs(descend(optimizers.SGD(1.1), 10)[-1]) > 5
    assert descend(optimizers.SGD(0.5), 1) == [0]  # Newton's rate, one over the second derivative


def test_central_differences_check_a_gradient_and_are_better_than_one_sided():
    """w^3 at 1: slope 3; the one-sided quotient is off by 3h, the central one by h^2."""
    h = 1e-3
    assert ((1 + h) ** 3 - 1) / h - 3 == pytest.approx(3 * h, rel=1e-3)
    assert ((1 + h) ** 3 - (1 - h) ** 3) / (2 * h) - 3 == pytest.approx(h**2, rel=1e-3)


def test_numeric_gradient_of_a_network_agrees_with_back_propagation():
    keras.utils.set_random_seed(0)
    model = kerasdl.create_model("mlp", 3, (2, 2, 1), width=5, depth=2, activation="tanh")
    rng = np.random.default_rng(0)
    x, h = rng.normal(size=(6, 2, 2, 1)).astype("float32"), 1e-2
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    import tensorflow as tf

    with tf.GradientTape() as recorder:
        value = loss(np.arange(6) % 3, model(x))
    gradients: Any = recorder.gradient(value, [w.value for w in model.trainable_weights])
    for variable, gradient in zip(model.trainable_weights, gradients, strict=True):
        old, place = np.array(variable), tuple(0 for _ in variable.shape)
        sides = []
        for sign in (1, -1):
            moved = old.copy()
            moved[place] += sign * h
            variable.assign(moved)
            sides.append(float(loss(np.arange(6) % 3, model(x))))
        variable.assign(old)
        assert (sides[0] - sides[1]) / (2 * h) == pytest.approx(float(np.asarray(gradient)[place]), abs=2e-4), variable.path


def test_the_gradient_of_a_batch_is_the_mean_over_its_examples():
    """So a batch N times as large takes the step of N small ones from one place with N times the rate."""
    x, y = np.array([1.0, 2, 3, 4]), np.array([2.0, 1, 0, 3])

    def gradient(xs, ys):
        return tape(lambda w: keras.losses.MeanSquaredError()(ys[:, None], w * xs[:, None]), 0.5)[1][0]

    single = [gradient(x[n : n + 1], y[n : n + 1]) for n in range(4)]
    np.testing.assert_allclose(single, [2 * (0.5 * a - b) * a for a, b in zip(x, y, strict=True)], rtol=1e-6)
    np.testing.assert_allclose(gradient(x, y), np.mean(single), rtol=1e-6)
    np.testing.assert_allclose(4 * 0.1 * gradient(x, y), 0.1 * np.sum(single), rtol=1e-6)


# --- L4 to L9: back-propagation ---


def test_chain_rule_through_three_sigmoids():
    value, (slope, *_) = tape(lambda a, b, c: ops.sigmoid(c * ops.sigmoid(b * ops.sigmoid(a * 2.0))), 0.5, -0.3, 0.8)
    assert float(value) == pytest.approx(0.588147, abs=1e-6) and float(slope) == pytest.approx(-0.00564686, abs=1e-8)


def test_add_distributes_multiply_swaps_copy_adds_and_max_routes():
    assert [float(g) for g in tape(lambda a, b: 7 * (a + b), 3.0, 4.0)[1]] == [7, 7]
    assert [float(g) for g in tape(lambda a, b: 7 * (a * b), 3.0, 4.0)[1]] == [28, 21]
    assert [float(g) for g in tape(lambda a: 2 * a + 5 * a, 3.0)[1]] == [7]
    assert [float(g) for g in tape(lambda a, b: 7 * ops.maximum(a, b), 3.0, 4.0)[1]] == [0, 7]


def test_off_the_diagonal_a_jacobian_is_zero_for_element_wise_functions_only():
    x = np.array([0.5, -1.0, 2.0])
    relu = [tape(lambda v, n=n: ops.relu(v)[n], x)[1][0] for n in range(3)]
    np.testing.assert_array_equal(relu, np.diag([1, 0, 1]))
    softmax = [tape(lambda v, n=n: ops.softmax(v)[n], x)[1][0] for n in range(3)]
    p = np.exp(x) / np.exp(x).sum()
    np.testing.assert_allclose(softmax, np.diag(p) - np.outer(p, p), atol=1e-6)


def test_back_propagation_by_hand_is_automatic_differentiation():
    """delta_L = s'(z_L) (a_L - y), delta_l = s'(z_l) W' delta_{l+1}; biases get delta, weights the outer product with what came in."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=3), np.array([0.0, 1.0])
    w1, b1, w2, b2 = rng.normal(size=(4, 3)), rng.normal(size=4), rng.normal(size=(2, 4)), rng.normal(size=2)
    a1 = sigmoid(w1 @ x + b1)
    a2 = sigmoid(w2 @ a1 + b2)
    delta2 = a2 * (1 - a2) * (a2 - y)
    delta1 = a1 * (1 - a1) * (w2.T @ delta2)

    def loss(*parameters):
        v1, c1, v2, c2 = parameters
        hidden = ops.sigmoid(ops.matmul(v1, x.astype("float32")) + c1)
        return 0.5 * ops.sum((ops.sigmoid(ops.matmul(v2, hidden) + c2) - y) ** 2)

    found = tape(loss, w1, b1, w2, b2)[1]
    for gradient, wanted in zip(found, (np.outer(delta1, x), delta1, np.outer(delta2, a1), delta2), strict=True):
        np.testing.assert_allclose(gradient, wanted, atol=1e-6)


def test_linear_and_pointwise_modules_pass_the_gradient_on():
    """Linear: g W to what came in, g x to the weights; pointwise: g f'(x + b) to both the input and the bias."""
    w, x, g = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([0.5, -1.0]), np.array([1.0, -2.0, 3.0])
    to_w, to_x = tape(lambda w, x: ops.sum(g.astype("float32") * ops.matmul(w, x)), w, x)[1]
    np.testing.assert_allclose(to_x, g @ w)
    np.testing.assert_allclose(to_w, np.outer(g, x))
    b = np.array([0.1, 0.2, 0.3])
    z = w @ x + b
    to_in, to_b = tape(lambda v, b: ops.sum(g.astype("float32") * ops.tanh(v + b)), w @ x, b)[1]
    np.testing.assert_allclose(to_in, g * (1 - np.tanh(z) ** 2), atol=1e-6)
    np.testing.assert_array_equal(to_in, to_b)


def test_matrix_gradients_of_a_batch():
    """y = x W with upstream ones: dx = 1 W' and dW = x' 1."""
    x, w = [[1, 2], [3, 4], [5, 6]], [[1, 0, -1], [2, 1, 0]]
    np.testing.assert_array_equal(ops.matmul(np.array(x), np.array(w)), [[5, 2, -1], [11, 4, -3], [17, 6, -5]])
    dx, dw = tape(lambda x, w: ops.sum(ops.matmul(x, w)), x, w)[1]
    np.testing.assert_array_equal(dx, [[0, 3]] * 3)
    np.testing.assert_array_equal(dw, [[9] * 3, [12] * 3])


# --- L10 to L14: optimizers ---


def test_momentum_uses_the_velocity_of_this_step():
    np.testing.assert_allclose(descend(optimizers.SGD(0.1, momentum=0.9)), [0.8, 0.46, 0.062], rtol=1e-5)  # not 1.0, 0.8, 0.42
    x, v = 1.0, 0.0
    for wanted in (0.8, 0.46, 0.062):  # form (b): v = rho v + g, x -= rate v
        v = 0.9 * v + 2 * x
        x -= 0.1 * v
        assert x == pytest.approx(wanted)


def test_nesterov_looks_ahead_before_it_takes_the_slope():
    """Keras keeps x + rho v, where the next slope is taken; the place itself is rho v behind."""
    optimizer = optimizers.SGD(0.1, momentum=0.9, nesterov=True)
    variable, places = keras.Variable([1.0]), []
    for _ in range(3):
        optimizer.apply([2 * ops.convert_to_tensor(variable)], [variable])
        places.append(float(np.asarray(variable)[0]) - 0.9 * float(np.asarray(optimizer.momentums[0])[0]))
    np.testing.assert_allclose(places, [0.8, 0.496, 0.17792], rtol=1e-5)


def test_adagrad_adds_up_squares_and_rmsprop_forgets_them():
    np.testing.assert_allclose(descend(optimizers.Adagrad(0.1, initial_accumulator_value=0.0)), [0.9, 0.833104, 0.780456], rtol=1e-5)
    np.testing.assert_allclose(descend(optimizers.RMSprop(0.1, rho=0.9)), [0.683772, 0.498871, 0.369181], rtol=1e-5)


def test_adam_divides_by_one_minus_beta_to_the_step():
    np.testing.assert_allclose(descend(optimizers.Adam(0.1, epsilon=1e-8)), [0.9, 0.800412, 0.701586], rtol=1e-5)  # not 0.9, 0.766170


def sgd(w, g, s, t):
    return w - 0.05 * g


def momentum(w, g, s, t):
    s["v"] = 0.9 * s["v"] - 0.05 * g
    return w + s["v"]


def nesterov(w, g, s, t):
    """x~ + v' + rho (v' - v), the corrected last line of the notes."""
    old, s["v"] = s["v"], 0.9 * s["v"] - 0.05 * g
    return w + s["v"] + 0.9 * (s["v"] - old)


def adagrad(w, g, s, t):
    s["r"] = s["r"] + g**2
    return w - 0.05 * g / np.sqrt(s["r"] + 1e-7)


def rmsprop(w, g, s, t):
    s["r"] = 0.9 * s["r"] + 0.1 * g**2
    return w - 0.05 * g / np.sqrt(s["r"] + 1e-7)


def adam(w, g, s, t):
    s["m"], s["r"] = 0.9 * s["m"] + 0.1 * g, 0.999 * s["r"] + 0.001 * g**2
    return w - 0.05 * (s["m"] / (1 - 0.9**t)) / (np.sqrt(s["r"] / (1 - 0.999**t)) + 1e-7)


@pytest.mark.parametrize(
    "formula, optimizer",
    [
        (sgd, optimizers.SGD(0.05)),
        (momentum, optimizers.SGD(0.05, momentum=0.9)),
        (nesterov, optimizers.SGD(0.05, momentum=0.9, nesterov=True)),
        (adagrad, optimizers.Adagrad(0.05, initial_accumulator_value=0.0)),
        (rmsprop, optimizers.RMSprop(0.05, rho=0.9)),
        (adam, optimizers.Adam(0.05)),
    ],
    ids=lambda value: getattr(value, "__name__", "keras"),
)
def test_an_optimizer_is_its_corrected_formula(formula, optimizer):
    """Twenty steps with gradients of all sizes, in NumPy's double precision beside Keras."""
    gradients = np.random.default_rng(0).normal(size=(20, 5)) * [0.01, 0.1, 1, 10, 100]
    w, state, variable = np.ones(5), {"v": 0.0, "r": 0.0, "m": 0.0}, keras.Variable(np.ones(5, "float32"))
    for t, g in enumerate(gradients, start=1):
        w = formula(w, g, state, t)
        optimizer.apply([ops.convert_to_tensor(g.astype("float32"))], [variable])
    np.testing.assert_allclose(np.asarray(variable), w, rtol=2e-4, atol=2e-4)


# --- L18 to L21: where weights start ---


def signal(initializer: Any, activation: str, depth: int = 10, width: int = 256) -> tuple[float, float, float]:
    """Root mean square before and after `depth` layers, and the slope at the first kernel over that at the last."""
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    net = [layers.Dense(width, activation=activation, kernel_initializer=initializer) for _ in range(depth)]
    x = y = tf.random.normal((64, width), seed=1)
    with tf.GradientTape() as recorder:
        for layer in net:
            y = layer(y)
        loss = ops.sum(y * tf.random.normal((64, width), seed=2))
    first, last = recorder.gradient(loss, [net[0].kernel.value, net[-1].kernel.value])
    sizes = [float(np.sqrt(np.mean(np.asarray(v) ** 2))) for v in (x, y, first, last)]
    return sizes[0], sizes[1], sizes[2] / sizes[3]


def test_small_random_weights_let_activations_collapse():
    _, out, _ = signal(keras.initializers.RandomNormal(stddev=0.01), "tanh")
    assert out < 1e-6  # each layer leaves 0.01 * sqrt(256) = 0.16 of the one before
    _, saturated, _ = signal(keras.initializers.RandomNormal(stddev=1.0), "tanh")
    assert saturated > 0.9


def test_equal_weights_stay_equal():
    """Every hidden unit gets the same gradient, so that a layer of four learns what a layer of one does."""
    first, second = layers.Dense(4, activation="tanh", kernel_initializer="ones"), layers.Dense(1, kernel_initializer="ones")
    model = keras.Sequential([keras.Input((3,)), first, second])
    model.compile(optimizers.SGD(0.1), "mse", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    for _ in range(3):
        model.train_on_batch(x, x[:, :1])
    kernel = np.asarray(first.kernel)
    assert np.ptp(kernel, axis=1).max() < 1e-6 and np.abs(kernel - 1).max() > 1e-3


def test_glorot_keeps_the_signal_of_tanh_and_he_that_of_relu():
    """He: a layer's mean square is fan_in / 2 * var(w) of the one before: 1 with var 2 / fan_in, one half with Glorot's 1 / fan_in."""
    _, glorot, _ = signal("glorot_normal", "tanh")
    assert 0.2 < glorot < 1
    start, he, _ = signal("he_normal", "relu")
    assert 0.5 < he / start < 2
    start, halved, _ = signal("glorot_normal", "relu")
    assert (halved / start) ** 2 == pytest.approx(2.0**-10, rel=0.9)


def test_gradients_vanish_through_sigmoids_and_not_through_relus():
    _, _, through_sigmoid = signal("glorot_normal", "sigmoid")
    _, _, through_relu = signal("he_normal", "relu")
    assert through_sigmoid < 1e-4 and 0.2 < through_relu < 5


# --- L22 to L27: preprocessing, norms, regularisation ---


def test_pictures_are_centred_and_divided_by_the_deviation_of_each_channel():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype("float32") * [0.2, 0.5, 1.0]
    mean, std = pixels.mean((0, 1, 2)) / 255, pixels.std((0, 1, 2)) / 255
    spec = Spec((8, 8, 3), ("a", "b"), tuple(mean), tuple(std), ({"op": "resize", "size": [8, 8], "method": "bilinear"},), "a set")
    model = Classification().build(find_model("softmax_regression")((8, 8, 3)), spec)
    scaled = np.asarray(model.get_layer("scaling")(pixels))
    np.testing.assert_allclose(scaled.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std((0, 1, 2)), 1, atol=1e-4)


def test_whitening_leaves_no_correlation():
    x = np.random.default_rng(0).normal(size=(50, 6, 6, 2)).astype("float32")
    x[..., 1] = 0.9 * x[..., 0] + 0.1 * x[..., 1]
    layer = PatchWhitening(1, epsilon=0.0)
    layer.build(x.shape)
    layer.adapt_to(x)
    white = np.asarray(layer(x)).reshape(-1, 4)[:, :2]  # the other two are the same with the other sign
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(2), atol=1e-3)


STACK = np.arange(8.0).reshape(2, 2, 2, 1).transpose(0, 2, 3, 1)  # the course's (N,C,H,W) array 0..7 as (N,H,W,C)


def in_course_order(y: Any) -> np.ndarray:
    return np.asarray(y).transpose(0, 3, 1, 2)[..., 0]  # (N, C, H)


def test_batch_normalisation_is_per_channel_and_uses_running_statistics_in_the_test():
    image = keras.Input((2, 1, 2))
    model = keras.Model(image, norm(image, "n", epsilon=1e-12))
    rows = np.array([[0, 1], [4, 5]]), np.array([[2, 3], [6, 7]])  # the two channels
    means, variance = (2.5, 4.5), 4.25
    found = in_course_order(model(STACK, training=True))
    for channel, (values, mean) in enumerate(zip(rows, means, strict=True)):
        np.testing.assert_allclose(found[:, channel], (values - mean) / np.sqrt(variance), atol=1e-5)
    model.get_layer("n").set_weights(np.array([[2.0, 1.0], [0.5, 0.0], means, [variance] * 2]))  # gamma, beta, running mean and variance
    once_more = in_course_order(model(STACK[:1]))
    np.testing.assert_allclose(once_more[0, 0], 2 * (np.array([0, 1]) - 2.5) / np.sqrt(variance) + 0.5, atol=1e-5)


def test_running_statistics_follow_the_batches():
    image = keras.Input((2, 1, 2))
    model = keras.Model(image, norm(image, "n"))
    model(STACK, training=True)
    mean, variance = (np.asarray(w) for w in model.get_layer("n").non_trainable_weights)
    np.testing.assert_allclose(mean, 0.1 * np.array([2.5, 4.5]), rtol=1e-5)
    np.testing.assert_allclose(variance, 0.9 + 0.1 * 4.25, rtol=1e-5)


def test_layer_norm_is_per_picture_and_instance_norm_per_picture_and_channel():
    found = {}
    for kind in ("layer", "instance"):
        layer = layers.GroupNormalization(GROUPS[kind], epsilon=1e-12)
        found[kind] = in_course_order(layer(STACK.astype("float32")))
    x = in_course_order(STACK)
    np.testing.assert_allclose(found["layer"], (x - np.reshape([1.5, 5.5], (2, 1, 1))) / np.sqrt(1.25), atol=1e-4)
    np.testing.assert_allclose(found["instance"], (x - np.reshape([0.5, 2.5, 4.5, 6.5], (2, 2, 1))) / 0.5, atol=1e-4)


def test_penalties_by_hand():
    w = np.array([1.0, -2.0], "float32")
    assert [float(r(w)) for r in (regularizers.L2(1.0), regularizers.L1(1.0), regularizers.L1L2(l1=1.0, l2=0.5))] == [5, 3, 5.5]


def test_the_scalings_of_weight_decay():
    """lambda/2 w^2 in the loss adds lambda w to the gradient: Keras' L2(lambda/2), and for plain SGD its decoupled decay lambda too."""

    def move(optimizer: Any, penalty: float = 0.0, steps: int = 1) -> float:
        variable = keras.Variable([2.0])
        for _ in range(steps):
            value, (slope,) = tape(lambda w: 3.0 * w[0] + regularizers.L2(penalty)(w), np.asarray(variable))
            optimizer.apply([ops.convert_to_tensor(slope)], [variable])
        return float(np.asarray(variable)[0])

    decay = 0.5
    assert move(optimizers.SGD(0.1), decay / 2) == pytest.approx(2 - 0.1 * (3 + decay * 2))
    assert move(optimizers.SGD(0.1, weight_decay=decay)) == pytest.approx(2 - 0.1 * 3 - 0.1 * decay * 2)
    with_momentum = move(optimizers.SGD(0.1, momentum=0.9), decay / 2, 5), move(optimizers.SGD(0.1, momentum=0.9, weight_decay=decay), 0, 5)
    assert abs(with_momentum[0] - with_momentum[1]) > 0.1  # momentum adds the penalty up, and decoupled decay passes it by
    assert move(optimizers.Adam(0.1), decay / 2) == pytest.approx(1.9, abs=1e-5)  # Adam divides the penalty away with the gradient
    assert move(optimizers.Adam(0.1, weight_decay=decay)) == pytest.approx(1.8, abs=1e-5)


def test_dropout_keeps_the_expectation_by_scaling_in_training():
    """w = (1, 2), x = (3, 4): 11 without dropout; dropped and scaled 11 in the mean; unscaled, as in the paper, 0.8 of it at rate 0.2."""
    x = np.tile(np.array([3.0, 4.0], "float32"), (20_000, 1))
    for rate in (0.5, 0.2):
        dropped = np.asarray(layers.Dropout(rate, seed=1)(x, training=True))
        assert set(np.unique(dropped[:, 0])) == {0, np.float32(3 / (1 - rate))}
        mean = float((dropped @ [1.0, 2.0]).mean())
        assert mean == pytest.approx(11, rel=0.02)
        assert mean * (1 - rate) == pytest.approx({0.5: 5.5, 0.2: 8.8}[rate], rel=0.02)
    np.testing.assert_array_equal(layers.Dropout(0.5)(x[:1], training=False), x[:1])


# --- L28, L29: augmentation ---

PICTURE = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype("uint8")


@pytest.mark.parametrize(
    "change",
    [
        augment.flip,
        augment.pad_crop,
        augment.random_resized_crop,
        augment.rotate,
        augment.shear,
        augment.stretch,
        partial(augment.color_jitter, brightness=0.4, contrast=0.4),
        augment.pca_noise,
        augment.cutout,
        augment.random_erasing,
        augment.rand_augment,
    ],
    ids=lambda f: getattr(f, "__name__", "color_jitter"),
)
def test_an_augmentation_changes_the_picture_and_neither_its_size_nor_its_type(change):
    seeds = np.stack([np.full(6, 7), np.arange(6)], axis=1).astype("int64")
    found = [np.asarray(change(PICTURE, seed)) for seed in seeds]
    assert all(picture.shape == PICTURE.shape and picture.dtype == PICTURE.dtype for picture in found)
    assert any(not np.array_equal(picture, PICTURE) for picture in found)
    np.testing.assert_array_equal(change(PICTURE, seeds[0]), found[0])  # the seed is the only source of chance


@pytest.mark.parametrize("mix", [mixing.mixup, mixing.cutmix], ids=lambda f: f.__name__)
def test_mixing_blends_the_labels_in_the_shares_of_the_pictures(mix):
    """A white and a black picture: the mean brightness of a mixture is the share of the white class."""
    images = np.concatenate([np.full((2, 16, 16, 1), 255.0), np.zeros((2, 16, 16, 1))]).astype("float32")
    targets = np.repeat(np.eye(2), 2, axis=0).astype("float32")
    mixed, shares = (np.asarray(v) for v in mix(images, targets, np.array([1, 2], "int64"), alpha=1.0))
    np.testing.assert_allclose(mixed.mean((1, 2, 3)) / 255, shares[:, 0], atol=1e-3)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    assert ((shares > 0.01) & (shares < 0.99)).any()
