"""What a recipe makes of its training: averages, snapshots, early stopping, views, a teacher; and the layers these need."""

import csv
import dataclasses
import json
import logging
from functools import partial

import keras
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from kerasdl import averaging
from kerasdl.data.fake import fake
from kerasdl.data.spec import Spec
from kerasdl.data.splits import Splits
from kerasdl.layers import DistillationDistance, MeanProbability, PatchWhitening
from kerasdl.models.airbench import PartlyIdentity
from kerasdl.npz import read_arrays
from kerasdl.recipe import Recipe, list_recipes
from kerasdl.tasks import Classification
from kerasdl.tasks.classification import SmoothedCrossEntropy, is_right
from kerasdl.tasks.views import averaged_over_views
from kerasdl.train import adapt_to_data, build, compile_model, train

SPEC = Spec((8, 8, 1), ("a", "b", "c"), (0.5,), (0.25,), ({"op": "resize", "size": [8, 8], "method": "bilinear"},), "a set")


def data() -> Splits:
    return fake(SPEC, train=48, valid=12, test=12)


def net(image_shape) -> keras.Model:
    image = keras.Input(image_shape, name="image")
    x = keras.layers.Conv2D(8, 3, name="conv")(image)
    x = keras.layers.BatchNormalization(momentum=0.9, name="norm")(x)
    return keras.Model(image, keras.layers.ReLU()(x), name="net")


TINY = dataclasses.replace(
    list_recipes()["digits-lenet5"], name="tiny", data=data, model=net, augment=(), epochs=4, batch_size=16, deterministic=True
)


def load(run) -> keras.Model:
    return keras.saving.load_model(run / "model.keras", compile=False)


def history(run) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "history.csv").read_text().splitlines()))


# --- which epochs count ---


def rows(*losses: float) -> list[dict[str, float]]:
    return [{"epoch": n, "val_loss": loss} for n, loss in enumerate(losses, start=1)]


def test_the_best_epoch_is_the_first_with_the_lowest_validation_loss_and_nan_is_none():
    assert averaging.best_epoch(rows(3, 1, 2, 1)) == 2
    assert averaging.best_epoch(rows(float("nan"), 5, float("nan"))) == 2


def test_early_stopping_waits_for_its_patience():
    recipe = dataclasses.replace(TINY, early_stopping=2, epochs=9)
    assert [averaging.should_stop(recipe, rows(3, 2, 2.5, 2.1)[:n]) for n in range(5)] == [False, False, False, False, True]
    assert not averaging.should_stop(TINY, rows(1, 2, 3, 4))


