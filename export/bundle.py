"""Writing a bundle: convert, measure, pass every gate, and only then let the folder appear under its name."""

from __future__ import annotations

import dataclasses
import gc
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export import captioner_loop, captions, contracts, convert, demo, external, gates, graphs, parity, pictures, readme, reid, tables
from export import card as cards
from export.answers import Answers, in_batches
from export.contracts import PLAIN, Form
from export.gates import ExportRefused
from export.samples import as_splits, real_samples, spread
from export.staging import staged

SAMPLES, OF_EACH_GRAPH = 8, 2  # in sample.npz, of one graph and of several, whose maps between them are large
TOLD = ("recipe", "source", "data", "sizes", "intended_use", "limits")  # fields of the card that a caller may set


def export_recipe_run(
    name: str,
    run_dir: str | Path = "runs",
    out: str | Path = "saved_models",
    split: str = "test",
    say: Callable[[str], None] = lambda line: None,
    opset: int = convert.OPSET,
    whole_loop: bool = False,
    form: Form = PLAIN,
) -> Path:
    """Export the run `RUN_DIR/NAME` that `kerasdl train NAME` wrote; gives the bundle's folder."""
    from kerasdl import Recipe, load_model
    from kerasdl.data import open_spec

    run = Path(run_dir) / name
    recipe_json = read_json(run / "recipe.json")
    recipe = Recipe.from_json(recipe_json)
    facts = read_json(run / "metrics.json")
    say(f"{name}: loading the model and its data")
    model = load_model(run / "model.keras")
    splits = recipe.data()
    spec = open_spec(run / "spec.json")
    if facts_now(splits.spec, spec, recipe.weights).to_json() != spec.to_json():
        raise ExportRefused(f"the data must be what the run was trained on. Received: its facts now differ from {run / 'spec.json'}")
    source = {
        "commit": facts.get("commit"),
        "dirty": bool(facts.get("dirty", True)),
        "versions": {**facts.get("versions", {}), **cards.versions()},
        "seed": facts.get("seed"),
        "device": facts.get("device", "unknown"),
        "training_minutes": facts.get("train_minutes"),
        "command": facts.get("command", f"kerasdl train {name}"),
    }
    return export_run(
        model,
        recipe.task,
        real_samples(splits, split),
        out,
        spec=spec,
        name=name,
        splits=splits,
        split=split,
        card={"recipe": recipe_json, "source": source, "sizes": {"keras": (run / "model.keras").stat().st_size}},
        say=say,
        opset=opset,
        whole_loop=whole_loop,
        form=form,
    )


@dataclass(frozen=True)
class Job:
    """What is asked of an export: the arguments of `export_run`."""

    name: str
    model: Any
    task: Any
    spec: Any
    samples: dict[str, np.ndarray]
    splits: Any
    split: str
    told: dict[str, Any]
    opset: int
    whole_loop: bool
    form: Form
    say: Callable[[str], None]

    def tell(self, line: str) -> None:
        self.say(f"{self.name}: {line}")


@dataclass(frozen=True)
class Gathered:
    """What goes into a bundle: the serving models and their graphs, facts of the task, and the real examples that they are compared on."""

    served: dict[str, Any]
    made: dict[str, graphs.Graph]
    metadata: dict[str, dict[str, str]]
    labels: list[str]
    caption: dict[str, Any]
    table: dict[str, Any]
    chosen: dict[str, np.ndarray]
    feeds: dict[str, np.ndarray]

    @property
    def files(self) -> str:
        return cards.listed(f"{graph}.onnx" for graph in self.made)


@dataclass(frozen=True)
class Proof:
    """What Keras answers, also to pictures of other sizes where the graph takes any; and who was held against it."""

    answers: Answers
    elsewhere: list[tuple[tuple[int, int], Answers]]
    keras: graphs.Runs
    onnx: graphs.Runs

    def rows(self, runtime: str, runs: graphs.Runs) -> list[dict[str, Any]]:
        """Rows of the card, past their gate."""
        found = self.answers.compare(runtime, runs)
        for size, answers in self.elsewhere:
            found += [{**row, "size": list(size)} for row in answers.compare(runtime, runs)]
        return checked(found)


