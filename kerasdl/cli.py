"""The command line. Only argparse is imported here: TensorFlow comes in with the verb that needs it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kerasdl import __version__

EXAMPLES = """examples:
  kerasdl list                                     models, recipes, data sets, tasks
  kerasdl list models 'resnet*'                    parameters, multiply-adds, paper
  kerasdl show cifar10-resnet20                    recipe, layers, parameters, multiply-adds
  kerasdl train digits-lenet5                      writes runs/digits-lenet5/
  kerasdl train digits-lenet5 --set epochs=3 --set model.activation=relu --overwrite
  kerasdl train my_recipes.py:BIG                  a recipe of your own
  kerasdl train --data image_folder:photos --model resnet20
  kerasdl train --data table:houses.csv --set data.targets=price --model mlp
  kerasdl evaluate digits-lenet5 --split test      the test split is for final figures
  kerasdl evaluate digits-lenet5 --report          with pictures of how it answered
  kerasdl show digits-lenet5 --explain seven.png   where the network looked (Grad-CAM)
  kerasdl predict digits-lenet5 pictures/ --csv answers.csv
  kerasdl predict scenes-captioner scene.png       a sentence, and how sure of it
  kerasdl predict diabetes-ridge patients.csv      a number and its 95 % interval for each row
  kerasdl kfold diabetes-ridge -k 5                mean and spread of the scores over five folds
  kerasdl compare digits-lenet5 digits-mlp         one table, one picture (compare.png)
then:
  python -m export digits-lenet5                   a proven bundle in saved_models/
  python -m apps                                   the page in the browser
"""
SECTIONS = {"models": "models", "recipes": "recipes", "data": "data sets", "tasks": "tasks"}  # of `kerasdl list`


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; 0 when it worked, 1 with a sentence on stderr, 130 after Ctrl-C."""
    options = parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up chatter; its errors reach us as exceptions
    try:
        if options.verb not in (_list, _compare):  # the first prints the models before it, the other needs none
            _start_keras()
        options.verb(options)
    except BrokenPipeError:  # `kerasdl list | head`
        sys.stderr.close()
        return 0
    except (ValueError, OSError) as problem:  # OSError: a full disk, a folder that may not be written, a run in the way
        if os.environ.get("KERASDL_TRACEBACK"):
            raise
        print(f"kerasdl: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nkerasdl: stopped. A training goes on from its last checkpoint with --resume.", file=sys.stderr)
        return 130
    return 0


