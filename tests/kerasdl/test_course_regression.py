"""Regression, perceptron and classical classifiers of the course (docs/course.md): the corrected formulas against this code."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from kerasdl.layers import TargetError
from kerasdl.linear import cross_validate, folds, learn_perceptron, nearest_neighbours, perceptron, solve_head, solve_ridge
from kerasdl.losses import MulticlassHinge
from kerasdl.models import create_model, find_model, linear_regression, mlp, polynomial, random_fourier

X, T = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 3.0, 4.0])  # the points of T20
CORNERS = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])


def pixels(rows: Any) -> np.ndarray:
    """(N,D) as pictures of one pixel (N,1,1,D)."""
    rows = np.asarray(rows, "float32")
    return rows.reshape(len(rows), 1, 1, -1)


def slope(function: Any, *points: float) -> list[float]:
    import tensorflow as tf

    tensors = [tf.constant(point) for point in points]
    with tf.GradientTape() as tape:
        for tensor in tensors:
            tape.watch(tensor)
        value = function(*tensors)
    gradients: Any = tape.gradient(value, tensors)
    return [float(g) for g in gradients]


# --- A2 to A7: least squares and ridge ---


def test_linear_regression_is_a_weighted_sum_of_the_columns():
    backbone = linear_regression((1, 1, 2))
    model = keras.Model(backbone.input, layers.Dense(1)(backbone.output))
    model.set_weights([np.array([[2.0], [-3.0]]), np.array([0.5])])
    assert np.ravel(model(pixels([[1, 1], [4, 2]]))).tolist() == [-0.5, 2.5]


def test_least_squares_of_the_course():
    found = solve_ridge(X, T)
    assert found.weights.item() == pytest.approx(3 / 2) and found.bias.item() == pytest.approx(7 / 6)
    ones = np.column_stack([np.ones(3), X])
    np.testing.assert_allclose(np.linalg.lstsq(ones, T, rcond=None)[0], [found.bias.item(), found.weights.item()], rtol=1e-12)


def test_the_density_of_the_noise_integrates_to_one_and_least_squares_maximises_its_likelihood():
    """The prefactor is 1 / sqrt(2 pi sigma²): with the printed 1 / (sqrt(2 sigma²) pi) the integral is 0.564."""
    sigma, e = 0.5, np.linspace(-6, 6, 20_001)
    bell = np.exp(-(e**2) / (2 * sigma**2))
    assert np.trapezoid(bell / np.sqrt(2 * np.pi * sigma**2), e) == pytest.approx(1, abs=1e-6)
    assert np.trapezoid(bell / (np.sqrt(2 * sigma**2) * np.pi), e) == pytest.approx(0.564190, abs=1e-5)

    def log_likelihood(bias: float, weight: float, beta: float) -> float:
        return float(np.sum(np.log(beta) / 2 - np.log(2 * np.pi) / 2 - beta / 2 * (T - bias - weight * X[:, 0]) ** 2))

    best = log_likelihood(7 / 6, 3 / 2, 18)
    for change in np.concatenate([np.eye(3), -np.eye(3)]) * [0.01, 0.01, 0.5]:
        assert log_likelihood(7 / 6 + change[0], 3 / 2 + change[1], 18 + change[2]) < best


def test_the_noise_precision_is_one_over_the_mean_square():
    assert solve_ridge(X, T).precision.item() == pytest.approx(18)  # residual variance 1/18
    random = np.random.default_rng(0)
    x = random.normal(size=(20_000, 1))
    assert solve_ridge(x, 2 * x + random.normal(scale=0.5, size=x.shape)).precision.item() == pytest.approx(4, rel=0.03)


def test_ridge_is_lambda_over_beta():
    """lambda = beta = 1 as the slides have it, the bias penalised too; lambda = 3 under beta = 3 is the same, lambda = 3 under 1 is not."""
    found = solve_ridge(X, T, ridge=1, penalise_bias=True)
    assert (found.bias.item(), found.weights.item()) == (pytest.approx(1), pytest.approx(4 / 3))
    ones = np.column_stack([np.ones(3), X])
    for lam, beta in ((3.0, 3.0), (3.0, 1.0), (0.5, 4.0)):
        weights = np.linalg.solve(lam * np.eye(2) + beta * ones.T @ ones, beta * ones.T @ T)  # where the gradient of the objective is zero
        found = solve_ridge(X, T, ridge=lam / beta, penalise_bias=True)
        np.testing.assert_allclose([found.bias.item(), found.weights.item()], weights, rtol=1e-12)


def test_the_bias_is_free_unless_it_is_to_be_penalised():
    free = solve_ridge(X, T, ridge=1e9)
    assert free.weights.item() == pytest.approx(0, abs=1e-6) and free.bias.item() == pytest.approx(T.mean())
    assert solve_ridge(X, T, ridge=1e9, penalise_bias=True).bias.item() == pytest.approx(0, abs=1e-6)


def test_squared_errors_with_and_without_the_half():
    """Sums, means and halves of squares have one minimum; here it is the mean, and Huber's has the half."""
    predicted, truth = np.array([[1.0, 2.0], [0.0, 0.0]], "float32"), np.array([[4.0, 2.0], [0.5, -0.5]], "float32")
    np.testing.assert_allclose(TargetError("squared")([predicted, truth]), [4.5, 0.25])
    np.testing.assert_allclose(TargetError("absolute")([predicted, truth]), [1.5, 0.5])
    np.testing.assert_allclose(TargetError("huber", delta=1.0)([predicted, truth]), [1.25, 0.125])  # 1 (3 - 1/2) / 2, 0.125