def test_only_the_epochs_that_count_are_kept():
    assert averaging.needed_epochs(dataclasses.replace(TINY, average=2), rows(1, 1, 1)) == {3}
    assert averaging.needed_epochs(dataclasses.replace(TINY, average=2), rows(1, 1, 1, 1)) == {3, 4}
    assert averaging.needed_epochs(dataclasses.replace(TINY, snapshots=2), rows(1, 1, 1, 1)) == {2, 4}
    assert averaging.needed_epochs(TINY, rows(1, 1)) == set()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"ema": 0.9, "average": 2}, "at most one of ema, average, snapshots, early_stopping"),
        ({"average": 5}, "average must not exceed the 4 epochs. Received: 5"),
        ({"snapshots": 3}, "snapshots must divide the 4 epochs. Received: 3"),
        ({"early_stopping": 0}, "early_stopping must be at least 1. Received: 0"),
    ],
)
def test_results_that_cannot_be_get_a_sentence(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(TINY, **values)


# --- whole runs ---


def test_the_mean_of_the_last_epochs_is_the_mean_and_its_norms_fit(tmp_path):
    run = train(dataclasses.replace(TINY, average=2), tmp_path, verbose=0)
    third, fourth = (read_arrays(run / "checkpoints" / f"weights-0000{epoch}.npz") for epoch in (3, 4))
    model = load(run)
    kernel = next(i for i, v in enumerate(model.weights) if v.path.endswith("conv/kernel"))
    assert not np.array_equal(third[f"w{kernel}"], fourth[f"w{kernel}"])
    np.testing.assert_allclose(model.get_weights()[kernel], (third[f"w{kernel}"] + fourth[f"w{kernel}"]) / 2, atol=1e-7)
    inner = model.get_layer("net")
    before = keras.Model(inner.input, inner.get_layer("conv").output)
    x = model.get_layer("scaling")(data().train.arrays()["image"].astype("float32"))
    np.testing.assert_allclose(inner.get_layer("norm").moving_mean, np.asarray(before(x)).mean((0, 1, 2)), atol=1e-5)


def test_snapshots_become_one_model_that_averages_their_probabilities(tmp_path):
    run = train(dataclasses.replace(TINY, snapshots=2), tmp_path, verbose=0)
    x = data().test.arrays()["image"].astype("float32")
    expected = []
    for epoch in (2, 4):
        arrays = read_arrays(run / "checkpoints" / f"weights-0000{epoch}.npz")
        member = build(TINY, SPEC)
        member.set_weights([arrays[f"w{i}"] for i in range(len(arrays))])
        expected.append(softmax(np.asarray(member({"image": x})["logits"]), axis=1))
    served = TINY.task.serving(load(run), SPEC)["model"].predict_on_batch({"image": x.astype("uint8")})["probabilities"]
    np.testing.assert_allclose(served, np.mean(expected, axis=0), atol=1e-6)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3


def test_early_stopping_ends_the_run_and_gives_the_best_epoch(tmp_path):
    hasty = dataclasses.replace(TINY, early_stopping=1, epochs=40, schedule=partial(constant, rate=0.3))  # too high a rate: it gets worse
    run = train(hasty, tmp_path, verbose=0)
    losses = [float(row["val_loss"]) for row in history(run)]
    assert len(losses) < 40
    best = int(np.argmin(losses)) + 1
    assert len(losses) == best + 1
    arrays = read_arrays(run / "checkpoints" / f"weights-{best:05d}.npz")
    for i, weight in enumerate(load(run).get_weights()):
        np.testing.assert_array_equal(weight, arrays[f"w{i}"])


def constant(total_steps, rate):
    return rate


def test_a_snapshot_that_cannot_be_read_is_left_out_and_named(tmp_path, caplog):
    run = train(dataclasses.replace(TINY, snapshots=2), tmp_path, verbose=0)
    (run / "checkpoints" / "weights-00002.npz").write_bytes(b"nothing")
    member = partial(build, TINY, SPEC)
    with caplog.at_level(logging.WARNING):
        one = averaging.ensemble_of_snapshots(
            dataclasses.replace(TINY, snapshots=2), run / "checkpoints", [dict.fromkeys(["val_loss"], 1.0)] * 4, member
        )
    assert "the weights after epoch 2 cannot be read and are left out" in caplog.text
    assert len([layer for layer in one.layers if layer.name.startswith("member")]) == 1


def test_a_best_epoch_that_could_not_be_stored_leaves_the_last_one(tmp_path, monkeypatch, caplog):
    def full(path, arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(averaging, "write_arrays", full)
    run = train(dataclasses.replace(TINY, early_stopping=3), tmp_path, verbose=0)
    assert "could not be stored" in caplog.text and "it is the last epoch's" in caplog.text
    last = read_arrays(run / "checkpoints" / "epoch-00004.npz")
    for i, weight in enumerate(load(run).get_weights()):
        np.testing.assert_array_equal(weight, last[f"v{i}"])


# --- a teacher ---


def test_the_distance_to_a_teacher_is_hintons():
    student, teacher = np.array([[1.0, 2.0, 0.5]], "float32"), np.array([[3.0, 0.0, 1.0]], "float32")
    p = softmax(teacher / 4, axis=1)
    expected = 16 * (p * (np.log(p) - log_softmax(student / 4, axis=1))).sum(axis=1)
    np.testing.assert_allclose(DistillationDistance(4.0)([student, teacher]), expected, rtol=1e-5)
    np.testing.assert_allclose(DistillationDistance(4.0)([teacher, teacher]), 0, atol=1e-6)
    with pytest.raises(ValueError, match="the temperature must be positive. Received: 0"):
        DistillationDistance(0)


def test_a_student_learns_from_its_teacher_alone_and_leaves_it_behind(tmp_path):
    teacher = train(dataclasses.replace(TINY, name="teacher"), tmp_path, verbose=0)
    before = load(teacher).get_weights()
    task = Classification(teacher=str(teacher), temperature=2.0, teacher_weight=1.0)  # no label counts
    recipe = dataclasses.replace(TINY, name="student", task=task, epochs=12)
    run = train(recipe, tmp_path, verbose=0)
    distances = [float(row["teaching_loss"]) for row in history(run)]
    assert distances[-1] < 0.5 * distances[0]
    assert list(load(run).output) == ["logits"] and load(run).count_params() == load(teacher).count_params()
    for a, b in zip(before, load(teacher).get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert Recipe.from_json(run / "recipe.json").task == task


def test_a_teacher_of_other_pictures_or_none_gets_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="teacher is the folder of a finished run"):
        build(dataclasses.replace(TINY, task=Classification(teacher=str(tmp_path))), SPEC)
    teacher = train(dataclasses.replace(TINY, name="teacher", epochs=1), tmp_path, verbose=0)
    other = dataclasses.replace(SPEC, labels=("a", "b"))
    with pytest.raises(ValueError, match=r"2 classes. Received: \(8, 8, 1\) and 3"):
        build(dataclasses.replace(TINY, task=Classification(teacher=str(teacher))), other)


# --- views ---


def test_views_are_averaged_with_the_weights_of_the_paper():
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype("float32")

    def model(pictures):
        return keras.ops.reshape(pictures, (-1, 60))[:, 7:9] ** 2  # two numbers that depend on the place

    def padded(p, top, left):
        return np.pad(p, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")[:, top : top + 4, left : left + 5]

    mirror = x[:, :, ::-1]
    flip = (model(x) + model(mirror)) / 2
    np.testing.assert_allclose(averaged_over_views(model, x, "flip"), flip, atol=1e-6)
    moved = [model(padded(p, at, at)) for p in (x, mirror) for at in (0, 2)]
    np.testing.assert_allclose(averaged_over_views(model, x, "flip-shift"), flip / 2 + sum(moved) / 8, atol=1e-6)
    with pytest.raises(ValueError, match="views is one of flip, flip-shift, or None. Received: 'ten'"):
        Classification(views="ten")


# --- losses and metrics of mixed labels ---


def test_shares_of_classes_are_a_target_as_labels_are():
    logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]], "float32")
    one_hot = np.eye(3, dtype="float32")[[2, 1]]
    for smoothing in (0.0, 0.1):
        loss = SmoothedCrossEntropy(smoothing)
        assert float(loss(np.array([2, 1]), logits)) == pytest.approx(float(loss(one_hot, logits)), abs=1e-6)
    shares = np.array([[0.3, 0.7, 0.0], [0.0, 1.0, 0.0]], "float32")
    expected = -(shares * log_softmax(logits, axis=1)).sum(axis=1).mean()
    assert float(SmoothedCrossEntropy(0.0)(shares, logits)) == pytest.approx(expected, abs=1e-6)
    np.testing.assert_array_equal(is_right(shares, logits), [0, 1])
    np.testing.assert_array_equal(is_right(np.array([0, 2]), logits), [1, 0])