def _start_keras() -> None:
    from kerasdl.quiet import start_up

    with start_up():
        from kerasdl import device

        device.prepare()


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="kerasdl",
        description="Train vision models in Keras, prove their export, serve them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"kerasdl {__version__}")
    verbs = top.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, function: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(verb=function)
        return sub

    sub = verb("list", _list, "what there is: models, recipes, data sets, tasks")
    sub.add_argument("section", nargs="?", help=f"{', '.join(SECTIONS)}; all without it")
    sub.add_argument("pattern", nargs="?", help="shell pattern, for example 'resnet*'")

    sub = verb("show", _show, "a recipe or a model: its values, layers, parameters and multiply-adds; or where a run looked")
    sub.add_argument("name", help="a recipe (also FILE.py:NAME), or a model of the registry; with --explain a run")
    sub.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="change a value first; may be repeated")
    sub.add_argument(
        "--augment", nargs="?", const="", metavar="FILE.png", help="write training pictures as the network will see them (NAME-augment.png)"
    )

    sub.add_argument("--explain", metavar="PICTURE", help="write the Grad-CAM of a trained run on this picture")
    sub.add_argument("--label", help="with --explain: the class to explain, in place of the best one")
    sub.add_argument("--with", dest="other", metavar="PICTURE", help="with --explain, of embeddings: what makes the two alike")
    sub.add_argument("--out", metavar="FILE.png", help="with --explain: the picture to write (default: NAME-explain.png)")
    sub.add_argument("--run-dir", default="runs", help="with --explain: folder of run folders (default: runs)")

    sub = verb("train", _train, "train a recipe, or a model on a data set, into RUN_DIR/NAME/")
    sub.add_argument("name", nargs="?", help="a recipe, FILE.py:NAME, or with --data the name of the run")
    sub.add_argument("--data", help="digits, cifar10, tfds:NAME, image_folder:PATH, ... (`kerasdl list data`), in place of a recipe")
    sub.add_argument("--model", help="a model of the registry, with --data")
    sub.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="epochs=3, model.dropout=0.1, ...; may be repeated")
    sub.add_argument("--run-dir", default="runs", help="folder of run folders (default: runs)")
    sub.add_argument("--resume", action="store_true", help="go on after an interruption, from the last checkpoint")
    sub.add_argument("--overwrite", action="store_true", help="replace a run that is there")
    sub.add_argument("--quiet", action="store_true", help="one line an epoch in place of the progress bar")
    sub.add_argument("--devices", type=int, default=1, help="GPUs that share each batch (default: 1; without GPUs, parts of the CPU)")
    sub.add_argument("--hosts", help="HOST:PORT,HOST:PORT,... of all machines that share each batch, with KERAS_BACKEND=jax")
    sub.add_argument("--host", type=int, help="which of --hosts this machine is, from 0")

    sub = verb("kfold", _kfold, "train a recipe on each of k folds, in fresh processes, into RUN_DIR/NAME-Kfold/: mean and spread")
    sub.add_argument("name", help="a recipe of classes or of a table, also FILE.py:NAME")
    sub.add_argument("-k", type=int, default=5, help="folds (default: 5)")
    sub.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="change a value first; may be repeated")
    sub.add_argument("--run-dir", default="runs", help="folder of run folders (default: runs)")
    sub.add_argument("--overwrite", action="store_true", help="train finished folds anew; without it what is finished is kept")
    sub.add_argument("--quiet", action="store_true", help="one line an epoch in place of the progress bar")

    sub = verb("evaluate", _evaluate, "score a trained run")
    sub.add_argument("name", help="a run")
    told = "default: valid; test is for final figures; cross, of identities: another domain"
    sub.add_argument("--split", default="valid", choices=("train", "valid", "test", "cross"), help=told)
    sub.add_argument(
        "--report", nargs="?", const="", metavar="FILE.png", help="draw how it answered: ranked strips, or confusions (NAME-SPLIT.png)"
    )
    sub.add_argument("--run-dir", default="runs", help="folder of run folders (default: runs)")

    sub = verb(
        "predict",
        _predict,
        "what a trained run says of pictures: labels, a sentence, or with --csv a vector; or of a table's rows: numbers",
    )
    sub.add_argument("name", help="a run")
    sub.add_argument("source", help="a picture, or a folder of pictures; for a regression a CSV file with a header")
    sub.add_argument("--csv", help="write the answers there (default: print them)")
    sub.add_argument("--top", type=int, help="labels a picture on the screen (default: 3)")
    sub.add_argument("--run-dir", default="runs", help="folder of run folders (default: runs)")

    sub = verb("compare", _compare, "two or more runs in one table and one picture, also runs that are not finished")
    sub.add_argument("runs", nargs="+", metavar="RUN", help="a run, or the path of a run folder")
    sub.add_argument("--run-dir", default="runs", help="folder of run folders (default: runs)")
    sub.add_argument("--out", default="compare.png", help="the picture (default: compare.png)")
    return top


def _list(options: argparse.Namespace) -> None:
    import fnmatch

    from kerasdl import zoo
    from kerasdl.names import nearest

    section, pattern = options.section, options.pattern
    if pattern is None and section not in SECTIONS:  # kerasdl list 'resnet*': in every section
        section, pattern = None, section
    if section not in (None, *SECTIONS):
        raise ValueError(f"a section is one of {', '.join(SECTIONS)}. Received: {section!r}")
    known: list[str] = []
    found = False
    for title in [section] if section else SECTIONS:
        rows: dict[str, Any] = {row.name: row for row in zoo.read_zoo()} if title == "models" else _documented(title)
        known += rows
        chosen = fnmatch.filter(rows, pattern or "*")
        width = max(map(len, chosen), default=0)
        if chosen and title == "models":  # from a file, on the screen before Keras is loaded for the rest
            print("\n".join(zoo.lines([rows[name] for name in chosen])), flush=True)
        elif chosen:
            print("\n".join([SECTIONS[title], *(f"  {name:<{width}}  {rows[name]}".rstrip() for name in chosen)]))
        found = found or bool(chosen)
    if not found:
        near = nearest((pattern or "").replace("*", ""), known)
        raise ValueError(f"nothing has that name. Received: {pattern!r}. {near}")


def _documented(section: str) -> dict[str, str]:
    """Name and one line on each recipe, data set or task."""
    _start_keras()
    from kerasdl.data import ARGUMENTS, DATASETS, FAMILIES
    from kerasdl.recipe import list_recipes
    from kerasdl.tasks import TASKS

    if section == "recipes":
        return {name: recipe.note for name, recipe in list_recipes().items()}
    if section == "tasks":
        return {name: _first_line(sys.modules[task.__module__]) for name, task in TASKS.items()}
    return {name: _first_line(f) for name, f in [*DATASETS.items(), *((ARGUMENTS[k], f) for k, f in FAMILIES.items())]}


def _first_line(documented: Any) -> str:
    return (documented.__doc__ or "").strip().splitlines()[0]


