"""Layers that remember people while they train: centres, the table and queue of OIM; and the head that compares pairs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.layers.center import CenterDistance
from kerasdl.layers.oim import OnlineInstanceMatching
from kerasdl.layers.verification import PairVerification
from kerasdl.losses import VerificationLoss
from kerasdl.tasks.classification import Given

ROOT = Path(__file__).parents[2]
ROOT_HALF = 0.5**0.5


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def step(layer: Any, embedding: Any, label: Any, training: bool = True) -> np.ndarray:
    return np.asarray(layer([np.asarray(embedding, "float32"), np.asarray(label)], training=training))


def memory(layer: Any) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in layer.non_trainable_weights]


def as_model(layer: Any, width: int = 4) -> keras.Model:
    """The embedding is a linear function of x, so that something can learn."""
    x, label = keras.Input((width,), name="x"), keras.Input((), dtype="int32", name="label")
    embedding = keras.layers.Dense(width, name="embedding")(x)
    return keras.Model({"x": x, "label": label}, {"embedding": embedding, "memory": layer([embedding, label])})


MEMORIES = {
    "center": lambda: CenterDistance(3, name="memory"),
    "oim": lambda: OnlineInstanceMatching(3, name="memory"),
    "oim_with_queue": lambda: OnlineInstanceMatching(3, queue=4, name="memory"),
}


# --- what holds for both memories ---


@pytest.mark.parametrize("make", MEMORIES.values(), ids=MEMORIES)
def test_only_a_training_step_remembers(make):
    layer = make()
    step(layer, numbers(4, 2), [0, 1, -1, 1])
    before = memory(layer)
    first, second = (step(layer, numbers(4, 2, seed=1), [0, 1, -1, 1], training=False) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    for old, new in zip(before, memory(layer), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("make", MEMORIES.values(), ids=MEMORIES)
def test_nothing_flows_back_to_the_memory_and_the_embedding_gets_its_gradient(make):
    import tensorflow as tf

    layer = make()
    step(layer, numbers(4, 2), [0, 1, 2, -1])
    x = tf.constant(numbers(2, 2, seed=1))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        tape.watch([weight.value for weight in layer.non_trainable_weights if weight.dtype == "float32"])
        y = tf.reduce_sum(layer([x, np.array([0, 1])], training=True))
    assert layer.trainable_weights == []
    assert all(tape.gradient(y, weight.value) is None for weight in layer.non_trainable_weights if weight.dtype == "float32")
    slope: Any = tape.gradient(y, x)
    assert slope is not None and np.abs(slope).min() > 1e-3


@pytest.mark.parametrize("make", MEMORIES.values(), ids=MEMORIES)
def test_who_is_unlabelled_has_no_loss_and_the_mean_is_over_the_others(make):
    layer = make()
    step(layer, numbers(6, 2), [0, 1, 2, 0, 1, 2])
    x = numbers(4, 2, seed=1)
    with_others = step(layer, x, [0, -1, 2, 99], training=False)
    alone = step(layer, x[[0, 2]], [0, 2], training=False)
    assert with_others[1] == with_others[3] == 0
    assert with_others.mean() == pytest.approx(alone.mean(), rel=1e-5)
    assert (step(layer, x, [-1, -1, -1, -1], training=False) == 0).all()


@pytest.mark.parametrize("make", MEMORIES.values(), ids=MEMORIES)
def test_values_and_gradients_of_zero_embeddings_are_finite(make):
    import tensorflow as tf

    layer, x = make(), tf.zeros((3, 2))
    for _ in range(2):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer([x, np.array([0, 0, -1])], training=True)
        slope: Any = tape.gradient(y, x)
        assert np.isfinite(slope).all() and np.isfinite(y).all()
    assert all(np.isfinite(state).all() for state in memory(layer))


@pytest.mark.parametrize("make", MEMORIES.values(), ids=MEMORIES)
def test_a_model_with_a_memory_trains_saves_and_goes_on_as_before(make, tmp_path):
    def compiled(model: keras.Model) -> keras.Model:
        model.compile(keras.optimizers.SGD(0.01), loss={"memory": Given()})
        return model

    keras.utils.set_random_seed(0)
    inputs = {"x": numbers(8, 4), "label": np.array([0, 1, 2, -1, 0, 1, -1, 2])}
    targets = {"memory": np.zeros(8)}
    model = compiled(as_model(make()))
    model.fit(inputs, targets, batch_size=4, epochs=2, shuffle=False, verbose=0)
    assert all(np.abs(state).max() > 0 for state in memory(model.get_layer("memory")) if state.ndim)
    model.save(tmp_path / "model.keras")
    again = compiled(kerasdl.load_model(tmp_path / "model.keras"))
    assert again.get_layer("memory").get_config() == model.get_layer("memory").get_config()
    for one in (model, again):
        one.fit(inputs, targets, batch_size=4, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("make", MEMORIES.values(), ids=MEMORIES)
def test_the_loss_is_float32_in_a_model_of_half_precision(make):
    layer = make()
    half = np.asarray(numbers(3, 2), "float16")
    assert keras.backend.standardize_dtype(layer([half, np.array([0, 1, 2])], training=True).dtype) == "float32"


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: CenterDistance(0), "at least 1 identity and a rate in .0, 1.. Received: identities=0, rate=0.5"),
        (lambda: CenterDistance(2, rate=0), "Received: identities=2, rate=0"),
        (lambda: OnlineInstanceMatching(0), "at least 1 identity, the queue 0 places. Received: identities=0, queue=0"),
        (lambda: OnlineInstanceMatching(2, momentum=1.0), "momentum must be in .0, 1., the scale positive. Received: momentum=1.0"),
        (lambda: PairVerification(1.0), "dropout is a share in .0, 1.. Received: 1.0"),
    ],
)
def test_the_impossible_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


# --- centres ---


def test_center_distance_by_hand():
    """Centres at 0: squared distances 4, 16, 36. Then c_0 = 0.5 (2 + 4) / (1 + 2) and c_1 = 0.5 * 6 / (1 + 1)."""
    layer = CenterDistance(3, rate=0.5)
    np.testing.assert_allclose(step(layer, [[2.0], [4.0], [6.0]], [0, 0, 1]), [4, 16, 36])
    np.testing.assert_allclose(memory(layer)[0], [[1.0], [1.5], [0.0]])
    np.testing.assert_allclose(step(layer, [[2.0], [4.0], [6.0]], [0, 0, 1]), [1, 9, 4.5**2])


def test_centres_are_those_of_the_loop():
    layer, centres, rate = CenterDistance(5, rate=0.3), np.zeros((5, 3)), 0.3
    for seed in range(6):
        x, label = numbers(12, 3, seed=seed), np.random.default_rng(seed).integers(-1, 5, 12)
        found = step(layer, x, label).mean()
        assert found == pytest.approx(np.mean([np.sum((v - centres[k]) ** 2) for v, k in zip(x, label, strict=True) if k >= 0]), rel=1e-4)
        for k in range(5):
            mine = x[label == k]
            centres[k] -= rate * sum(((centres[k] - v) for v in mine), np.zeros(3)) / (1 + len(mine))
    np.testing.assert_allclose(memory(layer)[0], centres, atol=1e-5)


# --- online instance matching ---


def oim_loop(x: np.ndarray, label: np.ndarray, state: dict[str, Any], momentum: float, scale: float) -> float:
    """One example after the other, as the authors' code goes; changes `state`."""
    table, queue = state["table"], state["queue"]
    losses = []
    for f, k in zip(unit(x), label, strict=True):
        if k >= 0:
            sums = np.exp(scale * np.concatenate([table, queue]) @ f)
            losses.append(-np.log(sums[k] / sums.sum()))
    for f, k in zip(unit(x), label, strict=True):
        if k >= 0:
            table[k] = unit(momentum * table[k] + (1 - momentum) * f)
        elif len(queue):
            queue[state["oldest"]] = f
            state["oldest"] = (state["oldest"] + 1) % len(queue)
    return float(np.mean(losses))


