"""A vector for each picture, near for one identity and far for two: re-identification. Identities met in use are never those of training.

The losses are a weighted sum over three places of the model: a softmax over the training identities (`identity`), losses of distances on
the feature before the neck, losses of cosines on the embedding behind it; center loss and OIM keep a memory in the model while it trains.
Attributes of the training pictures may help (head "attributes"), and pairs of a batch may be verified.
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

from kerasdl import reid_facts, reid_report
from kerasdl.data.attributes import attribute_fields
from kerasdl.layers import CenterDistance, OnlineInstanceMatching, PairVerification
from kerasdl.losses import TripletLoss, VerificationLoss, WeightedSum
from kerasdl.metrics import reid_evaluate, wilson_interval
from kerasdl.models.embedding_head import activation_map, attribute_head, global_head, part_head
from kerasdl.reid_facts import Search
from kerasdl.tasks.attributes import AttributeAccuracy, AttributeCrossEntropy, attributes_right, mean_accuracy
from kerasdl.tasks.classification import Given, SmoothedCrossEntropy, is_right
from kerasdl.tasks.task import Predict

Weighted = tuple[tuple[Callable[[], keras.losses.Loss], float], ...]
HEADS = ("global", "parts", "attributes")
MEMORIES = ("center", "oim", "verification")  # outputs that only the training needs
ROLES = {"test": ("query", "gallery"), "valid": ("valid_query", "valid_gallery"), "cross": ("cross_query", "cross_gallery")}


@dataclasses.dataclass(frozen=True)
class Embedding:
    """head: "global", one vector, "parts", `parts` horizontal strips (PCB), or "attributes", the global vector with the attributes that
    the data has (APR); size: of the vector, or of a strip before its classifier; 0 is that of the features, and 256 of a strip;
    pool: "gap", "gmp" or "gem"; neck: BNNeck, where a loss stands behind it.

    identity: weight of the softmax over training identities, with `label_smoothing`; 0 for none.
    distances: (loss, weight) pairs on the feature before the neck; cosines: the same on the embedding.
    attributes: weight of the mean cross-entropy of the attributes, of the head that has them.
    center, oim: weights of center loss on the feature and of online instance matching on the embedding; 0 for none.
    verification: weight of telling for every pair of a batch whether it shows one person, from the feature; 0 for none.
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
    attributes: float = 1.0
    verification: float = 0.0
    protocol: str = "cross-camera"

    name: ClassVar[str] = "embedding"
    outputs: ClassVar[tuple[str, ...]] = ("embedding",)
    tolerance: ClassVar[float] = 1e-5
    validates: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise ValueError(f"head is {', '.join(HEADS[:-1])} or {HEADS[-1]}. Received: {self.head!r}")
        if self.head == "parts" and (self.distances or self.center or self.verification or not self.identity):
            raise ValueError(
                "strips learn by the identity loss, and by losses of cosines: distances, center and verification are for the other heads. "
                f"Received: identity={self.identity}, distances={self.distances}, center={self.center}, verification={self.verification}"
            )
        if self.head == "attributes" and self.attributes <= 0:
            raise ValueError(f"the weight of the attributes must be above 0 where the head has them. Received: {self.attributes}")
        if not (self.identity or self.distances or self.cosines or self.center or self.oim or self.verification):
            raise ValueError("an embedding needs at least one loss between identities. Received: none")

    def build(self, backbone: keras.Model, spec: Any) -> keras.Model:
        """Raw float32 pictures `image` (B,H,W,C), and `label` (B,) where a loss has a memory, to `embedding` (B,D) and what losses take."""
        image = keras.Input(spec.image_shape, name="image")
        scale = [1 / (255 * s) for s in spec.std]
        offset = [-m / s for m, s in zip(spec.mean, spec.std, strict=True)]
        x = layers.Rescaling(scale, offset, name="scaling")(image)  # (image / 255 - mean) / std
        features = layers.Identity(name="features")(backbone(x))
        outputs = self._head(features, spec)
        inputs = {"image": image}
        if self.center or self.oim:
            inputs["label"] = label = keras.Input((), dtype="int32", name="label")
            if self.center:
                outputs["center"] = CenterDistance(spec.classes, name="center")([outputs["feature"], label])
            if self.oim:
                outputs["oim"] = OnlineInstanceMatching(spec.classes, name="oim")([outputs["embedding"], label])
        if self.verification:
            outputs["verification"] = PairVerification(name="verification")(outputs["feature"])
        used = {"embedding", *self.loss()}
        return keras.Model(inputs, {name: x for name, x in outputs.items() if name in used}, name=backbone.name)

    def _head(self, features: Any, spec: Any) -> dict[str, Any]:
        if self.head == "parts":
            return part_head(features, spec.classes, self.parts, self.size or 256)
        neck = self.neck and bool(self.identity or self.cosines or self.oim)  # else no loss would train its scale
        options = {"classes": spec.classes if self.identity else None, "size": self.size, "pool": self.pool, "neck": neck}
        if self.head == "attributes":
            outputs = attribute_head(features, attributes=_attribute_sizes(spec), **options)
        else:
            outputs = global_head(features, **options)
        # A name of its own for each output: Keras cannot tell two outputs apart that are one tensor, as without a neck.
        return {name: layers.Identity(name=name)(x) if name in ("feature", "embedding") else x for name, x in outputs.items()}

    def trained(self, model: keras.Model) -> keras.Model:
        """The training model without its memories and its comparison of pairs."""
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
        if self.head == "attributes":
            losses["attributes"] = (AttributeCrossEntropy(), self.attributes)
        if self.verification:
            losses["verification"] = (VerificationLoss(), self.verification)
        memories = {"center": self.center, "oim": self.oim}
        return losses | {name: (Given(), weight) for name, weight in memories.items() if weight}

    def metrics(self) -> dict[str, list[Any]]:
        metrics: dict[str, list[Any]] = {}
        if self.identity:
            metrics["logits1" if self.head == "parts" else "logits"] = [keras.metrics.MeanMetricWrapper(is_right, name="accuracy")]
        if self.head == "attributes":
            metrics["attributes"] = [AttributeAccuracy()]
        return metrics

    def batch(self, inputs: dict[str, Any], targets: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        return inputs, targets

    def serving(self, model: keras.Model, spec: Any) -> dict[str, keras.Model]:
        """{"model": uint8 `image` (B,H,W,C) to `embedding` (B,D) of length 1 and, of features that are a map, `activation` (B,h,w)}

        A map of one place has nothing to show.
        A head with attributes also gives `attributes` (B,M,V), the probabilities of the values of each, attributes sorted by name.
        """
        image = keras.Input(spec.image_shape, dtype="uint8", name="image")
        known = {name: x for name, x in model.output.items() if name in ("embedding", "attributes")}
        inside = keras.Model({"image": model.input["image"]}, {**known, "features": model.get_layer("features").output})
        found = inside({"image": ops.cast(image, "float32")}, training=False)
        outputs = {"embedding": layers.UnitNormalization(name="embedding", dtype="float32")(found["embedding"])}
        if len(found["features"].shape) == 4 and found["features"].shape[1:3] != (1, 1):
            outputs["activation"] = layers.Identity(name="activation", dtype="float32")(activation_map(found["features"]))
        if "attributes" in found:
            outputs["attributes"] = layers.Softmax(name="attributes", dtype="float32")(found["attributes"])
        return {"model": keras.Model({"image": image}, outputs, name=f"{model.name}_serving")}

    def predictor(self, graphs: dict[str, Predict], spec: Any) -> Predict:
        return graphs["model"]

    def inputs(self, examples: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"image": examples["image"]}

    def evaluate(self, predict: Predict, splits: Any, split: str = "valid") -> dict[str, float]:
        """{"rank1", "rank5", "rank10", "mAP", "mINP"} of the split's queries against its gallery, fractions; no re-ranking.

        Where model and pictures have attributes also "attribute_accuracy", the mean over them of the share of all those pictures.
        """
        result = self.ranking(predict, splits, split)
        ranks = {f"rank{k}": float(result["cmc"][k - 1]) for k in (1, 5, 10)}
        worn = {"attribute_accuracy": result["attribute_accuracy"]} if "attribute_accuracy" in result else {}
        return {**ranks, "mAP": float(result["mAP"]), "mINP": float(result["mINP"]), **worn}

    def ranking(self, predict: Predict, splits: Any, split: str = "valid", **options: Any) -> dict[str, Any]:
        """The dict of `kerasdl.metrics.reid_evaluate` for the split's roles; `options` are its own. Perhaps with "attribute_accuracy"."""
        (query, asked), (gallery, known) = (self.embedded(predict, part) for part in self.roles(splits, split))
        people = (query["pid"], gallery["pid"], query["camid"], gallery["camid"])
        result = reid_evaluate(asked, known, *people, **{"protocol": self.protocol, **options})
        worn = mean_accuracy([facts["right"] for facts in (query, gallery) if "right" in facts])
        return result if worn is None else {**result, "attribute_accuracy": worn}

    def roles(self, splits: Any, split: str) -> tuple[Any, Any]:
        """The queries and the gallery of a split."""
        if split not in ROLES:
            raise ValueError(f"the split to rank is one of {', '.join(ROLES)}. Received: {split!r}")
        return splits.split(ROLES[split][0]), splits.split(ROLES[split][1])

    def embedded(self, predict: Predict, part: Any, batch_size: int = 256) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """({"pid", "camid"} (N,), unit vectors (N,D)) of a split, a batch of its pictures at a time.

        Where model and pictures have attributes, the first has "right" (N,M) besides, as `attributes_right` gives it.
        """
        if not len(part):
            raise ValueError("the split to score is empty. Received: 0 pictures")
        facts: dict[str, list[np.ndarray]] = {}
        vectors = []
        for start in range(0, len(part), batch_size):
            examples = part.arrays(np.arange(start, min(start + batch_size, len(part))))
            answers = predict(self.inputs(examples))
            vectors.append(answers["embedding"])
            known = {"pid": examples["pid"], "camid": examples["camid"]}
            if "attributes" in answers and attribute_fields(examples):
                known["right"] = attributes_right(answers["attributes"], examples)
            for name, values in known.items():
                facts.setdefault(name, []).append(values)
        return {name: np.concatenate(values) for name, values in facts.items()}, np.concatenate(vectors)

    def count(self, splits: Any, split: str) -> int:
        return len(self.roles(splits, split)[0]) if self.has_roles(splits, split) else 0

    def has_roles(self, splits: Any, split: str) -> bool:
        return split in ROLES and set(ROLES[split]) <= set(splits.roles)

    def labels(self, spec: Any) -> tuple[str, ...]:
        """None: no answer is one of the training identities."""
        return ()

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

    def search(self, predict: Predict, splits: Any, split: str) -> Search:
        """The embedded queries and gallery of a split."""
        (query, asked), (gallery, known) = (self.embedded(predict, part) for part in self.roles(splits, split))
        return Search(asked, known, (query["pid"], gallery["pid"], query["camid"], gallery["camid"]), self.protocol)

    def facts(self, predict: Predict, reference: Predict, splits: Any, split: str, folder: Path) -> dict[str, Any]:
        """{"reid": ranking, re-ranking, threshold, other domain, and parity of the ranking with `reference`}; {} of data without roles.

        Writes ranks.png, cmc.png and roc.png, small ones.
        """
        if not self.has_roles(splits, split):
            return {}
        test = self.search(predict, splits, split)
        calibration = self.search(predict, splits, "valid") if split != "valid" and self.has_roles(splits, "valid") else None
        cross = self.search(predict, splits, "cross") if split != "cross" and self.has_roles(splits, "cross") else None
        found, pairs = reid_facts.section(test, split, calibration, cross)
        parity = reid_facts.agreement(self.search(reference, splits, split), test, 2 * self.tolerance)
        title = f"{splits.card.get('name', 'identities')}, {split} split"
        self._draw(folder / "ranks.png", test, splits, split, title, queries=5)
        self._draw_curves(folder / "cmc.png", folder / "roc.png", test, pairs["test"], title)
        pictures = ["cmc.png", "ranks.png", "roc.png"]
        for name in pictures:
            reid_report.shrink(folder / name)
        return {"reid": {**found, "ranking_parity": parity, "pictures": pictures}}

    def figures(self, folder: Path, predict: Predict, splits: Any, title: str) -> None:
        """ranks.png: what the gallery of the validation split ranks first for some queries, from the worst to the best."""
        self._draw(folder / "ranks.png", self.search(predict, splits, "valid"), splits, "valid", title)

    def report(self, path: Path, predict: Predict, splits: Any, split: str, title: str) -> list[Path]:
        """Ranked strips at `path`, and the curves of CMC and ROC beside it as NAME-cmc.png and NAME-roc.png."""
        cmc, roc = (path.with_name(f"{path.stem}-{curve}.png") for curve in ("cmc", "roc"))
        search = self.search(predict, splits, split)
        self._draw(path, search, splits, split, title)
        self._draw_curves(cmc, roc, search, search.pairs(), title)
        return [path, cmc, roc]

    def _draw(self, path: Path, search: Search, splits: Any, split: str, title: str, queries: int = 8) -> None:
        precision = search.evaluate()["query_ap"]
        chosen = reid_report.telling_queries(precision, queries)
        lists = reid_report.ranked_lists(chosen, search.queries, search.gallery, *search.people, protocol=self.protocol)
        reid_report.strips(lists, *self.roles(splits, split), path, title, precision)

    def _draw_curves(self, cmc: Path, roc: Path, search: Search, pairs: Any, title: str) -> None:
        results = {"plain": search.evaluate()}
        if len(search.queries) + len(search.gallery) > reid_facts.LEAST_TO_RERANK:
            results["re-ranked"] = search.evaluate(rerank=True)
        reid_report.cmc_curves(results, cmc, title)
        reid_report.roc_curves({self.protocol: reid_facts.curve(pairs)}, roc, title, far=min(reid_facts.FARS))


def _attribute_sizes(spec: Any) -> dict[str, int]:
    if not spec.attributes:
        raise ValueError(
            f"the head attributes needs pictures with attributes, fields attribute_NAME named in Spec.attributes. "
            f"Received: {spec.data_name}, which has none"
        )
    return {name: len(values) for name, values in spec.attributes.items()}
