"""Where a trained network looked: Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) of one picture.

A map of features A (h,w,K) is weighed by how much the score y would rise with each of its channels, and what speaks against it is cut off:

    weight_k = mean over places of dy / dA_ijk      (equation 1)
    heat_ij  = max(0, sum_k weight_k A_ijk)         (equation 2)

The score is the logit of a label or, of an embedding e, its squared length |e|^2 or its cosine with that of a second picture.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from PIL import Image

from kerasdl.data.pictures import open_picture, prepare
from kerasdl.figures import new_figure
from kerasdl.names import nearest

BARS = 5


@dataclasses.dataclass(frozen=True)
class Explanation:
    """A prepared picture uint8 (H,W,C), its heat float32 (h,w) from 0 to 1, all zeros where nothing speaks for the score, and in words.

    score: what the heat is of; layer: whose map it is; bars: (name, share) pairs, the best first; other: the second picture, if any.
    """

    picture: np.ndarray
    heat: np.ndarray
    score: str
    layer: str
    bars: tuple[tuple[str, float], ...] = ()
    other: np.ndarray | None = None


def explain(
    task: Any, model: keras.Model, spec: Any, picture: str | Path, label: str | None = None, other: str | Path | None = None
) -> Explanation:
    """Grad-CAM of a picture.

    Args:
        task, model, spec: of a run, as `kerasdl.cli.open_run` gives them.
        picture: a file of any size.
        label: the class to explain, of a classifier; without it the best one.
        other: a second picture file, of an embedding: the heat is then that of their similarity.

    Raises:
        ValueError: an unreadable picture, a label that does not exist, an option of the other task, a network without a map of features
            at its end, or a backend other than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"Grad-CAM takes its gradients with TensorFlow. Received: KERAS_BACKEND={keras.backend.backend()}")
    if task.name not in EXPLAINERS:
        raise ValueError(f"the tasks that can be explained are {', '.join(EXPLAINERS)}. Received: {task.name}")
    return EXPLAINERS[task.name](task, model, spec, opened(picture, spec), label, other)


def opened(file: str | Path, spec: Any) -> np.ndarray:
    return prepare(open_picture(file, spec.color), spec.image_shape, spec.prepare)


def explain_class(task: Any, model: keras.Model, spec: Any, picture: np.ndarray, label: str | None, other: Any) -> Explanation:
    if other is not None:
        raise ValueError(f"a second picture is for embeddings, and this run classifies. Received: {str(other)!r}")
    if label is not None and label not in spec.labels:
        raise ValueError(f"the label must be one of the run's. Received: {label!r}. {nearest(label, spec.labels)}")
    shares = np.asarray(task.serving(model, spec)["model"].predict_on_batch({"image": picture[None]})["probabilities"])[0]
    number = int(shares.argmax()) if label is None else spec.labels.index(label)
    layer = map_layer(model)
    heat, _ = heat_of(model, layer, picture, lambda outputs: outputs["logits"][0, number])
    best = tuple((spec.labels[i], float(shares[i])) for i in np.argsort(-shares, kind="stable")[:BARS])
    return Explanation(picture, heat, f"{spec.labels[number]}: probability {shares[number]:.4f}", layer.name, best)


def explain_embedding(task: Any, model: keras.Model, spec: Any, picture: np.ndarray, label: str | None, other: Any) -> Explanation:
    if label is not None:
        raise ValueError(f"labels are for classifiers, and this run embeds. Received: {label!r}")
    layer = map_layer(model)
    if other is None:
        if task.head == "parts":
            raise ValueError("the embedding of strips always has the length 1, which nothing explains: give a second picture (--with)")
        heat, score = heat_of(model, layer, picture, lambda outputs: ops.sum(ops.square(outputs["embedding"][0])))
        return Explanation(picture, heat, f"squared length of the embedding: {score:.4g}", layer.name)
    second = opened(other, spec)
    target = as_unit(model({"image": second[None].astype("float32")}, training=False)["embedding"][0])
    heat, score = heat_of(model, layer, picture, lambda outputs: ops.sum(as_unit(outputs["embedding"][0]) * target))
    return Explanation(picture, heat, f"cosine with the second picture: {score:.4f}", layer.name, other=second)


EXPLAINERS = {"classification": explain_class, "embedding": explain_embedding}


