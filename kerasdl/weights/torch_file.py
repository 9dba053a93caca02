"""A torch state dict in a safetensors file, put into one of our models: every tensor used once, every weight set once, or nothing.

The rules are those of the layers' own shapes: a convolution (O,I,h,w) is (h,w,I,O) here, a linear layer (O,I) is (I,O), and the first
linear layer after a flattening read its input as C,H,W where ours reads H,W,C. `torch_names` says which layer is which.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasdl.layers.positions import resize_positions
from kerasdl.weights.torch_names import family_of, layer_names

PICKLED = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar", ".th")
HEADS = ("logits", "aux1", "aux2")  # their outputs are the classes
TENSORS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
SHOWN = 20  # names in an error

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of a file.

    loaded: the tensors that are now in the model.
    skipped: tensors that the model has no place for and does not need: auxiliary heads, or the classifier of a model without one.
    kept: layers that stay as they were: the classifier, when the file has none or one for another number of classes.
    resized: what was resampled, such as the positions of a ViT for another picture size.
    note: what the file's makers did to the pictures, where it is not the usual scaling.
    """

    loaded: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    resized: tuple[str, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        parts += [f"not needed: {_listed(self.skipped)}"] if self.skipped else []
        parts += [f"as they were: {_listed(self.kept)}"] if self.kept else []
        parts += [f"resized: {_listed(self.resized)}"] if self.resized else []
        return "; ".join(parts) + "." + (f" {self.note}" if self.note else "")


def load_torch(model: keras.Model, path: str | Path) -> Report:
    """Puts the weights of a torchvision or timm model, in a safetensors file, into `model`.

    Args:
        model: a backbone of `find_model`, a model of `create_model`, or a task's training model around one.
        path: the `.safetensors` file; float16 and bfloat16 become the model's own type.

    Returns:
        What was loaded, and what was not.

    Raises:
        ValueError: when the file cannot be read, a tensor is left over, a weight is missing or a shape differs. Nothing is assigned then.
    """
    tensors = _without_prefix(read_safetensors(path))
    layers = _layers_with_weights(model)
    family = family_of(layers)
    if not family:
        raise ValueError(f"torch weights exist for AlexNet, VGG, GoogLeNet, ResNet, DenseNet and ViT. Received: the model {model.name!r}")
    match = _match(layers, tensors, family)
    faults = match.faults()
    if faults:
        raise ValueError("\n".join([f"{Path(path).name} does not fit the model {model.name!r}; nothing was loaded.", *faults]))
    for name, variable in match.wanted.items():
        variable.assign(match.values[name].astype("float32"))
    return Report(tuple(match.loaded), tuple(match.skipped), tuple(match.kept), tuple(match.resized), NOTES.get(family, ""))


NOTES = {
    "googlenet": "torchvision's published googlenet scales its pictures once more inside (transform_input): "
    "for its weights give the data mean 0.5 and std 0.5 in place of ImageNet's."
}


# --- reading ---


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Name to array, of a whole and readable `.safetensors` file; ValueError with what to do otherwise."""
    import safetensors

    path = Path(path)
    if path.suffix in PICKLED:
        raise ValueError(
            "a pickle can run any code that its author put in, so that only safetensors are read; convert it where you trust it: "
            "import torch, safetensors.torch as s; s.save_file({k: v.contiguous() for k, v in "
            f"torch.load({path.name!r}, 'cpu', weights_only=True).items()}}, {path.with_suffix('.safetensors').name!r}). "
            f"Received: {str(path)!r}"
        )
    if path.suffix != ".safetensors":
        raise ValueError(f"torch weights come in a .safetensors file. Received: {str(path)!r}")
    if not path.is_file():
        raise ValueError(f"there is no such weight file. Received: {str(path)!r}")
    try:
        with safetensors.safe_open(path, framework="np") as file:
            return {name: file.get_tensor(name) for name in sorted(file.keys())}
    except Exception as problem:  # the library's own exception, or an unknown type of number
        raise ValueError(f"the weight file is damaged or cut off ({problem}). Received: {str(path)!r}") from None


def _without_prefix(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`module.` stands before every name of a model that was trained on several GPUs."""
    if tensors and all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def _split(name: str) -> tuple[str, str]:
    """Module path and kind of tensor: ("layer1.0.conv1", "weight"); a bare parameter has the kind ""."""
    path, _, kind = name.rpartition(".")
    if kind in TENSORS:
        return path, kind
    for kind in ("weight", "bias"):  # torch's attention: in_proj_weight
        if name.endswith(f".in_proj_{kind}"):
            return name.removesuffix(f"_{kind}"), kind
    return name, ""


# --- matching ---


def _layers_with_weights(model: keras.Model) -> dict[str, Any]:
    found = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            inner = _layers_with_weights(layer)
        else:
            inner = {layer.name: layer} if layer.weights else {}
        twice = found.keys() & inner.keys()
        if twice:
            raise ValueError(f"layers with weights need names of their own. Received: {_listed(sorted(twice))} twice in {model.name!r}")
        found |= inner
    return found


@dataclasses.dataclass
class _Match:
    """Which array goes into which weight, and what does not fit; complete before anything is assigned."""

    wanted: dict[str, Any] = dataclasses.field(default_factory=dict)  # weight's name -> variable
    values: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  # weight's name -> array in our layout
    loaded: list[str] = dataclasses.field(default_factory=list)
    skipped: list[str] = dataclasses.field(default_factory=list)
    kept: list[str] = dataclasses.field(default_factory=list)
    resized: list[str] = dataclasses.field(default_factory=list)
    left_over: list[str] = dataclasses.field(default_factory=list)
    misfits: list[str] = dataclasses.field(default_factory=list)
    advice: list[str] = dataclasses.field(default_factory=list)

    def faults(self) -> list[str]:
        missing = [name for name in self.wanted if name not in self.values]
        lines = [
            (missing, "The file has no tensor for {} weights of the model: {}."),
            (self.left_over, "The model has no place for {} tensors of the file: {}."),
            (self.misfits, "Shapes differ for {} tensors of the file: {}."),
        ]
        return [line.format(len(names), _listed(names)) for names, line in lines if names] + self.advice


def _match(layers: dict[str, Any], tensors: dict[str, np.ndarray], family: str) -> _Match:
    paths = {name: _split(name) for name in tensors}
    shapes = {path: tensors[name].shape for name, (path, _) in paths.items()}  # of the weight: the last of a module's sorted names
    places = layer_names(family, list(layers), shapes)
    outputs = {place: shapes[path][0] for path, place in places.items() if place in HEADS}

    match = _Match()
    match.kept = [name for name in HEADS if name in layers and outputs.get(name) != layers[name].units]
    match.wanted = {
        f"{name}/{variable.name}": variable for name, layer in layers.items() if name not in match.kept for variable in layer.weights
    }
    for name, (path, kind) in paths.items():
        place = places.get(path, "")
        if kind == "num_batches_tracked":
            continue
        if place in match.kept or (place not in layers and (place in HEADS or place.startswith("aux"))):
            match.skipped.append(name)
            continue
        weight = f"{place}/{_weight_name(layers.get(place), kind)}"
        if weight not in match.wanted or weight in match.values:
            match.left_over.append(f"{name} {tensors[name].shape}")
            continue
        value = _converted(tensors[name], layers[place], kind)
        variable = match.wanted[weight]
        if place == "positions" and value.shape != variable.shape:
            value = _resized_positions(value, layers, match)
        if value.shape != tuple(variable.shape):
            first = place == next(iter(layers)) and value.ndim == 4 and value.shape[:2] == variable.shape[:2]
            if first and value.shape[2] != variable.shape[2]:
                match.advice.append(f"The file reads pictures of {value.shape[2]} channels, the model of {variable.shape[2]}.")
            match.misfits.append(f"{name} {tensors[name].shape} would be {value.shape} and {weight} is {tuple(variable.shape)}")
        match.values[weight] = value
        match.loaded.append(name)
    return match


def _weight_name(layer: Any, kind: str) -> str:
    """Keras' name of torch's `weight`, `bias`, ...; a layer's own parameter (a class token) is its only weight."""
    if layer is None:
        return ""
    if kind == "":
        return layer.weights[0].name if len(layer.weights) == 1 else ""
    normalises = isinstance(layer, keras.layers.BatchNormalization | keras.layers.LayerNormalization)
    return NORM[kind] if normalises else {"weight": "kernel", "bias": "bias"}.get(kind, "")


def _converted(array: np.ndarray, layer: Any, kind: str) -> np.ndarray:
    if kind != "weight" or array.ndim < 2:
        return array
    dense = isinstance(layer, keras.layers.Dense)
    if array.ndim == 2:
        unflattened = _flattened_shape(layer) if dense else (1, 1, array.shape[1])
        if math.prod(unflattened) != array.shape[1]:
            return array.T
        height, width, channels = unflattened
        array = array.reshape(-1, channels, height, width)
    array = array.transpose(2, 3, 1, 0)  # (O, I, h, w) to (h, w, I, O)
    return array.reshape(-1, array.shape[-1]) if dense else array


def _flattened_shape(layer: Any) -> Shape:
    """(H,W,C) where `layer` reads a flattened picture, else (1,1,D): dropout may stand between."""
    x = layer.input
    while True:
        before = x._keras_history.operation
        if isinstance(before, keras.layers.Flatten) and len(before.input.shape) == 4:
            return tuple(before.input.shape[1:])
        if not isinstance(before, keras.layers.Dropout):
            return (1, 1, x.shape[-1])
        x = before.input


def _resized_positions(positions: np.ndarray, layers: dict[str, Any], match: _Match) -> np.ndarray:
    """Positions of a square grid of patches, as published, for the grid of this model."""
    extra = int("class_token" in layers)
    side = math.isqrt(max(positions.shape[1] - extra, 0)) if positions.ndim == 3 else 0
    if positions.ndim != 3 or side * side + extra != positions.shape[1]:
        return positions  # a misfit: no square grid
    new = tuple(layers["patch_conv"].output.shape[1:3])
    match.resized.append(f"positions {side}x{side} -> {new[0]}x{new[1]}")
    return resize_positions(positions.astype("float32"), (side, side), new, extra)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
