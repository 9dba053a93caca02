"""What a recipe can say: every optimizer, regulariser and initialisation through `build` and `compile_model`, and the layers that drop."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import initializers, optimizers, regularizers

import kerasdl
from kerasdl.data.fake import fake
from kerasdl.data.spec import Spec
from kerasdl.layers.drop_connect import DropConnectDense
from kerasdl.layers.stochastic_depth import StochasticDepth
from kerasdl.models.resnet_cifar import conv_norm, resnet_cifar
from kerasdl.recipe import Recipe, list_recipes, override
from kerasdl.schedules import constant, cosine
from kerasdl.train import build, compile_model

ROOT = Path(__file__).parents[2]
SPEC = Spec((8, 8, 1), ("a", "b", "c"), (0.5,), (0.25,), ({"op": "resize", "size": [8, 8], "method": "bilinear"},), "a set")
DECAY = 0.1
OPTIMIZERS = {
    "sgd": (partial(optimizers.SGD, weight_decay=DECAY), 0.05),
    "momentum": (partial(optimizers.SGD, momentum=0.9, weight_decay=DECAY), 0.02),
    "nesterov": (partial(optimizers.SGD, momentum=0.9, nesterov=True, weight_decay=DECAY), 0.02),
    "adagrad": (partial(optimizers.Adagrad, weight_decay=DECAY), 0.05),
    "rmsprop": (partial(optimizers.RMSprop, weight_decay=DECAY), 0.005),
    "adam": (partial(optimizers.Adam, weight_decay=DECAY), 0.01),
    "adamw": (partial(optimizers.AdamW, weight_decay=DECAY), 0.01),
    "nadam": (partial(optimizers.Nadam, weight_decay=DECAY), 0.01),
    "muon": (partial(optimizers.Muon, exclude_layers=("logits",), weight_decay=DECAY, adam_weight_decay=DECAY), 0.01),
}


def net(image_shape: Any, norm: bool = True) -> keras.Model:
    """A convolution, a norm and a dense layer: every kind of weight that decay must tell apart."""
    image = keras.Input(image_shape, name="image")
    x = keras.layers.Conv2D(6, 3, name="conv")(image)
    x = keras.layers.BatchNormalization(momentum=0.9, name="norm")(x) if norm else x
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    return keras.Model(image, keras.layers.Dense(12, activation="tanh", name="hidden")(x), name="net")


TINY = dataclasses.replace(
    list_recipes()["digits-lenet5"],
    name="tiny",
    data=partial(fake, SPEC, train=32, valid=8, test=8),
    model=net,
    augment=(),
    batch_size=16,
    schedule=partial(constant, rate=0.01),
)


def through_json(recipe: Recipe) -> Recipe:
    return Recipe.from_json(json.loads(json.dumps(recipe.to_json())))


def ready(recipe: Recipe, total_steps: int = 10) -> keras.Model:
    keras.utils.set_random_seed(3)
    model = build(recipe, SPEC)
    compile_model(model, recipe, total_steps)
    return model


def batch(count: int = 16) -> tuple[dict, dict]:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    pictures = rng.uniform(0, 60, (count, 8, 8, 1)) + 90.0 * labels[:, None, None, None]
    return {"image": pictures.astype("float32")}, {"logits": labels}


def loss_of_step(model: keras.Model, inputs: Any, targets: Any) -> float:
    return float(np.ravel(model.train_on_batch(inputs, targets))[0])


def weights(model: keras.Model) -> dict[str, np.ndarray]:
    return {variable.path: np.array(variable) for variable in model.trainable_variables}


# --- optimizers ---


@pytest.mark.parametrize("make, rate", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_every_optimizer_learns_from_a_recipe_that_went_through_json(make, rate):
    recipe = dataclasses.replace(TINY, optimizer=make, schedule=partial(cosine, peak=rate, warmup=0.2, start=0.5))
    again = through_json(recipe)
    assert again.optimizer.func is make.func and again.to_json() == recipe.to_json()
    model = ready(again, total_steps=25)
    before = weights(model)
    losses = [loss_of_step(model, *batch()) for _ in range(25)]
    assert min(losses[-3:]) < 0.8 * losses[0]
    assert not [path for path, old in before.items() if np.array_equal(weights(model)[path], old)]


@pytest.mark.parametrize("make, rate", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_decay_is_decoupled_and_leaves_biases_and_norms_alone(make, rate):
    """One step from the same place on the same batch: with decay a kernel w ends lower by w * decay * rate, all else equal."""

    def stepped(decay: float) -> tuple[dict, dict]:
        options = {key: decay for key in make.keywords if "weight_decay" in key}
        model = ready(dataclasses.replace(TINY, optimizer=partial(make, **options), schedule=partial(constant, rate=rate)))
        before = weights(model)
        model.train_on_batch(*batch())
        return before, weights(model)

    before, with_decay = stepped(DECAY)
    same, without = stepped(0.0)
    for path, old in before.items():
        np.testing.assert_array_equal(same[path], old)
        wanted = old * DECAY * rate if path.endswith("kernel") else 0 * old
        np.testing.assert_allclose(without[path] - with_decay[path], wanted, atol=2e-6, err_msg=path)
    assert sum(path.endswith("kernel") for path in before) == 3 and len(before) == 8


def test_muon_makes_dense_kernels_orthogonal_steps_and_leaves_the_rest_to_adam():
    """Its step on a matrix has all singular values near one (times the rate and 0.2 sqrt(longer side)); the rest are Adam's."""
    model = ready(dataclasses.replace(TINY, optimizer=partial(optimizers.Muon, exclude_layers=("logits",), weight_decay=None)))
    before = weights(model)
    model.train_on_batch(*batch())
    by_adam = [v.path.split("/")[-2] + "/" + v.name for v in model.trainable_variables if model.optimizer._should_use_adamw(v)]
    assert sorted(by_adam) == ["conv/bias", "conv/kernel", "hidden/bias", "logits/bias", "logits/kernel", "norm/beta", "norm/gamma"]
    (path,) = [path for path in before if path.endswith("hidden/kernel")]
    step = (before[path] - weights(model)[path]) / (0.01 * 0.2 * np.sqrt(12))
    singular = np.linalg.svd(step, compute_uv=False)
    assert singular[0] < 1.3 and singular[2] > 0.6  # five rounds of Newton and Schulz: near one, not one


