"""`kerasdl predict` of captioners and embedders: a sentence or a vector for each picture, and a row for what is none."""

import csv

import keras
import numpy as np
import pytest
from PIL import Image

from kerasdl import cli
from kerasdl.cli import main
from kerasdl.data.spec import Spec
from kerasdl.predictions import BATCH, form_of, predict
from kerasdl.recipe import Recipe
from kerasdl.tasks import Captioning, Embedding, keras_predictor
from kerasdl.text import Vocabulary

SHAPE = (8, 8, 3)
WORDS = Vocabulary.build(["a large red circle", "two small blue circles"])
SPECS = {
    "told": Spec(SHAPE, tuple(WORDS.words), (0.5,) * 3, (0.25,) * 3, (), "noise", caption_length=6),
    "vectors": Spec(SHAPE, ("a", "b"), (0.5,) * 3, (0.25,) * 3, (), "noise"),
}
TASKS = {"told": Captioning(width=8, heads=2, blocks=1, beam=2), "vectors": Embedding(distances=(), size=4)}


def backbone(image_shape=SHAPE):
    image = keras.Input(image_shape)
    return keras.Model(image, keras.layers.Conv2D(8, 4, 4, activation="relu")(image), name="tiny")


def run(name):
    """(task, spec, training model) with random weights."""
    keras.utils.set_random_seed(0)
    model = TASKS[name].build(backbone(), SPECS[name])
    rng = np.random.default_rng(1)
    model.set_weights([np.abs(rng.normal(size=w.shape)) if "variance" in v.path else rng.normal(size=w.shape) for v, w in weights(model)])
    return TASKS[name], SPECS[name], model


def weights(model):
    return list(zip(model.weights, model.get_weights(), strict=True))


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """said(name, more): what `kerasdl predict` prints of a folder of three pictures and a text, and the outputs of Keras."""
    images = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), np.uint8)
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    for path, image in zip(("a.png", "c.png", "deeper/d.png"), images, strict=True):
        Image.fromarray(image).save(tmp_path / "in" / path)
    (tmp_path / "in" / "b.png").write_text("text")

    def ask(name, *more):
        task, spec, model = run(name)
        recipe = Recipe(name, "For tests.", lambda: None, backbone, task, 1, 4, keras.optimizers.SGD, lambda *_: None)
        monkeypatch.setattr(cli, "open_run", lambda *_: (recipe, spec, model))
        assert main(["predict", name, str(tmp_path / "in"), *more]) == 0
        return capsys.readouterr(), keras_predictor(task, model, spec)({"image": images})

    return ask


def rows_of(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_captioner_says_a_sentence_and_how_sure_it_is(said, tmp_path):
    printed, found = said("told")
    sentences = [WORDS.decode(tokens) for tokens in found["tokens"]]
    files = [tmp_path / "in" / name for name in ("a.png", "c.png", "deeper/d.png")]
    told = zip(files, sentences, found["score"], strict=True)
    assert printed.out.splitlines() == [f"{file} {sentence}  ({score:.4f})" for file, sentence, score in told]
    assert "skipped: b.png is not a readable picture" in printed.err

    printed, _ = said("told", "--csv", str(tmp_path / "a.csv"))
    assert "3 pictures captioned, 1 not readable" in printed.out
    rows = rows_of(tmp_path / "a.csv")
    assert list(rows[0]) == ["picture", "caption", "score", "problem"]
    assert [row["caption"] for row in rows] == [sentences[0], "", *sentences[1:]] and "not a readable" in rows[1]["problem"]
    np.testing.assert_allclose([float(row["score"]) for row in rows if row["score"]], found["score"], atol=1e-6)


def test_an_embedder_writes_vectors_as_exact_as_they_are(said, tmp_path):
    printed, found = said("vectors", "--csv", str(tmp_path / "a.csv"))
    assert "3 pictures as vectors of 4 numbers and length 1, 1 not readable" in printed.out
    rows = rows_of(tmp_path / "a.csv")
    assert list(rows[0]) == ["picture", "problem", "e0", "e1", "e2", "e3"] and rows[1]["e0"] == ""
    written = np.array([[row[f"e{i}"] for i in range(4)] for row in rows if not row["problem"]], np.float32)
    np.testing.assert_array_equal(written, found["embedding"])


def test_pictures_of_many_batches_keep_their_order(tmp_path):
    task, spec, model = run("vectors")
    files = []
    for number in range(BATCH + 3):
        files.append(tmp_path / f"{number:03}.png")
        Image.fromarray(np.full(SHAPE, 3 * number, np.uint8)).save(files[-1])
    files[0].write_text("text")
    form = form_of(task, spec, model)
    rows = predict(task, spec, model, files, form)
    assert [row["picture"] for row in rows] == [str(file) for file in files] and [bool(row["problem"]) for row in rows].count(True) == 1
    for row, alone in zip(rows[-4:], predict(task, spec, model, files[-4:], form), strict=True):  # the last of one batch, and of two
        np.testing.assert_allclose([float(row[f"e{i}"]) for i in range(4)], [float(alone[f"e{i}"]) for i in range(4)], atol=1e-6)