@pytest.mark.parametrize("places", [0, 3, 7], ids="queue of {}".format)
@pytest.mark.parametrize("momentum, scale", [(0.5, 10.0), (0.0, 30.0), (0.9, 1.0)])
def test_oim_is_what_its_loop_says_over_many_steps(places, momentum, scale):
    """Identities come up to several times in a batch, and there are at times more people without a label than places."""
    layer = OnlineInstanceMatching(6, places, momentum, scale)
    state = {"table": np.zeros((6, 4)), "queue": np.zeros((places, 4)), "oldest": 0}
    repeats, longest = 0, 0
    for seed in range(10):
        draw = np.random.default_rng(seed)
        x, label = draw.normal(size=(16, 4)).astype("float32"), np.maximum(draw.integers(-6, 6, 16), -1)
        repeats, longest = max(repeats, np.bincount(label[label >= 0]).max()), max(longest, (label < 0).sum())
        assert step(layer, x, label).mean() == pytest.approx(oim_loop(x, label, state, momentum, scale), rel=1e-4)
        np.testing.assert_allclose(memory(layer)[0], state["table"], atol=1e-5)
        if places:
            np.testing.assert_allclose(memory(layer)[1], state["queue"], atol=1e-6)
            assert memory(layer)[2] == state["oldest"]
    assert repeats > 2 and longest > 7


