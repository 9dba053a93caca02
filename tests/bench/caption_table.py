"""What captioners reach side by side, by greedy choice and by beam 3.

    python tests/bench/caption_table.py scenes-captioner scenes-show-attend-tell scenes-without-attention --run-dir runs --split test

One row a run and way of decoding: BLEU-4, CIDEr-D (x10) and the shares of pictures with an exact caption, with every slot right (95 %
interval) and with each slot right. Every word is chosen by the model; nothing is teacher-forced.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from kerasdl.cli import open_run
from kerasdl.metrics import wilson_interval
from kerasdl.tasks import keras_predictor
from kerasdl.text import TOKENIZER

WAYS = {"greedy": 1, "beam 3": 3}


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def line(title: str, found: dict[str, float], n: int, slots: list[str]) -> str:
    low, high = wilson_interval(found["all_slots"], n)
    whole = f"{percent(found['all_slots'])} ({100 * low:.1f} to {100 * high:.1f})"
    cells = [f"{found['BLEU-4']:.3f}", f"{found['CIDEr-D']:.2f}", percent(found["exact"]), whole, *(percent(found[slot]) for slot in slots)]
    return f"| {title} | " + " | ".join(cells) + " |"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("names", nargs="+", metavar="NAME", help="runs of captioners with slots, all on the same data")
    options.add_argument("--run-dir", default="runs", help="folder of run folders (default: runs)")
    options.add_argument("--split", default="valid", choices=("valid", "test"), help="default: valid; test is for final figures")
    given = options.parse_args()
    splits: Any = None
    for name in given.names:
        recipe, spec, model = open_run(name, given.run_dir)
        splits = splits or recipe.data()
        n = recipe.task.count(splits, given.split)
        for way, beam in WAYS.items():
            task = dataclasses.replace(recipe.task, beam=beam)
            found = task.evaluate(keras_predictor(task, model, spec), splits, given.split)
            slots = [slot for slot in ("object", "colour", "count", "relation") if slot in found]
            if name == given.names[0] and beam == 1:
                print(f"{splits.card['name']}, {given.split} split, {n} pictures; tokens by {TOKENIZER}\n")
                print("| captioner | BLEU-4 | CIDEr-D | exact | all slots | " + " | ".join(slots) + " |")
                print("|---|" + "---|" * (4 + len(slots)), flush=True)
            print(line(f"{name}, {way}, {recipe.epochs} epochs, seed {recipe.seed}", found, n, slots), flush=True)


if __name__ == "__main__":
    main()