def moved_by(optimizer: Any, *gradients: list[float]) -> list[np.ndarray]:
    """How far each gradient takes its own variable in one step of rate 1."""
    variables = [keras.Variable(np.zeros(len(g), "float32")) for g in gradients]
    optimizer.apply([keras.ops.convert_to_tensor(np.array(g, "float32")) for g in gradients], variables)
    return [-np.array(variable) for variable in variables]


def test_gradients_are_clipped_by_norm_by_all_their_norms_and_by_value():
    np.testing.assert_allclose(moved_by(optimizers.SGD(1.0, clipnorm=1.0), [3, 4], [0.3, 0.4])[0], [0.6, 0.8], rtol=1e-6)
    apart = moved_by(optimizers.SGD(1.0, clipnorm=1.0), [3, 4], [0.3, 0.4])
    np.testing.assert_allclose(apart[1], [0.3, 0.4], rtol=1e-6)  # short enough already
    together = moved_by(optimizers.SGD(1.0, global_clipnorm=1.3), [3, 4], [12])  # norm 13
    np.testing.assert_allclose(np.concatenate(together), [0.3, 0.4, 1.2], rtol=1e-6)
    np.testing.assert_allclose(moved_by(optimizers.SGD(1.0, clipvalue=0.5), [3, -4, 0.2])[0], [0.5, -0.5, 0.2], rtol=1e-6)