def test_oim_by_hand():
    """Rows (1,0) and (0,1), scale 2: (3,0) of person 0 has loss log(1 + e^-2). Then (1,0) of person 1 turns the row half way."""
    layer = OnlineInstanceMatching(2, scale=2.0)
    step(layer, [[1, 0], [0, 5]], [0, 1])
    np.testing.assert_allclose(memory(layer)[0], [[1, 0], [0, 1]])
    np.testing.assert_allclose(step(layer, [[3, 0]], [0], training=False), [np.log(1 + np.exp(-2))], rtol=1e-5)
    step(layer, [[2, 0]], [1])
    np.testing.assert_allclose(memory(layer)[0], [[1, 0], [ROOT_HALF, ROOT_HALF]], rtol=1e-5)


def test_rows_of_zeros_count_in_the_softmax():
    """As in the authors' code: two people and three places, nobody remembered, all five at exp(0)."""
    np.testing.assert_allclose(step(OnlineInstanceMatching(2, queue=3), [[1, 0]], [0]), [np.log(5)], rtol=1e-6)


def test_the_queue_forgets_the_oldest():
    layer = OnlineInstanceMatching(1, queue=2)
    step(layer, [[1, 0], [0, 1]], [-1, -1])
    step(layer, [[-1, 0]], [-1])
    np.testing.assert_allclose(memory(layer)[1], [[-1, 0], [0, 1]])
    step(layer, [[0, -1], [1, 0], [0, 1]], [-1, -1, -1])  # into places 1, 0 and again 1: longer than the queue, the last two stay
    np.testing.assert_allclose(memory(layer)[1], [[1, 0], [0, 1]])


def test_oim_learns_to_tell_people_apart():
    keras.utils.set_random_seed(0)
    label = np.arange(60) % 3
    x = numbers(60, 4) + 2 * np.eye(4, dtype="float32")[label]
    model = as_model(OnlineInstanceMatching(3, name="memory"))
    model.compile(keras.optimizers.Adam(0.03), loss={"memory": Given()})
    model.fit({"x": x, "label": label}, {"memory": np.zeros(60)}, batch_size=20, epochs=15, verbose=0)
    table = memory(model.get_layer("memory"))[0]
    embedding = unit(np.asarray(model.predict_on_batch({"x": x, "label": label})["embedding"]))
    assert ((embedding @ table.T).argmax(axis=1) == label).mean() > 0.9
    np.testing.assert_allclose(np.linalg.norm(table, axis=1), 1, rtol=1e-5)


# --- pairs ---


def test_pair_verification_is_a_linear_function_of_the_squared_difference():
    layer = PairVerification()
    layer.build((None, 2))
    layer.set_weights([np.array([[1.0], [-2.0]]), np.array([0.5])])
    found = layer(np.array([[0.0, 0.0], [3.0, 1.0], [1.0, 1.0]], "float32"))
    np.testing.assert_allclose(found, [[0.5, 7.5, -0.5], [7.5, 0.5, 4.5], [-0.5, 4.5, 0.5]])


def test_pair_verification_leaves_differences_out_only_in_training():
    layer, x = PairVerification(0.5, seed=1), numbers(4, 32)
    still = np.asarray(layer(x, training=False))
    np.testing.assert_array_equal(still, layer(x))
    assert np.abs(np.asarray(layer(x, training=True)) - still).max() > 0.1


