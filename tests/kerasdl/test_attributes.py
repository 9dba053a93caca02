"""Attributes from their words in a table or of a drawn person to targets, loss, metric and score."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from PIL import Image

from kerasdl.data.arrays import array_batches
from kerasdl.data.pedestrians import pedestrians, people
from kerasdl.data.pedestrians.identity import CHOICES, WORN
from kerasdl.data.pipeline import training_batches
from kerasdl.data.reid_lists import reid_list
from kerasdl.data.spec import Spec
from kerasdl.data.splits import ArraySplit, PictureSplit, Splits, facts
from kerasdl.recipe import list_recipes
from kerasdl.tasks.attributes import AttributeAccuracy, AttributeCrossEntropy, attributes_right, mean_accuracy

SPEC = Spec((4, 2, 3), ("1", "2"), (0.5,) * 3, (0.25,) * 3, (), "two people", {"bag": ("no", "yes"), "hat": ("cap", "hood", "none")})

# Two pictures; the first attribute has two values of three places, the second three.
LOGITS = np.log([[[0.8, 0.2, 1e-30], [0.5, 0.25, 0.25]], [[0.1, 0.9, 1e-30], [0.2, 0.2, 0.6]]]).astype("float32")


# --- loss, metric and score ---


def test_the_loss_is_the_mean_over_known_attributes_by_hand():
    loss = AttributeCrossEntropy(reduction="none")
    found = np.asarray(loss(np.array([[0, 1], [-1, 2]]), LOGITS))
    np.testing.assert_allclose(found, [-(np.log(0.8) + np.log(0.25)) / 2, -np.log(0.6)], rtol=1e-5)
    np.testing.assert_array_equal(loss(np.full((2, 2), -1), LOGITS), [0, 0])
    assert float(AttributeCrossEntropy()(np.array([[0, 1], [-1, 2]]), LOGITS)) == pytest.approx(found.mean())


def test_what_is_unknown_and_what_is_padded_gets_no_gradient():
    import tensorflow as tf

    x = tf.constant(np.where(LOGITS < -60, -1e9, LOGITS))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = AttributeCrossEntropy()(np.array([[0, 1], [-1, 2]]), x)
    slope = np.asarray(tape.gradient(y, x))
    assert np.isfinite(slope).all() and (slope[1, 0] == 0).all() and (slope[:, 0, 2] == 0).all()
    assert (slope[0] != 0).sum() == 5 and (slope[1, 1] != 0).all()


def test_loss_and_metric_come_back_from_their_configuration():
    for made in (AttributeCrossEntropy(), AttributeAccuracy()):
        again = type(made).from_config(made.get_config())
        assert again.get_config() == made.get_config()
    assert keras.saving.get_registered_object("kerasdl>AttributeAccuracy") is AttributeAccuracy


def test_the_metric_counts_known_attributes_over_batches():
    metric = AttributeAccuracy()
    metric.update_state(np.array([[0, 1], [-1, 2]]), LOGITS)  # right, wrong, unknown, right
    assert float(metric.result()) == pytest.approx(2 / 3)
    metric.update_state(np.array([[-1, -1], [1, -1]]), LOGITS)
    assert float(metric.result()) == pytest.approx(3 / 4)


def test_the_score_is_the_mean_of_the_attributes_shares():
    examples = {"attribute_hat": np.array([1, 2]), "attribute_bag": np.array([0, -1]), "pid": np.array([1, 2])}
    right = attributes_right(LOGITS, examples)
    np.testing.assert_array_equal(right, [[1, 0], [np.nan, 1]])
    assert mean_accuracy([right, np.array([[1, np.nan]])]) == pytest.approx((2 / 2 + 1 / 2) / 2)
    assert mean_accuracy([np.array([[np.nan, 1]])]) == 1
    assert mean_accuracy([]) is None and mean_accuracy([np.full((3, 2), np.nan)]) is None
    with pytest.raises(ValueError, match="must have the 2 attributes of the model. Received: .'attribute_bag'."):
        attributes_right(LOGITS, {"attribute_bag": np.array([0, 1])})


# --- the specification ---


def test_a_spec_remembers_its_attributes_and_one_from_before_them_has_none():
    plain = json.loads(json.dumps(SPEC.to_json()))
    assert Spec.from_json(plain) == SPEC
    del plain["attributes"]
    assert Spec.from_json(plain).attributes == {}
    with pytest.raises(ValueError, match="letters A-Z, digits and underscores. Received: .'upper colour'."):
        Spec((4, 2, 3), ("1",), (0.5,) * 3, (0.25,) * 3, (), "x", {"upper colour": ("red", "blue")})


# --- batches ---


def sixteen(lazy: bool) -> PictureSplit | ArraySplit:
    number = np.arange(16)
    image = np.repeat(number, 24).reshape(16, 4, 2, 3).astype(np.uint8)
    more = {"attribute_hat": number % 3, "pid": number, "attribute_bag": number // 8}
    if lazy:
        return PictureSplit(list(image), number % 2, lambda picture: picture, more)
    return ArraySplit({"image": image, "label": number % 2, **more})


def shift(image, seed):
    return image


def targets_are_those_of_the_pictures(x, y) -> bool:
    number = np.asarray(x["image"])[:, 0, 0, 0].astype(int)
    return np.array_equal(y["attributes"], np.stack([number // 8, number % 3], axis=1)) and np.array_equal(y["logits"], number % 2)


@pytest.mark.parametrize("lazy", [False, True], ids=["in memory", "decoded"])
@pytest.mark.parametrize("augment", [(), (shift,)], ids=["plain", "augmented"])
def test_a_batch_has_the_attributes_side_by_side_in_the_order_of_their_names(lazy, augment):
    seen = set()
    for (x, y), _ in zip(training_batches(sixteen(lazy), 4, 0, augment), range(4), strict=False):
        assert targets_are_those_of_the_pictures(x, y)
        seen |= set(np.asarray(x["image"])[:, 0, 0, 0])
    assert len(seen) == 16


def first_of_mixed(images, targets, seed):
    return images, targets


def test_mixed_pictures_have_no_attributes():
    _, y = next(iter(training_batches(sixteen(False), 4, 0, mix=first_of_mixed, classes=2)))
    assert set(y) == {"logits"}


def test_batches_without_tensorflow_have_them_too():
    split = sixteen(False)
    splits = Splits(split, split, split, SPEC, {})
    recipe = dataclasses.replace(list_recipes()["digits-lenet5"], batch_size=4, augment=(), mix=None)
    for (x, y), _ in zip(array_batches(splits, recipe), range(4), strict=False):
        assert targets_are_those_of_the_pictures(x, y)


# --- where they come from ---


def test_drawn_people_have_what_they_wear_and_cut_boxes_and_passers_by_are_unknown():
    splits, persons = pedestrians(20, height=32, seed=3), people(20, 3)
    assert splits.spec.attributes == {name: tuple(CHOICES[name]) for name in WORN}
    for some in (facts(splits.train), facts(splits.roles["query"])):
        for name in WORN:
            said = [splits.spec.attributes[name][number] for number in some[f"attribute_{name}"]]
            assert said == [getattr(persons[pid - 1], name) for pid in some["pid"]]
    gallery = facts(splits.roles["gallery"])
    nobody = gallery["pid"] < 1
    assert nobody.any() and not nobody.all()
    for name in WORN:
        np.testing.assert_array_equal(gallery[f"attribute_{name}"] < 0, nobody)


def table(folder, rows: list[str]) -> str:
    (folder / "pictures").mkdir()
    for number in range(len(rows)):
        Image.new("RGB", (4, 8), (number, number, number)).save(folder / "pictures" / f"{number}.png")
    lines = [f"pictures/{number}.png,{row}" for number, row in enumerate(rows)]
    (folder / "list.csv").write_text("\n".join(["path,pid,camid,role,attribute_hat,note,attribute_bag", *lines]))
    return str(folder / "list.csv")


def test_the_words_of_a_tables_columns_become_numbers_in_alphabetical_order(tmp_path):
    """A word that only the test has is a value too, which nobody can have learnt; an empty cell is unknown."""
    rows = [
        "5,1,train,none,x,yes",
        "5,2,train,none,,",
        "9,1,train,cap,y,no",
        "1,1,query,hood,,yes",
        "1,2,gallery,cap,, no ",
        "0,1,gallery,,,",
    ]
    splits = reid_list(table(tmp_path, rows), height=8, width=4, valid=0)
    assert splits.spec.attributes == {"bag": ("no", "yes"), "hat": ("cap", "hood", "none")}
    train, test = splits.train.arrays(), splits.test.arrays()
    assert [train["attribute_hat"].tolist(), train["attribute_bag"].tolist()] == [[2, 2, 0], [1, -1, 0]]
    assert [test["attribute_hat"].tolist(), test["attribute_bag"].tolist()] == [[1, 0, -1], [1, 0, -1]]
    assert splits.roles["gallery"].arrays()["attribute_bag"].tolist() == [0, -1]
    assert train["attribute_hat"].dtype == np.int64 and "note" not in splits.spec.attributes


def test_a_column_whose_name_is_not_one_gets_a_sentence(tmp_path):
    path = table(tmp_path, ["5,1,train,a,,b", "9,1,train,b,,a", "1,1,query,a,,a", "1,2,gallery,a,,a"])
    text = (tmp_path / "list.csv").read_text()
    (tmp_path / "list.csv").write_text(text.replace("attribute_hat", "attribute_hat size"))
    with pytest.raises(ValueError, match="letters A-Z, digits and underscores. Received: .'hat size'."):
        reid_list(path, height=8, width=4, valid=0)
