"""Grad-CAM: equations 1 and 2 by hand, through a model, and what cannot be explained."""

from functools import partial
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from kerasdl import explain as explaining
from kerasdl.data.spec import Spec
from kerasdl.explain import Explanation, draw, explain, grad_cam, heat_of, map_layer
from kerasdl.models import lenet5, mlp
from kerasdl.models.conv import conv_bn
from kerasdl.models.vit import vit
from kerasdl.tasks import Classification, Embedding

PIXELS = np.array([[[0], [1]], [[2], [4]]], np.uint8)
SPEC = Spec((2, 2, 1), ("cat", "dog"), (0.0,), (1.0,), (), "tiny")


def linear_model():
    """A = (x, 4 - x) by a 1x1 convolution; logits are 2 mean(A_1) - mean(A_2) for a cat and its negative for a dog."""
    image = keras.Input((2, 2, 1), name="image")
    conv = layers.Conv2D(2, 1, name="conv")
    head = layers.Dense(2, use_bias=False, name="logits")
    inside = keras.Model(image, conv(image), name="backbone")
    outer = keras.Input((2, 2, 1), name="image")
    scaled = layers.Rescaling(1.0, name="scaling")(outer)
    model = keras.Model({"image": outer}, {"logits": head(layers.GlobalAveragePooling2D(name="pool")(inside(scaled)))})
    conv.set_weights([np.array([[[[1.0, -1.0]]]]), np.array([0.0, 4.0])])
    head.set_weights([np.array([[2.0, -2.0], [-1.0, 1.0]])])
    return model


def test_equations_1_and_2_by_hand():
    features = np.array([[[1.0, 2.0], [3.0, 0.0]], [[0.0, 5.0], [2.0, 1.0]]])
    gradients = np.array([[[4.0, -1.0], [0.0, -1.0]], [[0.0, 0.0], [0.0, -2.0]]])
    # weights: 4 / 4 = 1 and -4 / 4 = -1, so that the heat is max(0, A_1 - A_2)
    np.testing.assert_allclose(grad_cam(features, gradients), [[0, 3], [0, 1]])


def test_the_gradient_of_a_linear_model_by_hand():
    """Weights are 2/4 and -1/4 for a cat: (2 x - (4 - x)) / 4 = (3 x - 4) / 4 is -1, -1/4, 1/2 and 2 at the four pixels."""
    model = linear_model()
    layer = map_layer(model)
    assert layer.name == "conv"
    cat, score = heat_of(model, layer, PIXELS, lambda outputs: outputs["logits"][0, 0])
    np.testing.assert_allclose(cat, [[0, 0], [0.25, 1]], atol=1e-6)  # over the maximum, 2
    assert score == pytest.approx(2 * 1.75 - 2.25)
    dog, _ = heat_of(model, layer, PIXELS, lambda outputs: outputs["logits"][0, 1])
    np.testing.assert_allclose(dog, [[1, 0.25], [0, 0]], atol=1e-6)
    nothing, _ = heat_of(model, layer, PIXELS, lambda outputs: 0 * outputs["logits"][0, 1])
    assert not nothing.any()
    assert layer.call.__name__ == "call"  # and records no more


def file_of(tmp_path, pixels, name="a.png"):
    Image.fromarray(pixels.squeeze()).save(tmp_path / name)
    return tmp_path / name


def test_a_class_is_explained_the_best_or_the_one_asked_for(tmp_path):
    model, picture = linear_model(), file_of(tmp_path, PIXELS)
    best = explain(Classification(), model, SPEC, picture)
    assert best.bars[0][0] == "cat" and best.bars[0][1] == pytest.approx(1 / (1 + np.exp(-2.5)), abs=1e-5)
    assert best.score == f"cat: probability {best.bars[0][1]:.4f}" and best.layer == "conv"
    np.testing.assert_allclose(explain(Classification(), model, SPEC, picture, label="dog").heat, [[1, 0.25], [0, 0]], atol=1e-6)


def small_backbone():
    image = keras.Input((16, 8, 3))
    return keras.Model(image, conv_bn(image, 8, 3, 2, name="conv"), name="small")


