"""One label of several for each picture: softmax cross-entropy in training, probabilities in serving."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers, ops

from kerasdl import figures
from kerasdl.layers.distillation import DistillationDistance
from kerasdl.losses import MulticlassHinge
from kerasdl.metrics import confusion_matrix, wilson_interval
from kerasdl.mistakes import draw_mistakes, surest_mistakes
from kerasdl.models import load_model
from kerasdl.models.head import classification_outputs
from kerasdl.tasks.task import Predict
from kerasdl.tasks.views import VIEWS, averaged_over_views

TEACHING = "teaching"


@dataclasses.dataclass(frozen=True)
class Classification:
    """label_smoothing: share of the target spread evenly over all classes; dropout: before the last layer; top: the k of top-k accuracy;
    aux_weight: of the losses of auxiliary classifiers (0.3 in Szegedy et al. 2014, arXiv:1409.4842, section 5).

    views: None, or "flip" or "flip-shift", the views of a picture whose answers the served model averages: what is scored is what
        is served, at as many times the work.
    teacher: None, or the run folder (or model.keras) of a model of the same pictures and classes that this one learns from, at
        `temperature`; `teacher_weight` is its share of the loss (Hinton et al. 2015, arXiv:1503.02531). It is not saved or served.
    scores: "softmax", or "hinge" for a support vector machine, whose softmax is then no probability, though its order is right.
    """

    label_smoothing: float = 0.0
    dropout: float = 0.0
    top: int = 5
    aux_weight: float = 0.3
    views: str | None = None
    teacher: str | None = None
    temperature: float = 4.0
    teacher_weight: float = 0.9
    scores: str = "softmax"

    name: ClassVar[str] = "classification"
    outputs: ClassVar[tuple[str, ...]] = ("probabilities",)
    tolerance: ClassVar[float] = 1e-5
    validates: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.views not in (None, *VIEWS):
            raise ValueError(f"views is one of {', '.join(VIEWS)}, or None. Received: {self.views!r}")
        if self.scores not in ("softmax", "hinge"):
            raise ValueError(f"scores are those of softmax or hinge. Received: {self.scores!r}")
        if self.scores == "hinge" and self.label_smoothing:
            raise ValueError(f"labels are smoothed under softmax, not hinge. Received: label_smoothing={self.label_smoothing}")
        if not 0 < self.teacher_weight <= 1:
            raise ValueError(f"teacher_weight is a share of the loss, in (0, 1]. Received: {self.teacher_weight}")

    def build(self, backbone: keras.Model, spec: Any) -> keras.Model:
        """Raw float32 pictures 0..255 `image` (B,H,W,C) to `logits` (B,classes), and to `aux1`, ... of a backbone that has them;
        with a teacher also to `teaching` (B,), its distance from the student."""
        image = keras.Input(spec.image_shape, name="image")
        scale = [1 / (255 * s) for s in spec.std]
        offset = [-m / s for m, s in zip(spec.mean, spec.std, strict=True)]
        x = layers.Rescaling(scale, offset, name="scaling")(image)  # (image / 255 - mean) / std
        outputs = classification_outputs(backbone(x), spec.classes, self.dropout)
        if self.teacher:
            teacher = _load_teacher(self.teacher, spec)
            distance = DistillationDistance(self.temperature, name=TEACHING)
            outputs[TEACHING] = distance([outputs["logits"], teacher({"image": image}, training=False)["logits"]])
        return keras.Model({"image": image}, outputs, name=backbone.name)

    def trained(self, model: keras.Model) -> keras.Model:
        """The training model without its teacher."""
        if TEACHING not in model.output:
            return model
        return keras.Model(model.input, {name: x for name, x in model.output.items() if name != TEACHING}, name=model.name)

    def loss(self) -> dict[str, tuple[Any, float]]:
        """Of every output that a backbone may give; `train` takes those that it has."""
        weights = {"logits": 1 - self.teacher_weight if self.teacher else 1.0, "aux1": self.aux_weight, "aux2": self.aux_weight}
        losses: dict[str, tuple[Any, float]] = {name: (self._of_scores(), weight) for name, weight in weights.items()}
        return {**losses, TEACHING: (Given(), self.teacher_weight)}

    def _of_scores(self) -> keras.losses.Loss:
        return SmoothedCrossEntropy(self.label_smoothing) if self.scores == "softmax" else MulticlassHinge()

    def metrics(self) -> dict[str, list[Any]]:
        return {"logits": [keras.metrics.MeanMetricWrapper(is_right, name="accuracy")]}

    def batch(self, inputs: dict[str, Any], targets: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        return inputs, targets

    def serving(self, model: keras.Model, spec: Any) -> dict[str, keras.Model]:
        """{"model": uint8 `image` (B,H,W,C) to `probabilities` (B,classes)}"""
        image = keras.Input(spec.image_shape, dtype="uint8", name="image")
        main = keras.Model(model.input, {"logits": model.output["logits"]}, name=model.name)  # without auxiliary classifiers

        def logits_of(x: Any) -> Any:
            return main({"image": x}, training=False)["logits"]

        pictures = ops.cast(image, "float32")
        logits = averaged_over_views(logits_of, pictures, self.views) if self.views else logits_of(pictures)
        probabilities = layers.Softmax(name="probabilities", dtype="float32")(logits)
        return {"model": keras.Model({"image": image}, {"probabilities": probabilities}, name=f"{model.name}_serving")}

    def predictor(self, graphs: dict[str, Predict], spec: Any) -> Predict:
        return graphs["model"]

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

    def count(self, splits: Any, split: str) -> int:
        return len(splits.split(split))

    def metric_intervals(self, values: dict[str, float], n: int) -> dict[str, tuple[float, float]]:
        return {name: wilson_interval(value, n) for name, value in values.items()}

    def decide(self, outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        probabilities = outputs["probabilities"]
        if probabilities.shape[1] < 2:
            return np.zeros(len(probabilities), int), np.ones(len(probabilities))
        best = np.sort(probabilities, axis=1)[:, -2:]
        return probabilities.argmax(axis=1), best[:, 1] - best[:, 0]

    def labels(self, spec: Any) -> tuple[str, ...]:
        return spec.labels

    def facts(self, predict: Predict, reference: Predict, splits: Any, split: str, folder: Path) -> dict[str, Any]:
        return {}

    def figures(self, folder: Path, predict: Predict, splits: Any, title: str) -> None:
        """confusion.png of the validation split."""
        labels, probabilities = self._answers(predict, splits.valid)
        self._draw_confusion(folder / "confusion.png", labels, probabilities, splits.spec, title)

    def report(self, path: Path, predict: Predict, splits: Any, split: str, title: str) -> list[Path]:
        """The confusion matrix at `path` and, where there are any, the surest mistakes beside it as NAME-mistakes.png."""
        labels, probabilities = self._answers(predict, splits.split(split))
        self._draw_confusion(path, labels, probabilities, splits.spec, title)
        worst = surest_mistakes(labels, probabilities)
        if not len(worst):
            return [path]
        mistakes = path.with_name(f"{path.stem}-mistakes.png")
        pictures = splits.split(split).arrays(worst)["image"]
        draw_mistakes(pictures, labels[worst], probabilities[worst], splits.spec.labels, mistakes, f"{title}: the surest mistakes")
        return [path, mistakes]

    def _answers(self, predict: Predict, part: Any) -> tuple[np.ndarray, np.ndarray]:
        """Labels (N,) and probabilities (N,classes) of a split."""
        labels, probabilities = [], []
        for start in range(0, len(part), 256):
            examples = part.arrays(np.arange(start, min(start + 256, len(part))))
            probabilities.append(predict(self.inputs(examples))["probabilities"])
            labels.append(examples["label"])
        return np.concatenate(labels), np.concatenate(probabilities)

    def _draw_confusion(self, path: Path, labels: np.ndarray, probabilities: np.ndarray, spec: Any, title: str) -> None:
        decisions, _ = self.decide({"probabilities": probabilities})
        figures.confusion(confusion_matrix(labels, decisions, spec.classes), spec.labels, path, title=title)


@keras.saving.register_keras_serializable(package="kerasdl")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Softmax cross-entropy of logits (B,classes) against labels (B,), or against shares of several classes (B,classes) as mixup makes.

    With smoothing s the target is `(1 - s) * truth + s / classes` (Szegedy et al. 2015, arXiv:1512.00567, section 7).
    """

    def __init__(self, smoothing: float = 0.0, name: str = "smoothed_cross_entropy", **options: Any) -> None:
        super().__init__(name=name, **options)
        if not 0 <= smoothing < 1:
            raise ValueError(f"label smoothing must be in [0, 1). Received: {smoothing}")
        self.smoothing = smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        classes = y_pred.shape[-1]
        truth = ops.cast(y_true, y_pred.dtype) if _are_shares(y_true, classes) else ops.one_hot(_labels(y_true), classes)
        target = (1 - self.smoothing) * truth + self.smoothing / classes
        return -ops.sum(target * ops.log_softmax(y_pred), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "smoothing": self.smoothing}