def test_pair_verification_trains_saves_and_announces_its_shape(tmp_path):
    keras.utils.set_random_seed(0)
    label, x = np.arange(16) % 2, numbers(16, 4)
    x[:, 0] = 3 * label
    inputs = keras.Input((4,))
    model = keras.Model(inputs, PairVerification(0.0)(inputs))
    assert model.output_shape == (None, None)
    model.compile(keras.optimizers.Adam(0.1), VerificationLoss())
    model.fit(np.tile(x, (100, 1)), np.tile(label, 100), batch_size=16, shuffle=False, verbose=0)  # 100 steps of the same batch
    logits = np.asarray(model(x))
    same = label[:, None] == label[None]
    assert logits[same].min() > 0 > logits[~same].max()
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(kerasdl.load_model(tmp_path / "model.keras")(x), logits)


# --- elsewhere ---

PRELUDE = """
import json, sys
import numpy as np, keras
from kerasdl.layers.center import CenterDistance
from kerasdl.layers.oim import OnlineInstanceMatching
from kerasdl.layers.verification import PairVerification
from kerasdl.losses import VerificationLoss
from kerasdl.tasks.classification import Given


def trained():
    x, label = keras.Input((4,), name="x"), keras.Input((), dtype="int32", name="label")
    embedding = keras.layers.Dense(4, kernel_initializer="identity")(x)
    outputs = {
        "center": CenterDistance(3)([embedding, label]),
        "oim": OnlineInstanceMatching(3, queue=3)([embedding, label]),
        "pairs": PairVerification(0.0, name="pairs")(embedding),
    }
    model = keras.Model({"x": x, "label": label}, outputs)
    for weight in model.get_layer("pairs").trainable_weights:
        weight.assign(np.full(weight.shape, 1 / 8))
    model.compile(keras.optimizers.SGD(0.01), loss={"center": Given(), "oim": Given(), "pairs": VerificationLoss()})
    draw = np.random.default_rng(0)
    for _ in range(4):
        label = np.maximum(draw.integers(-3, 3, 8), -1)
        model.train_on_batch({"x": draw.normal(size=(8, 4)), "label": label}, {"center": label, "oim": label, "pairs": label})
    return model
"""
WEIGHTS = PRELUDE + "\nanswer = [np.array(w).tolist() for w in trained().get_weights()]"
TWO_DEVICES = f"""
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
{PRELUDE}
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    x, label = keras.Input((1,), name="x"), keras.Input((), dtype="int32", name="label")
    outputs = {{"center": CenterDistance(2, rate=1.0)([x, label]), "oim": OnlineInstanceMatching(2, queue=2)([x, label])}}
    model = keras.Model({{"x": x, "label": label}}, outputs)
    model.compile(keras.optimizers.SGD(0.0), loss={{"center": Given(), "oim": Given()}})
inputs = {{"x": np.array([[2.0], [-3.0], [6.0], [1.0]]), "label": np.array([0, -1, 0, 1])}}
model.fit(inputs, {{"center": np.zeros(4), "oim": np.zeros(4)}}, batch_size=4, verbose=0, shuffle=False)
print(json.dumps([np.array(w).tolist() for w in model.non_trainable_weights]))
"""


def output_of(code: str, **environment: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_memories_train_on_jax_as_on_tensorflow(on_jax):
    here: dict[str, Any] = {}
    exec(WEIGHTS, here)
    ours, theirs = here["answer"], on_jax(WEIGHTS)
    assert keras.backend.backend() == "tensorflow" and len(ours) == 8  # kernel and bias twice, centres, table, queue and its oldest place
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_on_two_devices_centres_are_averaged_and_the_first_one_is_remembered():
    """The first device has 2 of person 0 and -3 of nobody, the second 6 of person 0 and 1 of person 1: centres 2/2 and 6/2, 0 and 1/2."""
    centres, table, queue, oldest = output_of(TWO_DEVICES, CUDA_VISIBLE_DEVICES="")
    np.testing.assert_allclose(centres, [[(1 + 3) / 2], [(0 + 0.5) / 2]])
    assert (table, queue, oldest) == ([[1.0], [0.0]], [[-1.0], [0.0]], 1)
