"""The tricks of the strong baseline (Luo et al. 2019, table 1), each added in turn, on drawn pedestrians of 64 x 32 pixels.

    python tests/bench/reid_ablation.py --run-dir runs/ablation --seeds 0

240 people train and 120 others, of whom none is in the test of `pedestrians-reid`, are ranked.
A row that is finished stays, one that was interrupted goes on: run it again with the same folder. Writes ablation.csv there and prints
the table in Markdown.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import functools
import json
from functools import partial
from pathlib import Path
from typing import Any

from keras.optimizers import AdamW

from kerasdl import Recipe
from kerasdl.data.augment import flip, pad_crop, random_erasing
from kerasdl.data.pedestrians import pedestrians
from kerasdl.data.samplers import identity_sampler
from kerasdl.losses import TripletLoss
from kerasdl.models import resnet20
from kerasdl.schedules import cosine
from kerasdl.tasks import Embedding
from kerasdl.train import train
from kerasdl.whole_file import whole_file

IDENTITIES, EPOCHS, PEAK = 400, 20, 2e-3
WARM_UP, COLD = 10 / 120, 0.01  # of the paper's epochs, and of its rate
TRIPLETS = ((partial(TripletLoss, margin=0.3), 1.0),)


@functools.cache
def pictures() -> Any:
    """Drawn once for all rows; the larger trial of this population serves as validation, and the recipe's test is made of other people."""
    splits = pedestrians(identities=IDENTITIES, height=64)
    roles = {"valid_query": splits.roles["query"], "valid_gallery": splits.roles["gallery"]}
    return dataclasses.replace(splits, roles=roles)


IDENTITY_LOSS = Recipe(
    name="identity-loss",
    note="A row of the ablation.",
    data=pictures,
    augment=(partial(pad_crop, pad=3), flip),
    sampler=partial(identity_sampler, pictures=4),
    model=resnet20,
    task=Embedding(size=128, neck=False, label_smoothing=0.0, distances=()),
    epochs=EPOCHS,
    batch_size=64,
    optimizer=partial(AdamW, weight_decay=0.01),
    schedule=partial(cosine, peak=PEAK),
    precision="mixed_bfloat16",
)


def of_task(recipe: Recipe, **changes: Any) -> Recipe:
    return dataclasses.replace(recipe, task=dataclasses.replace(recipe.task, **changes))


def ladder() -> dict[str, Recipe]:
    """Each trick on top of those above it.

    The paper adds the neck after the triplets, to a network that was trained before. One that starts from random weights, as here, the
    hardest triplets drive into a point, unless the neck is there: the last row.
    """
    rows = {"identity loss": IDENTITY_LOSS}
    rows["+ warm-up"] = last = dataclasses.replace(IDENTITY_LOSS, schedule=partial(cosine, peak=PEAK, warmup=WARM_UP, start=COLD))
    rows["+ random erasing"] = last = dataclasses.replace(last, augment=(*last.augment, random_erasing))
    rows["+ label smoothing"] = last = of_task(last, label_smoothing=0.1)
    rows["+ last stride 1"] = last = dataclasses.replace(last, model=partial(resnet20, last_stride=1))
    rows["+ BNNeck"] = last = of_task(last, neck=True)
    rows["+ triplet loss"] = last = of_task(last, distances=TRIPLETS)
    rows["+ center loss"] = of_task(last, center=5e-4)
    rows["identity and triplet loss, no other trick"] = of_task(IDENTITY_LOSS, distances=TRIPLETS)
    return {title: dataclasses.replace(row, name=f"row{number}") for number, (title, row) in enumerate(rows.items())}


def run_row(recipe: Recipe, folder: Path, seed: int) -> dict[str, Any]:
    recipe = dataclasses.replace(recipe, seed=seed, name=f"{recipe.name}-seed{seed}")
    facts = json.loads((train(recipe, folder, resume=True, verbose=2) / "metrics.json").read_text(encoding="utf-8"))
    return {"seed": seed, **{name: round(value, 4) for name, value in facts["valid"].items()}, "minutes": facts["train_minutes"]}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--run-dir", type=Path, default=Path("runs/ablation"), help="folder of run folders (default: runs/ablation)")
    options.add_argument("--seeds", type=int, nargs="+", default=[0], help="each row is trained with each (default: 0)")
    given = options.parse_args()
    found: list[dict[str, Any]] = []
    for title, recipe in ladder().items():
        for seed in given.seeds:
            found.append({"row": title, **run_row(recipe, given.run_dir, seed)})
            print(found[-1], flush=True)
    with whole_file(given.run_dir / "ablation.csv") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows(found)
    print("| row | seed | rank-1 | mAP | minutes |\n|---|---|---|---|---|")
    for row in found:
        print(f"| {row['row']} | {row['seed']} | {100 * row['rank1']:.1f} % | {100 * row['mAP']:.1f} % | {row['minutes']} |")


if __name__ == "__main__":
    main()
