"""From a recipe to a run folder. `train` reads top to bottom: seed, data, model, fit, score, save."""

from __future__ import annotations

import dataclasses
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasdl import __version__, averaging, checkpoint, device, figures, weights
from kerasdl.data.fields import held_against, seen
from kerasdl.data.splits import Splits
from kerasdl.diagnosis import diagnose
from kerasdl.hardness import follow_hardness
from kerasdl.hosts import Hosts, agree, join, meet, own_slice, written_folder
from kerasdl.models import load_model
from kerasdl.progress import Progress
from kerasdl.recipe import Recipe
from kerasdl.strategy import OneDevice, spread
from kerasdl.summary import count_parameters
from kerasdl.tasks import keras_predictor
from kerasdl.whole_file import put_in_place, whole_file

Batches = Callable[[Splits, Recipe, int], Iterable[Any]]


def train(
    recipe: Recipe,
    run_dir: str | Path = "runs",
    resume: bool = False,
    overwrite: bool = False,
    batches: Batches | None = None,
    verbose: int = 1,
    devices: int = 1,
    hosts: Hosts | None = None,
) -> Path:
    """Train a recipe and write RUN_DIR/NAME/.

    Args:
        recipe: the experiment.
        run_dir: the folder that holds run folders.
        resume: go on from the last checkpoint of an interrupted run of the same recipe, from the start where there is none; a
            finished run stays as it is.
        overwrite: replace a run that is there.
        batches: `(splits, recipe, start) -> iterable` of training batches in place of the tf.data pipeline (or, where TensorFlow is
            absent, of `kerasdl.data.arrays`); `start` counts the examples already consumed.
        verbose: 1 progress with time left, 2 a line an epoch, 0 silent.
        devices: GPUs of this machine that share each batch; without GPUs, parts of its CPU.
        hosts: the machines that share each batch, with KERAS_BACKEND=jax; the run folder must be one that all of them see.

    Returns:
        The run folder: recipe.json spec.json data.json history.csv tensorboard/ checkpoints/ curves.png confusion.png metrics.json
        model.keras.

    Raises:
        FileExistsError: the run is there and neither `resume` nor `overwrite` was asked for.
        ValueError: `resume` of another recipe.
    """
    run = Path(run_dir) / recipe.name
    if resume and _is_finished(run, recipe):
        if verbose:
            print(f"{run} is finished: nothing to resume", flush=True)
        return run
    if hosts is None or hosts.index == 0:  # the others find the folder as the first one has left it
        resume = _check_run(run, recipe, resume, overwrite)
    device.prepare(recipe.deterministic)
    keras.utils.set_random_seed(recipe.seed)
    if hosts:
        join(hosts, purpose=json.dumps(recipe.to_json()))
    with spread(devices, recipe.batch_size, hosts) as strategy, written_folder(run, hosts) as folder:
        return _train(recipe, run, folder, resume, batches, verbose, strategy)


def _train(recipe: Recipe, run: Path, folder: Path, resume: bool, batches: Batches | None, verbose: int, strategy: OneDevice) -> Path:
    """`run` is read, `folder` is written: another one where this process is not the first of several hosts."""
    splits = recipe.data()
    if verbose and recipe.weights:
        print(f"starting from {recipe.weights}", flush=True)  # a download may take a while, and a hub that is away half a minute
    splits = dataclasses.replace(splits, spec=pretraining_spec(recipe, splits.spec))
    steps = len(splits.train) // recipe.batch_size
    if steps < 1:
        raise ValueError(
            f"batch_size must not exceed the training examples. Received: {recipe.batch_size} for {len(splits.train)} examples"
        )
    model = _begin(recipe, splits, folder, resume, steps, strategy, verbose)
    with strategy.scope():
        place = checkpoint.restore(model, run / "checkpoints") if resume else checkpoint.Place()
    agree([place.epoch, place.step], "all hosts must see the same run folder")
    told, listeners = follow_hardness(recipe, splits, run, folder, place.epoch)
    make = batches or _default_batches()

    def stream(start: int) -> Iterable[Any]:
        return make(splits, told, start)

    keep = checkpoint.EveryEpoch(folder, place)
    keep.write_history()  # which may be an epoch ahead of the checkpoint
    _fit(model, recipe, splits, stream, steps, place, keep, listeners, strategy, verbose)
    meet("the training is over")
    shared = recipe.ema and keras.config.backend() == "jax"  # weights and averages are the same arrays there, and predicting consumes them
    if strategy.twin or shared or recipe.precision != "float32":
        model = _twin_with_weights(model, recipe, splits, strategy)
    result = _result(model, recipe, splits, run, keep.history, lambda: stream(0), steps)
    if hasattr(recipe.task, "after_training"):
        recipe.task.after_training(result, splits)
    _finish(result, recipe, splits, folder, keep, verbose)
    return run