def test_the_mean_probability_is_one():
    logits = [np.array([[1.0, 2.0]], "float32"), np.array([[-3.0, 4.0]], "float32")]
    mean = np.mean([softmax(x, axis=1) for x in logits], axis=0)
    np.testing.assert_allclose(softmax(np.asarray(MeanProbability()(logits)), axis=1), mean, atol=1e-6)


# --- the fast network's own parts ---


def test_whitened_patches_have_variance_one_and_no_correlation():
    random = np.random.default_rng(1)
    pictures = random.normal(size=(40, 9, 9, 1)).cumsum(1).cumsum(2).astype("float32")  # neighbours alike, as in photographs
    layer = PatchWhitening(2, epsilon=1e-9)
    layer.build(pictures.shape)
    layer.adapt_to(pictures)
    answers = np.asarray(layer(pictures)).reshape(-1, 8)
    np.testing.assert_allclose(answers[:, :4].T @ answers[:, :4] / len(answers), np.eye(4), atol=1e-3)
    np.testing.assert_array_equal(answers[:, 4:], -answers[:, :4])
    assert [v.name for v in layer.trainable_variables] == ["bias"]


def test_before_it_has_seen_data_the_layer_gives_the_pixels_of_each_patch():
    layer = PatchWhitening(2)
    x = np.arange(4, dtype="float32").reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(np.asarray(layer(x)).ravel(), [0, 1, 2, 3, 0, -1, -2, -3])


