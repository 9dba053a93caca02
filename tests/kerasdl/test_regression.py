"""The task Regression: what it answers, in which units, how it is scored, solved and descended."""

import dataclasses
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from keras.optimizers import SGD
from keras.regularizers import L2

from kerasdl.cli import main, open_run
from kerasdl.data import diabetes, wave
from kerasdl.data.fake import fake
from kerasdl.data.pipeline import training_batches
from kerasdl.data.spec import Spec
from kerasdl.data.tables import Named, table_splits
from kerasdl.linear import choose_degree, solve_ridge
from kerasdl.metrics.regression import regression_scores
from kerasdl.models import find_model, linear_regression, load_model, mlp, polynomial, random_fourier
from kerasdl.recipe import Recipe, list_recipes, override
from kerasdl.tasks import Regression, keras_predictor
from kerasdl.train import _for_every_output, build, compile_model, train


def drawn(rows: int = 60, noise: float = 0.1, seed: int = 0):
    """Two targets of three columns of very different sizes, one far from zero."""
    random = np.random.default_rng(seed)
    z = random.normal(size=(rows, 3))
    x = z * [1.0, 500.0, 0.01] + [2000.0, 0.0, 5.0]
    t = z @ [[1.0, -30.0], [2.0, 0.0], [-1.0, 10.0]] * [1e5, 1.0] + noise * random.normal(size=(rows, 2)) * [1e5, 1.0] + [3e5, 0.0]
    columns = [Named(name, unit, x[:, i]) for i, (name, unit) in enumerate((("year", ""), ("area", "m²"), ("rate", "%")))]
    targets = [Named("price", "$", t[:, 0]), Named("heat", "K", t[:, 1])]
    card = {"name": "drawn", "source": "a test", "licence": "none needed", "synthetic": True}
    return table_splits(columns, targets, card)


RECIPE = Recipe(
    name="drawn",
    note="",
    data=drawn,
    model=linear_regression,
    task=Regression(ridge=1.0),
    epochs=0,
    batch_size=16,
    optimizer=SGD,
    schedule=partial(list_recipes()["diabetes-ridge"].schedule),
)


def solved(recipe: Recipe, splits):
    """The trained model of a recipe that has a closed form."""
    model = build(recipe, splits.spec)
    recipe.task.before_training(model, splits)
    trained = recipe.task.trained(model)
    recipe.task.after_training(trained, splits)
    return trained


# --- the model ---


def test_the_graph_takes_raw_columns_and_answers_in_units():
    """Equal to the same regression outside of Keras, in float64, on raw columns."""
    splits = drawn()
    task = RECIPE.task
    predict = keras_predictor(task, solved(RECIPE, splits), splits.spec)
    rows, test = splits.train.arrays(), splits.test.arrays()
    mean, std = rows["features"].mean(axis=0, dtype=float), rows["features"].std(axis=0, dtype=float)
    target_std = rows["target"].std(axis=0, dtype=float)
    found = solve_ridge((rows["features"] - mean) / std, rows["target"] / target_std, 1.0)
    expected = found.predict((test["features"] - mean) / std) * target_std
    answer = predict(task.inputs(test))
    assert answer["value"].dtype == np.float32 and answer["value"].shape == (12, 2) and answer["interval"].shape == (12, 2, 2)
    np.testing.assert_allclose(answer["value"] / target_std, expected / target_std, atol=1e-4)
    assert main_scores(task, predict, splits)["R2 price"] > 0.97


def main_scores(task, predict, splits, split="test"):
    return task.evaluate(predict, splits, split)