def _begin(recipe: Recipe, splits: Splits, folder: Path, resume: bool, steps: int, strategy: OneDevice, verbose: int) -> keras.Model:
    """The compiled model; the run folder with its recipe and what is known of the data."""
    with strategy.scope():
        model = build(recipe, splits.spec, recipe.precision, verbose)
        adapt_to_data(model, splits)
        if hasattr(recipe.task, "before_training"):
            recipe.task.before_training(model, splits)
        compile_model(model, recipe, total_steps=steps * recipe.epochs)
    strategy.prepare(model)
    if not resume:
        _start_run(folder, recipe)
    _write_json(folder / "spec.json", splits.spec.to_json())
    _write_json(folder / "data.json", splits.card)
    meet("the run folder is ready")
    return model


def _fit(
    model: keras.Model,
    recipe: Recipe,
    splits: Splits,
    stream: Callable[[int], Iterable[Any]],
    steps: int,
    place: checkpoint.Place,
    keep: checkpoint.EveryEpoch,
    listeners: list[Any],
    strategy: OneDevice,
    verbose: int,
) -> None:
    """From the place that a checkpoint gave to the end, if that is not where it is."""
    if place.epoch >= recipe.epochs or averaging.should_stop(recipe, place.history):
        if recipe.ema:  # stopped between the last checkpoint and the end of fit, which puts the averages in place
            model.optimizer.finalize_variable_values(model.trainable_variables)
        return

    def batches_from(start: int) -> Any:
        return strategy.own_part(_for_every_output(model, recipe.task, stream(start)))

    if place.step:
        model.test_on_batch(*next(iter(batches_from(0))))  # makes the metrics' variables, which go on from the checkpoint's
    progress = Progress(
        recipe.epochs,
        steps,
        recipe.batch_size,
        place.epoch,
        lines_only=verbose == 2,
        silent=not verbose,
        first_step=place.step,
        history=place.history,
    )
    model.fit(
        batches_from((place.epoch * steps + place.step) * recipe.batch_size),
        **_validation(model, splits, recipe, strategy),
        initial_epoch=place.epoch,
        epochs=recipe.epochs,
        steps_per_epoch=steps,
        callbacks=[
            progress,
            checkpoint.ResumedEpoch(place, steps),
            averaging.KeepWeights(recipe, keep.run / "checkpoints", keep.history),
            *listeners,
            keep,
            *_tensorboard(keep.run),
        ],
        shuffle=False,  # the stream is shuffled already
        verbose=0,  # type: ignore[arg-type]
    )


def _finish(result: keras.Model, recipe: Recipe, splits: Splits, folder: Path, keep: checkpoint.EveryEpoch, verbose: int) -> None:
    """Scores on the validation split, figures, the diagnosis, and the model, which comes last: its presence says that the run is whole."""
    predict = keras_predictor(recipe.task, result, splits.spec)
    scores = recipe.task.evaluate(predict, splits, "valid")
    findings = diagnose(keep.history, mixed=recipe.mix is not None) if recipe.epochs else ["Solved in closed form: no curve to judge."]
    _write_figures(folder, recipe, splits, predict, keep.history, findings)
    if verbose:
        print(*findings, sep="\n", flush=True)
    facts = {"parameters": count_parameters(result)[0], "diagnosis": findings, **_circumstances(recipe, keep.minutes)}
    count = recipe.task.count(splits, "valid")
    intervals = recipe.task.metric_intervals(scores, count) if count else {}
    _write_json(folder / "metrics.json", {"valid": scores, "valid_intervals": intervals, **facts})
    result.save(folder / "model.tmp.keras")
    put_in_place(folder / "model.tmp.keras", folder / "model.keras")


