"""How naming the photographs of a scene gets harder with their number, beside a single one's accuracy to that power.

    python tests/bench/caption_objects.py scenes-cifar10 --run-dir runs --split test

One row a number of photographs that a scene names (equal ones count once): the scenes, the share with every kind right (95 % interval),
with every slot right, and what independent errors would give: the share among scenes with one photograph to the power of the number.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasdl.cli import open_run
from kerasdl.data.scenes import parse, slot_scores
from kerasdl.data.scenes.scene import PHOTOGRAPHS
from kerasdl.metrics import wilson_interval
from kerasdl.tasks import keras_predictor


def photographs(reference: str) -> int:
    scene = parse(reference)
    assert scene is not None
    return sum(thing.kind in PHOTOGRAPHS for thing in scene.things)


def row(number: int, scores: dict[str, float], n: int, single: float) -> str:
    low, high = wilson_interval(scores["object"], n)
    share = f"{100 * scores['object']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
    return f"| {number} | {n:,} | {share} | {100 * single**number:.1f} % | {100 * scores['all_slots']:.1f} % |"


def by_number(said: Sequence[str], references: Sequence[Sequence[str]]) -> dict[int, tuple[dict[str, float], int]]:
    """Scores and count of the scenes of each number of photographs."""
    numbers = [photographs(some[0]) for some in references]
    groups = {number: [i for i, found in enumerate(numbers) if found == number] for number in sorted(set(numbers))}
    return {
        number: (slot_scores([said[i] for i in places], [references[i] for i in places]), len(places)) for number, places in groups.items()
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("name", metavar="NAME", help="the run of a captioner of scenes of photographs")
    options.add_argument("--run-dir", default="runs", help="folder of run folders (default: runs)")
    options.add_argument("--split", default="valid", choices=("valid", "test"), help="default: valid; test is for final figures")
    given = options.parse_args()
    recipe, spec, model = open_run(given.name, given.run_dir)
    splits: Any = recipe.data()
    everyone = np.arange(len(splits.references[given.split]))
    said = recipe.task.captions(keras_predictor(recipe.task, model, spec), splits, everyone, given.split)
    found = by_number(said, splits.references[given.split])
    print(f"{given.name}, {splits.card['name']}, {given.split} split, seed {recipe.seed}, beam {recipe.task.beam}\n")
    print("| photographs | scenes | every kind right | one to that power | every slot right |\n|---|---|---|---|---|")
    for number, (scores, n) in found.items():
        print(row(number, scores, n, found[1][0]["object"]))


if __name__ == "__main__":
    main()
