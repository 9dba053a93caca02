"""Our support vector machines on handwritten digits beside scikit-learn's: the same pixels, the same splits, the same run.

    python tests/bench/svm.py [--epochs 60] [--features 2048]

Ours are `softmax_regression` (linear) and `random_fourier` (the RBF kernel on random features) with the multiclass hinge of Weston and
Watkins and L2 on the kernel, trained in float32 by the pipeline without augmentation. scikit-learn has LinearSVC (one against the rest,
squared hinge) and SVC (one against one, plain hinge, an exact kernel), both with C = 1. Nothing is tuned on either side. Pixels are
standardised alike, and gamma is 1 / (number of pixels) for both kernels. Accuracy is that of the test split with Wilson's interval;
seconds are those of fitting, of ours with Keras' tracing and the checkpoint of every epoch.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from typing import Any

import numpy as np
from keras.optimizers import AdamW
from keras.regularizers import L2
from sklearn.svm import SVC, LinearSVC

from kerasdl import load_model
from kerasdl.data import digits
from kerasdl.metrics import wilson_interval
from kerasdl.models import random_fourier, softmax_regression
from kerasdl.recipe import Recipe
from kerasdl.schedules import one_cycle
from kerasdl.tasks import Classification, keras_predictor
from kerasdl.train import train


def ours(model: Any, epochs: int, splits: Any) -> tuple[float, float]:
    """(accuracy on the test split, seconds)"""
    recipe = Recipe(
        name="svm",
        note="",
        data=digits,
        model=model,
        task=Classification(scores="hinge"),
        epochs=epochs,
        batch_size=64,
        optimizer=partial(AdamW, weight_decay=0.0),
        schedule=partial(one_cycle, peak=2e-3),
        regularisation=partial(L2, 1 / (2 * len(splits.train))),  # C = 1: |w|^2 / 2 + sum of hinges, divided by the examples
    )
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run = train(recipe, folder, verbose=0)
        seconds = time.perf_counter() - start
        predict = keras_predictor(recipe.task, load_model(run / "model.keras"), splits.spec)
        return recipe.task.evaluate(predict, splits, "test")["accuracy"], seconds


def theirs(machine: Any, splits: Any) -> tuple[float, float]:
    spec = splits.spec

    def flat(part: Any) -> tuple[np.ndarray, np.ndarray]:
        fields = part.arrays()
        return ((fields["image"] / 255 - spec.mean) / spec.std).reshape(len(part), -1), fields["label"]

    start = time.perf_counter()
    machine.fit(*flat(splits.train))
    seconds = time.perf_counter() - start
    return machine.score(*flat(splits.test)), seconds


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--epochs", type=int, default=60)
    options.add_argument("--features", type=int, default=2048, help="random Fourier features (default: 2048)")
    given = options.parse_args()
    splits = digits()
    pixels = int(np.prod(splits.spec.image_shape))
    rows = {
        "ours, linear": partial(ours, softmax_regression, given.epochs),
        "LinearSVC": partial(theirs, LinearSVC(dual=False)),
        f"ours, {given.features:,} random Fourier features": partial(ours, partial(random_fourier, features=given.features), given.epochs),
        "SVC, RBF": partial(theirs, SVC(gamma=1 / pixels)),
    }
    count = len(splits.test)
    print(f"{splits.card['name']}: {len(splits.train)} training, {count} test pictures of {pixels} pixels\n")
    print("| machine | accuracy (95 % interval) | seconds |\n|---|---|---|")
    for title, fit in rows.items():
        accuracy, seconds = fit(splits)
        low, high = wilson_interval(accuracy, count)
        print(f"| {title} | {100 * accuracy:.1f} % ({100 * low:.1f} to {100 * high:.1f}) | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