def _twin_with_weights(model: keras.Model, recipe: Recipe, splits: Splits, strategy: OneDevice) -> keras.Model:
    """The same model in float32 and on one device."""
    values = model.get_weights()
    strategy.leave()
    keras.utils.set_random_seed(recipe.seed)  # a resumed run's twin draws as that of an uninterrupted one
    twin = build(dataclasses.replace(recipe, weights=None), splits.spec)
    twin.set_weights(values)
    return twin


def _result(
    model: keras.Model,
    recipe: Recipe,
    splits: Splits,
    run: Path,
    history: list[dict[str, float]],
    batches: Callable[[], Iterable[Any]],
    steps: int,
) -> keras.Model:
    """The float32 model that is saved: what the recipe asks for of the weights that training gave, without the parts only it needed."""
    if recipe.snapshots:
        return averaging.ensemble_of_snapshots(recipe, run / "checkpoints", history, lambda: build(recipe, splits.spec))
    averaging.put_result_in_place(model, recipe, run / "checkpoints", history, batches, steps=min(steps, 100))
    return recipe.task.trained(model)


def build(recipe: Recipe, spec: Any, precision: str = "float32", verbose: int = 0) -> keras.Model:
    """The recipe's training model, with the weights it starts from, frozen as far as the recipe says."""
    if hasattr(spec, "columns") and recipe.task.name != "regression":
        raise ValueError(f"a table is for the task Regression. Received: {spec.data_name!r} with {type(recipe.task).__name__}")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = recipe.task.build(recipe.model(image_shape=spec.image_shape), spec)
    finally:
        keras.config.set_dtype_policy(before)
    if recipe.initialisation:
        initialise = recipe.initialisation()
        for variable in _kernels(model):
            variable.assign(initialise(variable.shape, dtype=variable.dtype))
    if recipe.weights:
        report = _load_weights(recipe.task.trained(model), recipe.weights)
        if verbose:
            print(report, flush=True)
    if recipe.freeze:
        frozen = weights.freeze(model, recipe.freeze)
        if verbose:
            print(f"{frozen:,} parameters up to {recipe.freeze} stay as they are", flush=True)
    if recipe.regularisation:
        regularizer = recipe.regularisation()
        for variable in _kernels(model):
            variable.regularizer = regularizer
    return model


def _kernels(model: keras.Model) -> list[Any]:
    """No biases, norms, positions or tokens."""
    return [variable for variable in model.trainable_variables if "kernel" in variable.name]


def adapt_to_data(model: keras.Model, splits: Splits, pictures: int = 2000) -> None:
    """Lets every layer with a method `adapt_to(inputs)` set its weights from what training pictures, not augmented, give it."""
    adaptive = [(part, layer) for part in _models_in(model) for layer in part.layers if hasattr(layer, "adapt_to")]
    for part, layer in adaptive:
        some = splits.train.arrays(np.linspace(0, len(splits.train) - 1, min(pictures, len(splits.train))).astype(int))
        x = some["image"].astype("float32")
        if part is not model:  # a backbone stands behind the task's scaling
            x = model.get_layer("scaling")(x)
        layer.adapt_to(keras.Model(part.input, layer.input)(x))


def _models_in(model: keras.Model) -> list[keras.Model]:
    return [model, *(layer for layer in model.layers if isinstance(layer, keras.Model) and layer.trainable)]


def pretraining_spec(recipe: Recipe, spec: Any) -> Any:
    """The spec with the mean and std that the recipe's weights were trained with, where these come from torch."""
    if recipe.weights and weights.brings_scaling(recipe.weights):
        mean, std = weights.scaling(recipe.weights)
        return dataclasses.replace(spec, mean=mean, std=std)
    return spec


