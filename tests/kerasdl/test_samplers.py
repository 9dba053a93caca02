"""Batches for losses that compare examples: who is in them, and that they come again after an interruption."""

import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from kerasdl import checkpoint
from kerasdl.data.arrays import array_batches
from kerasdl.data.augment import flip
from kerasdl.data.fake import fake
from kerasdl.data.pipeline import training_batches
from kerasdl.data.samplers import (
    Hardness,
    adaptive_sampler,
    camera_sampler,
    identity_sampler,
    pair_sampler,
    triplet_sampler,
)
from kerasdl.data.splits import ArraySplit, PictureSplit, Splits, facts
from kerasdl.hardness import follow_hardness, mean_cross_entropy
from kerasdl.npz import read_arrays
from kerasdl.recipe import Recipe, find_recipe, override
from kerasdl.train import train
from tests.kerasdl.test_train import SPEC, TINY, weights

ROOT = Path(__file__).parents[2]
SIZES = (1, 3, 4, 9, 12, 5, 6, 8)  # pictures of each identity
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(8), SIZES))
CAMERAS = np.random.default_rng(1).integers(1, 4, len(LABELS))
FACTS = {"label": LABELS, "camid": CAMERAS}
SAMPLERS = {
    "identities": partial(identity_sampler, pictures=3),
    "cameras": partial(camera_sampler, pictures=3),
    "adaptive": partial(adaptive_sampler, pictures=3),
    "pairs": pair_sampler,
    "triplets": partial(triplet_sampler, across_cameras=True),
}
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


def drawn(sampler, batch_size: int, batches: int, seed: int = 0, facts=FACTS) -> np.ndarray:
    return sampler(facts, batch_size, seed)(np.arange(batches * batch_size)).reshape(batches, batch_size)


def numbered() -> ArraySplit:
    """Every picture shows its own number."""
    images = np.zeros((len(LABELS), 4, 4, 1), np.uint8) + np.arange(len(LABELS), dtype=np.uint8)[:, None, None, None]
    return ArraySplit({"image": images, **FACTS})


@pytest.mark.parametrize("sampler", [identity_sampler, camera_sampler, adaptive_sampler])
def test_a_batch_holds_k_pictures_of_each_of_p_identities(sampler):
    for row in drawn(partial(sampler, pictures=4), 12, 40):
        people = LABELS[row].reshape(3, 4)
        assert (people == people[:, :1]).all() and len(set(people[:, 0])) == 3


@pytest.mark.parametrize("sampler", [identity_sampler, camera_sampler, adaptive_sampler])
def test_pictures_repeat_only_where_an_identity_has_too_few(sampler):
    seen = Counter()
    for group in drawn(partial(sampler, pictures=4), 12, 60).reshape(-1, 4):
        size = SIZES[LABELS[group[0]]]
        assert len(set(group)) == min(size, 4)
        seen[size] += 1
    assert {1, 3, 12} <= set(seen)


def test_in_one_pass_every_identity_comes_once():
    passes = LABELS[drawn(identity_sampler, 16, 20)].reshape(10, 8, 4)[:, :, 0]  # 2 batches of 4 identities a pass
    assert all(sorted(people) == list(range(8)) for people in passes)
    assert len({tuple(people) for people in passes}) > 5


def test_from_pass_to_pass_an_identity_shows_all_its_pictures_before_one_comes_again():
    batches = drawn(identity_sampler, 32, 6)  # all 8 identities in every batch
    largest = [row[LABELS[row] == 4] for row in batches]  # 12 pictures, 3 groups of 4
    for start in (0, 3):
        assert sorted(np.concatenate(largest[start : start + 3])) == sorted(np.flatnonzero(LABELS == 4))
    assert not np.array_equal(largest[0], largest[3])


def test_the_camera_sampler_takes_another_camera_while_there_is_one():
    for group in drawn(partial(camera_sampler, pictures=4), 16, 40).reshape(-1, 4):
        cameras = set(CAMERAS[LABELS == LABELS[group[0]]])
        assert len(set(CAMERAS[group[: len(cameras)]])) == len(cameras), "first one picture of each camera"
    plain = drawn(partial(identity_sampler, pictures=4), 16, 40).reshape(-1, 4)
    assert any(len(set(CAMERAS[g])) < min(4, len(set(CAMERAS[LABELS == LABELS[g[0]]]))) for g in plain), "which is not so by chance"


def test_the_camera_sampler_needs_cameras():
    with pytest.raises(ValueError, match="needs the field camid. Received: .'label'."):
        camera_sampler({"label": LABELS}, 8, 0)