def as_unit(vector: Any) -> Any:
    vector = ops.cast(vector, "float32")
    return vector / ops.maximum(ops.norm(vector), 1e-12)


def heat_of(model: keras.Model, layer: keras.Layer, picture: np.ndarray, score: Callable[[Any], Any]) -> tuple[np.ndarray, float]:
    """The heat (h,w), its maximum 1, of a scalar function of the model's outputs, and its value."""
    import tensorflow as tf

    image = tf.constant(picture[None], "float32")
    with tf.GradientTape() as tape, recorded(layer) as maps:
        tape.watch(image)  # all weights may be frozen
        value = tf.cast(score(model({"image": image}, training=False)), "float32")
    gradient = tape.gradient(value, maps[-1], unconnected_gradients=tf.UnconnectedGradients.ZERO)
    features, slopes = (tf.cast(x, "float32").numpy()[0] for x in (maps[-1], gradient))
    heat = grad_cam(features, slopes)
    return heat / max(float(heat.max()), 1e-12), float(value)


def grad_cam(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Equations 1 and 2: features and gradients (h,w,K) to heat (h,w), not negative."""
    return np.maximum(features @ gradients.mean(axis=(0, 1)), 0)


@contextmanager
def recorded(layer: keras.Layer) -> Iterator[list[Any]]:
    """What a layer anywhere in a model gives in the meantime."""
    given, call = [], layer.call

    def recording(*arguments: Any, **options: Any) -> Any:
        given.append(call(*arguments, **options))
        return given[-1]

    layer.call = recording
    try:
        yield given
    finally:
        layer.call = call


def map_layer(model: keras.Model) -> keras.Layer:
    """The last layer, counting those of models inside it, that gives a map of features (B,H,W,C) of more than one place.

    Raises:
        ValueError: no such layer, or only before the tokens of a transformer.
    """
    found, learnt, tokens = None, False, False
    for layer in in_order(model):
        learnt = learnt or bool(layer.weights)  # the picture itself and its scaling are no features
        shape = output_shape(layer)
        if learnt and len(shape) == 4 and shape[1:3] != (1, 1):
            found, tokens = layer, False
        tokens = tokens or len(shape) == 3
    if found is None or tokens:
        kind = "tokens" if tokens else "none"
        raise ValueError(f"Grad-CAM needs a map of features (H,W,C) at the end of the network. Received: {kind} in {model.name!r}")
    return found


def in_order(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from in_order(layer)
        else:
            yield layer


def output_shape(layer: keras.Layer) -> tuple[int | None, ...]:
    try:
        return tuple(layer.output.shape)
    except (AttributeError, ValueError):  # several outputs, or called more than once
        return ()


def draw(explanation: Explanation, path: Path, title: str) -> None:
    """The picture, the heat over it, and the answer, side by side."""
    figure = new_figure(8.4, 3.4)
    figure.suptitle(title, fontsize=10)
    plain, warm, answer = figure.subplots(1, 3)
    height, width = explanation.picture.shape[:2]
    for axes in (plain, warm):
        axes.imshow(explanation.picture.squeeze(), cmap="gray", vmin=0, vmax=255)
        axes.set(xticks=[], yticks=[])
    plain.set_title("picture", fontsize=9)
    large = Image.fromarray(explanation.heat.astype("float32")).resize((width, height), Image.Resampling.BILINEAR)
    heat = np.asarray(large)
    warm.imshow(heat, cmap="inferno", alpha=0.25 + 0.45 * heat, vmin=0, vmax=1)
    warm.set_title(f"Grad-CAM of {explanation.layer}", fontsize=9)
    draw_answer(answer, explanation)
    figure.savefig(path)


def draw_answer(axes: Any, explanation: Explanation) -> None:
    axes.set_title("\n".join(textwrap.wrap(explanation.score, 34)), fontsize=9)
    if explanation.bars:
        names, shares = zip(*reversed(explanation.bars), strict=True)
        axes.barh([textwrap.shorten(name, 22) for name in names], shares, color="#0072b2")
        axes.set(xlim=(0, 1), xlabel="probability")
        return
    axes.set_axis_off()
    if explanation.other is not None:
        axes.imshow(explanation.other.squeeze(), cmap="gray", vmin=0, vmax=255)
