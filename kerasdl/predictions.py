"""What a trained run says of picture files, a row each: labels with probabilities, a sentence, or a vector; and how rows are reported."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.data.pictures import PictureError, open_picture, prepare
from kerasdl.tasks import keras_predictor
from kerasdl.tasks.captioning import vocabulary
from kerasdl.whole_file import whole_file

Row = dict[str, Any]
Outputs = dict[str, np.ndarray]
BATCH = 64  # pictures that are in memory together


@dataclass(frozen=True)
class Form:
    """How a task's answers are written.

    columns: of the CSV file, `of` and `problem` among them.
    rows: the task's answer of a batch to the cells of each picture.
    line: a row to its words on the screen; none for what only a file holds.
    done: what became of the pictures, as in `5 pictures labelled`.
    of: what each row is of, and the name of its column: "picture", or "row" of a table.
    """

    columns: Sequence[str]
    rows: Callable[[Outputs], list[Row]]
    line: Callable[[Row], str] | None
    done: str
    of: str = "picture"


def form_of(task: Any, spec: Any, model: Any, top: int = 3) -> Form:
    """The form of a run's answers; `top` is of labels on the screen."""
    if task.name == "captioning":
        return _sentences(spec)
    if task.name == "embedding":
        return _vectors(model)
    return _labels(spec.labels, top)


def _labels(labels: Sequence[str], top: int) -> Form:
    names = [f"p({label})" for label in labels]

    def row(shares: np.ndarray) -> Row:
        best = int(shares.argmax())
        told = {name: round(float(share), 6) for name, share in zip(names, shares, strict=True)}
        return {"label": labels[best], "probability": round(float(shares[best]), 6), **told}

    def line(row: Row) -> str:
        ranked = sorted(labels, key=lambda label: -row[f"p({label})"])[:top]
        return "  ".join(f"{label} {row[f'p({label})']:.4f}" for label in ranked)

    columns = ["picture", "label", "probability", "problem", *names]
    return Form(columns, lambda found: [row(shares) for shares in found["probabilities"]], line, "labelled")


def _sentences(spec: Any) -> Form:
    """A caption and its score, the mean log-probability of its tokens: 0 at most, the nearer the surer."""
    words = vocabulary(spec)

    def rows(found: Outputs) -> list[Row]:
        return [
            {"caption": words.decode(tokens), "score": round(float(score), 6)}
            for tokens, score in zip(found["tokens"], found["score"], strict=True)
        ]

    return Form(["picture", "caption", "score", "problem"], rows, lambda row: f"{row['caption']}  ({row['score']:.4f})", "captioned")


def _vectors(model: Any) -> Form:
    """Numbers e0, e1, ... of vectors of length 1, as exact as float32 is."""
    names = [f"e{i}" for i in range(model.output["embedding"].shape[-1])]

    def rows(found: Outputs) -> list[Row]:
        return [{name: f"{number:.9g}" for name, number in zip(names, vector, strict=True)} for vector in found["embedding"]]

    return Form(["picture", "problem", *names], rows, None, f"as vectors of {len(names)} numbers and length 1")


def picture_files(source: Path) -> list[Path]:
    """The files of a folder and those below it, hidden ones left out, by name; or the one file. ValueError where there is neither."""
    if not source.exists():
        raise ValueError(f"no such picture or folder, nor a table. Received: {str(source)!r}")
    return sorted(p for p in source.rglob("*") if p.is_file() and not p.name.startswith(".")) if source.is_dir() else [source]


def predict(task: Any, spec: Any, model: Any, files: Sequence[Path], form: Form) -> list[Row]:
    """A row for each file in their order: its answer, or why it is no picture under `problem`."""
    answer = keras_predictor(task, model, spec)
    return [row for start in range(0, len(files), BATCH) for row in _batch(answer, spec, files[start : start + BATCH], form)]


def _batch(answer: Callable[[Outputs], Outputs], spec: Any, files: Sequence[Path], form: Form) -> Iterator[Row]:
    pictures, problems = [], {}
    for file in files:
        try:
            pictures.append(prepare(open_picture(file, spec.color), spec.image_shape, spec.prepare))
        except PictureError as problem:
            problems[file] = str(problem)
    rows = iter(form.rows(answer({"image": np.stack(pictures)})) if pictures else ())
    for file in files:
        yield {"picture": str(file), "problem": problems.get(file, ""), **({} if file in problems else next(rows))}


def report(rows: Sequence[Row], form: Form, path: str | None) -> None:
    """The rows into a CSV file at `path`, or on the screen, and what is wrong with some on stderr; ValueError where none is good."""
    failed = [row for row in rows if row["problem"]]
    if path:
        write_csv(Path(path), rows, form.columns)
        print(f"{path}: {len(rows) - len(failed)} {form.of}s {form.done}, {len(failed)} not readable")
    elif form.line:
        for row in rows:
            if not row["problem"]:
                print(f"{form.of} {row[form.of]}" if form.of == "row" else row[form.of], form.line(row))
    for row in failed:
        print(f"skipped: {row['problem']}", file=sys.stderr)
    if failed and len(failed) == len(rows):
        raise ValueError(f"none of the {len(rows)} {'files is a readable picture' if form.of == 'picture' else 'rows is readable'}")


def write_csv(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    with whole_file(path) as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
