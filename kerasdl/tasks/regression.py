"""Numbers in their units from a row of named columns: least squares, absolute or Huber's error, solved or descended.

The model standardises its columns by the statistics of the training rows, predicts standardised targets, and gives them back in their
units with the interval in which a new observation should lie.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers

from kerasdl import regression_report, reid_report
from kerasdl.layers import PredictionInterval, TargetError
from kerasdl.linear import solve_head
from kerasdl.metrics.regression import Scores, regression_scores
from kerasdl.models.head import classification_head
from kerasdl.tasks.classification import Given
from kerasdl.tasks.task import Predict

ERROR = "error"
LEVEL = 0.95  # of the prediction interval


@dataclasses.dataclass(frozen=True)
class Regression:
    """error: "squared", "absolute" or "huber", of standardised targets, whose mean is taken; delta: where Huber's goes over to a line.

    ridge: None, or lambda / beta of ridge regression: the last layer then starts as the closed form has it (`kerasdl.linear.solve_ridge`,
        squared error), which is the result where the recipe has 0 epochs. Columns and targets are standardised when the weights are
        penalised, the bias is not. Gradient descent finds the same weights with L2 of ridge / (examples x targets).
    dropout: before the last layer.
    """

    error: str = "squared"
    delta: float = 1.0
    ridge: float | None = None
    dropout: float = 0.0

    name: ClassVar[str] = "regression"
    outputs: ClassVar[tuple[str, ...]] = ("value", "interval")
    tolerance: ClassVar[float] = 1e-5  # of a target's standard deviation
    validates: ClassVar[bool] = True

    def __post_init__(self) -> None:
        TargetError(self.error, self.delta)  # says what it cannot be
        if self.ridge is not None and (self.ridge < 0 or self.error != "squared" or self.dropout):
            raise ValueError(
                "the closed form minimises squared errors, without dropout and with a ridge of at least 0. "
                f"Received: ridge={self.ridge}, error={self.error!r}, dropout={self.dropout}"
            )

    @property
    def closed_form(self) -> bool:
        """Whether a recipe may do without epochs."""
        return self.ridge is not None

    def build(self, backbone: keras.Model, spec: Any) -> keras.Model:
        """`features` (B,D) in their units, and `target` (B,T) for the loss, to `value` (B,T), `interval` (B,T,2) and `error` (B,)."""
        if not hasattr(spec, "columns"):
            raise ValueError(f"regression needs a table, with columns and targets. Received: {spec.data_name!r}, which has pictures")
        features = keras.Input((len(spec.columns),), name="features")
        target = keras.Input((len(spec.targets),), name="target")
        x = _standardised(features, spec.columns, "centring", "scaling")
        x = backbone(layers.Reshape(backbone.input.shape[1:], name="row")(x))
        x = x["features"] if isinstance(x, dict) else x  # a backbone with auxiliary classifiers
        scaled = classification_head(x, len(spec.targets), self.dropout, name="scaled")
        stds, means = [c.std for c in spec.targets], [c.mean for c in spec.targets]
        value = layers.Rescaling(stds, means, dtype="float32", name="value")(scaled)
        truth = _standardised(target, spec.targets, "target_centring", "target_scaling")
        outputs = {
            "value": value,
            "interval": PredictionInterval(dtype="float32", name="interval")(value),
            ERROR: TargetError(self.error, self.delta, dtype="float32", name=ERROR)([scaled, truth]),
        }
        return keras.Model({"features": features, "target": target}, outputs, name=backbone.name)

    def trained(self, model: keras.Model) -> keras.Model:
        """The training model without its loss."""
        if ERROR not in model.output:
            return model
        kept = {name: x for name, x in model.output.items() if name != ERROR}
        return keras.Model({"features": model.input["features"]}, kept, name=model.name)

    def loss(self) -> dict[str, tuple[Any, float]]:
        return {ERROR: (Given(), 1.0)}

    def metrics(self) -> dict[str, list[Any]]:
        return {}

    def batch(self, inputs: dict[str, Any], targets: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Inputs and targets of `fit` from rows `features` (B,D) and numbers `value` (B,T): the loss takes these inside the model."""
        value = targets["value"]
        return {"features": inputs["features"], "target": value}, {"value": value, "interval": value, ERROR: value[:, 0]}

    def before_training(self, model: keras.Model, splits: Any) -> None:
        """Puts the closed form in place, where the task has a ridge."""
        if self.ridge is None:
            return
        rows = splits.train.arrays()
        mean, std = (np.array([getattr(target, fact) for target in splits.spec.targets]) for fact in ("mean", "std"))
        truth = (rows["target"].astype(np.float64) - mean) / std
        solve_head(self.trained(model), "scaled", {"features": rows["features"]}, truth, self.ridge)

    def after_training(self, model: keras.Model, splits: Any) -> None:
        """Measures the precision of the noise on the validation split, which was not fitted; on the training split where that is empty."""
        part = splits.valid if len(splits.valid) else splits.train
        truth, value, _ = self.answers(self.predictor({"model": model.predict_on_batch}, splits.spec), part)
        variance = np.mean((truth.astype(np.float64) - value) ** 2, axis=0)
        least = np.finfo(np.float32).tiny  # of an exact fit: an interval of no width
        model.get_layer("interval").precision.assign(1 / np.maximum(variance, 2 * least))

    def serving(self, model: keras.Model, spec: Any) -> dict[str, keras.Model]:
        """{"model": float32 `features` (B,D) in their units to `value` (B,T) and its 95 % prediction `interval` (B,T,2), in theirs}"""
        inner = self.trained(model)
        features = keras.Input(inner.input["features"].shape[1:], name="features")
        found = inner({"features": features}, training=False)
        outputs = {name: layers.Identity(name=name, dtype="float32")(found[name]) for name in self.outputs}
        return {"model": keras.Model({"features": features}, outputs, name=f"{model.name}_serving")}

    def predictor(self, graphs: dict[str, Predict], spec: Any) -> Predict:
        return graphs["model"]

    def inputs(self, examples: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"features": examples["features"]}

    def evaluate(self, predict: Predict, splits: Any, split: str = "valid") -> Scores:
        """`kerasdl.metrics.regression_scores` of the split: "MAE", "RMSE", "R2" and "coverage", of several targets each with its name."""
        part = splits.split(split)
        if len(part) < 2:
            raise ValueError(f"the split to score needs at least 2 rows. Received: {len(part)} in {split!r}")
        return regression_scores(*self.answers(predict, part), names=splits.spec.labels)

    def answers(self, predict: Predict, part: Any, batch_size: int = 4096) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """True and predicted numbers (N,T) and intervals (N,T,2) of a split, a batch of its rows at a time."""
        found: list[tuple[np.ndarray, ...]] = []
        for start in range(0, len(part), batch_size):
            rows = part.arrays(np.arange(start, min(start + batch_size, len(part))))
            answer = predict(self.inputs(rows))
            found.append((rows["target"], np.asarray(answer["value"]), np.asarray(answer["interval"])))
        truth, value, interval = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return truth, value, interval

    def count(self, splits: Any, split: str) -> int:
        return len(splits.split(split))

    def metric_intervals(self, values: dict[str, float], n: int) -> dict[str, tuple[float, float]]:
        """Those that `evaluate` drew; none of scores from elsewhere, for a number alone does not tell them."""
        return dict(values.intervals) if isinstance(values, Scores) else {}

    def decide(self, outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Nothing is decided: every answer is as good as the same one, with no other near."""
        rows = len(outputs["value"])
        return np.zeros(rows, int), np.full(rows, np.inf)

    def labels(self, spec: Any) -> tuple[str, ...]:
        """The names of the targets."""
        return spec.labels

    def facts(self, predict: Predict, reference: Predict, splits: Any, split: str, folder: Path) -> dict[str, Any]:
        """{"table": the interval's level and the split it was measured on, "unknown" where neither is at hand}; writes fit.png."""
        self._draw(folder / "fit.png", predict, splits, split, f"{splits.card.get('name', 'table')}, {split} split")
        reid_report.shrink(folder / "fit.png")
        measured_on = "valid" if len(splits.valid) else "train" if len(splits.train) else "unknown"
        return {"table": {"interval": {"level": LEVEL, "measured_on": measured_on}, "pictures": ["fit.png"]}}

    def figures(self, folder: Path, predict: Predict, splits: Any, title: str) -> None:
        """fit.png of the validation split: predicted against true, and the residuals."""
        self._draw(folder / "fit.png", predict, splits, "valid", title)

    def report(self, path: Path, predict: Predict, splits: Any, split: str, title: str) -> list[Path]:
        """Predicted against true, and the residuals, of a split at `path`."""
        self._draw(path, predict, splits, split, title)
        return [path]

    def _draw(self, path: Path, predict: Predict, splits: Any, split: str, title: str) -> None:
        titles = [target.title for target in splits.spec.targets]
        regression_report.draw_fit(*self.answers(predict, splits.split(split)), titles, path, title)


def _standardised(x: Any, columns: Any, centring: str, scaling: str) -> Any:
    """(x - mean) / std in two steps: where the mean is large beside std, x / std - mean / std would lose digits."""
    x = layers.Rescaling(1.0, [-column.mean for column in columns], dtype="float32", name=centring)(x)
    return layers.Rescaling([1 / column.std for column in columns], dtype="float32", name=scaling)(x)