def test_harder_identities_come_as_often_as_their_weights_say():
    hardness = Hardness()
    weights = np.array([0, 1, 1, 1, 1, 1, 1, 6.0])
    hardness.record(0, weights)
    steps = len(LABELS) // 3
    sample = adaptive_sampler(FACTS, 3, 0, pictures=3, floor=0.2, hardness=hardness)
    people = LABELS[sample(np.arange(2 * steps * 3, 12000 * 3))[::3]]  # one identity a batch, from the second epoch after the record on
    expected = 0.2 / 8 + 0.8 * weights / weights.sum()
    np.testing.assert_allclose(np.bincount(people, minlength=8) / len(people), expected, atol=0.015)
    before = LABELS[sample(np.arange(2 * steps * 3))[::3]]
    unaware = LABELS[adaptive_sampler(FACTS, 3, 0, pictures=3)(np.arange(2 * steps * 3))[::3]]
    np.testing.assert_array_equal(before, unaware)


def test_what_an_epoch_taught_counts_from_the_second_one_after_it(tmp_path):
    hardness = Hardness()
    for epoch in range(4):
        hardness.record(epoch, np.full(2, epoch + 1.0))
    assert [str(hardness.during(epoch)) for epoch in range(6)] == ["None", "None", "[1. 1.]", "[2. 2.]", "[3. 3.]", "[4. 4.]"]
    hardness.save(tmp_path / "hardness.npz")
    resumed = Hardness()
    resumed.load(tmp_path / "hardness.npz", epochs=3)
    assert str(resumed.during(4)) == str(resumed.during(9)) == "[3. 3.]", "the fourth is made again by the resumed run"


def test_a_pipeline_more_than_an_epoch_ahead_is_told_of(caplog):
    hardness = Hardness()
    hardness.during(1)
    hardness.record(0, np.ones(2))
    assert not caplog.text
    hardness.during(3)
    hardness.record(1, np.ones(2))
    assert "more than an epoch ahead" in caplog.text


@pytest.mark.parametrize("values", [[[1.0]], [np.nan], [-1.0]])
def test_hardness_is_a_finite_number_an_identity(values):
    with pytest.raises(ValueError, match="one finite number, not below 0, an identity"):
        Hardness().record(0, np.array(values))


def test_hardness_must_know_every_identity():
    hardness = Hardness()
    hardness.record(0, np.ones(7))
    with pytest.raises(ValueError, match="a number for each of 8 identities. Received: 7"):
        adaptive_sampler(FACTS, 3, 0, pictures=3, hardness=hardness)(np.arange(3 * 40))


@pytest.mark.parametrize(("share", "expected"), [(0.5, 4), (0.25, 2), (1.0, 8), (0.0, 0)])
def test_pairs_have_the_share_of_positives(share, expected):
    for row in drawn(partial(pair_sampler, positives=share), 16, 20):
        first, second = row.reshape(8, 2).T
        same = LABELS[first] == LABELS[second]
        assert same.sum() == expected
        alone = LABELS[first] == 0  # one picture only: it is its own positive
        assert ((first == second) == (same & alone)).all()


def test_every_picture_is_an_anchor_once_a_pass():
    anchors = drawn(triplet_sampler, 12, 24).reshape(-1, 3)[:, 0]
    assert sorted(anchors[:48]) == sorted(anchors[48:96]) == list(range(48)) and not np.array_equal(anchors[:48], anchors[48:96])


@pytest.mark.parametrize("across", [False, True])
def test_triplets_are_anchor_positive_negative(across):
    triplets = drawn(partial(triplet_sampler, across_cameras=across), 12, 60).reshape(-1, 3)
    anchor, positive, negative = triplets.T
    assert (LABELS[anchor] == LABELS[positive]).all() and (LABELS[anchor] != LABELS[negative]).all()
    assert len(set(LABELS[negative])) == 8
    elsewhere = np.array([len(set(CAMERAS[LABELS == LABELS[a]].tolist()) - {int(CAMERAS[a])}) > 0 for a in anchor])
    same_camera = CAMERAS[anchor] == CAMERAS[positive]
    assert not same_camera[elsewhere].any() if across else same_camera[elsewhere].any()


def test_nobody_is_drawn_of_label_minus_one_and_labels_may_have_gaps():
    odd = {"label": np.where(LABELS == 3, -1, 10 * LABELS), "camid": CAMERAS}
    for sampler in SAMPLERS.values():
        people = odd["label"][drawn(sampler, 6, 50, facts=odd)]
        assert set(people.ravel()) == {0, 10, 20, 40, 50, 60, 70}


@every_sampler
def test_an_order_is_a_function_of_seed_and_position(sampler):
    whole = drawn(sampler, 6, 30, seed=3).ravel()
    np.testing.assert_array_equal(whole, drawn(sampler, 6, 30, seed=3).ravel())
    assert not np.array_equal(whole, drawn(sampler, 6, 30, seed=4).ravel())
    again, random = sampler(FACTS, 6, 3), np.random.default_rng(0)
    for _ in range(20):
        positions = random.integers(0, 180, 5)  # anywhere, in any order
        np.testing.assert_array_equal(again(positions), whole[positions])


