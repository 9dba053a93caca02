"""The rows of a bundle: each runtime, precision and batch, with what it answered and how long that took."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from export import graphs, parity, tables
from export.bench import runtimes, samples
from export.bench.agreement import MAIN, agreement, nudge, problem
from export.bench.runtimes import Opened, Subject, Watch
from export.gates import ExportRefused, first_line
from export.npm import Unavailable
from export.parity import Arrays, Run
from export.verify import read_card

OK, WRONG, FAILED, ABSENT, UNJUDGED = "ok", "WRONG", "FAILED", "not here", "not judged"
PRECISIONS = ("float32", "int8", "fp16")
SECONDS, LEAST, MOST = 1.5, 20, 300  # of the timed calls of a row


@dataclass(frozen=True)
class Row:
    """One runtime, precision and batch. Only an `ok` row and a WRONG one have figures; `score` is None where there was nothing to score."""

    runtime: str
    precision: str
    batch: int | None
    status: str
    said: str = ""
    size: int | None = None
    score: float | None = None
    count: int | None = None
    equal: int | None = None
    tied: int | None = None
    error: float | None = None
    tolerance: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Result:
    """What a bundle's rows were measured on. `metric` is the score they show, `reference` that of the SavedModel, of `trials`."""

    name: str
    task: str
    examples: str
    samples: int
    metric: str
    reference: float | None
    trials: int
    rows: list[Row]
    versions: dict[str, str] = field(default_factory=dict)

    def wrong(self) -> list[Row]:
        return [row for row in self.rows if row.status in (WRONG, FAILED)]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Remembered:
    """A predictor that runs an example once: decisions and scores are of the same answers."""

    def __init__(self, predict: Run) -> None:
        self.predict = predict
        self.known: dict[bytes, Arrays] = {}

    def __call__(self, feeds: Arrays) -> Arrays:
        keys = [key_of(feeds, i) for i in range(graphs.count(feeds))]
        new = sorted({key: i for i, key in enumerate(keys) if key not in self.known}.values())
        if new:
            found = self.predict({name: values[new] for name, values in feeds.items()})
            self.known |= {keys[i]: {name: values[place] for name, values in found.items()} for place, i in enumerate(new)}
        answers = [self.known[key] for key in keys]
        return {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}


def key_of(feeds: Arrays, place: int) -> bytes:
    return hashlib.sha256(b"".join(values[place].tobytes() for values in feeds.values())).digest()


