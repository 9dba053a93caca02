"""Writing a bundle: convert, measure, pass every gate, and only then let the folder appear under its name."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from export import card as cards
from export import convert, gates, latency, parity, readme, reid
from export.gates import ExportRefused

SAMPLES = 8  # in sample.npz
EXAMPLES = 6  # pictures in examples/
COMPARED = 512  # examples that parity is measured on, at most: three batch sizes in two runtimes take a while
TOLD = ("recipe", "source", "data", "sizes", "intended_use", "limits")  # fields of the card that a caller may set
BATCH = 64  # for scoring and for the reference


def export_recipe_run(
    name: str,
    run_dir: str | Path = "runs",
    out: str | Path = "saved_models",
    split: str = "test",
    say: Callable[[str], None] = lambda line: None,
    opset: int = convert.OPSET,
) -> Path:
    """Export the run `RUN_DIR/NAME` that `kerasdl train NAME` wrote; gives the bundle's folder."""
    from kerasdl import Recipe, load_model
    from kerasdl.data import Spec
    from kerasdl.weights import brings_scaling

    run = Path(run_dir) / name
    recipe_json = read_json(run / "recipe.json")
    recipe = Recipe.from_json(recipe_json)
    facts = read_json(run / "metrics.json")
    say(f"{name}: loading the model and its data")
    model = load_model(run / "model.keras")
    splits = recipe.data()
    spec = Spec.from_json(run / "spec.json")
    found = splits.spec
    if brings_scaling(recipe.weights):
        found = dataclasses.replace(found, mean=spec.mean, std=spec.std)  # these came with the weights
    if not spec.attributes:
        found = dataclasses.replace(found, attributes={})  # which data may have come to tell since the run
    if found.to_json() != spec.to_json():
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
) -> Path:
    """Export a trained model without a recipe; gives the bundle's folder `OUT/NAME`, or raises ExportRefused and writes nothing.

    Args:
        model: the training model, as `task.build` made it.
        task: says what is served, how it is scored and what parity means.
        samples: real examples as the data has them, at least 256, with `label` where there is one; parity is measured on them.
        spec: the facts of the data (`kerasdl.data.Spec`).
        splits: where the figures come from (`split` of it); without it, `samples` themselves, and the card says so.
        opset: ONNX operator set, 17 to 21.
        card: what the caller knows of recipe, source, data, sizes, intended_use and limits, for example `{"data": {"licence": "CC0"}}`.
    """
    told = card or {}
    check_name(name)
    check_told(told)
    gates.check_samples(samples)
    served = to_serve(task, model, spec)
    say(f"{name}: converting to ONNX")
    inputs, outputs = convert.contract(served, task.outputs)
    proto = convert.to_onnx(served, task.outputs, opset)
    check_graph(proto, inputs, outputs)
    labels = [str(label) for label in task.labels(spec)]
    entries = cards.input_entries(inputs, spec)
    convert.add_metadata(proto, cards.graph_metadata(name, task.name, entries, labels, told.get("recipe")))

    chosen = spread(samples)
    feeds = {key: value for key, value in task.inputs(chosen).items() if key in inputs}
    keras = parity.keras_runner(served)
    wanted = parity.run_in_batches(keras, feeds, BATCH)
    say(f"{name}: comparing onnxruntime with Keras on {len(next(iter(feeds.values())))} examples")
    onnx = parity.onnx_runner(gates.open_session(proto.SerializeToString()))
    rows = checked(parity.measure(task, "onnxruntime", onnx, feeds, wanted))

    with staged(Path(out), name) as folder:
        (folder / "model.onnx").write_bytes(proto.SerializeToString())
        say(f"{name}: writing the SavedModel and comparing it with Keras")
        convert.to_saved_model({"model": served}, folder / "saved_model")
        saved = parity.saved_model_runner(folder / "saved_model")
        rows = checked(parity.measure(task, "saved_model", saved, feeds, wanted)) + rows
        say(f"{name}: scoring the {split} split with onnxruntime on model.onnx")
        scored, answer = splits or as_splits(samples, spec, split), shipped(folder / "model.onnx")
        metrics = score(task, answer, scored, split, given=splits is None)
        sections = task.facts(answer, lambda given: parity.run_in_batches(keras, given, BATCH), scored, split, folder)
        check_sections(sections)
        write_sample(folder / "sample.npz", "model", feeds, wanted)
        examples = write_examples(folder / "examples", feeds, chosen, labels)
        say(f"{name}: measuring the latency")
        facts = {
            "format": cards.FORMAT,
            "name": name,
            "task": task.name,
            "recipe": None,
            "source": cards.default_source(),
            "data": data_facts(splits, spec, samples),
            "graphs": {"model.onnx": cards.graph_entry(proto, entries, served.count_params(), cards.digest_of_file(folder / "model.onnx"))},
            "labels": labels,
            "metrics": metrics,
            **sections,
            "parity": rows,
            "latency": latencies(keras, saved, onnx, feeds),
            "sizes": sizes(folder, model, told),
            "variants": {},
            "intended_use": "",
            "limits": "",
            "files": {},
        }
        write_card(folder, complete(facts, told, split), examples)
        say(f"{name}: checking the bundle with apps.runtime")
        from export.verify import verify_bundle

        verify_bundle(folder)
    return Path(out) / name