@pytest.mark.parametrize("setting", ["clipnorm=1e-3", "global_clipnorm=1e-3", "clipvalue=1e-3"])
def test_clipping_is_an_argument_of_a_recipes_optimizer(setting):
    recipe = override(dataclasses.replace(TINY, optimizer=optimizers.SGD, schedule=partial(constant, rate=1.0)), [f"optimizer.{setting}"])
    model = ready(through_json(recipe))
    before = weights(model)
    model.train_on_batch(*batch())
    moves = [np.abs(weights(model)[path] - old).max() for path, old in before.items()]
    assert 0 < max(moves) <= 1.01e-3


def test_micro_batches_accumulate_to_one_large_batch():
    """Without BatchNormalization, whose statistics are of a batch; four of four pictures move the weights as one of sixteen."""
    plain = dataclasses.replace(TINY, model=partial(net, norm=False), optimizer=partial(optimizers.SGD, momentum=0.9, weight_decay=0.01))
    whole, parts = ready(plain), ready(override(plain, ["optimizer.gradient_accumulation_steps=4"]))
    start = weights(parts)
    inputs, targets = batch()
    for _ in range(2):
        whole.train_on_batch(inputs, targets)
        for n in range(0, 16, 4):
            parts.train_on_batch({"image": inputs["image"][n : n + 4]}, {"logits": targets["logits"][n : n + 4]})
    for (path, wanted), found in zip(weights(whole).items(), weights(parts).values(), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6, err_msg=path)
        assert np.abs(found - start[path]).max() > 1e-5


def test_a_schedule_counts_micro_batches_as_the_total_steps_of_a_recipe_do():
    optimizer = optimizers.SGD(cosine(40, 1.0), gradient_accumulation_steps=4)
    variable = keras.Variable(np.zeros(1, "float32"))
    for _ in range(20):
        optimizer.apply([keras.ops.ones((1,))], [variable])
    assert int(optimizer.iterations) == 5  # updates, which Adam counts
    assert float(optimizer.learning_rate) == pytest.approx(0.5)


# --- regularisers and initialisations ---


@pytest.mark.parametrize(
    "make, penalty",
    [
        (partial(regularizers.L1, 0.01), lambda w: 0.01 * np.abs(w).sum()),
        (partial(regularizers.L2, 0.02), lambda w: 0.02 * (w**2).sum()),
        (partial(regularizers.L1L2, l1=0.01, l2=0.02), lambda w: 0.01 * np.abs(w).sum() + 0.02 * (w**2).sum()),
    ],
    ids=["l1", "l2", "elastic_net"],
)
def test_a_regulariser_adds_its_penalty_on_kernels_alone(make, penalty):
    recipe = through_json(dataclasses.replace(TINY, regularisation=make))
    model = ready(recipe)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))  # biases too, so that one which counted would show
    kernels = [w for path, w in weights(model).items() if path.endswith("kernel")]
    assert len(kernels) == 3
    np.testing.assert_allclose(sum(float(loss) for loss in model.losses), sum(penalty(w) for w in kernels), rtol=1e-5)


@pytest.mark.parametrize(
    "make, variance",
    [
        (initializers.GlorotUniform, 2 / (400 + 100)),
        (initializers.GlorotNormal, 2 / (400 + 100)),
        (initializers.HeUniform, 2 / 400),
        (initializers.HeNormal, 2 / 400),
    ],
)
def test_an_initialisation_has_the_variance_of_its_paper(make, variance):
    def wide(image_shape):
        image = keras.Input(image_shape, name="image")
        return keras.Model(image, keras.layers.Dense(100, name="wide")(keras.layers.Flatten()(image)))

    recipe = dataclasses.replace(TINY, model=wide, initialisation=make)
    spec = dataclasses.replace(SPEC, image_shape=(20, 20, 1))
    keras.utils.set_random_seed(0)
    (kernel,) = [w for path, w in weights(build(recipe, spec)).items() if path.endswith("wide/kernel")]
    assert kernel.shape == (400, 100)
    assert kernel.var() == pytest.approx(variance, rel=0.05) and abs(kernel.mean()) < 0.01
    plain = dataclasses.replace(TINY, initialisation=make).to_json()
    assert Recipe.from_json(json.loads(json.dumps(plain))).initialisation is make