# --- A8, A9: fixed functions of the input ---


def test_polynomial_features_are_all_powers():
    np.testing.assert_array_equal(polynomial((1, 1, 2), 3)(pixels([[2, -1]])), [[2, -1, 4, 1, 8, -1]])


def test_random_features_approach_the_rbf_kernel():
    random = np.random.default_rng(0)
    rows = random.normal(size=(30, 4))
    kernel = np.exp(-0.3 * np.square(rows[:, None] - rows[None]).sum(axis=-1))

    def error(features: int) -> float:
        z = np.asarray(random_fourier((1, 1, 4), features, gamma=0.3)(pixels(rows)))
        return float(np.abs(z @ z.T - kernel).mean())

    z = np.asarray(random_fourier((1, 1, 4), 64, gamma=0.3)(pixels(rows)))
    np.testing.assert_allclose(np.square(z).sum(axis=1), 1, rtol=1e-5)  # k(x, x)
    assert error(16_384) < 0.01 < error(256) < 0.1


def test_ridge_on_random_features_is_nearly_kernel_ridge():
    random = np.random.default_rng(1)
    rows, gamma, lam = random.uniform(-1, 1, size=(60, 2)), 1.0, 0.1
    t = np.sin(3 * rows[:, 0]) * rows[:, 1]
    t -= t.mean()
    kernel = np.exp(-gamma * np.square(rows[:, None] - rows[None]).sum(axis=-1))
    exact = kernel @ np.linalg.solve(kernel + lam * np.eye(60), t)  # the kernel trick: nothing but dot products of the map
    z = np.asarray(random_fourier((1, 1, 2), 1024, gamma)(pixels(rows)), np.float64)
    found = z @ solve_ridge(np.append(z, -z, axis=0), np.append(t, -t), 2 * lam).weights[:, 0]  # mirrored, so that the bias is zero
    np.testing.assert_allclose(found, exact, atol=0.05)


# --- B1 to B7: from fixed features and thresholds to networks ---


def test_nothing_trains_before_the_head_of_a_fixed_feature_map():
    for name in ("linear_regression", "polynomial", "random_fourier"):
        assert find_model(name)((8, 8, 1)).trainable_weights == []
        assert [w.path.split("/")[0] for w in create_model(name, 3, (8, 8, 1)).trainable_weights] == ["logits", "logits"]


@pytest.mark.parametrize("labels", [[0, 0, 0, 1], [0, 1, 1, 1]], ids=["AND", "OR"])
def test_a_perceptron_learns_what_a_line_separates(labels):
    model = perceptron(2)
    mistakes = learn_perceptron(model, CORNERS, labels)
    assert mistakes[-1] == 0 and len(mistakes) < 10
    assert np.asarray(model(CORNERS)).tolist() == labels


def test_a_perceptron_cannot_learn_xor_and_no_threshold_unit_can():
    """b <= 0, w1 + b > 0 and w2 + b > 0 give w1 + w2 + b > -b >= 0, so that (1, 1) is 1: whatever was learnt, a corner is wrong."""
    model = perceptron(2)
    assert min(learn_perceptron(model, CORNERS, [0, 1, 1, 0], passes=200)) > 0
    for weights in np.random.default_rng(0).normal(size=(200, 3)):
        model.set_weights([weights[:2, None], weights[2:]])
        assert np.asarray(model(CORNERS)).tolist() != [0, 1, 1, 0]


