"""K trainings of one recipe, each validated on another fold: what a score is worth, mean and spread (course row L30).

Every fold is a run of its own, trained in a fresh process, so that none inherits memory, graphs or random state from the one before.
RUN_DIR/NAME-Kfold/ holds the runs NAME-fold1, NAME-fold2, ... and folds.csv. What is finished is not trained again.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kerasdl.recipe import Recipe
from kerasdl.whole_file import whole_file

RECIPE = "{name}.json"  # what the process of a fold is told to train


class Folds(NamedTuple):
    """The folder, and of each fold its validation scores and minutes of training."""

    folder: Path
    scores: list[dict[str, float]]
    minutes: list[float]

    def column(self, name: str) -> np.ndarray:
        return np.array([scores[name] for scores in self.scores])


def kfold(
    recipe: Recipe,
    k: int = 5,
    run_dir: str | Path = "runs",
    overwrite: bool = False,
    quiet: bool = False,
    say: Callable[[str], None] = lambda line: None,
    path: Sequence[str] = (),
) -> Folds:
    """Trains the recipe on each of k folds and writes folds.csv after each.

    Args:
        recipe: of classes or of a table; its seed draws the folds, its test split is not touched.
        k: at least 2.
        overwrite: train finished folds again too; else they are kept where they are of the same recipe, and an interrupted one goes on.
        quiet: a line an epoch in place of the progress.
        say: told what is going on.
        path: folders where the functions of the recipe are looked for besides.

    Raises:
        ValueError: a k below 2, data without folds, a fold of another recipe in the folder, or a process that failed.
    """
    from kerasdl.data.folds import folded  # brings Keras, which the process of a fold starts quietly

    if k < 2:
        raise ValueError(f"k must be at least 2. Received: k={k}")
    folder = Path(run_dir) / f"{recipe.name}-{k}fold"
    done = Folds(folder, [], [])
    for number in range(1, k + 1):
        part = folded(recipe, number, k)
        run = folder / part.name
        if not overwrite and _is_finished(run, part):
            say(f"fold {number} of {k}: {run} is finished")
        else:
            say(f"fold {number} of {k}: training {run}")
            _train_apart(part, folder, overwrite, quiet, path)
        facts = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        done.scores.append(facts["valid"])
        done.minutes.append(facts["train_minutes"])
        _write(done)
    return done


def table(done: Folds) -> str:
    """Aligned lines: a fold each, then the mean and the standard deviation between folds."""
    names = list(done.scores[0])
    rows = [["fold", *names, "minutes"]]
    rows += [[str(n), *map(_number, scores.values()), f"{m:.2f}"] for n, (scores, m) in enumerate(zip(*done[1:], strict=True), 1)]
    columns = [done.column(name) for name in names]
    rows.append(["mean", *(_number(x.mean()) for x in columns), f"{sum(done.minutes):.2f} in all"])
    rows.append(["std", *(_number(x.std(ddof=1)) for x in columns), ""])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))) for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _is_finished(run: Path, recipe: Recipe) -> bool:
    """Whether it is there and whole; one of another recipe is an error, lest two experiments stand in one table."""
    if not (run / "recipe.json").is_file():
        return False
    theirs = Recipe.from_json(run / "recipe.json").to_json()
    if changed := sorted(field for field, value in recipe.to_json().items() if theirs.get(field) != value):
        raise ValueError(
            f"the folds of a folder have one recipe (--overwrite trains anew). Received: another {', '.join(changed)} in {run}"
        )
    return (run / "model.keras").is_file()


def _train_apart(recipe: Recipe, folder: Path, overwrite: bool, quiet: bool, path: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    told = folder / RECIPE.format(name=recipe.name)
    with whole_file(told) as file:
        file.write(json.dumps(recipe.to_json(), indent=1) + "\n")
    words = ["--overwrite"] if overwrite else []
    command = [sys.executable, "-m", "kerasdl.kfold", str(told), str(folder), *words, *(["--quiet"] if quiet else [])]
    paths = [*path, *filter(None, [os.environ.get("PYTHONPATH")])]
    ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    if ended.returncode == 130:
        raise KeyboardInterrupt
    if ended.returncode:
        raise ValueError(f"every fold must train to its end. Received: {recipe.name}, which ended with code {ended.returncode}")
    told.unlink()


def _write(done: Folds) -> None:
    with whole_file(done.folder / "folds.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["fold", *done.scores[0], "minutes"])
        writer.writerows([n, *scores.values(), m] for n, (scores, m) in enumerate(zip(*done[1:], strict=True), 1))


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"


def _main(words: Sequence[str]) -> int:
    """The process of one fold: RECIPE.json RUN_DIR [--overwrite] [--quiet]."""
    from kerasdl.quiet import start_up

    with start_up():
        from kerasdl import device

        device.prepare()
    from kerasdl.train import train

    told, folder, *flags = words
    overwrite, verbose = "--overwrite" in flags, 2 if "--quiet" in flags else 1
    try:
        recipe = Recipe.from_json(Path(told))
        begun = (Path(folder) / recipe.name / "recipe.json").is_file()
        train(recipe, folder, resume=begun and not overwrite, overwrite=overwrite, verbose=verbose)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError) as problem:
        if os.environ.get("KERASDL_TRACEBACK"):
            raise
        print(f"kerasdl: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
