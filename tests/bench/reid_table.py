"""Re-identification by a trained run beside what needs no training: colour histograms, raw pixels and the network as initialised.

    python tests/bench/reid_table.py pedestrians-reid --run-dir runs --split test

One row a method: rank-1 with its 95 % interval, rank-5, mAP and mINP of the split's queries against its gallery; the trained network
also with query expansion and with k-reciprocal re-ranking, which let the gallery and the other queries help, and across domains.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kerasdl.cli import open_run
from kerasdl.metrics import query_expansion, reid_evaluate, wilson_interval
from kerasdl.train import build

Embed = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


def histograms(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Square roots of the shares of 16 levels a channel in six stripes of the middle half: unit vectors (N,288)."""
    images = inputs["image"]
    middle = images[:, :, images.shape[2] // 4 : -images.shape[2] // 4] // 16
    stripes = [np.stack([(stripe == level).mean(axis=(1, 2)) for level in range(16)], -1) for stripe in np.array_split(middle, 6, axis=1)]
    return {"embedding": np.sqrt(np.stack(stripes, 1).reshape(len(images), -1) / 18)}


def raw_pixels(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Pictures without their mean, flat."""
    flat = inputs["image"].reshape(len(inputs["image"]), -1).astype(np.float32)
    return {"embedding": flat - flat.mean(axis=1, keepdims=True)}


def ranked(task: Any, embed: Embed, splits: Any, split: str, expanded: bool = False, **options: Any) -> dict[str, Any]:
    (query, asked), (gallery, known) = (task.embedded(embed, part) for part in task.roles(splits, split))
    if expanded:
        asked, known = query_expansion(asked, known)
    return reid_evaluate(
        asked, known, query["pid"], gallery["pid"], query["camid"], gallery["camid"], **{"protocol": task.protocol, **options}
    )


def line(title: str, found: dict[str, Any]) -> str:
    rank1, n = float(found["cmc"][0]), int(found["valid_queries"])
    low, high = wilson_interval(rank1, n)
    shares = (f"{100 * value:.1f} %" for value in (rank1, found["cmc"][4], found["mAP"], found["mINP"]))
    rank1, *rest = shares
    return f"| {title} | {rank1} ({100 * low:.1f} to {100 * high:.1f}) | " + " | ".join(rest) + f" | {n} |"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("name", nargs="?", default="pedestrians-reid", help="a run (default: pedestrians-reid)")
    options.add_argument("--run-dir", default="runs", help="folder of run folders (default: runs)")
    options.add_argument("--split", default="valid", choices=("valid", "test"), help="default: valid; test is for final figures")
    given = options.parse_args()
    recipe, spec, model = open_run(given.name, given.run_dir)
    splits, task = recipe.data(), recipe.task
    trained = task.serving(model, spec)["model"].predict_on_batch
    keras.utils.set_random_seed(recipe.seed)
    untrained = task.serving(task.trained(build(recipe, spec)), spec)["model"].predict_on_batch
    print(f"{splits.card['name']}, {given.split} split, protocol {task.protocol}, seed {recipe.seed}\n")
    print("| method | rank-1 (95 % interval) | rank-5 | mAP | mINP | queries |\n|---|---|---|---|---|---|", flush=True)
    methods = {"raw pixels": raw_pixels, "colour histogram": histograms, "as initialised": untrained, given.name: trained}
    for title, embed in methods.items():
        print(line(title, ranked(task, embed, splits, given.split)), flush=True)
    print(line("with query expansion", ranked(task, trained, splits, given.split, expanded=True)), flush=True)
    print(line("with re-ranking", ranked(task, trained, splits, given.split, rerank=True)), flush=True)
    if "cross_query" in splits.roles:
        print(line("on the other domain", ranked(task, trained, splits, "cross")))
        print(line("colour histogram there", ranked(task, histograms, splits, "cross")))


if __name__ == "__main__":
    main()
