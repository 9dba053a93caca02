"""Writing a bundle: convert, measure, pass every gate, and only then let the folder appear under its name."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from export import captioner_loop, captions, convert, demo, gates, graphs, parity, pictures, readme, reid, tables
from export import card as cards
from export.answers import Answers, in_batches
from export.gates import ExportRefused

SAMPLES, OF_EACH_GRAPH = 8, 2  # in sample.npz, of one graph and of several, whose maps between them are large
COMPARED = 512  # examples that parity is measured on, at most: three batch sizes in two runtimes take a while
TOLD = ("recipe", "source", "data", "sizes", "intended_use", "limits")  # fields of the card that a caller may set


def export_recipe_run(
    name: str,
    run_dir: str | Path = "runs",
    out: str | Path = "saved_models",
    split: str = "test",
    say: Callable[[str], None] = lambda line: None,
    opset: int = convert.OPSET,
    whole_loop: bool = False,
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
    )


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
) -> Path:
    """Export a trained model without a recipe; gives the bundle's folder `OUT/NAME`, or raises ExportRefused and writes nothing.

    Args:
        model: the training model, as `task.build` made it.
        task: says what is served, how it is scored and what parity means.
        samples: real examples as the data has them, at least 256, with `label` where there is one; parity is measured on them.
        spec: the facts of the data (`kerasdl.data.Spec`).
        splits: where the figures come from (`split` of it); without it, `samples` themselves, and the card says so.
        opset: ONNX operator set, 17 to 21.
        whole_loop: of a captioner, whether its greedy search becomes one more graph under variants/.
        card: what the caller knows of recipe, source, data, sizes, intended_use and limits, for example `{"data": {"licence": "CC0"}}`.
    """
    told = card or {}
    check_name(name)
    check_told(told)
    if whole_loop:
        captioner_loop.check_task(task)
    if task.name == tables.TASK:
        tables.check_rows(samples, splits, split)
    else:
        gates.check_samples(samples)
    served = graphs.to_serve(task, model, spec)
    say(f"{name}: converting to ONNX")
    made = graphs.converted(task, served, spec, opset)
    labels = [str(label) for label in task.labels(spec)]
    caption, table = captions.constants(task, model, spec), tables.constants(task, spec)
    told_of = {
        key: cards.graph_metadata(name, task.name, graph.entries, labels, told.get("recipe"))
        | captions.metadata(caption)
        | tables.metadata(table)
        for key, graph in made.items()
    }
    for key, graph in made.items():
        convert.add_metadata(graph.proto, told_of[key])

    chosen = spread(samples)
    raw = [entry["name"] for entry in next(iter(made.values())).entries]
    feeds = {key: value for key, value in task.inputs(chosen).items() if key in raw}
    if table:
        feeds, table["parity_rows"] = tables.filled(feeds, spec)
    answers = Answers(task, spec, feeds)
    keras = graphs.keras_runs(served)
    say(f"{name}: comparing onnxruntime with Keras on {len(next(iter(feeds.values())))} examples")
    answers.follow(keras)
    onnx = graphs.onnx_runs(made)
    rows = checked(answers.compare("onnxruntime", onnx))

    with staged(Path(out), name) as folder:
        paths = [folder / f"{graph}.onnx" for graph in made]
        for path, graph in zip(paths, made.values(), strict=True):
            path.write_bytes(graph.proto.SerializeToString())
        say(f"{name}: writing the SavedModel and comparing it with Keras")
        convert.to_saved_model(served, folder / "saved_model")
        saved = graphs.saved_runs(folder / "saved_model", list(served))
        rows = checked(answers.compare("saved_model", saved)) + rows
        say(f"{name}: scoring the {split} split with onnxruntime on {cards.listed(path.name for path in paths)}")
        scored, answer = splits or as_splits(samples, spec, split), shipped(paths, task, spec)
        if caption:
            captions.write_vocabulary(folder / "vocab.json", spec, scored)
        metrics = score(task, answer, scored, split, splits is None, cards.listed(path.name for path in paths), caption)
        sections = task.facts(answer, in_batches(task.predictor(keras, spec)), scored, split, folder)
        if caption:
            sections["caption"] = {**caption, **sections.get("caption", {})}
        if table:
            sections["table"] = {**table, **sections["table"]}
        check_sections(sections)
        write_sample(folder / "sample.npz", answers.sample())
        if caption:
            examples = captions.write_examples(folder / "examples", scored, split)
        elif table:
            examples = tables.write_rows(folder, scored.split(split), table)
        elif demo.can_be_made(scored, split, task):
            sections["reid"]["demo"], examples = demo.write(folder, scored.split(split))
        else:
            examples = pictures.write_examples(folder / "examples", feeds, chosen, labels)
        variants = {}
        if whole_loop:
            say(f"{name}: joining the graphs to one and comparing its captions")
            variants = captioner_loop.write(folder, made, told_of["encoder"], onnx, feeds, caption["length"])
        say(f"{name}: measuring the latency")
        facts = {
            "format": cards.FORMAT,
            "name": name,
            "task": task.name,
            "recipe": None,
            "source": cards.default_source(),
            "data": data_facts(splits, spec, samples),
            "graphs": {path.name: entry_of(graph, path, alone=len(made) == 1) for path, graph in zip(paths, made.values(), strict=True)},
            "labels": labels,
            "metrics": metrics,
            **sections,
            "parity": rows,
            "latency": answers.latencies(keras, saved, onnx),
            "sizes": sizes(folder, paths, model, told),
            "variants": variants,
            "intended_use": "",
            "limits": "",
            "files": {},
        }
        write_card(folder, complete(facts, told, split), examples)
        say(f"{name}: checking the bundle with apps.runtime")
        from export.verify import verify_bundle

        verify_bundle(folder)
    return Path(out) / name


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
    return cards.graph_entry(graph.proto, graph.entries, graph.parameters(alone), cards.digest_of_file(path))


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


def real_samples(splits: Any, split: str = "test", least: int = gates.LEAST_SAMPLES) -> dict[str, np.ndarray]:
    """The first examples of the scored split, spread evenly over it; from the other splits too when it is short."""
    parts, missing = [], least
    for name in [split, *(other for other in ("test", "valid", "train") if other != split)]:
        part = splits.split(name)
        if missing > 0 and len(part):
            picked = np.linspace(0, len(part) - 1, min(missing, len(part))).round().astype(int)
            parts.append(part.arrays(picked))
            missing -= len(picked)
    if not parts:
        return {"image": np.zeros(0)}
    return {field: np.concatenate([part[field] for part in parts]) for field in parts[0] if all(field in part for part in parts)}


def spread(samples: dict[str, np.ndarray], most: int = COMPARED) -> dict[str, np.ndarray]:
    """At most `most` of the samples, evenly spaced."""
    count = len(next(iter(samples.values())))
    picked = np.linspace(0, count - 1, min(most, count)).round().astype(int)
    return {field: values[picked] for field, values in samples.items()}


def as_splits(samples: dict[str, np.ndarray], spec: Any, split: str) -> Any:
    """`samples` in the place of the scored split."""
    from kerasdl.data import splits as data

    part = data.ArraySplit(samples)
    none = data.ArraySplit({field: values[:0] for field, values in samples.items()})
    train, valid, test = (part if name == split else none for name in ("train", "valid", "test"))
    return data.Splits(train, valid, test, spec=spec, card={})


def shipped(paths: Sequence[Path], task: Any, spec: Any) -> Any:
    """The task's answer by the files that are shipped, by onnxruntime on all cores."""
    return in_batches(task.predictor(graphs.shipped_runs(paths), spec))


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
    return {**{path.name: path.stat().st_size for path in paths}, "saved_model": saved, "keras": keras}


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


@contextmanager
def staged(out: Path, name: str) -> Iterator[Path]:
    """A hidden folder beside the bundle that takes its name when the block ends well, and vanishes when it does not.

    A folder cannot replace another in one step: the old bundle steps aside as .NAME.previous for the time of one rename. Should the
    machine stop right there, the next export finds it and puts it back.
    """
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    target, previous = out / name, out / f".{name}.previous"
    if previous.exists():
        shutil.rmtree(previous) if target.exists() else previous.rename(target)
    folder = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".partial", dir=out))
    try:
        folder.chmod(0o755)  # mkdtemp makes it private
        yield folder
        if target.exists():
            target.rename(previous)
        try:
            folder.rename(target)
        except BaseException:
            if previous.exists():
                previous.rename(target)
            raise
        shutil.rmtree(previous, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if made and not any(out.iterdir()):
            out.rmdir()
        raise


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportRefused(f"a run must have a readable {path.name}. Received: {path} ({type(error).__name__})") from error