def bench(
    folder: Path,
    names: Sequence[str],
    batches: Sequence[int] = (1, 8),
    least: int = 256,
    threads: int = 1,
    run: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Result:
    """Measure the bundle in `folder` in the runtimes of those names.

    The reference is its SavedModel in TensorFlow, which the export has held against Keras on the same examples.

    Args:
        batches: examples given at once.
        least: real examples to answer.
        threads: of each runtime that can be told; WebAssembly has one.
        run: the bundle's run folder, for Keras itself.

    Raises:
        ExportRefused: the bundle cannot be read or has no SavedModel, or its recipe's data is another's.
    """
    card, task, examples = opened(folder, least)
    metric, scale = MAIN[task.name]
    first = Subject(folder, card, files_of(folder, card, "float32"), "float32", run, task, examples.spec)
    say(f"{card['name']}: {examples.told}")
    reference = predictor(task, graphs.saved_runs(saved_model(folder), list(first.files)), examples.spec, graphs.BATCH)
    wanted, goal = reference(examples.feeds), score(task, reference, examples)
    nudged = reference(nudge(examples.feeds)) if task.name == tables.TASK else None
    trials = task.count(examples.splits, samples.SPLIT) if examples.splits is not None else 0

    def judged(subject: Subject, watch: Watch, batch: int) -> dict[str, Any]:
        predict = predictor(task, watch.runs, subject.spec, batch)
        found = agreement(task, card, wanted, predict(examples.feeds), nudged)
        value = score(task, predict, examples)
        said = problem(subject.precision, found, value, goal, scale, trials)
        status = OK if not said else UNJUDGED if said.startswith(UNJUDGED) else WRONG
        return {"status": status, "said": said.removeprefix(f"{UNJUDGED}: "), "score": value, **asdict(found)}

    rows: list[Row] = []
    versions: dict[str, str] = {}
    for name in names:
        for precision in PRECISIONS:
            files = files_of(folder, card, precision)
            if files and (precision == "float32" or name not in runtimes.OF_KERAS):
                subject = Subject(folder, card, files, precision, run, task, examples.spec)
                say(f"{card['name']}: {name}, {precision}")
                rows += rows_of(name, subject, threads, batches, examples.feeds, judged, versions)
                if rows[-1].status == ABSENT:
                    break
    return Result(card["name"], task.name, examples.told, len(examples), metric, goal, trials, rows, versions)


def opened(folder: Path, least: int) -> tuple[dict[str, Any], Any, samples.Examples]:
    """The card, the task and the examples of a bundle."""
    from kerasdl import Recipe

    card = read_card(folder)
    if not card["recipe"]:
        return card, samples.task_of(card), samples.of_file(folder, card, "the card has no recipe, which says what the data is")
    recipe = Recipe.from_json(card["recipe"])
    return card, recipe.task, samples.examples_of(folder, card, recipe, least)


def saved_model(folder: Path) -> Path:
    """The reference."""
    if not (folder / "saved_model").is_dir():
        raise ExportRefused(f"a bundle is compared with its SavedModel. Received: {folder} without")
    return folder / "saved_model"


def files_of(folder: Path, card: dict[str, Any], precision: str) -> dict[str, Path]:
    """The ONNX files by graph: of a variant those that it has, and the bundle's own for the rest; none where it has none."""
    own = {Path(path).stem: folder / path for path in card["graphs"]}
    if precision == "float32":
        return own
    smaller = {name: folder / "variants" / precision / f"{name}.onnx" for name in own}
    smaller = {name: path for name, path in smaller.items() if path.is_file()}
    return own | smaller if smaller else {}


def predictor(task: Any, runs: dict[str, Run], spec: Any, batch: int) -> Remembered:
    predict = task.predictor(runs, spec)
    return Remembered(lambda feeds: parity.run_in_batches(predict, feeds, batch))


def score(task: Any, predict: Run, examples: samples.Examples) -> float | None:
    if examples.splits is None or not task.count(examples.splits, samples.SPLIT):
        return None
    return float(task.evaluate(predict, examples.splits, split=samples.SPLIT)[MAIN[task.name][0]])


def rows_of(
    name: str,
    subject: Subject,
    threads: int,
    batches: Sequence[int],
    feeds: Arrays,
    judged: Callable[[Subject, Watch, int], dict[str, Any]],
    versions: dict[str, str],
) -> Iterator[Row]:
    """One row a batch; one in all where the runtime is not here or breaks down."""
    try:
        with runtimes.RUNTIMES[name](subject, threads) as runtime:
            versions |= runtime.versions
            for batch in batches:
                yield row_of(name, subject, runtime, batch, feeds, judged)
    except Unavailable as error:
        yield Row(name, subject.precision, None, ABSENT, str(error))
    except Exception as error:  # each runtime raises classes of its own
        yield Row(name, subject.precision, None, FAILED, f"{type(error).__name__}: {first_line(error)[:200]}")


def row_of(
    name: str, subject: Subject, runtime: Opened, batch: int, feeds: Arrays, judged: Callable[[Subject, Watch, int], dict[str, Any]]
) -> Row:
    watch = Watch(runtime.calls)
    facts = judged(subject, watch, batch)
    predict = subject.task.predictor(watch.runs, subject.spec)
    facts |= latencies(watch, predict, feeds, batch)
    return Row(name, subject.precision, batch, size=runtime.size, threads=runtime.threads, **facts)


def latencies(watch: Watch, predict: Run, feeds: Arrays, batch: int) -> dict[str, float]:
    """p50 and p95 of an answer to `batch` examples, inside the runtime: one batch after the other, for 1.5 s."""
    count = graphs.count(feeds)
    batches = [np.arange(start, start + batch) % count for start in range(0, max(count - batch + 1, 1), batch)]
    times: list[float] = []
    while len(times) < LEAST or (len(times) < MOST and math.fsum(times) < 1000 * SECONDS):
        some = {name: values[batches[len(times) % len(batches)]] for name, values in feeds.items()}
        watch.reset()
        predict(some)
        times.append(watch.milliseconds)
    p50, p95 = np.percentile(times, [50, 95])
    return {"p50_ms": round(float(p50), 4), "p95_ms": round(float(p95), 4)}