def test_a_network_with_a_hidden_layer_learns_xor():
    keras.utils.set_random_seed(0)
    network = create_model("mlp", classes=1, image_shape=(1, 1, 2), width=8, depth=1, activation="tanh")
    network.compile(keras.optimizers.Adam(0.05), keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False)
    labels = np.array([[0.0], [1], [1], [0]], "float32")
    network.fit(pixels(CORNERS), labels, epochs=200, batch_size=4, verbose=0)  # pyright: ignore[reportArgumentType]
    np.testing.assert_array_equal(np.asarray(network(pixels(CORNERS))) > 0, labels > 0)


def test_the_perceptron_rule_by_hand():
    """One pass over two examples: (1, 2) is 1 and is missed, w = (1, 2), b = 1; (2, 0) is 0 and is missed, w = (-1, 2), b = 0."""
    model = perceptron(2)
    assert learn_perceptron(model, [[1, 2], [2, 0]], [1, 0], passes=1) == [2]
    kernel, bias = model.get_weights()
    assert (kernel[:, 0].tolist(), bias.tolist()) == ([-1, 2], [0])


def test_a_neuron_with_a_sigmoid_is_a_logistic_regression():
    """sigma(w x + b) = 1 / (1 + exp(-(w x + b))): the odds are exp of the score."""
    neuron = layers.Dense(1, activation="sigmoid")
    neuron.build((None, 2))
    neuron.set_weights([np.array([[0.5], [-1.0]]), np.array([0.25])])
    x = np.array([[2.0, 1.0], [0.0, 3.0]])
    p = np.ravel(neuron(x))
    np.testing.assert_allclose(p / (1 - p), np.exp(x @ [0.5, -1.0] + 0.25), rtol=1e-5)


def test_a_wide_enough_hidden_layer_follows_a_sine():
    """Units whose kinks stand evenly, the last layer in closed form: straight pieces, a quarter as wide each time."""
    x = np.linspace(-1, 1, 401)[:, None]
    errors = []
    for width in (4, 16, 64):
        backbone = mlp((1, 1, 1), width=width, depth=1)
        backbone.set_weights([np.ones((1, width)), -np.linspace(-1, 1, width, endpoint=False)])
        model = keras.Model(backbone.input, layers.Dense(1, name="scaled")(backbone.output))
        solve_head(model, "scaled", pixels(x), np.sin(5 * x))
        errors.append(float(np.abs(np.asarray(model(pixels(x))) - np.sin(5 * x)).max()))
    assert errors[0] > 10 * errors[1] > 100 * errors[2] and errors[2] < 0.004  # the square of the width: a sixteenth


# --- B13: neighbours ---


def test_the_two_distances_of_neighbours_differ():
    """From the origin (3, 3) is at d1 = 6, d2 = 4.24, and (0, 5) at d1 = d2 = 5."""
    examples, labels = np.array([[3.0, 3.0], [0.0, 5.0]]), np.array([0, 1])
    origin = np.zeros((1, 2), "float32")
    assert int(nearest_neighbours(examples, labels, 1, "l2")(origin)["label"][0]) == 0
    assert int(nearest_neighbours(examples, labels, 1, "l1")(origin)["label"][0]) == 1


def test_the_majority_of_neighbours_wins_and_among_equals_the_nearer():
    examples, labels = np.array([[1.0], [2.0], [3.0], [4.0], [-9.0]]), np.array([0, 1, 1, 0, 2])
    origin = np.zeros((1, 1), "float32")
    wins = {k: int(nearest_neighbours(examples, labels, k)(origin)["label"][0]) for k in (1, 2, 3, 4, 5)}
    assert wins == {1: 0, 2: 0, 3: 1, 4: 0, 5: 0}
    shares = nearest_neighbours(examples, labels, 4)(origin)["shares"]
    np.testing.assert_allclose(shares, [[0.5, 0.5, 0.0]])


# --- B15 to B21: the losses of classifiers ---