@convert.full_precision()
def export_run(
    model: Any,
    task: Any,
    samples: dict[str, np.ndarray],
    out: str | Path = "saved_models",
    *,
    spec: Any,
    name: str,
    splits: Any = None,
    split: str = "test",
    card: dict[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
    opset: int = convert.OPSET,
    whole_loop: bool = False,
    form: Form = PLAIN,
) -> Path:
    """Export a trained model without a recipe; gives the bundle's folder `OUT/NAME`, or raises ExportRefused and writes nothing.

    Args:
        model: the training model, as `task.build` made it.
        task: says what is served, how it is scored and what parity means.
        samples: real examples as the data has them, at least 256, with `label` where there is one; parity is measured on them.
        spec: the facts of the data (`kerasdl.data.Spec`).
        splits: where the figures come from (`split` of it); without it, `samples` themselves, and the card says so.
        opset: ONNX operator set, one of `convert.OPSETS`.
        whole_loop: of a captioner, whether its greedy search becomes one more graph under variants/.
        form: what the graph takes where it is not the default, for example `Form(dynamic_size=True)`.
        card: what the caller knows of recipe, source, data, sizes, intended_use and limits, for example `{"data": {"licence": "CC0"}}`.
    """
    job = Job(name, model, task, spec, samples, splits, split, card or {}, opset, whole_loop, form, say)
    check(job)
    with staged(Path(out), name) as folder:
        write_bundle(job, folder)
        gc.collect()  # graphs, sessions and functions go before others are loaded: of a large model each is gigabytes
        job.tell("checking the bundle with apps.runtime")
        from export.verify import verify_bundle

        verify_bundle(folder)
    return Path(out) / name


def write_bundle(job: Job, folder: Path) -> None:
    """Everything but the last look at it."""
    gathered = gather(job)
    proof, rows = compare(job, gathered)
    paths = write_graphs(job, gathered, folder)
    saved, more = write_saved_model(job, gathered, proof, folder)
    metrics, sections = scores(job, gathered, proof, folder, paths)
    calls = {graph: (job.form.fed(given), gave) for graph, (given, gave) in proof.answers.sample().items()}
    write_sample(folder / "sample.npz", calls)
    examples = write_examples(job, gathered, folder, sections)
    variants = write_variants(job, gathered, folder)
    job.tell("measuring the latency")
    latency = proof.answers.latencies(proof.keras, saved, proof.onnx)
    facts = described(job, gathered, paths) | {"metrics": metrics, "parity": more + rows, "latency": latency, "variants": variants}
    write_card(folder, complete(with_sections(facts, sections), job.told, job.split), examples)


def check(job: Job) -> None:
    """What can be refused before anything is converted."""
    check_name(job.name)
    check_told(job.told)
    job.form.check(job.task, job.spec)
    if job.whole_loop:
        captioner_loop.check_task(job.task)
    if job.task.name == tables.TASK:
        tables.check_rows(job.samples, job.splits, job.split)
    else:
        gates.check_samples(job.samples)


def gather(job: Job) -> Gathered:
    """Convert to ONNX, say in each file what it is, and choose the examples to compare on."""
    task, spec = job.task, job.spec
    served = job.form.wrapped(graphs.to_serve(task, job.model, spec), spec)
    job.tell("converting to ONNX")
    made = graphs.converted(task, served, spec, job.opset, job.form)
    if job.whole_loop:
        external.check_whole(*(graph.proto for graph in made.values()))
    labels = [str(label) for label in task.labels(spec)]
    caption, table = captions.constants(task, job.model, spec), tables.constants(task, spec)
    metadata = {
        key: cards.graph_metadata(job.name, task.name, graph.entries, labels, job.told.get("recipe"))
        | captions.metadata(caption)
        | tables.metadata(table)
        for key, graph in made.items()
    }
    for key, graph in made.items():
        convert.add_metadata(graph.proto, metadata[key])
    chosen = spread(job.samples)
    raw = [entry["name"] for entry in next(iter(made.values())).entries]
    feeds = {key: value for key, value in task.inputs(chosen).items() if key in raw}
    if table:
        feeds, table["parity_rows"] = tables.filled(feeds, spec)
    return Gathered(served, made, metadata, labels, caption, table, chosen, feeds)


def compare(job: Job, gathered: Gathered) -> tuple[Proof, list[dict[str, Any]]]:
    """Ask Keras, and hold onnxruntime against it; the rows of the card."""
    feeds = gathered.feeds
    answers = Answers(job.task, job.spec, feeds)
    keras = job.form.adapted(graphs.keras_runs(gathered.served))
    job.tell(f"comparing onnxruntime with Keras on {len(next(iter(feeds.values())))} examples")
    answers.follow(keras)
    elsewhere = []
    for size in contracts.other_sizes(job.spec) if job.form.any_size else []:
        others = Answers(job.task, job.spec, contracts.resized(spread(feeds, gates.LEAST_SAMPLES), size))
        others.follow(keras, each_call=False)
        elsewhere.append((size, others))
    proof = Proof(answers, elsewhere, keras, job.form.adapted(graphs.onnx_runs(gathered.made)))
    return proof, proof.rows("onnxruntime", proof.onnx)


def write_graphs(job: Job, gathered: Gathered, folder: Path) -> list[Path]:
    """GRAPH.onnx of each graph, its weights inside or beside it."""
    paths = [folder / f"{graph}.onnx" for graph in gathered.made]
    for path, graph in zip(paths, gathered.made.values(), strict=True):
        if job.form.external_data or external.is_large(graph.proto):
            external.save(graph.proto, path)
            gates.check_proto(str(path))
        else:
            path.write_bytes(graph.proto.SerializeToString())
    return paths


def write_saved_model(job: Job, gathered: Gathered, proof: Proof, folder: Path) -> tuple[graphs.Runs, list[dict[str, Any]]]:
    """Runners of the SavedModel, and the rows of the card."""
    job.tell("writing the SavedModel and comparing it with Keras")
    convert.to_saved_model(gathered.served, folder / "saved_model")
    saved = job.form.adapted(graphs.saved_runs(folder / "saved_model", list(gathered.served)))
    return saved, proof.rows("saved_model", saved)


def scores(job: Job, gathered: Gathered, proof: Proof, folder: Path, paths: Sequence[Path]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metrics of the files as they are shipped, and the sections of the task; words and pictures of them are written."""
    task, spec, caption, table = job.task, job.spec, gathered.caption, gathered.table
    job.tell(f"scoring the {job.split} split with onnxruntime on {gathered.files}")
    scored, answer = scored_splits(job), shipped(paths, task, spec, job.form)
    if caption:
        captions.write_vocabulary(folder / "vocab.json", spec, scored)
    metrics = score(task, answer, scored, job.split, job.splits is None, gathered.files, caption)
    sections = task.facts(answer, in_batches(task.predictor(proof.keras, spec)), scored, job.split, folder)
    if caption:
        sections["caption"] = {**caption, **sections.get("caption", {})}
    if table:
        sections["table"] = {**table, **sections["table"]}
    if job.form.any_size and metrics:
        job.tell("scoring pictures of other sizes")
        found = contracts.score(task, answer, scored, job.split, spec)
        sections[contracts.SECTION] = {"own": list(spec.image_shape[:2]), "split": job.split, "scores": found}
    check_sections(sections)
    return metrics, sections


def write_examples(job: Job, gathered: Gathered, folder: Path, sections: dict[str, Any]) -> list[str]:
    """Relative paths of a few examples of the data; of drawn people also a gallery, which goes to its section."""
    scored = scored_splits(job)
    if gathered.caption:
        return captions.write_examples(folder / "examples", scored, job.split)
    if gathered.table:
        return tables.write_rows(folder, scored.split(job.split), gathered.table)
    if demo.can_be_made(scored, job.split, job.task):
        sections["reid"]["demo"], examples = demo.write(folder, scored.split(job.split))
        return examples
    return pictures.write_examples(folder / "examples", gathered.feeds, gathered.chosen, gathered.labels)


def write_variants(job: Job, gathered: Gathered, folder: Path) -> dict[str, Any]:
    if not job.whole_loop:
        return {}
    job.tell("joining the graphs to one and comparing its captions")
    metadata, feeds = gathered.metadata["encoder"], job.form.fed(gathered.feeds)
    return captioner_loop.write(folder, gathered.made, metadata, graphs.onnx_runs(gathered.made), feeds, gathered.caption["length"])


def described(job: Job, gathered: Gathered, paths: Sequence[Path]) -> dict[str, Any]:
    """The card before anything measured is in it, and before what the caller told goes over it."""
    files = zip(paths, gathered.made.values(), strict=True)
    known = {
        "format": cards.FORMAT,
        "name": job.name,
        "task": job.task.name,
        "recipe": None,
        "source": cards.default_source(),
        "data": data_facts(job.splits, job.spec, job.samples),
        "graphs": {path.name: entry_of(graph, path, alone=len(paths) == 1) for path, graph in files},
        "labels": gathered.labels,
        "sizes": sizes(paths[0].parent, paths, job.model, job.told),
        "intended_use": "",
        "limits": "",
    }
    return {field: known.get(field, {}) for field in cards.FIELDS}


def with_sections(facts: dict[str, Any], sections: dict[str, Any]) -> dict[str, Any]:
    """The sections of the task stand behind the metrics."""
    place = list(facts).index("metrics") + 1
    fields = list(facts.items())
    return dict([*fields[:place], *sections.items(), *fields[place:]])


def scored_splits(job: Job) -> Any:
    return job.splits or as_splits(job.samples, job.spec, job.split)


def facts_now(found: Any, spec: Any, weights: Any) -> Any:
    """The facts that the data has now, but for those that are not its own or are new to it: they are taken from the run's."""
    from kerasdl.data import Spec
    from kerasdl.weights import brings_scaling

    if not isinstance(found, Spec) or not isinstance(spec, Spec):
        return found
    if brings_scaling(weights):
        found = dataclasses.replace(found, mean=spec.mean, std=spec.std)  # these came with the weights
    return found if spec.attributes else dataclasses.replace(found, attributes={})  # which data may have come to tell since the run


def entry_of(graph: graphs.Graph, path: Path, alone: bool) -> dict[str, Any]:
    beside = external.data_name(path) if (path.parent / external.data_name(path)).exists() else None
    return cards.graph_entry(graph.proto, graph.entries, graph.parameters(alone), cards.digest_of_file(path), beside)


def check_told(told: dict[str, Any]) -> None:
    """What was measured cannot be told."""
    unknown = [field for field in told if field not in TOLD]
    if unknown:
        raise ExportRefused(f"card may set {', '.join(TOLD)} only. Received: {', '.join(unknown)}")


def checked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row in rows:
        gates.check_parity(row)
    return rows


def check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ExportRefused(f"a bundle's name has letters, digits, points, dashes and underscores only. Received: {name!r}")


def shipped(paths: Sequence[Path], task: Any, spec: Any, form: Form = PLAIN) -> Any:
    """The task's answer by the files that are shipped, by onnxruntime on all cores."""
    return in_batches(task.predictor(form.adapted(graphs.shipped_runs(paths)), spec))


def check_sections(sections: dict[str, Any]) -> None:
    """Sections are those that the format knows, and rankings are the same."""
    unknown = [name for name in sections if name not in cards.SECTIONS]
    if unknown:
        raise ExportRefused(f"a card's further sections are {', '.join(cards.SECTIONS)}. Received: {', '.join(unknown)}")
    if "caption_parity" in sections.get("caption", {}):
        captions.check_captions(sections["caption"]["caption_parity"], sections["caption"]["beam"])
    if "reid" in sections:
        reid.check_ranking(sections["reid"]["ranking_parity"], sections["reid"]["queries"]["valid"])


def score(
    task: Any, predict: parity.Run, splits: Any, split: str, given: bool, files: str = "model.onnx", caption: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The task's metrics of the shipped files, with their intervals; none where the data has nothing to score."""
    part, count = splits.split(split), task.count(splits, split)
    if not len(part) or not count or (given and "label" not in part.arrays([0]) and task.name == "classification"):
        return {}
    if caption and not splits.references.get(split):
        return {}
    values = task.evaluate(predict, splits, split=split)
    told = f"{captions.protocol(caption) if caption else ''}onnxruntime on {files}"
    where = "the examples given to export_run" if given else f"{split} split"
    return cards.metric_entries(values, task.metric_intervals(values, count), count, f"{where}, {told}")


def data_facts(splits: Any, spec: Any, samples: dict[str, np.ndarray]) -> dict[str, Any]:
    known = getattr(splits, "card", {})
    counts = {"train": 0, "valid": 0, "test": len(next(iter(samples.values()))), **known.get("counts", {})}
    return {
        "name": known.get("name", getattr(spec, "data_name", "unknown")),
        "source": known.get("source", "given to export_run"),
        "licence": known.get("licence", "unknown"),
        "synthetic": bool(known.get("synthetic", False)),
        "counts": counts,
        **({"left_out": known["left_out"]} if "left_out" in known else {}),
    }


def sizes(folder: Path, paths: Sequence[Path], model: Any, told: dict[str, Any]) -> dict[str, int]:
    """Bytes of the two forms in the bundle and of the .keras file they come from."""
    keras = told.get("sizes", {}).get("keras")
    if keras is None:
        with tempfile.TemporaryDirectory() as scratch:
            model.save(Path(scratch) / "model.keras")
            keras = (Path(scratch) / "model.keras").stat().st_size
    saved = sum(path.stat().st_size for path in (folder / "saved_model").rglob("*") if path.is_file())
    written = [file for path in paths for file in (path, folder / external.data_name(path)) if file.exists()]
    return {**{file.name: file.stat().st_size for file in written}, "saved_model": saved, "keras": keras}


def complete(facts: dict[str, Any], told: dict[str, Any], split: str) -> dict[str, Any]:
    """What the caller told goes over what was found; the two texts are written where none was told."""
    for field, value in told.items():
        facts[field] = {**facts[field], **value} if isinstance(value, dict) and isinstance(facts[field], dict) else value
    facts["intended_use"] = facts["intended_use"] or cards.intended_use(facts["task"], facts["data"], facts["labels"])
    facts["limits"] = facts["limits"] or cards.limits(facts["task"], facts["data"], split)
    return cards.as_json(facts)


def write_card(folder: Path, facts: dict[str, Any], examples: list[str]) -> None:
    (folder / "README.md").write_text(readme.render(facts, examples), encoding="utf-8")
    facts["files"] = {path: cards.digest_of_file(folder / path) for path in cards.files_of(folder)}
    cards.check_card(facts)
    (folder / "card.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_sample(path: Path, calls: dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]) -> None:
    """Inputs and Keras' answers, keys GRAPH/input/NAME and GRAPH/output/NAME."""
    arrays: dict[str, Any] = {}
    most = SAMPLES if len(calls) == 1 else OF_EACH_GRAPH
    for graph, (given, gave) in calls.items():
        arrays |= {f"{graph}/input/{name}": values[:most] for name, values in given.items()}
        arrays |= {f"{graph}/output/{name}": values[:most] for name, values in gave.items()}
    np.savez_compressed(path, allow_pickle=False, **arrays)


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportRefused(f"a run must have a readable {path.name}. Received: {path} ({type(error).__name__})") from error
