"""One label of several for each picture: softmax cross-entropy in training, probabilities in serving."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers, ops

from kerasdl.metrics import wilson_interval
from kerasdl.models.head import classification_outputs
from kerasdl.tasks.task import Predict


@dataclasses.dataclass(frozen=True)
class Classification:
    """label_smoothing: share of the target spread evenly over all classes; dropout: before the last layer; top: the k of top-k accuracy;
    aux_weight: of the losses of auxiliary classifiers (0.3 in Szegedy et al. 2014, arXiv:1409.4842, section 5)."""

    label_smoothing: float = 0.0
    dropout: float = 0.0
    top: int = 5
    aux_weight: float = 0.3

    name: ClassVar[str] = "classification"
    outputs: ClassVar[tuple[str, ...]] = ("probabilities",)
    tolerance: ClassVar[float] = 1e-5

    def build(self, backbone: keras.Model, spec: Any) -> keras.Model:
        """Raw float32 pictures 0..255 `image` (B,H,W,C) to `logits` (B,classes), and to `aux1`, ... of a backbone that has them."""
        image = keras.Input(spec.image_shape, name="image")
        scale = [1 / (255 * s) for s in spec.std]
        offset = [-m / s for m, s in zip(spec.mean, spec.std, strict=True)]
        x = layers.Rescaling(scale, offset, name="scaling")(image)  # (image / 255 - mean) / std
        return keras.Model({"image": image}, classification_outputs(backbone(x), spec.classes, self.dropout), name=backbone.name)

    def loss(self) -> dict[str, tuple[Any, float]]:
        """Of every output that a backbone may give; `train` takes those that it has."""
        weights = {"logits": 1.0, "aux1": self.aux_weight, "aux2": self.aux_weight}
        return {name: (self._cross_entropy(), weight) for name, weight in weights.items()}

    def _cross_entropy(self) -> keras.losses.Loss:
        if self.label_smoothing:
            return SmoothedCrossEntropy(self.label_smoothing)
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def metrics(self) -> dict[str, list[Any]]:
        return {"logits": [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]}

    def serving(self, model: keras.Model, spec: Any) -> dict[str, keras.Model]:
        """{"model": uint8 `image` (B,H,W,C) to `probabilities` (B,classes)}"""
        image = keras.Input(spec.image_shape, dtype="uint8", name="image")
        main = keras.Model(model.input, {"logits": model.output["logits"]}, name=model.name)  # without auxiliary classifiers
        logits = main({"image": ops.cast(image, "float32")}, training=False)["logits"]
        probabilities = layers.Softmax(name="probabilities", dtype="float32")(logits)
        return {"model": keras.Model({"image": image}, {"probabilities": probabilities}, name=f"{model.name}_serving")}

    def inputs(self, examples: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"image": examples["image"]}

    def evaluate(self, predict: Predict, splits: Any, split: str = "valid", batch_size: int = 256) -> dict[str, float]:
        """{"accuracy", "top5"} as fractions of the split, computed a batch at a time; the count of a short last batch is its own."""
        part = splits.split(split)
        if not len(part):
            raise ValueError(f"the split to score is empty. Received: {split!r}")
        top = min(self.top, splits.spec.classes)
        hits, top_hits = 0, 0
        for start in range(0, len(part), batch_size):
            examples = part.arrays(np.arange(start, min(start + batch_size, len(part))))
            probabilities = predict(self.inputs(examples))["probabilities"]
            order = np.argsort(-probabilities, axis=1, kind="stable")
            right = order == examples["label"][:, None]
            hits += int(right[:, 0].sum())
            top_hits += int(right[:, :top].sum())
        return {"accuracy": hits / len(part), f"top{top}": top_hits / len(part)}

    def metric_intervals(self, values: dict[str, float], n: int) -> dict[str, tuple[float, float]]:
        return {name: wilson_interval(value, n) for name, value in values.items()}

    def decide(self, outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        probabilities = outputs["probabilities"]
        if probabilities.shape[1] < 2:
            return np.zeros(len(probabilities), int), np.ones(len(probabilities))
        best = np.sort(probabilities, axis=1)[:, -2:]
        return probabilities.argmax(axis=1), best[:, 1] - best[:, 0]


@keras.saving.register_keras_serializable(package="kerasdl")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of integer labels against `(1 - s) * one_hot + s / classes` (Szegedy et al. 2015, arXiv:1512.00567, section 7)."""

    def __init__(self, smoothing: float, name: str = "smoothed_cross_entropy", **options: Any) -> None:
        super().__init__(name=name, **options)
        if not 0 <= smoothing < 1:
            raise ValueError(f"label smoothing must be in [0, 1). Received: {smoothing}")
        self.smoothing = smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        classes = y_pred.shape[-1]
        log_p = ops.log_softmax(y_pred)  # (B, classes)
        truth = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), classes)
        target = (1 - self.smoothing) * truth + self.smoothing / classes
        return -ops.sum(target * log_p, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "smoothing": self.smoothing}
