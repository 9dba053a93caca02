"""A recipe is an experiment as a value: what is trained on what, how, and what it promises.

Variants are `dataclasses.replace(BASE, ...)`. In JSON a callable is `["module:function", kwargs]`; `--set model.patch=2`
changes a keyword argument, `--set epochs=3` a field.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import json
import pkgutil
import sys
import typing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kerasdl.names import nearest

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
RESULTS = ("ema", "average", "snapshots", "early_stopping")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One experiment.

    name: of the recipe, the run folder, the bundle and the page entry.
    note: what it is, in a sentence or two.
    data: `() -> Splits`.
    model: `(image_shape=...) -> keras.Model`, a backbone.
    task: what a prediction means.
    epochs: passes over the training examples; 0 only where the task has a closed form, which then is the result.
    augment: functions `(image, seed) -> image` of the training pictures.
    mix: None, or a function `(images, targets, seed) -> (images, targets)` of a training batch and its one-hot labels: mixup, CutMix.
    sampler: None for passes over all examples in random order, or a function of `kerasdl.data.samplers` that puts batches together.
    weights: what the model starts from: None, a `.keras` or `.weights.h5` file, torch's names in a `.safetensors` file, or a timm
        repository of the Hugging Face hub ("timm/resnet50.a1_in1k"). The last two bring the mean and std of their pictures (a file
        from the config.json beside it, else ImageNet's), and their classifier only where the classes are as many.
    freeze: None, or the stage up to which, from the stem on, nothing trains ("stage2").
    optimizer: `(learning_rate) -> keras.optimizers.Optimizer`.
    schedule: `(total_steps) -> learning rate or LearningRateSchedule`.
    initialisation: None for the model's own, or `() -> keras.initializers.Initializer` for every kernel that trains.
    regularisation: None, or `() -> keras.regularizers.Regularizer` for every kernel (never biases or norms).
    ema: None, or the momentum of averaged weights, which then are the result (BatchNormalization statistics are re-estimated).
    average: None, or N: the result is the mean of the weights after each of the last N epochs (statistics re-estimated).
    snapshots: None, or N: the result is the ensemble of the N models at the ends of N equal parts of the training
        (`schedules.cosine_cycles`), one model that averages their probabilities.
    early_stopping: None, or the number of epochs without a better validation loss after which training ends; the best epoch is the
        result. At most one of ema, average, snapshots and early_stopping decides the result.
    precision: "float32", or "mixed_bfloat16" / "mixed_float16": half-width activations over float32 weights in training only; the
        saved model is its float32 twin.
    deterministic: two runs on one machine give bit-equal weights, at some cost of speed.
    expect: scores on the test split that the recipe promises.
    minutes: on 2 CPU cores.
    """

    name: str
    note: str
    data: Callable[..., Any]
    model: Callable[..., Any]
    task: Any
    epochs: int
    batch_size: int
    optimizer: Callable[..., Any]
    schedule: Callable[..., Any]
    augment: tuple[Callable[..., Any], ...] = ()
    mix: Callable[..., Any] | None = None
    sampler: Callable[..., Any] | None = None
    weights: str | None = None
    freeze: str | None = None
    initialisation: Callable[..., Any] | None = None
    regularisation: Callable[..., Any] | None = None
    ema: float | None = None
    average: int | None = None
    snapshots: int | None = None
    early_stopping: int | None = None
    seed: int = 0
    precision: str = "float32"
    deterministic: bool = False
    expect: dict[str, float] = dataclasses.field(default_factory=dict)
    minutes: float | None = None

    def __post_init__(self) -> None:
        if not self.name or any(c in self.name for c in '/\\:*?"<>| ') or self.name.startswith("."):
            raise ValueError(f"a recipe's name is a folder's name, without blanks or slashes. Received: {self.name!r}")
        least = {"epochs": 0 if getattr(self.task, "closed_form", False) else 1, "batch_size": 1}
        for field in least:
            if getattr(self, field) < least[field]:
                raise ValueError(f"{field} must be at least {least[field]}. Received: {getattr(self, field)}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is one of {', '.join(PRECISIONS)}. Received: {self.precision!r}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema is a momentum in (0, 1). Received: {self.ema}")
        self._check_result()

    def _check_result(self) -> None:
        chosen = {name: value for name in RESULTS if (value := getattr(self, name)) is not None}
        if len(chosen) > 1:
            raise ValueError(f"at most one of {', '.join(RESULTS)} decides what the result is. Received: {chosen}")
        for name in ("average", "snapshots", "early_stopping"):
            if chosen.get(name, 1) < 1:
                raise ValueError(f"{name} must be at least 1. Received: {chosen[name]}")
        if (self.average or 0) > self.epochs:
            raise ValueError(f"average must not exceed the {self.epochs} epochs. Received: {self.average}")
        if self.snapshots and self.epochs % self.snapshots:
            raise ValueError(f"snapshots must divide the {self.epochs} epochs. Received: {self.snapshots}")

    def to_json(self) -> dict[str, Any]:
        return {field.name: _to_plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_json(cls, plain: dict[str, Any] | str | Path) -> Recipe:
        values: dict[str, Any] = plain if isinstance(plain, dict) else json.loads(Path(plain).read_text(encoding="utf-8"))
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := set(values) - known:
            raise ValueError(f"a recipe has the fields {sorted(known)}. Received also: {sorted(unknown)}")
        values = {name: _from_plain(value) for name, value in values.items()}
        values["augment"] = tuple(values.get("augment", ()))
        return cls(**values)


def _to_plain(value: Any) -> Any:
    if isinstance(value, partial):
        options = {**{f"*{i}": argument for i, argument in enumerate(value.args)}, **value.keywords}
        return [_address(value.func), {k: _to_plain(v) for k, v in options.items()}]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if getattr(value, f.name) != f.default}
        return [_address(type(value)), {k: _to_plain(v) for k, v in changed.items()}]
    if callable(value):
        return [_address(value), {}]
    if isinstance(value, tuple | list):
        return [_to_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _to_plain(v) for k, v in value.items()}
    return value