def whitened(image_shape) -> keras.Model:
    image = keras.Input(image_shape, name="image")
    return keras.Model(image, PatchWhitening(name="whitening")(image), name="whitened")


def test_training_adapts_the_layer_behind_the_scaling_and_saves_it(tmp_path):
    model = build(dataclasses.replace(TINY, model=whitened), SPEC)
    adapt_to_data(model, data())
    expected = PatchWhitening()
    x = model.get_layer("scaling")(data().train.arrays()["image"].astype("float32"))
    expected.build(x.shape)
    expected.adapt_to(x)
    filters = model.get_layer("whitened").get_layer("whitening").filters
    np.testing.assert_allclose(filters, expected.filters, atol=1e-6)
    run = train(dataclasses.replace(TINY, model=whitened, epochs=1, precision="mixed_bfloat16"), tmp_path, verbose=0)
    saved = load(run).get_layer("whitened").get_layer("whitening").filters
    np.testing.assert_allclose(saved, expected.filters, atol=0.02)  # pictures scaled in bfloat16


def test_a_convolution_that_begins_as_the_identity_copies_its_inputs():
    keras.utils.set_random_seed(0)
    convolution = keras.layers.Conv2D(5, 3, padding="same", use_bias=False, kernel_initializer=PartlyIdentity())
    x = np.random.default_rng(0).normal(size=(1, 6, 6, 3)).astype("float32")
    y = np.asarray(convolution(x))
    np.testing.assert_allclose(y[..., :3], x, atol=1e-6)
    drawn = np.asarray(PartlyIdentity()((3, 3, 16, 256)))[..., 16:]
    assert np.abs(drawn).max() <= 144**-0.5 and drawn.var() == pytest.approx(1 / (3 * 144), rel=0.05)


# --- how training begins ---


def test_an_initialisation_draws_every_kernel_that_trains():
    recipe = dataclasses.replace(TINY, initialisation=partial(keras.initializers.Constant, 0.25))
    model = build(recipe, SPEC)
    values = {v.path.split("/", 1)[-1]: np.unique(v.numpy()).tolist() for v in model.trainable_variables}
    assert {name for name, value in values.items() if value == [0.25]} == {name for name in values if "kernel" in name}


def test_the_average_of_micro_batches_moves_as_that_of_batches():
    recipe = dataclasses.replace(TINY, ema=0.9, optimizer=partial(keras.optimizers.SGD, gradient_accumulation_steps=2))
    model = build(recipe, SPEC)
    compile_model(model, recipe, total_steps=10)
    assert model.optimizer.ema_momentum == pytest.approx(0.9**0.5)


def test_an_older_recipe_without_the_newer_fields_still_resumes(tmp_path):
    run = train(TINY, tmp_path, verbose=0)
    plain = json.loads((run / "recipe.json").read_text())
    for field in ("mix", "average", "snapshots", "early_stopping", "initialisation"):
        del plain[field]
    (run / "recipe.json").write_text(json.dumps(plain))
    (run / "model.keras").unlink()
    assert (train(TINY, tmp_path, resume=True, verbose=0) / "model.keras").is_file()