def _show(options: argparse.Namespace) -> None:
    if options.explain is not None:
        _explain(options)
        return
    given = [word for word, value in (("--label", options.label), ("--with", options.other), ("--out", options.out)) if value is not None]
    if given:
        raise ValueError(f"{given[0]} goes with --explain PICTURE. Received: {given[0]} alone")
    _describe(options)


def _explain(options: argparse.Namespace) -> None:
    if options.augment is not None or options.set:
        raise ValueError("--explain shows a trained run as it is. Received: --augment or --set with it")
    path = _png(options.out or f"{options.name}-explain.png", "--out")
    for file in filter(None, (options.explain, options.other)):
        if not Path(file).is_file():
            raise ValueError(f"no such picture. Received: {file!r}")
    recipe, spec, model = open_run(options.name, options.run_dir)
    from kerasdl.explain import draw, explain

    found = explain(recipe.task, model, spec, options.explain, options.label, options.other)
    draw(found, path, f"{options.name}: {Path(options.explain).name}")
    print(f"wrote {path}: {found.score}; the heat is that of layer {found.layer}, {found.heat.shape[0]} x {found.heat.shape[1]} places")
    if not found.heat.any():
        print("nothing in the picture speaks for it: the heat is zero everywhere")


def _png(path: str, option: str) -> Path:
    if not path.endswith(".png"):
        raise ValueError(f"{option} writes a .png file. Received: {path!r}")
    return Path(path)


def _describe(options: argparse.Namespace) -> None:
    from kerasdl import zoo
    from kerasdl.models import __all__ as models
    from kerasdl.models import create_model
    from kerasdl.recipe import find_recipe, list_recipes, override
    from kerasdl.summary import layer_table
    from kerasdl.weightless import weightless

    if options.name in models:
        if options.augment is not None:
            raise ValueError(f"--augment shows a recipe's training pictures, and {options.name} is a model")
        if options.set:
            raise ValueError(f"--set changes a recipe, and {options.name} is a model. Received: --set {options.set[0]}")
        (row,) = zoo.read_zoo(options.name)
        with weightless():  # so that 632 million parameters take no gigabytes
            print(layer_table(create_model(options.name, row.classes)))
        return
    try:
        recipe = override(find_recipe(options.name), options.set)
    except ValueError:
        if ".py:" in options.name or options.name in list_recipes():
            raise
        from kerasdl.names import nearest

        names = [*list_recipes(), *models]
        raise ValueError(f"unknown recipe or model. Received: {options.name!r}. {nearest(options.name, names)}") from None
    if options.augment is not None:
        from kerasdl.augmented import draw_augmented

        print(draw_augmented(recipe, _png(options.augment or f"{recipe.name}-augment.png", "--augment")))
        return
    for field, value in recipe.to_json().items():
        print(f"{field:<15} {value if isinstance(value, str) else json.dumps(value)}")
    print()
    try:
        splits = recipe.data()
    except ValueError as problem:
        print(f"The layers depend on the data, which are not at hand: {problem}")
        return
    counts = splits.card["counts"]
    print(f"{splits.card['name']}: {counts['train']} train, {counts['valid']} valid, {counts['test']} test; {splits.spec.summary}\n")
    print(layer_table(recipe.task.build(recipe.model(image_shape=splits.spec.image_shape), splits.spec)))


def _train(options: argparse.Namespace) -> None:
    from kerasdl import device
    from kerasdl.hosts import find_hosts
    from kerasdl.recipe import override
    from kerasdl.strategy import idle
    from kerasdl.train import train

    recipe = override(_chosen_recipe(options), options.set)
    hosts = find_hosts(options.hosts, options.host)
    where = f"host {hosts.index} of {len(hosts.addresses)}" if hosts else device.describe()  # JAX meets the others before it looks around
    print(f"training {recipe.name} on {where}; seed {recipe.seed}, {recipe.epochs} epochs of batch {recipe.batch_size}", flush=True)
    if not hosts and (sentence := idle(options.devices)):
        print(sentence, flush=True)
    verbose = 0 if hosts and hosts.index else 2 if options.quiet else 1
    try:
        run = train(recipe, options.run_dir, options.resume, options.overwrite, None, verbose, options.devices, hosts)
    except FileExistsError as problem:
        raise FileExistsError(f"{problem} (--resume, --overwrite or --run-dir)") from None
    if hosts and hosts.index:
        return  # the first host reports
    facts = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    scores = "  ".join(f"{name} {value:.4f}" for name, value in facts["valid"].items())
    print(f"\n{run}: {facts['train_minutes']} minutes of training, validation {scores}")
    print(f"next: kerasdl evaluate {recipe.name} --split test   or   python -m export {recipe.name}")