def compile_model(model: keras.Model, recipe: Recipe, total_steps: int) -> None:
    """Optimizer on its schedule, decay on kernels alone, the task's losses and metrics."""
    optimizer = recipe.optimizer(learning_rate=recipe.schedule(total_steps))
    if recipe.ema:
        micro_batches = optimizer.gradient_accumulation_steps or 1  # Keras averages after each of them
        optimizer.use_ema, optimizer.ema_momentum = True, recipe.ema ** (1 / micro_batches)
    if optimizer.weight_decay or getattr(optimizer, "adam_weight_decay", None):  # the second is Muon's, for what has no two axes
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "positions", "token", "exponent"])
    losses = {name: pair for name, pair in recipe.task.loss().items() if name in model.output}
    model.compile(
        optimizer,
        loss={name: loss for name, (loss, _) in losses.items()},
        loss_weights={name: weight for name, (_, weight) in losses.items()},
        metrics=recipe.task.metrics(),
        jit_compile=device.jit_compile(),
    )


def _is_finished(run: Path, recipe: Recipe) -> bool:
    if not ((run / "recipe.json").is_file() and (run / "model.keras").is_file()):
        return False
    _check_recipe(run, recipe)
    return True


def _check_run(run: Path, recipe: Recipe, resume: bool, overwrite: bool) -> bool:
    """Whether there is something to go on from: a run may have been killed before it wrote its recipe."""
    there = (run / "recipe.json").is_file()
    if resume and there:
        _check_recipe(run, recipe)
    elif resume:
        print(f"{run} holds no run yet: starting from the beginning", flush=True)
    elif there and not overwrite:
        raise FileExistsError(f"{run} holds a run already: resume it, overwrite it, or choose another run folder")
    return resume and there


def _check_recipe(run: Path, recipe: Recipe) -> None:
    mine, theirs = recipe.to_json(), Recipe.from_json(run / "recipe.json").to_json()  # a field that is new has its default
    if theirs != mine:
        changed = sorted(k for k in mine if theirs.get(k) != mine[k])
        raise ValueError(f"resume needs the recipe that the run was started with. Received: another {', '.join(changed)} in {run}")


def _start_run(run: Path, recipe: Recipe) -> None:
    """An empty run folder but for the recipe; what an overwritten run left is removed only now, when data and model are at hand.

    First its recipe: whatever moment this is killed at, `resume` finds the old run whole or none.
    """
    parts = (run / "recipe.json", run / "model.keras", *run.glob("*.*"))
    for old in (*parts, *(run / "checkpoints").glob("*.npz*"), *(run / "tensorboard").rglob("events.*")):
        if old.is_file():
            old.unlink()
    run.mkdir(parents=True, exist_ok=True)
    _write_json(run / "recipe.json", recipe.to_json())


def _default_batches() -> Batches:
    if find_spec("tensorflow"):
        return _tf_batches
    from kerasdl.data.arrays import array_batches

    return array_batches


def _tf_batches(splits: Splits, recipe: Recipe, start: int) -> Iterable[Any]:
    from kerasdl.data.pipeline import training_batches

    mixing = {"mix": recipe.mix, "classes": splits.spec.classes} if recipe.mix else {}
    return training_batches(splits.train, recipe.batch_size, recipe.seed, recipe.augment, start, sampler=recipe.sampler, **mixing)


def _for_every_output(model: keras.Model, task: Any, batches: Any) -> Any:
    """Batches whose targets are those of the model's outputs: its own where there is one, else the label, as of auxiliary classifiers.

    A loss with a memory takes the labels as an input besides.
    """
    if batches is None:
        return batches
    remembers = "label" in model.input

    def spread(inputs: Any, targets: Any, *weights: Any) -> tuple[Any, ...]:
        inputs, targets = task.batch(inputs, targets)
        if "attributes" in model.output and "attributes" not in targets:
            raise ValueError(f"attributes are learnt of pictures that have them and are not mixed. Received: the targets {sorted(targets)}")
        inputs = {**inputs, "label": targets["logits"]} if remembers else inputs
        return inputs, {name: targets[name if name in targets else "logits"] for name in model.output}, *weights

    if isinstance(batches, tuple):
        return spread(*batches)
    if hasattr(batches, "map"):  # a tf.data.Dataset
        return batches.map(spread)
    return (spread(*batch) for batch in batches)