def test_soft_margin_of_the_course():
    """w = (1, -1), b = 0.5, C = 1: |w|² / 2 = 1 and hinges 0, 0.5 and 1.5; Keras' hinge wants labels -1 and 1."""
    unit = layers.Dense(1, kernel_regularizer=keras.regularizers.L2(0.5))
    unit.build((None, 2))
    unit.set_weights([np.array([[1.0], [-1.0]]), np.array([0.5])])
    scores = unit(np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    hinge = keras.losses.Hinge(reduction="sum")(np.array([[1.0], [-1.0], [-1.0]]), scores)
    assert float(hinge) + float(sum(unit.losses)) == pytest.approx(3.0)


def test_multiclass_hinge_by_hand_and_at_the_start():
    """The margin counts from 1 below the right score: s = (3, 2.5) costs 0.5 although the right one is the largest."""
    hinge = MulticlassHinge(reduction="sum")
    assert float(hinge(np.array([0]), np.array([[3.2, 5.1, -1.7]], "float32"))) == pytest.approx(2.9)
    assert float(hinge(np.array([0]), np.array([[3.0, 2.5]], "float32"))) == pytest.approx(0.5)
    assert float(hinge(np.array([3]), np.full((1, 10), 0.7, "float32"))) == pytest.approx(9)


def test_entropy_divergence_and_cross_entropy():
    p, q = np.array([0.2, 0.5, 0.3], "float32"), np.array([0.1, 0.6, 0.3], "float32")
    entropy = float(keras.losses.CategoricalCrossentropy()(p[None], p[None]))
    divergence = float(keras.losses.KLDivergence()(p[None], q[None]))
    cross = float(keras.losses.CategoricalCrossentropy()(p[None], q[None]))
    assert (entropy, divergence, cross) == (
        pytest.approx(1.029653, abs=1e-5),
        pytest.approx(0.047469, abs=1e-5),
        pytest.approx(1.077122, abs=1e-5),
    )
    assert entropy + divergence == pytest.approx(cross, abs=1e-5)


def test_cross_entropy_of_several_labels_at_once():
    loss = keras.losses.BinaryCrossentropy(from_logits=True, reduction="sum")
    scores, labels = np.array([[2.0], [-1.0], [0.0]], "float32"), np.array([[1.0], [0.0], [1.0]], "float32")
    assert float(loss(labels, scores)) == pytest.approx(1.133337, abs=1e-5)


def test_cross_entropy_has_the_gradient_that_squared_error_loses():
    """w = 0.7, b = -0.2, x = 1.5, y = 1: dC/db is o - y for cross-entropy, 2 (o - y) sigma' for the square."""

    def output(b: Any) -> Any:
        return ops.sigmoid(0.7 * 1.5 + b)

    assert slope(lambda b: -ops.log(output(b)), -0.2) == [pytest.approx(-0.299433, abs=1e-5)]
    assert slope(lambda b: (1 - output(b)) ** 2, -0.2) == [pytest.approx(-0.125626, abs=1e-5)]
    assert abs(slope(lambda b: (1 - output(b)) ** 2, -10.0)[0]) < 1e-3  # wrong and saturated: nothing is learnt
    assert slope(lambda b: -ops.log(output(b)), -10.0)[0] < -0.99


# --- L30: what was held out ---


def test_every_example_is_held_out_once():
    parts = folds(23, 5, seed=3)
    assert sorted(np.concatenate([out for _, out in parts]).tolist()) == list(range(23))
    assert {len(out) for _, out in parts} == {4, 5}
    assert all(not set(kept) & set(out) and len(kept) + len(out) == 23 for kept, out in parts)


def test_stratified_folds_share_each_class_out():
    labels = np.array([0] * 12 + [1] * 7 + [2] * 5)
    for _, out in folds(24, 4, labels=labels):
        counts = np.bincount(labels[out], minlength=3)
        assert counts[0] == 3 and counts[1] in (1, 2) and counts[2] in (1, 2)


def test_more_freedom_fits_better_and_beyond_a_point_predicts_worse():
    random = np.random.default_rng(0)
    x = random.uniform(-1, 1, size=30)
    t = x**3 - x + random.normal(scale=0.1, size=30)
    errors = {degree: cross_validate(np.stack([x**n for n in range(1, degree + 1)], 1), t) for degree in (1, 3, 12)}
    fitted, held = ({degree: getattr(e, part).mean() for degree, e in errors.items()} for part in ("train", "valid"))
    assert fitted[1] > fitted[3] > fitted[12]
    assert held[3] < held[1] and held[3] < held[12]