def to_serve(task: Any, model: Any, spec: Any) -> Any:
    """The float32 serving model."""
    serving = task.serving(model, spec)
    if list(serving) != ["model"]:
        raise ExportRefused(f"a bundle has one graph named model as yet. Received: {', '.join(serving)}")
    gates.check_size(serving["model"].count_params())
    served = convert.float32_twin(serving["model"])
    gates.check_float32(served)
    return served


def check_told(told: dict[str, Any]) -> None:
    """What was measured cannot be told."""
    unknown = [field for field in told if field not in TOLD]
    if unknown:
        raise ExportRefused(f"card may set {', '.join(TOLD)} only. Received: {', '.join(unknown)}")


def check_graph(proto: Any, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
    """The gates that need the graph alone."""
    gates.check_domains(proto)
    gates.check_contract(proto, inputs, outputs)
    gates.check_proto(proto)
    gates.open_session(proto.SerializeToString())


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


def shipped(path: Path) -> parity.Run:
    """The file that is shipped, by onnxruntime on all cores."""
    run = parity.onnx_runner(gates.open_session(str(path), threads=latency.cores()))
    return lambda feeds: parity.run_in_batches(run, feeds, BATCH)


def check_sections(sections: dict[str, Any]) -> None:
    """Sections are those that the format knows, and rankings are the same."""
    unknown = [name for name in sections if name not in cards.SECTIONS]
    if unknown:
        raise ExportRefused(f"a card's further sections are {', '.join(cards.SECTIONS)}. Received: {', '.join(unknown)}")
    if "reid" in sections:
        reid.check_ranking(sections["reid"]["ranking_parity"], sections["reid"]["queries"]["valid"])


def score(task: Any, predict: parity.Run, splits: Any, split: str, given: bool) -> dict[str, Any]:
    """The task's metrics of the shipped file, with their intervals; none where the data has nothing to score."""
    part, count = splits.split(split), task.count(splits, split)
    if not len(part) or not count or (given and "label" not in part.arrays([0]) and task.name == "classification"):
        return {}
    values = task.evaluate(predict, splits, split=split)
    entries = cards.metric_entries(values, task.metric_intervals(values, count), count, split)
    if given:
        for entry in entries.values():
            entry["protocol"] = "the examples given to export_run, onnxruntime on model.onnx"
    return entries


def data_facts(splits: Any, spec: Any, samples: dict[str, np.ndarray]) -> dict[str, Any]:
    known = getattr(splits, "card", {})
    counts = {"train": 0, "valid": 0, "test": len(next(iter(samples.values()))), **known.get("counts", {})}
    return {
        "name": known.get("name", getattr(spec, "data_name", "unknown")),
        "source": known.get("source", "given to export_run"),
        "licence": known.get("licence", "unknown"),
        "synthetic": bool(known.get("synthetic", False)),
        "counts": counts,
    }


def latencies(keras: Any, saved: Any, onnx: Any, feeds: dict[str, np.ndarray]) -> dict[str, Any]:
    measured: dict[str, Any] = {}
    for runtime, run, threads in (("onnxruntime", onnx, 1), ("keras", keras, latency.cores()), ("saved_model", saved, latency.cores())):
        measured[runtime] = {"batch": 1, "threads": threads, **latency.measure(run, feeds)}
    return {**measured, "device": latency.processor()}


def sizes(folder: Path, model: Any, told: dict[str, Any]) -> dict[str, int]:
    """Bytes of the two forms in the bundle and of the .keras file they come from."""
    keras = told.get("sizes", {}).get("keras")
    if keras is None:
        with tempfile.TemporaryDirectory() as scratch:
            model.save(Path(scratch) / "model.keras")
            keras = (Path(scratch) / "model.keras").stat().st_size
    saved = sum(path.stat().st_size for path in (folder / "saved_model").rglob("*") if path.is_file())
    return {"model.onnx": (folder / "model.onnx").stat().st_size, "saved_model": saved, "keras": keras}


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


def write_sample(path: Path, graph: str, feeds: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    """Inputs and Keras' answers, keys GRAPH/input/NAME and GRAPH/output/NAME."""
    arrays = {f"{graph}/input/{name}": values[:SAMPLES] for name, values in feeds.items()}
    arrays |= {f"{graph}/output/{name}": values[:SAMPLES] for name, values in wanted.items()}
    np.savez_compressed(path, allow_pickle=False, **arrays)


def write_examples(folder: Path, feeds: dict[str, np.ndarray], samples: dict[str, np.ndarray], labels: list[str]) -> list[str]:
    """The first picture of each of the first classes or two of each of the first people, as WORD-NUMBER.png; whatever the answers."""
    from PIL import Image

    images = feeds.get("image")
    if images is None:
        return []
    folder.mkdir()
    paths = []
    for number, word in chosen_examples(samples, labels):
        pixels = images[number][..., 0] if images.shape[-1] == 1 else images[number]
        Image.fromarray(pixels).save(folder / f"{word}-{number}.png", optimize=True)
        paths.append(f"examples/{word}-{number}.png")
    return sorted(paths)


def chosen_examples(samples: dict[str, np.ndarray], labels: list[str]) -> list[tuple[int, str]]:
    """Numbers of samples and a word on each."""
    if "pid" in samples and not labels:
        return people(samples["pid"], samples["camid"])
    if "label" not in samples or not labels:
        return [(number, "sample") for number in range(EXAMPLES)]
    numbers = sorted(np.unique(samples["label"], return_index=True)[1][:EXAMPLES])
    return [(number, re.sub(r"[^A-Za-z0-9]+", "-", labels[int(samples["label"][number])]).strip("-") or "class") for number in numbers]


def people(pids: np.ndarray, camids: np.ndarray) -> list[tuple[int, str]]:
    """Two pictures each of the first who are seen by two cameras, as idPID-camCAMID."""
    found: list[int] = []
    for pid in np.unique(pids[pids > 0]):
        mine = np.flatnonzero(pids == pid)
        elsewhere = mine[camids[mine] != camids[mine[0]]]
        if len(elsewhere) and len(found) < EXAMPLES:
            found += [int(mine[0]), int(elsewhere[0])]
    return [(number, f"id{pids[number]}-cam{camids[number]}") for number in found]


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