def _chosen_recipe(options: argparse.Namespace) -> Any:
    from kerasdl.recipe import find_recipe

    if options.data is None and options.model is None:
        if options.name is None:
            raise ValueError("train needs a recipe, or --data with --model. Received: neither")
        return find_recipe(options.name)
    if not (options.data and options.model):
        raise ValueError(f"--data and --model go together. Received: data={options.data}, model={options.model}")
    from kerasdl.data import TABLES, find_data
    from kerasdl.models import find_model
    from kerasdl.recipes.starter import starter
    from kerasdl.tasks import Classification, Regression

    data, model = find_data(options.data), find_model(options.model)
    family, _, rest = options.data.partition(":")
    short = Path(rest).name if family == "image_folder" else Path(rest).stem if family == "table" else rest or family
    name = options.name or f"{short}-{options.model}".replace(" ", "-").replace("/", "-").replace(":", "-")
    return starter(name, data, model, Regression() if family in TABLES else Classification())


def open_run(name: str, run_dir: str) -> tuple[Any, Any, Any]:
    """(recipe, spec, training model) of a finished run; ValueError that names the nearest run otherwise."""
    from kerasdl.data import open_spec
    from kerasdl.models import load_model
    from kerasdl.names import nearest
    from kerasdl.recipe import Recipe

    run = Path(run_dir) / name
    if not (run / "model.keras").is_file():
        runs = [path.parent.name for path in Path(run_dir).glob("*/model.keras")]
        state = "is not finished (train it with --resume)" if (run / "recipe.json").is_file() else "does not exist"
        raise ValueError(f"the run {str(run)!r} {state}. {nearest(name, runs)}")
    return Recipe.from_json(run / "recipe.json"), open_spec(run / "spec.json"), load_model(run / "model.keras")


def _kfold(options: argparse.Namespace) -> None:
    from kerasdl.kfold import kfold, table
    from kerasdl.recipe import find_recipe, override

    recipe = override(find_recipe(options.name), options.set)
    file = options.name.rpartition(":")[0]
    path = [str(Path(file).resolve().parent)] if file.endswith(".py") else []
    done = kfold(recipe, options.k, options.run_dir, options.overwrite, options.quiet, lambda line: print(line, flush=True), path)
    print(f"\n{table(done)}\n\nwrote {done.folder / 'folds.csv'}: validation scores; the test split was not touched")
    if recipe.early_stopping:
        print("the held-out fold also chose the epoch (early_stopping): its scores are a little too good")


def _evaluate(options: argparse.Namespace) -> None:
    from kerasdl import device
    from kerasdl.tasks import keras_predictor

    path = None if options.report is None else _png(options.report or f"{options.name}-{options.split}.png", "--report")
    recipe, spec, model = open_run(options.name, options.run_dir)
    print(f"{options.name} on {device.describe()}", flush=True)
    splits = recipe.data()
    predict = keras_predictor(recipe.task, model, spec)
    values = recipe.task.evaluate(predict, splits, options.split)
    n = recipe.task.count(splits, options.split)
    intervals = recipe.task.metric_intervals(values, n)
    for name, value in values.items():
        told = "95 % interval {:.4f} .. {:.4f}".format(*intervals[name]) if name in intervals else ""
        print(f"{name:<10} {value:.4f}   {told:<34}   {options.split} split, n = {n}")
    if path is not None:
        written = recipe.task.report(path, predict, splits, options.split, f"{options.name}, {options.split} split")
        print(f"wrote {', '.join(map(str, written))}")


def _predict(options: argparse.Namespace) -> None:
    from kerasdl.predictions import form_of, picture_files, predict, report
    from kerasdl.table_predictions import form_of_rows, predict_rows

    if options.top is not None and options.top < 1:
        raise ValueError(f"--top must be at least 1. Received: {options.top}")
    files = picture_files(Path(options.source))
    recipe, spec, model = open_run(options.name, options.run_dir)
    if options.top is not None and recipe.task.name != "classification":
        raise ValueError(f"--top is of labels. Received: --top {options.top} with {options.name}, of {recipe.task.name}")
    if recipe.task.name == "regression":
        form = form_of_rows(spec)
        rows, unused = predict_rows(recipe.task, spec, model, Path(options.source), form)
        if unused:
            print(f"not used: the columns {', '.join(unused)}", file=sys.stderr)
        report(rows, form, options.csv)
        return
    form = form_of(recipe.task, spec, model, options.top or 3)
    if not form.line and not options.csv:
        raise ValueError(f"vectors go to a file: give --csv FILE. Received: {options.name}, of {recipe.task.name}, without")
    report(predict(recipe.task, spec, model, files, form), form, options.csv)


def _compare(options: argparse.Namespace) -> None:
    from kerasdl.compare import compare

    print(compare(options.runs, options.run_dir, options.out))
