"""From a recipe to a run folder. `train` reads top to bottom: seed, data, model, fit, score, save."""

from __future__ import annotations

import dataclasses
import json
import os
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
from kerasdl.data.splits import Splits
from kerasdl.diagnosis import diagnose
from kerasdl.fused_norm import use_fused_norms
from kerasdl.metrics import confusion_matrix
from kerasdl.models import load_model
from kerasdl.progress import Progress
from kerasdl.recipe import Recipe

Batches = Callable[[Splits, Recipe, int], Iterable[Any]]


def train(
    recipe: Recipe,
    run_dir: str | Path = "runs",
    resume: bool = False,
    overwrite: bool = False,
    batches: Batches | None = None,
    verbose: int = 1,
) -> Path:
    """Train a recipe and write RUN_DIR/NAME/.

    Args:
        recipe: the experiment.
        run_dir: the folder that holds run folders.
        resume: go on from the last finished epoch of an interrupted run of the same recipe.
        overwrite: replace a run that is there.
        batches: `(splits, recipe, start) -> iterable` of training batches in place of the tf.data pipeline (or, where TensorFlow is
            absent, of `kerasdl.data.arrays`); `start` counts the examples already consumed.
        verbose: 1 progress with time left, 2 a line an epoch, 0 silent.

    Returns:
        The run folder: recipe.json spec.json data.json history.csv tensorboard/ checkpoints/ curves.png confusion.png metrics.json
        model.keras.

    Raises:
        FileExistsError: the run is there and neither `resume` nor `overwrite` was asked for.
        ValueError: `resume` of another recipe.
    """
    run = Path(run_dir) / recipe.name
    _check_run(run, recipe, resume, overwrite)
    device.prepare(recipe.deterministic)
    keras.utils.set_random_seed(recipe.seed)

    splits = recipe.data()
    if verbose and recipe.weights:
        print(f"starting from {recipe.weights}", flush=True)  # a download may take a while, and a hub that is away half a minute
    splits = dataclasses.replace(splits, spec=pretraining_spec(recipe, splits.spec))
    steps = len(splits.train) // recipe.batch_size
    if steps < 1:
        raise ValueError(
            f"batch_size must not exceed the training examples. Received: {recipe.batch_size} for {len(splits.train)} examples"
        )
    stream = batches or _default_batches()
    model = build(recipe, splits.spec, recipe.precision, verbose)
    adapt_to_data(model, splits)
    compile_model(model, recipe, total_steps=steps * recipe.epochs)
    if not resume:
        _start_run(run, recipe)
    _write_json(run / "spec.json", splits.spec.to_json())
    _write_json(run / "data.json", splits.card)
    if device.on_tensorflow_cpu():
        use_fused_norms(model)
    done, history, minutes = checkpoint.restore(model, run / "checkpoints") if resume else (0, [], 0.0)
    progress = Progress(recipe.epochs, steps, recipe.batch_size, done, lines_only=verbose == 2, silent=not verbose, history=history)
    keep = checkpoint.EveryEpoch(run, history, minutes)

    if done < recipe.epochs and not averaging.should_stop(recipe, history):
        model.fit(
            _for_every_output(model, stream(splits, recipe, done * steps * recipe.batch_size)),
            validation_data=_for_every_output(model, _validation(splits, recipe)),
            initial_epoch=done,
            epochs=recipe.epochs,
            steps_per_epoch=steps,
            callbacks=[
                progress,
                averaging.KeepWeights(recipe, run / "checkpoints", keep.history),
                keep,
                *_tensorboard(run),
            ],
            shuffle=False,  # the stream is shuffled already
            verbose=0,  # type: ignore[arg-type]
        )
    elif recipe.ema:  # stopped between the last checkpoint and the end of fit, which puts the averages in place
        model.optimizer.finalize_variable_values(model.trainable_variables)

    result = _result(model, recipe, splits, run, keep.history, lambda: stream(splits, recipe, 0), steps)
    serving = recipe.task.serving(result, splits.spec)["model"]

    def predict(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return serving.predict_on_batch(inputs)

    scores = recipe.task.evaluate(predict, splits, "valid")
    _write_figures(run, recipe, splits, predict, keep.history)
    findings = diagnose(keep.history)
    if verbose:
        print(*findings, sep="\n", flush=True)
    _write_json(run / "metrics.json", {"valid": scores, "diagnosis": findings, **_circumstances(recipe, keep.minutes)})
    result.save(run / "model.tmp.keras")
    os.replace(run / "model.tmp.keras", run / "model.keras")  # the last file: its presence says that the run is whole
    return run


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

    def twin() -> keras.Model:
        return build(recipe, splits.spec)

    if recipe.snapshots:
        return averaging.ensemble_of_snapshots(recipe, run / "checkpoints", history, twin)
    averaging.put_result_in_place(model, recipe, run / "checkpoints", history, batches, steps=min(steps, 100))
    if recipe.precision != "float32":
        weights_now, model = model.get_weights(), twin()
        model.set_weights(weights_now)
    return recipe.task.trained(model)


def build(recipe: Recipe, spec: Any, precision: str = "float32", verbose: int = 0) -> keras.Model:
    """The recipe's training model, with the weights it starts from, frozen as far as the recipe says."""
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
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "positions", "token"])
    losses = {name: pair for name, pair in recipe.task.loss().items() if name in model.output}
    model.compile(
        optimizer,
        loss={name: loss for name, (loss, _) in losses.items()},
        loss_weights={name: weight for name, (_, weight) in losses.items()},
        metrics=recipe.task.metrics(),
        jit_compile=device.jit_compile(),
    )


