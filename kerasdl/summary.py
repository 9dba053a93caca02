"""A model as a table: layers, shapes, parameters, multiply-adds."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def multiply_adds(layer: Any) -> int:
    """Multiply-adds of one picture as the literature counts them: convolutions and dense layers, 0 for the others.

    A layer that multiplies without a kernel (attention: 2 N N D) says so with a method `multiply_adds()`.
    """
    if hasattr(layer, "multiply_adds"):
        return int(layer.multiply_adds())
    if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D | keras.layers.Dense):
        positions = int(np.prod(layer.output.shape[1:-1]))
        return positions * int(np.prod(layer.kernel.shape))  # a grouped kernel is (h, w, in / groups, out): counted as it is
    return 0


def flat_layers(model: keras.Model) -> list[Any]:
    """The layers of a model and of the models within it, which begin where their input is, not with an input of their own."""
    layers = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            layers += [inner for inner in flat_layers(layer) if not isinstance(inner, keras.layers.InputLayer)]
        else:
            layers.append(layer)
    return layers


def total_multiply_adds(model: keras.Model) -> int:
    return sum(multiply_adds(layer) for layer in flat_layers(model))


def count_parameters(model: keras.Model) -> tuple[int, int]:
    """(trainable, with the moving statistics of BatchNormalization): the count of papers and torch, and that of Keras."""
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights), model.count_params()


def layer_table(model: keras.Model) -> str:
    """One row a layer with weights, multiply-adds or a change of shape, and one a stage; then the totals in both counting conventions."""
    rows = [("layer", "type", "output", "parameters", "multiply-adds")]
    for layer in filter(_is_worth_a_row, flat_layers(model)):
        shape = "x".join("B" if n is None else str(n) for n in layer.output.shape)
        rows.append((layer.name, type(layer).__name__, shape, f"{layer.count_params():,}", f"{multiply_adds(layer):,}"))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = [
        "  ".join(cell.rjust(w) if i > 2 else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))) for row in rows
    ]
    lines.insert(1, "  ".join("-" * w for w in widths))
    trainable, total = count_parameters(model)
    lines.append(f"\n{model.name}: {trainable:,} trainable parameters, {total:,} with normalisation statistics")
    operations = total_multiply_adds(model)
    told = f"{operations / 1e6:,.2f} million" if operations >= 10_000 else f"{operations:,}"
    lines.append(f"{told} multiply-adds {_one_input(model)}")
    return "\n".join(lines)


def _one_input(model: keras.Model) -> str:
    return "a picture" if any(tensor.name == "image" for tensor in model.inputs) else "a row"


def _is_worth_a_row(layer: Any) -> bool:
    entering = layer.input if isinstance(layer.input, list | tuple) else [layer.input]
    reshapes = isinstance(layer, keras.layers.InputLayer) or all(x.shape != layer.output.shape for x in entering)
    return bool(layer.count_params() or multiply_adds(layer) or reshapes or layer.name.startswith("stage"))
