"""The zoo: picture in, features out. `__all__` is the registry; a name in it is a name on the command line.

A builder `f(image_shape=..., **options)` returns a functional `keras.Model` with one input `image` (float32, B,H,W,C, already
normalised) and one output, what comes before a classifier: (B,H,W,C), (B,N,C) or (B,D).
"""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable
from typing import Any

import keras

from kerasdl.models.airbench import airbench94
from kerasdl.models.alexnet import alexnet, alexnet_2012
from kerasdl.models.basis import polynomial, random_fourier
from kerasdl.models.densenet import (
    densenet40_12,
    densenet121,
    densenet161,
    densenet169,
    densenet201,
    densenet264,
    densenet264_k48,
    densenet_bc_40_12,
    densenet_bc_100_12,
)
from kerasdl.models.googlenet import googlenet, googlenet_2014
from kerasdl.models.head import classification_outputs
from kerasdl.models.lenet import lenet5
from kerasdl.models.linear import linear_regression, maxout_mlp, mlp, softmax_regression
from kerasdl.models.osnet import osnet_x0_5, osnet_x0_25, osnet_x0_75, osnet_x1_0
from kerasdl.models.resnet import (
    resnet18,
    resnet18_small,
    resnet34,
    resnet50,
    resnet50_sd,
    resnet101,
    resnet152,
    se_resnet18,
    se_resnet34,
    se_resnet50,
    se_resnet101,
    se_resnet152,
)
from kerasdl.models.resnet_cifar import resnet20, resnet32, resnet44, resnet56, resnet110
from kerasdl.models.vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from kerasdl.models.vit import vit_b16, vit_b32, vit_h14, vit_l16, vit_l32, vit_s16, vit_s32, vit_ti4, vit_ti16
from kerasdl.names import nearest

__all__ = [
    "airbench94",
    "alexnet",
    "alexnet_2012",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "densenet264",
    "densenet264_k48",
    "densenet40_12",
    "densenet_bc_100_12",
    "densenet_bc_40_12",
    "googlenet",
    "googlenet_2014",
    "lenet5",
    "linear_regression",
    "maxout_mlp",
    "mlp",
    "osnet_x0_25",
    "osnet_x0_5",
    "osnet_x0_75",
    "osnet_x1_0",
    "polynomial",
    "random_fourier",
    "resnet101",
    "resnet110",
    "resnet152",
    "resnet18",
    "resnet18_small",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet50_sd",
    "resnet56",
    "se_resnet101",
    "se_resnet152",
    "se_resnet18",
    "se_resnet34",
    "se_resnet50",
    "softmax_regression",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "vit_b16",
    "vit_b32",
    "vit_h14",
    "vit_l16",
    "vit_l32",
    "vit_s16",
    "vit_s32",
    "vit_ti16",
    "vit_ti4",
]


def list_models(pattern: str = "*") -> list[str]:
    """Registered names that match a shell pattern, sorted."""
    return fnmatch.filter(sorted(__all__), pattern)


def find_model(name: str) -> Callable[..., keras.Model]:
    """The builder registered as `name`; ValueError that names the nearest otherwise."""
    if name not in __all__:
        raise ValueError(f"unknown model. Received: {name!r}. {nearest(name, __all__)}")
    return globals()[name]


def create_model(
    name: str,
    classes: int = 1000,
    image_shape: tuple[int, int, int] | None = None,
    dropout: float | None = None,
    **options: Any,
) -> keras.Model:
    """A registered model with a classification head, untrained.

    Args:
        name: registry name, see `list_models()`.
        classes: number of classes, at least 1.
        image_shape: (height, width, channels); the architecture's own by default.
        dropout: rate, as published by default. An architecture with places of its own for it (AlexNet, VGG, DenseNet, ViT, the MLP)
            has it there; the others before the last layer.
        **options: further arguments of the builder.

    Returns:
        `keras.Model` named `name`: normalised float32 (B,H,W,C) in, logits float32 (B,classes) out, last layer named `logits`. With
        `aux=True`, where the architecture has auxiliary classifiers, a dict of `logits`, `aux1` and `aux2`.
    """
    if not isinstance(classes, int) or classes < 1:
        raise ValueError(f"classes must be a whole number of at least 1. Received: {classes!r}")
    builder = find_model(name)
    if image_shape is not None:
        options["image_shape"] = tuple(image_shape)
    accepted = inspect.signature(builder).parameters
    if unknown := [option for option in options if option not in accepted]:
        raise ValueError(f"{name} takes the options {', '.join(accepted)}. Received: {', '.join(unknown)}")
    if dropout is not None and "dropout" in accepted:
        options["dropout"], dropout = dropout, None
    backbone = builder(**options)
    outputs = classification_outputs(backbone.output, classes, dropout or 0.0)
    return keras.Model(backbone.input, outputs if len(outputs) > 1 else outputs["logits"], name=name)


def features(model: keras.Model, *stages: str) -> keras.Model:
    """The same input, cut at named layers (`stage1`, `stage2`, ...), looking inside nested models too.

    One name gives one output tensor; several give a dict. ValueError that lists the stages when a name is not there.
    """
    if not stages:
        raise ValueError(f"features needs at least one layer name. Received: none, stages are {_stage_names(model)}")
    found = {stage: _find_output(model, stage) for stage in stages}
    owner = next(iter(found.values()))[0]
    outputs = {stage: tensor for stage, (_, tensor) in found.items()}
    return keras.Model(owner.input, outputs if len(outputs) > 1 else next(iter(outputs.values())), name=f"{model.name}_features")


def _find_output(model: keras.Model, name: str) -> tuple[keras.Model, Any]:
    for layer in model.layers:
        if layer.name == name:
            return model, layer.output
        if isinstance(layer, keras.Model):
            try:
                return _find_output(layer, name)
            except ValueError:
                continue
    raise ValueError(f"no layer has that name. Received: {name!r}, stages are {_stage_names(model)}")


def _stage_names(model: keras.Model) -> list[str]:
    names = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            names += _stage_names(layer)
        elif layer.name.startswith("stage"):
            names.append(layer.name)
    return names


def load_model(path: Any) -> keras.Model:
    """A `.keras` file back as a model, with kerasdl's layers registered first."""
    import kerasdl.layers  # noqa: F401  registers the layers

    return keras.saving.load_model(path, compile=False)