@every_sampler
@pytest.mark.parametrize("start", [6, 42, 120])
def test_batches_go_on_from_any_start(sampler, start):
    def pictures(first, count, split):
        batches = training_batches(split, 6, 5, (flip,), first, sampler=sampler)
        return [(x["image"].numpy(), y["logits"].numpy()) for _, (x, y) in zip(range(count), batches, strict=False)]

    whole = pictures(0, start // 6 + 3, numbered())
    fields = numbered().fields
    lazy = PictureSplit(list(fields["image"]), fields["label"], lambda picture: picture, {"camid": fields["camid"]})
    for split in (numbered(), lazy):
        for old, new in zip(whole[start // 6 :], pictures(start, 3, split), strict=True):
            np.testing.assert_array_equal(old[0], new[0])
            np.testing.assert_array_equal(old[1], new[1])


@every_sampler
def test_batches_without_tensorflow_hold_the_same_examples(sampler):
    recipe = SimpleNamespace(batch_size=6, seed=5, augment=(), mix=None, sampler=sampler)
    splits = SimpleNamespace(train=numbered(), spec=SimpleNamespace(classes=8))
    for start in (0, 18):
        plain = array_batches(splits, recipe, start)  # pyright: ignore[reportArgumentType]
        for (x, y), (a, b), _ in zip(plain, training_batches(splits.train, 6, 5, start=start, sampler=sampler), range(9), strict=False):
            np.testing.assert_array_equal(x["image"], a["image"])
            np.testing.assert_array_equal(y["logits"], b["logits"])


@pytest.mark.parametrize(
    ("sampler", "batch_size", "sentence"),
    [
        (identity_sampler, 10, "a multiple of the pictures of an identity. Received: 10 and 4"),
        (identity_sampler, 48, "a batch of 48 with 4 pictures of an identity needs 12 identities. Received: 8"),
        (partial(camera_sampler, pictures=0), 8, "a multiple of the pictures of an identity. Received: 8 and 0"),
        (partial(adaptive_sampler, floor=0.0), 8, "floor must be in .0, 1.. Received: 0.0"),
        (pair_sampler, 7, "a multiple of 2"),
        (triplet_sampler, 8, "a multiple of 3"),
        (partial(pair_sampler, positives=1.5), 8, "positives is a share"),
    ],
)
def test_a_batch_that_cannot_be_gets_a_sentence(sampler, batch_size, sentence):
    with pytest.raises(ValueError, match=sentence):
        sampler(FACTS, batch_size, 0)


def test_negatives_need_a_second_identity_and_other_cameras_a_field():
    with pytest.raises(ValueError, match="at least two identities. Received: 1"):
        pair_sampler({"label": np.zeros(8, int)}, 4, 0)
    with pytest.raises(ValueError, match="across_cameras needs the field camid"):
        triplet_sampler({"label": LABELS}, 6, 0, across_cameras=True)


def test_a_start_within_a_batch_gets_a_sentence():
    with pytest.raises(ValueError, match="start must be a multiple of batch_size. Received: 5 and 6"):
        training_batches(numbered(), 6, 0, start=5, sampler=SAMPLERS["identities"])


def test_facts_are_the_fields_but_the_picture_and_a_kept_record_costs_no_decoding():
    def broken(_):
        raise AssertionError("decoded")

    for split in (numbered(), PictureSplit([0] * len(LABELS), LABELS, broken, {"camid": CAMERAS})):
        found = facts(split)
        assert set(found) == {"label", "camid"}
        np.testing.assert_array_equal(found["camid"], CAMERAS)


def test_a_sampler_in_a_recipe_survives_json_and_can_be_set():
    recipe = dataclasses.replace(find_recipe("digits-lenet5"), sampler=partial(identity_sampler, pictures=8))
    plain = json.loads(json.dumps(recipe.to_json()))
    assert plain["sampler"] == ["kerasdl.data.samplers:identity_sampler", {"pictures": 8}]
    assert Recipe.from_json(plain).to_json() == plain
    assert override(recipe, ["sampler.pictures=2"]).to_json()["sampler"][1] == {"pictures": 2}
    with pytest.raises(ValueError, match="sampler is a function"):
        override(recipe, ["sampler=x"])
    assert find_recipe("digits-lenet5").to_json()["sampler"] is None


CODE = """
import sys
for absent in ("tensorflow", "tensorflow_datasets"):
    sys.modules[absent] = None
import numpy as np
from types import SimpleNamespace
from kerasdl.data.arrays import array_batches
from kerasdl.data.samplers import identity_sampler
from kerasdl.data.splits import ArraySplit
labels = np.arange(24) // 3
splits = SimpleNamespace(train=ArraySplit({"image": np.zeros((24, 4, 4, 3), np.uint8), "label": labels}))
recipe = SimpleNamespace(batch_size=8, seed=0, augment=(), sampler=identity_sampler)
print(next(array_batches(splits, recipe))[1]["logits"].tolist())
"""


@pytest.mark.slow
def test_samplers_work_where_tensorflow_does_not_exist():
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    people = json.loads(done.stdout.splitlines()[-1])
    assert len(people) == 8 and people[:4] == people[:1] * 4 and people[4:] == people[4:5] * 4 and people[0] != people[4]


# ---- told by the training


def people(count: int = 240) -> Splits:
    return fake(SPEC, train=count, valid=12, test=12)


ADAPTIVE = dataclasses.replace(
    TINY, name="adaptive", data=people, sampler=partial(adaptive_sampler, pictures=6), epochs=3, batch_size=12, deterministic=True
)


class Killed(Exception):
    pass


@pytest.mark.slow  # four trainings
def test_an_adaptive_run_ends_with_the_same_weights_after_an_interruption(tmp_path, monkeypatch, caplog):
    whole = train(ADAPTIVE, tmp_path / "whole", verbose=0)
    save = checkpoint.save

    def save_and_die(model, folder, epoch, *rest):
        save(model, folder, epoch, *rest)
        if epoch == 2:  # the third hangs on what the first taught
            raise Killed

    monkeypatch.setattr(checkpoint, "save", save_and_die)
    with pytest.raises(Killed):
        train(ADAPTIVE, tmp_path / "parts", verbose=0)
    monkeypatch.setattr(checkpoint, "save", save)
    parts = train(ADAPTIVE, tmp_path / "parts", verbose=0, resume=True)
    monkeypatch.setattr("kerasdl.hardness.mean_cross_entropy", lambda *_: np.array([9.0, 0.0, 0.0]))
    other = train(ADAPTIVE, tmp_path / "other", verbose=0)
    assert "ahead" not in caplog.text
    for first, second in zip(weights(whole), weights(parts), strict=True):
        np.testing.assert_array_equal(first, second)
    records = [read_arrays(run / "checkpoints" / "hardness.npz") for run in (whole, parts)]
    assert list(records[0]) == ["epoch-0", "epoch-1", "epoch-2"]
    for name, values in records[0].items():
        assert values.shape == (3,) and (values > 0).all()
        np.testing.assert_array_equal(values, records[1][name])
    assert any(not np.array_equal(a, b) for a, b in zip(weights(whole), weights(other), strict=True)), "what was found counts"


def test_hardness_is_the_mean_cross_entropy_of_an_identity():
    image = keras.Input((1, 1, 1), name="image")
    logits = keras.layers.Lambda(lambda x: keras.ops.reshape(x, (-1, 1)) * np.array([[1.0, 0.0]], np.float32))(image)
    model = keras.Model({"image": image}, {"logits": logits})  # picture x has the logits (x, 0)
    values, labels = np.array([0, 2, 1, 3], np.uint8), np.array([0, 0, 1, 1])
    split = ArraySplit({"image": values.reshape(4, 1, 1, 1), "label": labels})
    expected = [(np.log(2) + np.log1p(np.exp(-2))) / 2, (np.log1p(np.exp(1)) + np.log1p(np.exp(3))) / 2]
    np.testing.assert_allclose(mean_cross_entropy(model, split, np.arange(4), batch_size=3), expected, rtol=1e-6)
    parts = keras.Model({"image": image}, {"embedding": image, "logits1": logits, "logits2": 0 * logits})
    np.testing.assert_allclose(mean_cross_entropy(parts, split, np.arange(4)), (np.array(expected) + np.log(2)) / 2, rtol=1e-6)
    for without in (keras.Model(image, logits), keras.Model({"image": image}, {"embedding": image})):
        with pytest.raises(ValueError, match="needs a model with the output logits, or logits1, .*Received: a model with (one|embedding)"):
            mean_cross_entropy(without, split, np.arange(4))


def test_a_recipe_whose_sampler_asks_for_nothing_is_left_alone(tmp_path):
    for sampler in (None, identity_sampler):
        recipe = dataclasses.replace(TINY, sampler=sampler)
        assert follow_hardness(recipe, people(12), tmp_path, tmp_path, 3) == (recipe, [])


def test_resuming_without_the_record_gets_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="needs what it had learnt. Received: no file .*hardness.npz"):
        follow_hardness(ADAPTIVE, people(12), tmp_path, tmp_path, 1)
