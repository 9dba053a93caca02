"""What an exported graph takes where it is not the default: pictures of any size, channels first, weights in a file of their own.

The first two are part of the serving model that is exported: Keras, the SavedModel and ONNX take the same, and are compared as always.
A picture of any size is fitted to the network's size inside the graph, by one of three rules:
- stretch: both sides to the network's, whatever the picture's proportions;
- crop: the largest square in the middle, then as before; where the data's own rule for clients does so;
- letterbox: as large as fits with its proportions kept, in the middle of bars of the training pictures' mean colour.

All are bilinear with half-pixel centres and no antialiasing, because no converter knows an antialiased resize: each pixel is a mean of the
four around one point of the picture, however large the picture is. A client that shrinks by Pillow takes a mean of all pixels instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from export.gates import ExportRefused
from export.parity import Arrays, Run

if TYPE_CHECKING:
    import keras

SECTION = "other_sizes"
OF_CLIENTS = ("ink",)  # steps that no graph does: a drawing is still cut out by whoever sends it
COMPARED = ((2.0, 2.0), (0.75, 1.25))  # height and width by the network's own: the sizes that parity is measured at besides
SCORED = (2.0, 0.75)  # both sides: the sizes that the metrics are measured at besides


@dataclass(frozen=True)
class Form:
    """The flags of `python -m export`.

    dynamic_size: `image` is uint8 [batch, height, width, C] and fitted to the network inside the graph.
    letterbox: the same, with the proportions kept.
    nchw: `image` is uint8 [batch, C, H, W].
    external_data: weights go to GRAPH.onnx.data beside GRAPH.onnx, as they do by themselves beyond 2 GB.
    """

    dynamic_size: bool = False
    letterbox: bool = False
    nchw: bool = False
    external_data: bool = False

    @property
    def any_size(self) -> bool:
        return self.dynamic_size or self.letterbox

    def check(self, task: Any, spec: Any) -> None:
        """The task looks at pictures, where something of pictures is asked; ExportRefused."""
        asked = [f"--{name.replace('_', '-')}" for name in ("dynamic_size", "letterbox", "nchw") if getattr(self, name)]
        if asked and not hasattr(spec, "prepare"):
            raise ExportRefused(f"{' and '.join(asked)} must be of a network that looks at pictures. Received: a run of {task.name}")
        if self.any_size and self.rule(spec) == "crop" and len(set(spec.image_shape[:2])) > 1:
            raise ExportRefused(
                "the data's centre crop is a square, so the network must be one for --dynamic-size; --letterbox needs no crop. "
                f"Received: {spec.image_shape[0]} x {spec.image_shape[1]}"
            )

    def rule(self, spec: Any) -> str:
        if self.letterbox:
            return "letterbox"
        return "crop" if any(step["op"] == "center_crop" for step in spec.prepare) else "stretch"

    def wrapped(self, served: dict[str, keras.Model], spec: Any) -> dict[str, keras.Model]:
        """Serving models whose first takes pictures in this form."""
        if not self.any_size and not self.nchw:
            return served
        from export.fitting import fitted

        rule = self.rule(spec) if self.any_size else "none"
        first, *later = served
        return {first: fitted(served[first], rule, self.nchw, colour(spec)), **{name: served[name] for name in later}}

    def fed(self, arrays: Arrays) -> Arrays:
        """Pictures as the data has them, uint8 (B,H,W,C), as the graph takes them."""
        if not self.nchw or "image" not in arrays:
            return arrays
        return {**arrays, "image": np.ascontiguousarray(arrays["image"].transpose(0, 3, 1, 2))}

    def adapted(self, runs: Mapping[str, Run]) -> dict[str, Run]:
        """Runners of the graphs that take pictures as the data has them."""
        return {name: self._adapted(run) for name, run in runs.items()}

    def _adapted(self, run: Run) -> Run:
        return (lambda feeds: run(self.fed(feeds))) if self.nchw else run

    def told(self, spec: Any) -> dict[str, Any]:
        """What the card says of `image`: the client's steps, and whatever is not the default."""
        steps = [step for step in spec.prepare if not self.any_size or step["op"] in OF_CLIENTS]
        layout = {"layout": "NCHW"} if self.nchw else {}
        return {"prepare": steps, **layout, **({"resize": self.resize(spec)} if self.any_size else {})}

    def resize(self, spec: Any) -> dict[str, Any]:
        """The rule in the graph, exactly: what the graph does to a picture before the network sees it."""
        rule = self.rule(spec)
        bars = {"color": list(colour(spec))} if rule == "letterbox" else {}
        return {
            "where": "graph",
            "rule": rule,
            "size": list(spec.image_shape[:2]),
            "method": "bilinear",
            "coordinates": "half_pixel",
            "antialias": False,
            **bars,
        }