def test_the_closed_form_is_where_gradient_descent_arrives():
    """Ridge 3 on 39 rows and 2 targets: L2 of 3 / 78 on the kernel, full batches."""
    splits = drawn()
    closed = solved(dataclasses.replace(RECIPE, task=Regression(ridge=3.0)), splits)
    rows = len(splits.train)
    descent = dataclasses.replace(
        RECIPE,
        task=Regression(),
        epochs=1,
        batch_size=rows,
        optimizer=partial(SGD, momentum=0.9),
        schedule=partial(RECIPE.schedule, rate=0.2),
        regularisation=partial(L2, 3.0 / (2 * rows)),
    )
    model = build(descent, splits.spec)
    compile_model(model, descent, total_steps=400)
    batches = _for_every_output(model, descent.task, training_batches(splits.train, rows, seed=0))
    model.fit(batches, steps_per_epoch=400, shuffle=False, verbose=0)  # pyright: ignore[reportArgumentType]
    for ours, theirs in zip(model.get_layer("scaled").get_weights(), closed.get_layer("scaled").get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_closed_form_without_ridge_is_that_of_lstsq():
    splits = drawn()
    trained = solved(dataclasses.replace(RECIPE, task=Regression(ridge=0.0)), splits)
    rows = splits.train.arrays()
    ones = np.column_stack([np.ones(len(rows["features"])), rows["features"].astype(float)])
    expected = ones @ np.linalg.lstsq(ones, rows["target"], rcond=None)[0]
    value = trained.predict_on_batch({"features": rows["features"]})["value"]
    np.testing.assert_allclose(value / expected.std(axis=0), expected / expected.std(axis=0), atol=1e-4)


@pytest.mark.parametrize(
    "model", [partial(polynomial, degree=4), partial(random_fourier, features=64), partial(mlp, width=8, depth=1), find_model("maxout_mlp")]
)
def test_the_last_layer_of_any_flat_backbone_is_solved(model):
    splits = drawn()
    recipe = dataclasses.replace(RECIPE, model=model)
    task = recipe.task
    assert main_scores(task, keras_predictor(task, solved(recipe, splits), splits.spec), splits, "train")["R2 price"] > 0.5


def test_the_interval_is_that_of_the_noise_on_the_validation_split():
    """Noise of 0.1 x 1e5 on the price and of 0.1 on the heat; half an interval is 1.96 standard deviations."""
    splits = drawn(rows=4000)
    trained = solved(RECIPE, splits)
    answer = trained.predict_on_batch({"features": splits.test.arrays()["features"]})
    half = np.diff(answer["interval"], axis=-1)[..., 0] / 2
    np.testing.assert_allclose(half[0], [1.96 * 1e4, 1.96 * 0.1], rtol=0.06)
    np.testing.assert_allclose(answer["interval"].mean(axis=-1), answer["value"], rtol=1e-4, atol=1e-3)
    scores = main_scores(RECIPE.task, keras_predictor(RECIPE.task, trained, splits.spec), splits)
    assert 0.92 < scores["coverage price"] < 0.98 and 0.92 < scores["coverage heat"] < 0.98


def test_the_interval_has_no_end_until_it_is_measured():
    model = Regression().build(linear_regression((1, 1, 3)), drawn().spec)
    interval = Regression().trained(model).predict_on_batch({"features": np.zeros((1, 3), "float32")})["interval"]
    assert np.isinf(interval).all()


def test_the_losses_of_an_outlier():
    """One row of 100 is off by 1000: the absolute error and Huber's hardly see it, the squared error does."""
    random = np.random.default_rng(0)
    x = random.normal(size=100)
    t = 2 * x + 0.01 * random.normal(size=100)
    t[3] += 1000
    card = {"name": "outlier", "source": "a test", "licence": "none needed", "synthetic": True}
    parts = (np.arange(80), np.arange(80, 90), np.arange(90, 100))
    splits = table_splits([Named("x", "", x)], [Named("t", "", t)], card, parts=parts)
    errors = {}
    for error in ("squared", "absolute", "huber"):
        keras.utils.set_random_seed(0)
        recipe = dataclasses.replace(RECIPE, task=Regression(error, delta=0.01), epochs=1, batch_size=80, optimizer=keras.optimizers.Adam)
        recipe = dataclasses.replace(recipe, schedule=partial(RECIPE.schedule, rate=0.02))
        model = build(recipe, splits.spec)
        compile_model(model, recipe, total_steps=300)
        batches = _for_every_output(model, recipe.task, training_batches(splits.train, 80, seed=0))
        model.fit(batches, steps_per_epoch=300, shuffle=False, verbose=0)  # pyright: ignore[reportArgumentType]
        value = recipe.task.trained(model).predict_on_batch({"features": splits.test.arrays()["features"]})["value"]
        errors[error] = float(np.abs(value - splits.test.arrays()["target"]).mean())
    assert errors["squared"] > 5 > 3 > max(errors["absolute"], errors["huber"])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Regression("cubic"), "the loss is one of squared, absolute, huber. Received: 'cubic'"),
        (lambda: Regression("huber", delta=0.0), "the delta of Huber's error must be above 0. Received: 0.0"),
        (lambda: Regression("absolute", ridge=1.0), "the closed form minimises squared errors, without dropout"),
        (lambda: Regression(ridge=-1.0), "with a ridge of at least 0. Received: ridge=-1.0"),
        (lambda: Regression(ridge=1.0, dropout=0.5), "without dropout"),
        (
            lambda: Regression().build(find_model("lenet5")(), Spec((32, 32, 1), ("a",), (0.5,), (0.2,), (), "scans")),
            "regression needs a table, with columns and targets. Received: 'scans', which has pictures",
        ),
        (
            lambda: build(dataclasses.replace(list_recipes()["digits-lenet5"], model=mlp), diabetes().spec),
            "a table is for the task Regression. Received: 'diabetes' with Classification",
        ),
        (lambda: dataclasses.replace(RECIPE, task=Regression()), "epochs must be at least 1. Received: 0"),
        (lambda: solve_ridge(np.ones((3, 2)), [1, 2, 3], ridge=-1), "ridge is lambda / beta, a number of at least 0. Received: -1"),
        (lambda: solve_ridge(np.ones((3, 2)), [1, 2]), "ridge needs features (N,K) and targets (N,) or (N,T). Received: (3, 2) and (2,)"),
        (lambda: solve_ridge([[np.nan]], [1]), "features and targets must be finite numbers. Received: NaN or infinity among them"),
        (lambda: find_model("polynomial")(degree=0), "a polynomial has a degree of at least 1. Received: degree=0"),
        (
            lambda: find_model("random_fourier")(features=3),
            "random Fourier features are pairs of a cosine and a sine. Received: features=3",
        ),
        (lambda: find_model("random_fourier")(gamma=0.0), "the gamma of an RBF kernel must be above 0. Received: 0.0"),
        (lambda: find_model("maxout_mlp")(depth=0), "maxout_mlp needs at least one hidden layer. Received: depth=0"),
    ],
)
def test_bad_arguments_get_a_sentence(call, sentence):
    with pytest.raises(ValueError) as problem:
        call()
    assert sentence in str(problem.value)


