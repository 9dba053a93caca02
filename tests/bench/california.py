"""Median house values of California: a trained run beside scikit-learn's gradient boosting and linear regression, on the same fixed fifth.

    KERASDL_DATA_DIR=... python tests/bench/california.py [RUN] [--run-dir runs] [--data FILE.csv]

Without RUN the recipe california-mlp is trained first, in a temporary folder. The run answers through its serving graph. scikit-learn is
fitted in the same process on training and validation rows together, for it stops early on none; HistGradientBoostingRegressor once with
its defaults and once with the absolute error that the recipe has. Nothing was tuned on the test rows. Root mean squared error with a
bootstrap interval over the test rows, in dollars.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from functools import partial
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression

from kerasdl.cli import open_run
from kerasdl.metrics import regression_scores
from kerasdl.recipe import find_recipe
from kerasdl.tasks import keras_predictor
from kerasdl.train import train


def line(title: str, truth: np.ndarray, value: np.ndarray, seconds: float | None) -> str:
    scores = regression_scores(truth, value)
    low, high = scores.intervals["RMSE"]
    took = "" if seconds is None else f"{seconds:.1f}"
    return f"| {title} | {scores['RMSE']:,.0f} ({low:,.0f} to {high:,.0f}) | {scores['MAE']:,.0f} | {scores['R2']:.4f} | {took} |"


def answered(name: str, run_dir: str, splits: Any) -> np.ndarray:
    recipe, spec, model = open_run(name, run_dir)
    return recipe.task.answers(keras_predictor(recipe.task, model, spec), splits.test)[1]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("name", nargs="?", help="a finished run; without it california-mlp is trained")
    options.add_argument("--run-dir", default="runs", help="folder of run folders (default: runs)")
    options.add_argument("--data", help="housing.csv (default: housing/housing.csv in KERASDL_DATA_DIR)")
    given = options.parse_args()
    recipe = find_recipe("california-mlp")
    if given.data:
        recipe = dataclasses.replace(recipe, data=partial(recipe.data, path=given.data))
    splits = recipe.data()
    test = splits.test.arrays()
    print(f"{splits.card['name']}, {len(splits.test)} test rows, {splits.card['left_out']} left out\n")
    print("| model | RMSE (95 % interval) | MAE | R2 | seconds |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        if not given.name:
            train(recipe, folder, verbose=0)
        seconds = None if given.name else time.perf_counter() - start
        found = answered(given.name or recipe.name, given.run_dir if given.name else folder, splits)
    print(line(given.name or recipe.name, test["target"], found, seconds), flush=True)
    rows = [part.arrays() for part in (splits.train, splits.valid)]
    features, target = (np.concatenate([row[field] for row in rows]) for field in ("features", "target"))
    others = {
        "HistGradientBoostingRegressor": HistGradientBoostingRegressor(random_state=0),
        "HistGradientBoostingRegressor, absolute error": HistGradientBoostingRegressor(loss="absolute_error", random_state=0),
        "LinearRegression": LinearRegression(),
    }
    for title, model in others.items():
        start = time.perf_counter()
        model.fit(features, target[:, 0])
        print(line(title, test["target"], model.predict(test["features"])[:, None], time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    main()