def _check_run(run: Path, recipe: Recipe, resume: bool, overwrite: bool) -> None:
    if not resume:
        if (run / "recipe.json").exists() and not overwrite:
            raise FileExistsError(f"{run} holds a run already: resume it, overwrite it, or choose another run folder")
        return
    if not (run / "recipe.json").is_file():
        raise ValueError(f"nothing to resume: {run} holds no run yet")
    mine, theirs = recipe.to_json(), Recipe.from_json(run / "recipe.json").to_json()  # a field that is new has its default
    if theirs != mine:
        changed = sorted(k for k in mine if theirs.get(k) != mine[k])
        raise ValueError(f"resume needs the recipe that the run was started with. Received: another {', '.join(changed)} in {run}")


def _start_run(run: Path, recipe: Recipe) -> None:
    """An empty run folder but for the recipe; what an overwritten run left is removed only now, when data and model are at hand."""
    for old in (*run.glob("*.*"), *(run / "checkpoints").glob("*.npz"), *(run / "tensorboard").rglob("events.*")):
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
    return training_batches(splits.train, recipe.batch_size, recipe.seed, recipe.augment, start, **mixing)


def _for_every_output(model: keras.Model, batches: Any) -> Any:
    """Batches whose targets name every output of the model: an auxiliary classifier learns the labels of the main one."""
    if batches is None or list(model.output) == ["logits"]:
        return batches

    def spread(inputs: Any, targets: Any) -> tuple[Any, Any]:
        return inputs, {name: targets.get(name, targets["logits"]) for name in model.output}

    if isinstance(batches, tuple):
        return spread(*batches)
    if hasattr(batches, "map"):  # a tf.data.Dataset
        return batches.map(spread)
    return (spread(*batch) for batch in batches)


def _validation(splits: Splits, recipe: Recipe) -> Any:
    if not len(splits.valid):
        return None
    if keras.config.backend() == "tensorflow":
        from kerasdl.data.pipeline import evaluation_batches

        return evaluation_batches(splits.valid, 2 * recipe.batch_size)
    fields = splits.valid.arrays()
    return {"image": fields["image"].astype("float32")}, {"logits": fields["label"]}


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


def _write_figures(run: Path, recipe: Recipe, splits: Splits, predict: Any, history: list[dict[str, float]]) -> None:
    figures.curves(history, run / "curves.png", title=recipe.name)
    if not len(splits.valid):
        return
    decisions, labels = [], []
    for start in range(0, len(splits.valid), 256):
        examples = splits.valid.arrays(np.arange(start, min(start + 256, len(splits.valid))))
        decisions.append(recipe.task.decide(predict(recipe.task.inputs(examples)))[0])
        labels.append(examples["label"])
    matrix = confusion_matrix(np.concatenate(labels), np.concatenate(decisions), splits.spec.classes)
    figures.confusion(matrix, splits.spec.labels, run / "confusion.png", title=f"{recipe.name}, validation split")


def _circumstances(recipe: Recipe, minutes: float) -> dict[str, Any]:
    commit, dirty = source_commit()
    packages = ["keras", "numpy", "tensorflow", "jax"]
    return {
        "train_minutes": round(minutes, 2),
        "device": device.describe(),
        "backend": keras.config.backend(),
        "command": shlex.join(["kerasdl", *sys.argv[1:]])
        if Path(sys.argv[0]).stem in ("kerasdl", "__main__")
        else f"train({recipe.name!r})",
        "seed": recipe.seed,
        "versions": {"kerasdl": __version__, "python": sys.version.split()[0], **{p: v for p in packages if (v := _version(p))}},
        "commit": commit,
        "dirty": dirty,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


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
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)