# --- scores ---


def test_scores_by_hand():
    truth, value = np.array([[1.0], [2.0], [3.0], [6.0]]), np.array([[2.0], [2.0], [3.0], [3.0]])
    interval = np.stack([value - 1, value + 1], -1)
    scores = regression_scores(truth, value, interval)
    assert scores == {"MAE": 1.0, "RMSE": pytest.approx(np.sqrt(2.5)), "R2": pytest.approx(1 - 10 / 14), "coverage": 0.75}
    assert set(scores.intervals) == set(scores)
    assert all(low <= scores[name] <= high for name, (low, high) in scores.intervals.items())


def test_bootstrap_intervals_hold_the_truth_as_often_as_they_say():
    """The RMSE of standard normal errors is 1: of 100 samples of 200, about 95 intervals should hold it."""
    random = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        truth = random.normal(size=(200, 1)) * 3
        low, high = regression_scores(truth, truth + random.normal(size=truth.shape)).intervals["RMSE"]
        held += low <= 1 <= high
    assert 85 <= held <= 100


def test_r2_of_equal_values_is_no_number_and_one_row_is_no_split():
    assert np.isnan(regression_scores(np.ones((3, 1)), np.ones((3, 1)))["R2"])
    with pytest.raises(ValueError, match="scores need at least 2 examples"):
        regression_scores(np.ones((1, 1)), np.ones((1, 1)))


# --- runs ---