def _address(function: Any) -> str:
    # `keras.src...` is where Keras keeps its classes today; the public name is the one that lasts.
    module, name = function.__module__, function.__qualname__
    if module.startswith("keras.src."):
        for public in ("keras.optimizers", "keras.regularizers", "keras.losses", "keras.layers"):
            if getattr(importlib.import_module(public), name, None) is function:
                module = public
    if "<" in name:
        raise ValueError(f"a recipe's functions must be importable by name. Received: {function!r}")
    return f"{module}:{name}"


def _is_call(plain: Any) -> bool:
    return isinstance(plain, list) and len(plain) == 2 and isinstance(plain[0], str) and ":" in plain[0] and isinstance(plain[1], dict)


def _from_plain(plain: Any) -> Any:
    if _is_call(plain):
        module, _, name = plain[0].partition(":")
        target = getattr(_module(module), name, None)
        if target is None:
            raise ValueError(f"the module {module} of a recipe has no {name} any more. Received: {plain[0]!r}")
        positional = [_from_plain(plain[1][k]) for k in sorted(k for k in plain[1] if k.startswith("*"))]
        options = {k: _from_plain(v) for k, v in plain[1].items() if not k.startswith("*")}
        if isinstance(target, type) and dataclasses.is_dataclass(target):
            return target(*positional, **options)
        return partial(target, *positional, **options) if positional or options else target
    if isinstance(plain, list):
        return [_from_plain(p) for p in plain]
    return plain


def _module(name: str) -> Any:
    """A module by name, also one that lies in the working folder, where a recipe file of the user's usually is."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as problem:
        if problem.name != name:
            raise
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ValueError(
            f"a recipe's functions must be importable: start in the folder of {name}.py, or put it on PYTHONPATH. Received: {name!r}"
        ) from None
    finally:
        sys.path.pop(0)


def list_recipes() -> dict[str, Recipe]:
    """All recipes of `kerasdl.recipes` by name, sorted."""
    import kerasdl.recipes as package

    found: dict[str, Recipe] = {}
    for module in pkgutil.iter_modules(package.__path__):
        found.update(_recipes_in(importlib.import_module(f"{package.__name__}.{module.name}")))
    return dict(sorted(found.items()))


def find_recipe(name: str) -> Recipe:
    """The recipe called `name`, or `FILE.py:VARIABLE` (or its name) from a file of the user's; ValueError that names the nearest."""
    file, colon, wanted = name.rpartition(":")
    if colon and file.endswith(".py"):
        return _from_file(Path(file), wanted)
    recipes = list_recipes()
    if name not in recipes:
        raise ValueError(f"unknown recipe. Received: {name!r}. {nearest(name, recipes)}")
    return recipes[name]


