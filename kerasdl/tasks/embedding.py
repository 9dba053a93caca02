"""A vector for each picture, near for one identity and far for two: re-identification. Identities met in use are never those of training.

The losses are a weighted sum over three places of the model: a softmax over the training identities (`identity`), losses of distances on
the feature before the neck, losses of cosines on the embedding behind it; center loss and OIM keep a memory in the model while it trains.
The default is the strong baseline of Luo et al. 2019 (arXiv:1903.07071): identity loss, batch-hard triplets, BNNeck.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers, ops

from kerasdl import reid_report
from kerasdl.layers import CenterDistance, OnlineInstanceMatching
from kerasdl.losses import TripletLoss, WeightedSum
from kerasdl.metrics import reid_evaluate, wilson_interval
from kerasdl.models.embedding_head import activation_map, global_head, part_head
from kerasdl.tasks.classification import Given, SmoothedCrossEntropy, is_right
from kerasdl.tasks.task import Predict

Weighted = tuple[tuple[Callable[[], keras.losses.Loss], float], ...]
MEMORIES = ("center", "oim")
ROLES = {"test": ("query", "gallery"), "valid": ("valid_query", "valid_gallery"), "cross": ("cross_query", "cross_gallery")}


@dataclasses.dataclass(frozen=True)
class Embedding:
    """head: "global", one vector, or "parts", `parts` horizontal strips (PCB); size: of the vector, or of a strip before its classifier;
    0 is that of the features, and 256 of a strip; pool: "gap", "gmp" or "gem"; neck: BNNeck, where a loss stands behind it.

    identity: weight of the softmax over training identities, with `label_smoothing`; 0 for none.
    distances: (loss, weight) pairs on the feature before the neck; cosines: the same on the embedding.
    center, oim: weights of center loss on the feature and of online instance matching on the embedding; 0 for none.
    protocol: which gallery pictures count for a query, as `kerasdl.metrics.reid_ranking` says.
    """

    head: str = "global"
    size: int = 0
    pool: str = "gap"
    neck: bool = True
    parts: int = 6
    identity: float = 1.0
    label_smoothing: float = 0.1
    distances: Weighted = ((partial(TripletLoss, margin=0.3), 1.0),)
    cosines: Weighted = ()
    center: float = 0.0
    oim: float = 0.0
    protocol: str = "cross-camera"

    name: ClassVar[str] = "embedding"
    outputs: ClassVar[tuple[str, ...]] = ("embedding",)
    tolerance: ClassVar[float] = 1e-5
    validates: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.head not in ("global", "parts"):
            raise ValueError(f"head is global or parts. Received: {self.head!r}")
        if self.head == "parts" and (self.distances or self.center or not self.identity):
            raise ValueError("strips learn by the identity loss, and by losses of cosines: distances and center are for the global head")
        if not (self.identity or self.distances or self.cosines or self.center or self.oim):
            raise ValueError("an embedding needs at least one loss. Received: none")

    def build(self, backbone: keras.Model, spec: Any) -> keras.Model:
        """Raw float32 pictures `image` (B,H,W,C), and `label` (B,) where a loss has a memory, to `embedding` (B,D) and what losses take."""
        image = keras.Input(spec.image_shape, name="image")
        scale = [1 / (255 * s) for s in spec.std]
        offset = [-m / s for m, s in zip(spec.mean, spec.std, strict=True)]
        x = layers.Rescaling(scale, offset, name="scaling")(image)  # (image / 255 - mean) / std
        features = layers.Identity(name="features")(backbone(x))
        outputs = self._head(features, spec.classes)
        inputs = {"image": image}
        if self.center or self.oim:
            inputs["label"] = label = keras.Input((), dtype="int32", name="label")
            if self.center:
                outputs["center"] = CenterDistance(spec.classes, name="center")([outputs["feature"], label])
            if self.oim:
                outputs["oim"] = OnlineInstanceMatching(spec.classes, name="oim")([outputs["embedding"], label])
        used = {"embedding", *self.loss()}
        return keras.Model(inputs, {name: x for name, x in outputs.items() if name in used}, name=backbone.name)

    def _head(self, features: Any, classes: int) -> dict[str, Any]:
        if self.head == "parts":
            return part_head(features, classes, self.parts, self.size or 256)
        neck = self.neck and bool(self.identity or self.cosines or self.oim)  # else no loss would train its scale
        outputs = global_head(features, classes if self.identity else None, self.size, self.pool, neck)
        # A name of its own for each output: Keras cannot tell two outputs apart that are one tensor, as without a neck.
        return {name: layers.Identity(name=name)(x) if name in ("feature", "embedding") else x for name, x in outputs.items()}

    def trained(self, model: keras.Model) -> keras.Model:
        """The training model without its memories."""
        kept = {name: x for name, x in model.output.items() if name not in MEMORIES}
        if len(kept) == len(model.output):
            return model
        return keras.Model({"image": model.input["image"]}, kept, name=model.name)

    def loss(self) -> dict[str, tuple[Any, float]]:
        """Of every output that a head may give; `train` takes those that it has."""
        losses: dict[str, tuple[Any, float]] = {}
        if self.identity:
            names = [f"logits{i}" for i in range(1, self.parts + 1)] if self.head == "parts" else ["logits"]
            losses |= {name: (SmoothedCrossEntropy(self.label_smoothing), self.identity) for name in names}
        for output, weighted in (("feature", self.distances), ("embedding", self.cosines)):
            if weighted:
                losses[output] = (WeightedSum([(make(), weight) for make, weight in weighted]), 1.0)
        memories = {"center": self.center, "oim": self.oim}
        return losses | {name: (Given(), weight) for name, weight in memories.items() if weight}

    def metrics(self) -> dict[str, list[Any]]:
        if not self.identity:
            return {}
        return {"logits1" if self.head == "parts" else "logits": [keras.metrics.MeanMetricWrapper(is_right, name="accuracy")]}

    def serving(self, model: keras.Model, spec: Any) -> dict[str, keras.Model]:
        """{"model": uint8 `image` (B,H,W,C) to `embedding` (B,D) of length 1 and, of features that are a map, `activation` (B,h,w)}"""
        image = keras.Input(spec.image_shape, dtype="uint8", name="image")
        inside = keras.Model(
            {"image": model.input["image"]}, {"embedding": model.output["embedding"], "features": model.get_layer("features").output}
        )
        found = inside({"image": ops.cast(image, "float32")}, training=False)
        outputs = {"embedding": layers.UnitNormalization(name="embedding", dtype="float32")(found["embedding"])}
        if len(found["features"].shape) == 4:
            outputs["activation"] = layers.Identity(name="activation", dtype="float32")(activation_map(found["features"]))
        return {"model": keras.Model({"image": image}, outputs, name=f"{model.name}_serving")}

    def inputs(self, examples: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"image": examples["image"]}

    def evaluate(self, predict: Predict, splits: Any, split: str = "valid") -> dict[str, float]:
        """{"rank1", "rank5", "rank10", "mAP", "mINP"} of the split's queries against its gallery, fractions; no re-ranking."""
        result = self.ranking(predict, splits, split)
        ranks = {f"rank{k}": float(result["cmc"][k - 1]) for k in (1, 5, 10)}
        return {**ranks, "mAP": float(result["mAP"]), "mINP": float(result["mINP"])}

    def ranking(self, predict: Predict, splits: Any, split: str = "valid", **options: Any) -> dict[str, Any]:
        """The dict of `kerasdl.metrics.reid_evaluate` for the split's roles; `options` are its own."""
        (query, asked), (gallery, known) = (self.embedded(predict, part) for part in self.roles(splits, split))
        people = (query["pid"], gallery["pid"], query["camid"], gallery["camid"])
        return reid_evaluate(asked, known, *people, **{"protocol": self.protocol, **options})

    def roles(self, splits: Any, split: str) -> tuple[Any, Any]:
        """The queries and the gallery of a split."""
        if split not in ROLES:
            raise ValueError(f"the split to rank is one of {', '.join(ROLES)}. Received: {split!r}")
        return splits.split(ROLES[split][0]), splits.split(ROLES[split][1])

    def embedded(self, predict: Predict, part: Any, batch_size: int = 256) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """({"pid", "camid"} (N,), unit vectors (N,D)) of a split, a batch of its pictures at a time."""
        if not len(part):
            raise ValueError("the split to score is empty. Received: 0 pictures")
        facts: dict[str, list[np.ndarray]] = {"pid": [], "camid": []}
        vectors = []
        for start in range(0, len(part), batch_size):
            examples = part.arrays(np.arange(start, min(start + batch_size, len(part))))
            vectors.append(predict(self.inputs(examples))["embedding"])
            for name, values in facts.items():
                values.append(examples[name])
        return {name: np.concatenate(values) for name, values in facts.items()}, np.concatenate(vectors)

    def count(self, splits: Any, split: str) -> int:
        return len(self.roles(splits, split)[0])

    def metric_intervals(self, values: dict[str, float], n: int) -> dict[str, tuple[float, float]]:
        """Of the ranks, which are shares of queries; a mean of average precisions is none."""
        return {name: wilson_interval(value, n) for name, value in values.items() if name.startswith("rank")}

    def decide(self, outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The nearest other picture of those given, by cosine, and how much nearer it is than the next."""
        vectors = outputs["embedding"].astype("float64")
        if len(vectors) < 3:
            return np.zeros(len(vectors), int), np.full(len(vectors), np.inf)
        cosine = vectors @ vectors.T
        np.fill_diagonal(cosine, -np.inf)
        best = np.sort(cosine, axis=1)[:, -2:]
        return cosine.argmax(axis=1), best[:, 1] - best[:, 0]

    def figures(self, folder: Path, predict: Predict, splits: Any, title: str) -> None:
        """ranks.png: what the gallery of the validation split ranks first for some queries, from the worst to the best."""
        self.report(folder / "ranks.png", predict, splits, "valid", title)

    def report(self, path: Path, predict: Predict, splits: Any, split: str, title: str, queries: int = 8) -> None:
        """Ranked strips of a split as a picture."""
        parts = self.roles(splits, split)
        (query, asked), (gallery, known) = (self.embedded(predict, part) for part in parts)
        people = (query["pid"], gallery["pid"], query["camid"], gallery["camid"])
        precision = reid_evaluate(asked, known, *people, protocol=self.protocol)["query_ap"]
        lists = reid_report.ranked_lists(reid_report.telling_queries(precision, queries), asked, known, *people, protocol=self.protocol)
        reid_report.strips(lists, *parts, path, title, precision)