def test_a_run_in_closed_form_is_whole_and_scores_the_same_again(tmp_path, capsys):
    assert main(["train", "diabetes-ridge", "--run-dir", str(tmp_path), "--quiet"]) == 0
    recipe, spec, model = open_run("diabetes-ridge", str(tmp_path))
    run = tmp_path / "diabetes-ridge"
    assert {path.name for path in run.glob("*.*")} >= {"recipe.json", "spec.json", "data.json", "metrics.json", "model.keras", "fit.png"}
    assert spec == diabetes().spec
    facts = json.loads((run / "metrics.json").read_text())
    assert facts["diagnosis"] == ["Solved in closed form: no curve to judge."]
    assert recipe.task.evaluate(keras_predictor(recipe.task, model, spec), diabetes()) == pytest.approx(facts["valid"], rel=1e-6)
    capsys.readouterr()
    report = str(tmp_path / "fit.png")
    assert main(["evaluate", "diabetes-ridge", "--split", "test", "--report", report, "--run-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["MAE", "RMSE", "R2", "coverage"]
    assert all("95 % interval" in line and "n = 89" in line for line in lines[1:5])
    assert lines[5] == f"wrote {report}"


def test_a_table_of_ones_own_trains_from_the_command_line(tmp_path, capsys):
    lines = [f"{i},{i % 7},{3 * i - i % 7}" for i in range(60)]
    (tmp_path / "own.csv").write_text("a [m],b,c [kg]\n" + "\n".join(lines))
    words = ["train", "--data", f"table:{tmp_path / 'own.csv'}", "--model", "mlp", "--set", "data.targets=c", "--set", "epochs=2"]
    assert main([*words, "--set", "model.width=8", "--run-dir", str(tmp_path), "--quiet"]) == 0
    assert "validation MAE" in capsys.readouterr().out
    assert open_run("own-mlp", str(tmp_path))[1].targets[0].title == "c [kg]"
    assert main(["show", "diabetes-ridge"]) == 0
    assert "282 train, 71 valid, 89 test; 10 columns; target progression" in capsys.readouterr().out


def test_descent_goes_on_from_the_closed_form_and_a_killed_run_resumes(tmp_path, monkeypatch):
    from kerasdl import checkpoint

    recipe = override(list_recipes()["diabetes-ridge"], ["epochs=3", "deterministic=True"])
    whole = train(recipe, tmp_path / "whole", verbose=0)
    save = checkpoint.save

    def save_and_die(model, folder, epoch, *facts):
        save(model, folder, epoch, *facts)
        if epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "parts", verbose=0)
    parts = train(recipe, tmp_path / "parts", resume=True, verbose=0)
    for a, b in zip(*(load_model(run / "model.keras").get_weights() for run in (whole, parts)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_cross_validation_chooses_the_degree_of_the_demo():
    chosen, errors = choose_degree(wave(), degrees=(1, 2, 3, 4, 6, 9, 12), repeats=3)
    assert chosen == list_recipes()["polynomial-demo"].model.keywords["degree"] == 3
    assert errors[12].train.mean() < errors[3].train.mean() and errors[12].valid.mean() > 10 * errors[3].valid.mean()


def test_a_run_on_look_alike_rows_learns(tmp_path):
    splits = fake(diabetes().spec, train=256, valid=64)
    recipe = dataclasses.replace(
        RECIPE, name="alike", data=lambda: splits, model=partial(mlp, width=32, depth=1), task=Regression(), epochs=30
    )
    recipe = dataclasses.replace(recipe, optimizer=keras.optimizers.Adam, schedule=partial(RECIPE.schedule, rate=0.01))
    model = build(recipe, splits.spec)
    compile_model(model, recipe, total_steps=1)
    batches = _for_every_output(model, recipe.task, training_batches(splits.train, 32, seed=0))
    model.fit(batches, steps_per_epoch=200, shuffle=False, verbose=0)  # pyright: ignore[reportArgumentType]
    trained = recipe.task.trained(model)
    recipe.task.after_training(trained, splits)
    assert main_scores(recipe.task, keras_predictor(recipe.task, trained, splits.spec), splits, "valid")["R2"] > 0.6


ON_JAX = """
import json
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.split(".")[0] in ("tensorflow", "tensorflow_datasets") else find(name, *rest)
from kerasdl.recipe import list_recipes, override
from kerasdl.train import train
scores = []
for epochs in (0, 2):
    run = train(override(list_recipes()["diabetes-ridge"], [f"epochs={epochs}"]), f"runs{epochs}", verbose=0)
    scores.append(json.loads((run / "metrics.json").read_text())["valid"])
print(json.dumps(scores))
"""


@pytest.mark.slow
def test_regression_trains_on_jax_without_tensorflow(tmp_path):
    here = json.loads((train(list_recipes()["diabetes-ridge"], tmp_path, verbose=0) / "metrics.json").read_text())["valid"]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", ON_JAX]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    solved, descended = json.loads(done.stdout.splitlines()[-1])
    assert solved == pytest.approx(here, rel=1e-4)
    assert descended["R2"] == pytest.approx(here["R2"], abs=0.05)