def test_an_embedding_is_explained_by_its_length_or_by_a_second_picture(tmp_path):
    keras.utils.set_random_seed(0)
    spec = Spec((16, 8, 3), ("1", "2"), (0.5,) * 3, (0.25,) * 3, (), "noise")
    task = Embedding(distances=(), size=4)
    model = task.build(small_backbone(), spec)
    random = np.random.default_rng(0)
    one, other = (file_of(tmp_path, random.integers(0, 256, (16, 8, 3), np.uint8), name) for name in ("1.png", "2.png"))
    alone = explain(task, model, spec, one)
    vector = np.asarray(model({"image": alone.picture[None].astype("float32")}, training=False)["embedding"])[0]
    assert alone.layer == "features" and alone.score == f"squared length of the embedding: {np.sum(vector**2):.4g}"
    assert explain(task, model, spec, one, other=one).score == "cosine with the second picture: 1.0000"
    both = explain(task, model, spec, one, other=other)
    assert both.other is not None and both.heat.shape == alone.heat.shape == (8, 4) and both.heat.max() <= 1
    with pytest.raises(ValueError, match="labels are for classifiers"):
        explain(task, model, spec, one, label="1")


def test_strips_have_one_length_and_need_a_second_picture(tmp_path):
    spec = Spec((16, 8, 3), ("1", "2"), (0.5,) * 3, (0.25,) * 3, (), "noise")
    task = Embedding(head="parts", parts=2, size=4, distances=())
    model = task.build(small_backbone(), spec)
    picture = file_of(tmp_path, np.zeros((16, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="always has the length 1, which nothing explains: give a second picture"):
        explain(task, model, spec, picture)


def test_the_map_is_the_last_one_inside_the_backbone():
    spec = Spec((32, 32, 1), tuple("0123456789"), (0.5,), (0.25,), (), "digits")
    model = Classification().build(lenet5(), spec)
    backbone = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    maps = [layer.name for layer in backbone.layers if len(layer.output.shape) == 4 and layer.output.shape[1] > 1]
    assert map_layer(model).name == maps[-1]


@pytest.mark.parametrize(("make", "kind"), [(mlp, "none"), (partial(vit, patch=8, width=16, depth=1, heads=2), "tokens")])
def test_a_network_without_a_map_at_its_end_is_refused(make, kind):
    spec = Spec((32, 32, 3), tuple("0123456789"), (0.5,) * 3, (0.25,) * 3, (), "colours")
    model = Classification().build(make(image_shape=spec.image_shape), spec)
    with pytest.raises(ValueError, match=rf"needs a map of features \(H,W,C\) at the end of the network. Received: {kind} in"):
        map_layer(model)


def test_what_cannot_be_explained_is_refused_in_a_sentence(tmp_path, monkeypatch):
    model, picture = linear_model(), file_of(tmp_path, PIXELS)
    with pytest.raises(ValueError, match="the label must be one of the run's. Received: 'cot'. .*cat"):
        explain(Classification(), model, SPEC, picture, label="cot")
    with pytest.raises(ValueError, match="a second picture is for embeddings"):
        explain(Classification(), model, SPEC, picture, other=picture)
    (tmp_path / "broken.png").write_text("text")
    with pytest.raises(ValueError, match="broken.png is not a readable picture"):
        explain(Classification(), model, SPEC, tmp_path / "broken.png")
    with pytest.raises(ValueError, match="can be explained are classification, embedding. Received: flow"):
        explain(SimpleNamespace(name="flow"), model, SPEC, picture)
    monkeypatch.setattr(explaining.keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="with TensorFlow. Received: KERAS_BACKEND=jax"):
        explain(Classification(), model, SPEC, picture)


def test_the_drawing_warms_the_picture_where_the_heat_is(tmp_path, monkeypatch):
    figures = []
    new = explaining.new_figure
    monkeypatch.setattr(explaining, "new_figure", lambda *size: figures.append(new(*size)) or figures[-1])
    heat = np.array([[0, 0], [0, 1]], np.float32)
    picture = np.full((8, 8, 3), 90, np.uint8)
    draw(Explanation(picture, heat, "cat: probability 0.9000", "conv", (("cat", 0.9), ("dog", 0.1))), tmp_path / "a.png", "a")
    plain, warm, bars = figures[0].axes
    assert len(plain.images) == 1 and len(warm.images) == 2
    shown = np.asarray(warm.images[1].get_array())
    assert shown.shape == (8, 8) and shown[7, 7] == shown.max() == 1 and shown[0, 0] == 0
    assert [patch.get_width() for patch in bars.patches] == [0.1, 0.9] and bars.get_title() == "cat: probability 0.9000"
    draw(Explanation(picture, heat, "cosine with the second picture: 0.5000", "conv", other=picture), tmp_path / "b.png", "b")
    assert len(figures[1].axes[2].images) == 1 and (tmp_path / "b.png").stat().st_size > 1000