def _from_file(path: Path, wanted: str) -> Recipe:
    if not path.is_file():
        raise ValueError(f"no such recipe file. Received: {str(path)!r}")
    sys.path.insert(0, str(path.resolve().parent))  # so that the functions of the file keep importable names
    try:
        module = importlib.import_module(path.stem)
    finally:
        sys.path.pop(0)
    if Path(str(module.__file__)).resolve() != path.resolve():
        raise ValueError(f"another module is already called {path.stem!r}: rename the recipe file. Received: {str(path)!r}")
    by_variable = {key: value for key, value in vars(module).items() if isinstance(value, Recipe)}
    by_name = {recipe.name: recipe for recipe in by_variable.values()}
    if wanted not in by_variable and wanted not in by_name:
        raise ValueError(f"no such recipe in {path.name}. Received: {wanted!r}. {nearest(wanted, [*by_variable, *by_name])}")
    return by_variable.get(wanted) or by_name[wanted]


def _recipes_in(module: Any) -> dict[str, Recipe]:
    return {value.name: value for value in vars(module).values() if isinstance(value, Recipe)}


def override(recipe: Recipe, settings: list[str]) -> Recipe:
    """The recipe with `FIELD=VALUE` or `FIELD.KEYWORD=VALUE` settings applied, in order.

    A value is a Python literal, or text where it is none. ValueError with the field's type and what it got.
    """
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"--set takes FIELD=VALUE. Received: {setting!r}")
        field, _, keyword = key.partition(".")
        known = {f.name: f for f in dataclasses.fields(Recipe)}
        if field not in known:
            raise ValueError(f"a recipe has no such field. Received: {field!r}. {nearest(field, known)}")
        value = _literal(text)
        if keyword:
            recipe = dataclasses.replace(recipe, **{field: _with_keyword(getattr(recipe, field), field, keyword, value)})
        else:
            recipe = dataclasses.replace(recipe, **{field: _checked(field, value, text)})
    return recipe


def _literal(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _checked(field: str, value: Any, text: str) -> Any:
    if field in ("data", "model", "optimizer", "schedule", "task", "augment", "mix", "sampler", "initialisation", "regularisation"):
        raise ValueError(f"{field} is a function: set one of its arguments as {field}.ARGUMENT=VALUE. Received: {field}={text}")
    hint = typing.get_type_hints(Recipe)[field]
    allowed = tuple(typing.get_origin(t) or t for t in typing.get_args(hint)) or (typing.get_origin(hint) or hint,)
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        kinds = " or ".join("None" if t is type(None) else t.__name__ for t in allowed)
        raise ValueError(f"{field} is of type {kinds}. Received: {text!r} ({type(value).__name__})")
    return value


def _with_keyword(target: Any, field: str, keyword: str, value: Any) -> Any:
    if field == "augment":
        raise ValueError("augment is a list of functions: write a variant of the recipe to change one. Received: augment." + keyword)
    if isinstance(target, dict):
        return {**target, keyword: value}
    if dataclasses.is_dataclass(target) and not isinstance(target, type):
        names = [f.name for f in dataclasses.fields(target)]
        if keyword not in names:
            raise ValueError(f"{field} has no such field. Received: {keyword!r}. {nearest(keyword, names)}")
        return dataclasses.replace(target, **{keyword: value})
    if target is None or not callable(target):
        raise ValueError(f"{field} takes no arguments here. Received: {field}.{keyword}")
    function, options = (target.func, target.keywords) if isinstance(target, partial) else (target, {})
    _check_keyword(function, field, keyword, value)
    positional = target.args if isinstance(target, partial) else ()
    return partial(function, *positional, **{**options, keyword: value})


def _check_keyword(function: Callable, field: str, keyword: str, value: Any) -> None:
    import inspect

    parameters = inspect.signature(function).parameters
    if keyword not in parameters:
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) and field == "optimizer":
            return  # every Keras optimizer takes the base class's arguments through **kwargs, and checks them itself
        raise ValueError(f"{field} has no such argument. Received: {keyword!r}. {nearest(keyword, parameters)}")
    default = parameters[keyword].default
    if default in (inspect.Parameter.empty, None) or value is None:
        return
    fits = isinstance(value, (int, float)) if isinstance(default, float) else isinstance(value, type(default))
    if isinstance(default, (int, float)) and isinstance(value, bool) != isinstance(default, bool):
        fits = False
    if not fits:
        raise ValueError(f"{field}.{keyword} is of type {type(default).__name__}. Received: {value!r} ({type(value).__name__})")