# --- DropConnect ---


def two_weights(rate: float = 0.5, **options: Any) -> DropConnectDense:
    layer = DropConnectDense(1, rate, seed=1, **options)
    layer.build((None, 2))
    layer.set_weights([np.array([[1.0], [2.0]]), np.array([10.0])])
    return layer


def test_drop_connect_by_hand():
    """w = (1, 2), x = (3, 4), rate 1/2: each weight is doubled or gone, so 0, 6, 16 or 22 above the bias, which stays; 11 in the mean."""
    layer = two_weights()
    x = np.array([[3.0, 4.0], [6.0, 8.0]], "float32")
    drawn = np.array([layer(x, training=True) for _ in range(400)])[..., 0] - 10  # (400, 2)
    assert set(drawn[:, 0]) == {0, 6, 16, 22}
    np.testing.assert_array_equal(drawn[:, 1], 2 * drawn[:, 0])  # one mask a batch
    assert drawn[:, 0].mean() == pytest.approx(11, abs=3 * 8.5 / 20)  # three standard errors
    np.testing.assert_array_equal(layer(x), [[21], [32]])
    np.testing.assert_array_equal(layer(x, training=False), x @ [[1], [2]] + 10)


def test_drop_connect_of_rate_zero_is_a_dense_layer_and_other_rates_are_refused():
    x = np.array([[3.0, 4.0]], "float32")
    np.testing.assert_array_equal(two_weights(0)(x, training=True), [[21]])
    np.testing.assert_allclose(two_weights(activation="sigmoid")(x), 1 / (1 + np.exp(-21.0)))
    for rate in (1.0, -0.1):
        with pytest.raises(ValueError, match=rf"rate of DropConnect must be in \[0, 1\). Received: {rate}"):
            DropConnectDense(1, rate)


def test_a_weight_that_was_dropped_gets_no_gradient():
    import tensorflow as tf

    layer = two_weights()
    x = np.array([[3.0, 4.0]], "float32")
    with tf.GradientTape() as tape:
        y = layer(x, training=True)
    slope = np.ravel(tape.gradient(y, layer.kernel.value))
    assert float(y[0, 0]) - 10 == slope @ [1, 2] and set(slope) <= {0, 6, 8}


def test_mlp_with_drop_connect_has_the_weights_of_mlp_and_another_training(tmp_path):
    plain, dropping = (kerasdl.create_model("mlp", 3, (4, 4, 1), width=8, **options) for options in ({}, {"drop_connect": 0.5}))
    assert [w.path for w in plain.weights] == [w.path for w in dropping.weights]
    dropping.set_weights(plain.get_weights())
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 1)).astype("float32")
    np.testing.assert_array_equal(dropping(x), plain(x))
    assert not np.array_equal(dropping(x, training=True), dropping(x, training=True))
    dropping.save(tmp_path / "model.keras")
    again = kerasdl.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(x), plain(x))
    assert [layer.rate for layer in again.layers if isinstance(layer, DropConnectDense)] == [0.5, 0.5]


# --- ResNet for small pictures: norms and stochastic depth ---


def axes_of(norm: str) -> np.ndarray:
    """(2,2,2,16) through `conv_norm` whose convolution is the identity."""
    image = keras.Input((2, 2, 16))
    model = keras.Model(image, conv_norm(image, 16, 1, 1, "x", norm, relu=False))
    model.get_layer("x_conv").set_weights([np.eye(16)[None, None]])
    x = np.random.default_rng(0).normal(size=(2, 2, 2, 16)).astype("float32")
    return np.stack([x, np.asarray(model(x, training=True))])