PLAIN = Form()


def colour(spec: Any) -> tuple[int, ...]:
    """The mean colour of the training pictures, 0 to 255: what the scaling makes a zero of."""
    return tuple(round(255 * float(mean)) for mean in spec.mean)


def other_sizes(spec: Any) -> list[tuple[int, int]]:
    """Height and width of the pictures that parity is measured on besides."""
    height, width = spec.image_shape[:2]
    return [(max(1, round(height * tall)), max(1, round(width * wide))) for tall, wide in COMPARED]


def scored_sizes(spec: Any) -> list[tuple[int, int]]:
    height, width = spec.image_shape[:2]
    return [(max(1, round(height * times)), max(1, round(width * times))) for times in SCORED]


def resized(feeds: Arrays, size: tuple[int, int], method: str = "bicubic") -> Arrays:
    """The pictures at another height and width, by Pillow: uint8 (B,H,W,C)."""
    from PIL import Image

    def one(picture: np.ndarray) -> np.ndarray:
        grey = picture.shape[-1] == 1
        other = Image.fromarray(picture[..., 0] if grey else picture).resize((size[1], size[0]), Image.Resampling[method.upper()])
        return np.asarray(other, np.uint8).reshape(*size, picture.shape[-1])

    return {**feeds, "image": np.stack([one(picture) for picture in feeds["image"]])}


def score(task: Any, predict: Run, splits: Any, split: str, spec: Any) -> list[dict[str, Any]]:
    """The metrics on the split's own pictures at other sizes, fitted by the graph, and, to compare, shrunk or enlarged by Pillow first."""
    own = tuple(spec.image_shape[:2])

    def at(size: tuple[int, int]) -> Run:
        return lambda feeds, **options: predict(resized(feeds, size), **options)

    def by_client(size: tuple[int, int]) -> Run:
        return lambda feeds, **options: predict(resized(resized(feeds, size), own, "bilinear"), **options)

    def scores(run: Run) -> dict[str, float]:
        return {name: float(value) for name, value in task.evaluate(run, splits, split=split).items()}

    return [{"size": list(size), "graph": scores(at(size)), "client": scores(by_client(size))} for size in scored_sizes(spec)]


def check_section(card: dict[str, Any]) -> None:
    """Weights beside a graph are listed; where a graph resizes, both runtimes were compared at other sizes than its own; ExportRefused."""
    for path, graph in card["graphs"].items():
        if graph.get("external_data", path) not in card["files"]:
            raise ExportRefused(f"the weights of {path} must be among the files. Received: no {graph['external_data']}")
    (entry, *_) = next(iter(card["graphs"].values()))["inputs"]
    if "resize" not in entry:
        return
    for runtime in ("onnxruntime", "saved_model"):
        sizes = {tuple(row["size"]) for row in card["parity"] if row["runtime"] == runtime and "size" in row}
        if len(sizes) < len(COMPARED):
            raise ExportRefused(f"parity of {runtime} must be shown at {len(COMPARED)} other sizes of pictures. Received: {sorted(sizes)}")
