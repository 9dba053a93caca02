"""The 20 official one-shot runs of Omniglot by a trained run: python tools/one_shot.py RUN [--run-dir runs] [--split valid]

Without --split it prints the final figures, of drawings that neither training nor any choice has seen: 20-way classification within
alphabets (Lake, Salakhutdinov and Tenenbaum 2015), each run by itself, and how the drawings of the test alphabets find one another.
The same is measured for the pixels, whose nearest neighbour is the least that a model has to beat.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.cli import open_run
from kerasdl.data.omniglot import one_shot_accuracy
from kerasdl.metrics import wilson_interval

RUNS = {"test": "one_shot", "valid": "valid_one_shot"}


def measure(task: Any, predict: Any, splits: Any, split: str) -> dict[str, Any]:
    """What a predictor and the pixels make of a split.

    Returns:
        "one_shot", the accuracies in all and of each run by cosine of embeddings; "interval", the 95 % interval of the first, and "n"
        its drawings; "pixels", the accuracy by cosine of the pictures themselves; "ranking", the task's own scores.
    """
    roles = [splits.split(f"{RUNS[split]}_{role}") for role in ("query", "gallery")]
    fields = [role.arrays() for role in roles]
    found = _within_runs([task.embedded(predict, role)[1] for role in roles], fields)
    pixels = _within_runs([part["image"] for part in fields], fields)["accuracy"]
    n = len(roles[0])
    interval = wilson_interval(found["accuracy"], n)
    return {"one_shot": found, "interval": interval, "n": n, "pixels": pixels, "ranking": task.evaluate(predict, splits, split)}


def _within_runs(vectors: list[np.ndarray], fields: list[dict[str, np.ndarray]]) -> dict[str, float]:
    """The accuracies of vectors, or of pictures as vectors, by cosine."""
    asked, known = (x.reshape(len(x), -1).astype("float64") for x in vectors)
    asked, known = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (asked, known))
    return one_shot_accuracy(-asked @ known.T, *fields)


def table(facts: dict[str, Any], split: str) -> str:
    found, (low, high) = facts["one_shot"], facts["interval"]
    runs = [f"{name}  {value:.2f}" for name, value in found.items() if name != "accuracy"]
    ranks = "  ".join(f"{name} {value:.4f}" for name, value in facts["ranking"].items())
    return "\n".join(
        [
            *("   ".join(runs[start : start + 5]) for start in range(0, len(runs), 5)),
            f"20-way one-shot  {found['accuracy']:.4f}   95 % interval {low:.4f} .. {high:.4f}   n = {facts['n']}",
            f"nearest pixels   {facts['pixels']:.4f}",
            f"cross-drawer     {ranks}   {split} alphabets",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--run-dir", default="runs", type=Path)
    parser.add_argument("--split", default="test", choices=RUNS)
    options = parser.parse_args()
    recipe, spec, model = open_run(options.run, options.run_dir)
    splits = recipe.data()
    if f"{RUNS[options.split]}_query" not in splits.roles:
        parser.error(f"the data of {options.run} hold no one-shot runs for {options.split}: they are in all_runs.zip")
    predict = recipe.task.serving(model, spec)["model"].predict_on_batch
    print(table(measure(recipe.task, predict, splits, options.split), options.split))


if __name__ == "__main__":
    main()
