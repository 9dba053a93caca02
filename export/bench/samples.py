"""Real examples of a bundle: those of the data that its recipe names, or the few of its sample.npz where that is not at hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from export import tables
from export.bundle import real_samples
from export.gates import ExportRefused, first_line
from export.npz import read_sample
from export.parity import Arrays
from export.verify import fields_of

SPLIT = "test"


@dataclasses.dataclass(frozen=True)
class Examples:
    """`feeds` are what the first graph takes; `splits` what a score is of, None where there is nothing to score; `told` says what it is."""

    feeds: Arrays
    splits: Any
    spec: Any
    told: str

    def __len__(self) -> int:
        return len(next(iter(self.feeds.values())))


def examples_of(folder: Path, card: dict[str, Any], recipe: Any, least: int) -> Examples:
    """`least` examples spread evenly over the test split, as the export takes them, of a smaller split all and more of the others."""
    try:
        splits = recipe.data()
    except Exception as error:  # what a loader raises where there is no data is its own affair
        return of_file(folder, card, f"the data is not at hand ({type(error).__name__}: {first_line(error)[:160]})")
    if [str(label) for label in recipe.task.labels(splits.spec)] != card["labels"]:
        raise ExportRefused(f"the data must be that of the bundle. Received: other labels from the recipe of {card['name']}")
    raw = [entry["name"] for entry in first_graph(card)["inputs"]]
    some = real_samples(splits, SPLIT, least)
    feeds = {name: values for name, values in recipe.task.inputs(some).items() if name in raw}
    told = f"{len(next(iter(feeds.values()))):,} real examples of {card['data']['name']}"
    if (own := len(splits.split(SPLIT))) < least:
        told += f", the {own} of the test and others"
    if recipe.task.name == tables.TASK:
        feeds, counts = tables.filled(feeds, splits.spec)
        told += f" and {counts['mixed']} mixed of them" if counts["mixed"] else ""
    return Examples(feeds, scored(recipe.task, splits, least), splits.spec, told)


def first_graph(card: dict[str, Any]) -> dict[str, Any]:
    return next(iter(card["graphs"].values()))


def of_file(folder: Path, card: dict[str, Any], problem: str) -> Examples:
    """The inputs of sample.npz, which say nothing of how good the answers are."""
    name = Path(next(iter(card["graphs"]))).stem
    feeds = fields_of(read_sample(folder), f"{name}/input/")
    count = len(next(iter(feeds.values())))
    return Examples(feeds, None, spec_of(card), f"only the {count} real examples of sample.npz: {problem}")


def task_of(card: dict[str, Any]) -> Any:
    """The task of a card without a recipe, whose options are at their defaults but for what the card tells."""
    from kerasdl.tasks import TASKS

    told = {"beam": card["caption"]["beam"]} if "caption" in card else {}
    return TASKS[card["task"]](**told)


def spec_of(card: dict[str, Any]) -> Any:
    """What a predictor must know of the data, from the card."""
    from types import SimpleNamespace

    return SimpleNamespace(labels=tuple(card["labels"]), caption_length=card.get("caption", {}).get("length", 0))


def scored(task: Any, splits: Any, least: int) -> Any:
    """Splits whose test is what is scored: as many examples, evenly spread; of identities some people with all of their pictures."""
    if task.name == "embedding":
        return some_people(task, splits, least)
    from kerasdl.data.splits import ArraySplit

    part = splits.split(SPLIT)
    if not len(part):
        return None
    picked = np.linspace(0, len(part) - 1, min(least, len(part))).round().astype(int)
    references = splits.references.get(SPLIT)
    kept = {SPLIT: [references[number] for number in picked]} if references else {}
    return dataclasses.replace(splits, **{SPLIT: ArraySplit(part.arrays(picked))}, references=kept)


def some_people(task: Any, splits: Any, least: int) -> Any:
    """Queries and gallery of people, evenly spread, who have at least so many pictures together."""
    from kerasdl.data.splits import ArraySplit, facts
    from kerasdl.tasks.embedding import ROLES

    if not task.has_roles(splits, SPLIT):
        return None
    parts = task.roles(splits, SPLIT)
    pids = [facts(part)["pid"] for part in parts]
    people, pictures = np.unique(np.concatenate(pids), return_counts=True)
    people, pictures = people[people > 0], pictures[people > 0]
    wanted = min(int(np.ceil(least / pictures.mean())), len(people))
    chosen = people[np.linspace(0, len(people) - 1, wanted).round().astype(int)]
    few = [ArraySplit(part.arrays(np.flatnonzero(np.isin(pid, chosen)))) for part, pid in zip(parts, pids, strict=True)]
    return dataclasses.replace(splits, roles={**splits.roles, **dict(zip(ROLES[SPLIT], few, strict=True))})