@keras.saving.register_keras_serializable(package="kerasdl")
class Given(keras.losses.Loss):
    """The loss that an output of the model already is."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return y_pred


@keras.saving.register_keras_serializable(package="kerasdl")
def is_right(y_true: Any, y_pred: Any) -> Any:
    """1.0 where the largest logit is that of the label, or of the largest share of a mixed picture."""
    labels = ops.argmax(y_true, axis=-1) if _are_shares(y_true, y_pred.shape[-1]) else _labels(y_true)
    return ops.cast(ops.equal(ops.cast(labels, "int32"), ops.cast(ops.argmax(y_pred, axis=-1), "int32")), "float32")


def _are_shares(y_true: Any, classes: int) -> bool:
    return len(y_true.shape) == 2 and y_true.shape[-1] == classes and classes > 1


def _labels(y_true: Any) -> Any:
    return ops.cast(ops.reshape(y_true, (-1,)), "int32")


def _load_teacher(source: str, spec: Any) -> keras.Model:
    path = Path(source).expanduser()
    path = path / "model.keras" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"teacher is the folder of a finished run, or its model.keras. Received: {source!r}")
    teacher = load_model(path)
    taught, classes = tuple(teacher.input["image"].shape[1:]), teacher.output["logits"].shape[-1]
    if (taught, classes) != (tuple(spec.image_shape), spec.classes):
        raise ValueError(
            f"a teacher needs the student's pictures {tuple(spec.image_shape)} and {spec.classes} classes. "
            f"Received: {taught} and {classes} of {source!r}"
        )
    teacher.trainable = False
    teacher.name = "teacher"
    return teacher
