"""The task contract: the only place that knows what a prediction means. A task knows nothing of a particular model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

Predict = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


class Task(Protocol):
    """A frozen dataclass with these members; `outputs` names the served answers, the main one first.

    It may have two more, each `(model, splits) -> None`, for weights that no gradient finds: `before_training` sets some of the training
    model's, `after_training` some of what `trained` gave.
    """

    @property
    def name(self) -> str: ...
    @property
    def outputs(self) -> tuple[str, ...]: ...
    @property
    def tolerance(self) -> float:
        """Largest absolute difference of the main answer that still counts as the same function."""
        ...

    @property
    def validates(self) -> bool:
        """Whether the losses can be taken of the validation split too, which they cannot of identities never trained on."""
        ...

    def build(self, backbone: keras.Model, spec: Any) -> keras.Model:
        """The training model: raw named inputs (scaling is added here), named outputs."""
        ...

    def trained(self, model: keras.Model) -> keras.Model:
        """What is saved of the trained model: without what only its training needed."""
        ...

    def loss(self) -> dict[str, tuple[Any, float]]:
        """{output: (loss, weight)}"""
        ...

    def metrics(self) -> dict[str, list[Any]]: ...

    def batch(self, inputs: dict[str, Any], targets: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the training model takes and its outputs are held against, from the picture or row and the targets of the pipeline."""
        ...

    def serving(self, model: keras.Model, spec: Any) -> dict[str, keras.Model]:
        """Graphs to export: raw input in, named answer out."""
        ...

    def predictor(self, graphs: dict[str, Predict], spec: Any) -> Predict:
        """One function from the serving inputs to named answers, of functions that run the graphs of `serving` in any runtime."""
        ...

    def inputs(self, examples: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The serving inputs among the fields of examples."""
        ...

    def evaluate(self, predict: Predict, splits: Any, split: str = "valid") -> dict[str, float]:
        """Scores of any runtime: `predict` maps serving inputs to named answers."""
        ...

    def count(self, splits: Any, split: str) -> int:
        """How many trials those scores are shares of: pictures, or queries."""
        ...

    def metric_intervals(self, values: dict[str, float], n: int) -> dict[str, tuple[float, float]]:
        """95 % intervals of those scores over n examples."""
        ...

    def decide(self, outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The decision for each example, and how far the best answer lies above the second best."""
        ...

    def labels(self, spec: Any) -> tuple[str, ...]:
        """What the numbers among the answers are called; empty where no answer is a number of something."""
        ...

    def facts(self, predict: Predict, reference: Predict, splits: Any, split: str, folder: Path) -> dict[str, Any]:
        """Sections of the model card beside the scores, by name, for JSON; their pictures are written into `folder`.

        `predict` is the exported graph, `reference` the Keras model.
        """
        ...

    def report(self, path: Path, predict: Predict, splits: Any, split: str, title: str) -> list[Path]:
        """Writes a picture of how a split was answered to `path`, and others beside it; gives the paths of all."""
        ...

    def figures(self, folder: Path, predict: Predict, splits: Any, title: str) -> None:
        """Writes the pictures that a run shows of its validation split beside its curves."""
        ...


def keras_predictor(task: Task, model: keras.Model, spec: Any) -> Predict:
    """The task's `predictor` with Keras as the runtime, a batch at a time."""
    return task.predictor({name: graph.predict_on_batch for name, graph in task.serving(model, spec).items()}, spec)
