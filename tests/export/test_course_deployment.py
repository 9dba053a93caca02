"""The chapter of the course on machines and deployment (docs/course.md): what it says, on numbers small enough to check by hand."""

import time

import keras
import numpy as np
import pytest
from keras import layers, regularizers

from export import convert, gates, parity
from kerasdl.data.pipeline import training_batches
from kerasdl.data.splits import PictureSplit


def test_a_gradient_starts_at_one_and_is_a_product_of_derivatives():
    """e = (2x + 1)^2 at x = 3: de/de = 1, de/dy = 2y = 14, de/dx = 14 * 2."""
    import tensorflow as tf

    x = tf.constant(3.0)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = 2 * x + 1
        e = y**2
    assert [float(np.asarray(tape.gradient(e, value))) for value in (e, y, x)] == [1, 14, 28]
    assert tape.gradient(tf.constant(1.0), x) is None  # nothing that was recorded leads there


def test_a_dynamic_graph_is_recorded_anew_at_each_pass():
    """Which operations there are may hang on the numbers: the slope is that of the branch taken."""
    import tensorflow as tf

    def slope(at: float) -> float:
        x = tf.constant(at)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x**2 if x > 0 else -3 * x
        return float(np.asarray(tape.gradient(y, x)))

    assert [slope(2.0), slope(-2.0)] == [4, -3]


def small_net() -> keras.Model:
    image = keras.Input((4, 4, 1), dtype="uint8", name="image")
    x = layers.Conv2D(2, 3, use_bias=True, name="conv")(layers.Rescaling(1 / 255, name="scale")(image))
    x = layers.BatchNormalization(name="bn", epsilon=1e-3)(x)
    model = keras.Model({"image": image}, {"logits": layers.Flatten(name="flat")(x)})
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in model.get_weights()])
    return model


def test_a_static_graph_is_built_once_and_runs_without_the_code_that_made_it():
    passes = []

    class Counted(layers.Layer):
        def call(self, x):
            passes.append(1)
            return x

    model = small_net()
    counted = keras.Model(model.inputs, {"logits": Counted(name="counted")(model.output["logits"])})
    run = parity.onnx_runner(gates.open_session(convert.to_onnx(counted).SerializeToString()))
    picture = {"image": np.ones((3, 4, 4, 1), "uint8")}
    wanted, built = np.asarray(counted(picture)["logits"]), len(passes)
    found = [run(picture)["logits"] for _ in range(5)]
    assert len(passes) == built, "the layer's Python ran again"
    np.testing.assert_allclose(found, np.stack([wanted] * 5), atol=1e-6)


def test_batch_normalisation_folds_into_the_kernel_before_it():
    """W' = W gamma / sqrt(variance + epsilon), b' = (b - mean) gamma / sqrt(variance + epsilon) + beta, and no operator is left of it."""
    import onnx

    model = small_net()
    kernel, bias = model.get_layer("conv").get_weights()
    gamma, beta, mean, variance = model.get_layer("bn").get_weights()
    by = gamma / np.sqrt(variance + 1e-3)
    proto = convert.to_onnx(model)
    (node,) = [node for node in proto.graph.node if node.op_type == "Conv"]
    held = {value.name: onnx.numpy_helper.to_array(value) for value in proto.graph.initializer}
    np.testing.assert_allclose(held[node.input[1]].transpose(2, 3, 1, 0), kernel * by, rtol=1e-5)
    np.testing.assert_allclose(held[node.input[2]], (bias - mean) * by + beta, rtol=1e-5)
    assert [node.op_type for node in proto.graph.node].count("Mul") <= 1  # of the scaling
    assert "BatchNormalization" not in {node.op_type for node in proto.graph.node}


def test_batches_are_made_while_the_network_is_busy():
    """One batch is asked for, and the pictures of the next ones are read meanwhile."""
    read = []

    def decode(number: int) -> np.ndarray:
        read.append(number)
        return np.full((2, 2, 1), number, "uint8")

    split = PictureSplit(range(64), np.zeros(64, int), decode)
    batches = iter(training_batches(split, 4, seed=0))
    next(batches)
    deadline = time.monotonic() + 20
    while len(read) < 16 and time.monotonic() < deadline:  # nobody asks for anything more
        time.sleep(0.01)
    assert len(read) >= 16


@pytest.mark.slow
def test_a_small_net_with_the_settings_of_the_playground_tells_two_rings_apart():
    """Three hidden layers of ReLU, L2 0.003, rate 0.1, batches of 15, half of the points for testing."""
    from sklearn.datasets import make_circles

    keras.utils.set_random_seed(0)
    x, y = make_circles(500, noise=0.05, factor=0.5, random_state=0)
    hidden = [layers.Dense(8, "relu", kernel_regularizer=regularizers.L2(0.003)) for _ in range(3)]
    model = keras.Sequential([keras.Input((2,)), *hidden, layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy", metrics=["accuracy"], jit_compile=False)
    model.fit(x[:250], y[:250], batch_size=15, epochs=40, verbose=0)
    assert model.evaluate(x[250:], y[250:], verbose=0)[1] > 0.98
