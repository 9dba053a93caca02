"""The re-identification task on identities that are coloured patterns: training, memories, serving, ranking."""

import dataclasses
from functools import partial

import keras
import numpy as np
import pytest
from keras.optimizers import SGD

from kerasdl import checkpoint
from kerasdl.data.samplers import identity_sampler
from kerasdl.data.spec import Spec
from kerasdl.data.splits import ArraySplit, Splits
from kerasdl.losses import CircleLoss, TripletLoss
from kerasdl.models import load_model, resnet20
from kerasdl.recipe import Recipe
from kerasdl.schedules import constant
from kerasdl.tasks import Embedding
from kerasdl.train import build, train

SHAPE = (16, 8, 3)
PEOPLE = 8
SPEC = Spec(SHAPE, tuple(str(i) for i in range(PEOPLE)), (0.5,) * 3, (0.25,) * 3, (), "patterns")


def pictures(pids, cameras, seed):
    """Noise around the pattern of each identity, brighter in one camera than in the other."""
    random = np.random.default_rng(seed)
    patterns = np.random.default_rng(7).normal(size=(100, *SHAPE))
    levels = 127 + 45 * patterns[pids] + 25 * random.normal(size=(len(pids), *SHAPE)) + 20 * np.asarray(cameras)[:, None, None, None]
    return levels.clip(0, 255).astype(np.uint8)


def part(first, people, copies, seed, label=None):
    pids = np.repeat(np.arange(first, first + people), copies)
    cameras = np.arange(len(pids)) % 2
    labels = pids - first if label is None else np.full(len(pids), label)
    return ArraySplit({"image": pictures(pids, cameras, seed), "label": labels, "pid": pids, "camid": cameras})


def patterns():
    roles = {name: part(first, 6, 4, seed, -1) for seed, (name, first) in enumerate({"valid_gallery": 40, "gallery": 60}.items(), 3)}
    valid, test = part(40, 6, 2, 1, -1), part(60, 6, 2, 2, -1)
    return Splits(part(1, PEOPLE, 6, 0), valid, test, SPEC, {"name": "patterns"}, roles | {"valid_query": valid, "query": test})


RECIPE = Recipe(
    name="patterns-reid",
    note="For tests.",
    data=patterns,
    model=resnet20,
    task=Embedding(),
    sampler=partial(identity_sampler, pictures=4),
    epochs=2,
    batch_size=16,
    optimizer=partial(SGD, momentum=0.9),
    schedule=partial(constant, rate=0.05),
)


def predictor(task, model):
    return task.serving(model, SPEC)["model"].predict_on_batch


@pytest.mark.parametrize(
    "task",
    [
        Embedding(),
        Embedding(size=24, pool="gem", neck=False),
        Embedding(head="parts", parts=2, size=8, distances=()),
        Embedding(identity=0.0, distances=((TripletLoss, 1.0), (partial(TripletLoss, mining="weighted", margin=None), 0.5))),
        Embedding(distances=(), cosines=((CircleLoss, 1.0),)),
        Embedding(center=0.0005, oim=0.5, pool="gmp"),
    ],
    ids=["bot", "gem without neck", "parts", "distances alone", "circle", "memories"],
)
def test_a_run_with_every_head_and_loss(task, tmp_path):
    run = train(dataclasses.replace(RECIPE, task=task, epochs=1), tmp_path, verbose=0)
    model = load_model(run / "model.keras")
    assert set(model.input) == {"image"}
    assert (run / "ranks.png").is_file() and not (run / "confusion.png").exists()
    images = patterns().test.arrays([0, 1, 2])["image"]
    found = predictor(task, model)({"image": images})
    np.testing.assert_allclose(np.linalg.norm(found["embedding"], axis=1), 1, atol=1e-6)
    assert found["activation"].shape[0] == 3
    assert np.asarray(found["activation"]).max() == pytest.approx(1)


def test_training_teaches_unseen_identities(tmp_path):
    untrained = build(RECIPE, SPEC)
    before = RECIPE.task.evaluate(predictor(RECIPE.task, untrained), patterns(), "test")
    run = train(dataclasses.replace(RECIPE, epochs=30), tmp_path, verbose=0)
    after = RECIPE.task.evaluate(predictor(RECIPE.task, load_model(run / "model.keras")), patterns(), "test")
    assert after["mAP"] > before["mAP"]
    assert after["rank1"] >= 0.8
    assert after["rank1"] <= after["rank5"] <= after["rank10"] <= 1


class Interrupted(Exception):
    pass


def test_a_resumed_run_has_the_weights_of_the_uninterrupted_one_memories_and_all(tmp_path, monkeypatch):
    """The centres, the table and the queue are state of the model that only its training has."""
    recipe = dataclasses.replace(RECIPE, task=Embedding(center=0.001, oim=0.1), epochs=3, deterministic=True)
    whole = load_model(train(recipe, tmp_path / "whole", verbose=0) / "model.keras")
    save = checkpoint.save

    def save_and_stop(model, folder, done, *facts):
        save(model, folder, done, *facts)
        if done == 1:
            raise Interrupted

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(checkpoint, "save", save_and_stop)
        train(recipe, tmp_path / "cut", verbose=0)
    resumed = load_model(train(recipe, tmp_path / "cut", resume=True, verbose=0) / "model.keras")
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_decision_is_the_nearest_other_picture():
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]], np.float32)
    choice, margin = Embedding().decide({"embedding": vectors})
    assert choice.tolist() == [1, 0, 1, 2]
    np.testing.assert_allclose(margin, [0.8, 0.2, 0.6, 0.8], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"head": "local"}, "head is global or parts. Received: 'local'"),
        ({"head": "parts"}, "distances and center are for the global head"),
        ({"identity": 0.0, "distances": ()}, "at least one loss"),
    ],
)
def test_options_that_do_not_go_together(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Embedding(**options)


def test_the_recipe_is_the_same_after_json():
    again = Recipe.from_json(RECIPE.to_json())
    assert again.to_json() == RECIPE.to_json()
    assert isinstance(again.task.loss()["feature"][0], keras.losses.Loss)