@pytest.mark.parametrize("norm, axes", [("batch", (0, 1, 2)), ("layer", (1, 2, 3)), ("instance", (1, 2)), ("group", (1, 2, 4))])
def test_each_norm_is_its_formula_over_its_axes(norm, axes):
    x, found = axes_of(norm).astype("float64")
    shape = x.shape
    if norm == "group":
        x = x.reshape(2, 2, 2, 8, 2)
    wanted = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    np.testing.assert_allclose(found, wanted.reshape(shape), atol=1e-5)


@pytest.mark.parametrize("norm", ["layer", "instance", "group"])
def test_a_norm_without_a_batch_has_the_parameters_of_batch_norm_and_no_statistics(norm):
    model = kerasdl.create_model("resnet20", 10, (32, 32, 3), norm=norm)
    assert model.count_params() == 269_722 == sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    picture = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype("float32")
    alone, together = model(picture[:1], training=True), model(picture, training=True)
    np.testing.assert_allclose(alone[0], together[0], atol=1e-4)  # what else is in the batch does not matter


@pytest.mark.parametrize(
    "options",
    [{"norm": "instance"}, {"norm": "group", "shortcut": "B", "drop": 0.5}],
    ids=lambda o: "-".join(map(str, o.values())),
)
def test_a_variant_of_resnet_trains_and_is_saved(options, tmp_path):
    keras.utils.set_random_seed(0)
    model = kerasdl.create_model("resnet20", 3, (8, 8, 1), **options)
    model.compile(optimizers.Adam(0.003), keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    inputs, targets = batch()
    before, x = weights(model), inputs["image"] / 100
    losses = [float(np.ravel(model.train_on_batch(x, targets["logits"]))[0]) for _ in range(15)]
    assert min(losses[-3:]) < 0.8 * losses[0]
    assert not [path for path, old in before.items() if np.array_equal(weights(model)[path], old)]
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(kerasdl.load_model(tmp_path / "model.keras")(x), model(x))


def test_stochastic_depth_of_a_resnet_grows_linearly_to_its_last_block():
    model = resnet_cifar(20, (8, 8, 1), "net", drop=0.5)
    rates = {layer.name: layer.rate for layer in model.layers if isinstance(layer, StochasticDepth)}
    names = [f"s{stage}b{block}_drop" for stage, block in itertools.product((1, 2, 3), repeat=2)]
    assert list(rates) == names
    np.testing.assert_allclose(list(rates.values()), 0.5 * np.arange(1, 10) / 9)
    plain = resnet_cifar(20, (8, 8, 1), "net")
    assert [w.path for w in plain.weights] == [w.path for w in model.weights]
    assert {layer.name for layer in model.layers} - {layer.name for layer in plain.layers} == set(names)


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"norm": "weight"}, "norm is one of batch, layer, instance, group. Received: 'weight'"),
        ({"drop": 1.0}, "drop is a probability in [0, 1). Received: 1.0"),
        ({"drop": -0.1}, "drop is a probability in [0, 1). Received: -0.1"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options, sentence):
    with pytest.raises(ValueError) as problem:
        kerasdl.create_model("resnet20", 10, **options)
    assert sentence in str(problem.value)


JAX = """
import sys
sys.modules["tensorflow"] = None
import keras, kerasdl, numpy as np
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
for name, options in (("mlp", {"drop_connect": 0.5, "width": 8}), ("resnet20", {"norm": "group", "drop": 0.5})):
    keras.utils.set_random_seed(0)
    model = kerasdl.create_model(name, 3, (8, 8, 1), **options)
    model.compile(keras.optimizers.SGD(0.01), loss)
    before = [np.array(w) for w in model.trainable_weights]
    x = np.random.default_rng(0).normal(size=(6, 8, 8, 1)).astype("float32")
    for _ in range(3):
        assert np.isfinite(np.ravel(model.train_on_batch(x, np.arange(6) % 3))[0])
    assert all(np.any(np.array(w) != b) for w, b in zip(model.trainable_weights, before))
print(keras.backend.backend())
"""


@pytest.mark.slow
def test_what_drops_and_norms_trains_on_jax():
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", JAX], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-1] == "jax"
