"""Recipes as values: JSON and back, overrides, recipe files of the user's."""

import dataclasses
import json
from functools import partial

import pytest

from kerasdl.data.augment import pad_crop
from kerasdl.recipe import Recipe, find_recipe, list_recipes, override


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_survives_json(name):
    recipe = find_recipe(name)
    plain = json.loads(json.dumps(recipe.to_json()))
    again = Recipe.from_json(plain)
    assert again.to_json() == plain
    assert again.epochs == recipe.epochs and again.task == recipe.task


def test_json_of_callables_is_an_address_with_arguments():
    plain = find_recipe("cifar10-resnet20").to_json()
    assert plain["augment"][0] == ["kerasdl.data.augment:pad_crop", {"pad": 4}]
    assert plain["optimizer"][0] == "keras.optimizers:SGD"  # the public address, not where Keras keeps it today


def test_from_json_keeps_positional_arguments():
    recipe = dataclasses.replace(find_recipe("digits-lenet5"), schedule=partial(pad_crop, "a", "b", pad=1))
    assert Recipe.from_json(recipe.to_json()).schedule.args == ("a", "b")


def test_override_changes_fields_and_arguments():
    recipe = override(find_recipe("digits-lenet5"), ["epochs=3", "model.activation=relu", "task.label_smoothing=0.1", "deterministic=True"])
    assert recipe.epochs == 3 and recipe.deterministic is True
    assert recipe.model.keywords == {"activation": "relu"}
    assert recipe.task.label_smoothing == 0.1
    assert override(recipe, ["optimizer.beta_1=0.8"]).optimizer.keywords["beta_1"] == 0.8
    assert override(recipe, ["ema=0.99"]).ema == 0.99


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("epochs=many", "epochs is of type int. Received: 'many' (str)"),
        ("epochs=1.5", "epochs is of type int. Received: '1.5' (float)"),
        ("epochs=True", "epochs is of type int. Received: 'True' (bool)"),
        ("deterministic=1", "deterministic is of type bool. Received: '1' (int)"),
        ("epoch=3", "a recipe has no such field. Received: 'epoch'. Did you mean 'epochs'?"),
        ("epochs", "--set takes FIELD=VALUE. Received: 'epochs'"),
        ("epochs=0", "epochs must be at least 1. Received: 0"),
        ("model=resnet20", "model is a function"),
        ("model.activatoin=relu", "model has no such argument. Received: 'activatoin'. Did you mean 'activation'?"),
        ("model.activation=3", "model.activation is of type str. Received: 3 (int)"),
        ("task.dropot=0.1", "task has no such field. Received: 'dropot'. Did you mean 'dropout'?"),
        ("seed.x=1", "seed takes no arguments here"),
        ("ema=2.0", "ema is a momentum in (0, 1). Received: 2.0"),
        ("name=a/b", "a recipe's name is a folder's name"),
    ],
)
def test_a_wrong_override_says_the_type_and_what_it_got(setting, sentence):
    with pytest.raises(ValueError) as problem:
        override(find_recipe("digits-lenet5"), [setting])
    assert sentence in str(problem.value)


def test_a_recipe_file_of_ones_own(tmp_path):
    file = tmp_path / "my_own_recipes.py"
    file.write_text(
        "from dataclasses import replace\nfrom kerasdl.recipes.digits import LENET5\n"
        "def tiny(image_shape):\n    from kerasdl.models import softmax_regression\n    return softmax_regression(image_shape)\n"
        "MINE = replace(LENET5, name='my-own', model=tiny, epochs=2)\n"
    )
    recipe = find_recipe(f"{file}:MINE")
    assert recipe.name == "my-own" and find_recipe(f"{file}:my-own") == recipe
    assert recipe.to_json()["model"] == ["my_own_recipes:tiny", {}]
    with pytest.raises(ValueError, match="Did you mean 'MINE'"):
        find_recipe(f"{file}:MIN")
    with pytest.raises(ValueError, match="no such recipe file"):
        find_recipe(f"{tmp_path}/none.py:MINE")


def test_unknown_recipe_suggests_the_nearest():
    with pytest.raises(ValueError, match="Received: 'digits-lenet'. Did you mean 'digits-lenet5'?"):
        find_recipe("digits-lenet")


def test_every_recipe_promises_and_says_what_it_is():
    for name, recipe in list_recipes().items():
        promised = recipe.expect and recipe.minutes
        assert recipe.note and (promised or recipe.note.endswith("Not yet trained by us.")), name
