"""Draws docs/polynomial.png and docs/perceptron.png with the models themselves: python tools/regression_figures.py [FOLDER]."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasdl.figures import new_figure
from kerasdl.linear import choose_degree, learn_perceptron, perceptron
from kerasdl.models import create_model, polynomial
from kerasdl.recipe import find_recipe
from kerasdl.tasks import keras_predictor
from kerasdl.train import build

BLUE, ORANGE, GREY, PALE = "#1f6f9f", "#d9822b", "#8a8f94", "#cfe0ea"
CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
GATES = {"AND": [0, 0, 0, 1], "OR": [0, 1, 1, 1], "XOR": [0, 1, 1, 0]}
OVER = 12  # a degree that is too high for 20 points


def fitted(degree: int, splits: Any) -> Any:
    """The predictor of polynomial-demo with that degree."""
    recipe = replace(find_recipe("polynomial-demo"), model=partial(polynomial, degree=degree))
    model = build(recipe, splits.spec)
    recipe.task.before_training(model, splits)
    trained = recipe.task.trained(model)
    recipe.task.after_training(trained, splits)
    return recipe.task, keras_predictor(recipe.task, trained, splits.spec)


def polynomials() -> Any:
    """Too low, chosen and too high a degree, and the errors that cross-validation chooses by."""
    splits = find_recipe("polynomial-demo").data()
    chosen, errors = choose_degree(splits)
    figure = new_figure(11, 3.4)
    axes = figure.subplots(1, 4)
    rows, x = splits.train.arrays(), np.linspace(0, 1, 401, dtype="float32")[:, None]
    titles = {1: "degree 1: too stiff", chosen: f"degree {chosen}: chosen", OVER: f"degree {OVER}: follows the noise"}
    for place, (degree, title) in zip(axes, titles.items(), strict=False):
        task, predict = fitted(degree, splits)
        rmse = task.evaluate(predict, splits, "test")["RMSE"]
        place.plot(x, np.sin(2 * np.pi * x), color=GREY, lw=1, ls="--", label="the sine")
        place.plot(x, predict({"features": x})["value"], color=ORANGE, lw=2, label="the polynomial")
        place.plot(rows["features"], rows["target"], "o", color=BLUE, ms=4, label="20 training points")
        place.set(ylim=(-2, 2), xlabel="x")
        place.set_title(f"{title}\ntest RMSE {rmse:.2f}", fontsize=10)
    axes[0].legend(fontsize=7, loc="lower left")
    degrees = list(errors)
    for part, colour, label in ((1, ORANGE, "held out"), (0, BLUE, "fitted")):
        means = [errors[degree][part].mean() for degree in degrees]
        axes[3].semilogy(degrees, means, "o-", color=colour, ms=4, label=label)
    axes[3].axvline(chosen, color=GREY, lw=1, ls=":")
    axes[3].set(xlabel="degree", ylim=(0.1, 100), xticks=range(1, len(degrees) + 1, 2))
    axes[3].set_title("RMSE in 10 times\n5-fold cross-validation", fontsize=10)
    axes[3].legend(fontsize=8, loc="upper left")
    return figure


def gates() -> Any:
    """What a perceptron and a network with a hidden layer answer between the corners, after learning AND, OR and XOR."""
    figure = new_figure(11, 3.1)
    places = figure.subplots(1, 4)
    grid = np.stack(np.meshgrid(*[np.linspace(-0.4, 1.4, 181)] * 2), -1).reshape(-1, 2).astype("float32")
    for place, (name, labels) in zip(places, GATES.items(), strict=False):
        model = perceptron(2)
        mistakes = learn_perceptron(model, CORNERS, labels)
        wrong = int(np.sum(np.asarray(model(CORNERS)) != labels))
        told = f"without a mistake in pass {len(mistakes)}" if not mistakes[-1] else f"{wrong} of 4 wrong after {len(mistakes)} passes"
        regions(place, np.asarray(model(grid)), labels, f"perceptron, {name}\n{told}")
    network = learnt_xor()
    wrong = int(np.sum((answers(network, CORNERS) > 0) != np.array(GATES["XOR"])))
    regions(places[3], answers(network, grid) > 0, GATES["XOR"], f"MLP with 8 hidden units, XOR\n{wrong} of 4 wrong")
    return figure


def learnt_xor() -> keras.Model:
    keras.utils.set_random_seed(0)
    network = create_model("mlp", classes=1, image_shape=(1, 1, 2), width=8, depth=1, activation="tanh")
    network.compile(keras.optimizers.Adam(0.05), keras.losses.BinaryCrossentropy(from_logits=True))
    network.fit(CORNERS.reshape(4, 1, 1, 2), np.array(GATES["XOR"], "float32")[:, None], epochs=200, batch_size=4, verbose=0)  # pyright: ignore[reportArgumentType]
    return network


def answers(network: keras.Model, rows: np.ndarray) -> np.ndarray:
    return np.asarray(network(rows.reshape(-1, 1, 1, 2)))[:, 0]


def regions(place: Any, decisions: np.ndarray, labels: list[int], title: str) -> None:
    side = int(np.sqrt(len(decisions)))
    place.contourf(*[np.linspace(-0.4, 1.4, side)] * 2, decisions.reshape(side, side).astype(float), levels=[0.5, 2], colors=[PALE])
    for corner, label in zip(CORNERS, labels, strict=True):
        place.plot(*corner, "o" if label else "X", color=BLUE if label else ORANGE, ms=10)
    place.set(xticks=[0, 1], yticks=[0, 1], aspect="equal")
    place.set_title(title, fontsize=10)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    for name, draw in (("polynomial", polynomials), ("perceptron", gates)):
        draw().savefig(folder / f"{name}.png")
        print(f"wrote {folder / name}.png")


if __name__ == "__main__":
    main()