def _validation(model: keras.Model, splits: Splits, recipe: Recipe, strategy: OneDevice) -> dict[str, Any]:
    """What `fit` is told of validation."""
    if not len(splits.valid) or not recipe.task.validates:
        return {}
    count, size = strategy.validation(len(splits.valid), 2 * recipe.batch_size)
    if keras.config.backend() == "tensorflow":
        from kerasdl.data.pipeline import evaluation_batches

        return {"validation_data": _for_every_output(model, recipe.task, evaluation_batches(splits.valid, size, limit=count))}
    fields = splits.valid.arrays(np.arange(count)[own_slice(count)])
    captions = {"tokens": fields["tokens"]} if "tokens" in fields else {}
    pairs = {seen(fields): fields[seen(fields)].astype("float32")}, {**held_against(fields), **captions}
    return {"validation_data": _for_every_output(model, recipe.task, pairs), "validation_batch_size": len(range(size)[own_slice(size)])}


def _load_weights(model: keras.Model, source: str) -> str:
    """Puts the values in place; a sentence on what was done."""
    if weights.is_hub_name(source):
        return str(weights.load_pretrained(model, source))
    if Path(source).suffix in (".safetensors", *weights.PICKLED):
        return str(weights.load_torch(model, source))
    if not Path(source).is_file():
        raise ValueError(
            f"weights must be a .keras, .weights.h5 or .safetensors file, or OWNER/NAME of the Hugging Face hub. Received: {source!r}"
        )
    if source.endswith(".weights.h5"):
        model.load_weights(source)
        return f"weights of {source}"
    theirs, mine = load_model(source).get_weights(), model.get_weights()
    if [w.shape for w in theirs] != [w.shape for w in mine]:
        raise ValueError(f"weights must come from the same architecture with the same classes. Received: {source!r}")
    model.set_weights(theirs)
    return f"weights of {source}"


def _tensorboard(run: Path) -> list[Any]:
    if keras.config.backend() != "tensorflow":
        return []
    return [keras.callbacks.TensorBoard(str(run / "tensorboard"), write_graph=False)]


def _write_figures(run: Path, recipe: Recipe, splits: Splits, predict: Any, history: list[dict[str, float]], findings: list[str]) -> None:
    if history:
        figures.curves(history, run / "curves.png", title=recipe.name, sentences=findings)
    if len(splits.valid):
        recipe.task.figures(run, predict, splits, title=f"{recipe.name}, validation split")


def _circumstances(recipe: Recipe, minutes: float) -> dict[str, Any]:
    commit, dirty = source_commit()
    packages = ["keras", "numpy", "tensorflow", "jax"]
    return {
        "train_minutes": round(minutes, 2),
        "device": device.describe(),
        "backend": keras.config.backend(),
        "command": _command(recipe),
        "seed": recipe.seed,
        "versions": {"kerasdl": __version__, "python": sys.version.split()[0], **{p: v for p in packages if (v := _version(p))}},
        "commit": commit,
        "dirty": dirty,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _command(recipe: Recipe) -> str:
    """What repeats the training elsewhere: without where its folder lies on this machine and how it was watched."""
    if Path(sys.argv[0]).stem not in ("kerasdl", "__main__"):
        return f"train({recipe.name!r})"
    words = list(sys.argv[1:])
    for place in [i for i, word in enumerate(words) if word == "--run-dir"][::-1]:
        del words[place : place + 2]
    words = [word for word in words if word not in ("--overwrite", "--resume", "--quiet") and not word.startswith("--run-dir=")]
    return shlex.join(["kerasdl", *words])


def source_commit() -> tuple[str | None, bool]:
    """The git commit of the checkout this package runs from and whether it has changes; (None, False) for an installed wheel."""

    def git(*words: str) -> str | None:
        done = subprocess.run(["git", "-C", str(Path(__file__).parent), *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        commit = git("rev-parse", "HEAD")
        return commit, bool(commit and git("status", "--porcelain", "--untracked-files=no"))
    except FileNotFoundError:  # no git on this machine
        return None, False


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _write_json(path: Path, value: Any) -> None:
    with whole_file(path) as file:
        file.write(json.dumps(value, indent=1) + "\n")
