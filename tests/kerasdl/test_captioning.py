"""The task Captioning on eight patterns and their eight sentences: what it builds, learns, serves, scores and draws."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

import kerasdl
from kerasdl import caption_report, decoding
from kerasdl.data.spec import Spec
from kerasdl.data.splits import ArraySplit
from kerasdl.models.vit import vit
from kerasdl.tasks import TASKS, Captioning
from kerasdl.tasks.captioning import vocabulary
from kerasdl.text import Vocabulary

SIDE, T = 16, 8
COLOURS = {"red": (220, 30, 30), "blue": (30, 60, 220)}
PLACES = {"at the top": (0, 4), "at the bottom": (12, 4), "on the left": (4, 0), "on the right": (4, 12)}
SENTENCES = [f"a {colour} mark {place}" for colour in COLOURS for place in PLACES]
WORDS = Vocabulary.build(SENTENCES)
SPEC = Spec((SIDE, SIDE, 3), tuple(WORDS.words), (0.2,) * 3, (0.3,) * 3, (), "marks", caption_length=T)


def pictures() -> np.ndarray:
    images = np.full((8, SIDE, SIDE, 3), 40, np.uint8)
    marks = [(colour, place) for colour in COLOURS.values() for place in PLACES.values()]
    for image, (colour, (y, x)) in zip(images, marks, strict=True):
        image[y : y + (4 if y % 12 == 0 else 8), x : x + (4 if x % 12 == 0 else 8)] = colour
    return images


IMAGES, TOKENS = pictures(), np.stack([WORDS.encode(sentence, T) for sentence in SENTENCES])
SPLIT = ArraySplit({"image": IMAGES, "label": np.zeros(8, np.int64), "tokens": TOKENS})
REFERENCES = [[sentence, f"{sentence} ."] for sentence in SENTENCES]
SPLITS: Any = SimpleNamespace(spec=SPEC, valid=SPLIT, references={"valid": REFERENCES}, split=lambda name: SPLIT)
TASKS_HERE = {
    "lstm": Captioning("recurrent", units=32, width=16, dropout=0.0),
    "gru": Captioning("recurrent", cell="gru", units=32, width=16, dropout=0.0, places=False),
    "transformer": Captioning("transformer", width=16, heads=2, blocks=2, dropout=0.0, positions="learnt"),
}


def backbone(image_shape=(SIDE, SIDE, 3)) -> keras.Model:
    image = keras.Input(image_shape, name="image")
    x = keras.layers.Conv2D(16, 4, 4, activation="relu")(image)
    return keras.Model(image, keras.layers.Conv2D(16, 3, padding="same", activation="relu")(x), name="tiny")


def runner(model: keras.Model):
    return lambda feeds: {name: np.asarray(x) for name, x in model(feeds, training=False).items()}


def predictor(task: Captioning, model: keras.Model):
    return task.predictor({name: runner(graph) for name, graph in task.serving(model, SPEC).items()}, SPEC)


def fit(task: Captioning, model: keras.Model, epochs: int) -> dict[str, list[float]]:
    losses, options = task.loss(), {"jit_compile": False}
    model.compile(
        keras.optimizers.Adam(1e-2),
        loss={name: loss for name, (loss, _) in losses.items()},
        loss_weights={name: weight for name, (_, weight) in losses.items()},
        metrics=task.metrics(),
        **options,
    )
    often = np.tile(np.arange(8), 20)  # an epoch of twenty steps: an epoch of one takes longer to begin and end than to run
    inputs, targets = task.batch({"image": IMAGES[often].astype("float32")}, {"tokens": TOKENS[often]})
    options = {"batch_size": 8, "epochs": epochs, "shuffle": False, "verbose": 0}
    return model.fit(inputs, targets, **options).history


@pytest.fixture(scope="module", params=TASKS_HERE)
def learnt(request) -> tuple[Captioning, keras.Model, dict[str, list[float]]]:
    keras.utils.set_random_seed(0)
    task = TASKS_HERE[request.param]
    model = task.build(backbone(), SPEC)
    history = fit(task, model, epochs=5)
    return task, task.trained(model), history


# --- learning and saying ---


def test_eight_patterns_are_learnt_exactly(learnt):
    task, model, history = learnt
    right = history["logits_accuracy" if "coverage_loss" in history else "accuracy"]
    assert right[-1] == 1.0 and history["loss"][-1] < history["loss"][0]
    predict = predictor(task, model)
    assert task.captions(predict, SPLITS, np.arange(8)) == SENTENCES
    greedy = predictor(dataclasses.replace(task, beam=1), model)
    assert task.captions(greedy, SPLITS, np.array([5, 2])) == [SENTENCES[5], SENTENCES[2]]


def test_scores_are_of_what_the_model_says_when_it_sees_the_picture_alone(learnt):
    task, model, _ = learnt
    asked = []

    def predict(inputs):
        asked.append(sorted(inputs))
        return predictor(task, model)(inputs)

    scores = task.evaluate(predict, SPLITS, "valid", batch_size=5)
    assert asked == [["image"], ["image"]]
    assert scores["BLEU-4"] == pytest.approx(1) and scores["ROUGE-L"] == pytest.approx(1) and scores["CIDEr-D"] > 5
    wrong = SimpleNamespace(spec=SPEC, split=lambda name: SPLIT, references={"valid": REFERENCES[::-1]})
    assert task.evaluate(predict, wrong, "valid")["BLEU-4"] < 0.9


def test_the_answer_has_tokens_scores_margins_and_attention(learnt):
    task, model, _ = learnt
    found = predictor(task, model)({"image": IMAGES[:3]})
    heads = task.heads if task.decoder == "transformer" else 1
    assert {name: (x.shape, x.dtype.name) for name, x in found.items()} == {
        "tokens": ((3, T), "int32"),
        "score": ((3,), "float32"),
        "margin": ((3,), "float32"),
        "attention": ((3, T, heads, 16), "float32"),
    }
    np.testing.assert_array_equal(found["tokens"], TOKENS[:3])
    said = (TOKENS[:3] != 0) & (np.arange(T) > 0)  # all but <start> and <pad>
    np.testing.assert_allclose(found["attention"].sum(axis=3), np.repeat(said[:, :, None], heads, axis=2), atol=1e-5)
    assert (found["score"] < 0).all() and (found["margin"] > 0).all()


def test_the_served_halves_give_the_logits_of_the_training_model(learnt):
    task, model, _ = learnt
    whole = np.asarray(model({"image": IMAGES.astype("float32"), "tokens": TOKENS[:, :-1]}, training=False)["logits"])
    graphs = {name: runner(graph) for name, graph in task.serving(model, SPEC).items()}
    given = graphs["encoder"]({"image": IMAGES})
    memory, state = decoding._begin(given, T)
    for t in range(T - 1):
        out = graphs["decoder"]({"token": TOKENS[:, t], "state": state, **memory})
        state = out["next_state"]
        np.testing.assert_allclose(out["logits"], whole[:, t], atol=1e-4)


def test_a_saved_model_says_the_same(learnt, tmp_path):
    task, model, _ = learnt
    model.save(tmp_path / "model.keras")
    again = kerasdl.load_model(tmp_path / "model.keras")
    first, second = (predictor(task, one)({"image": IMAGES}) for one in (model, again))
    for name, values in first.items():
        np.testing.assert_allclose(second[name], values, atol=1e-6)


def test_the_figures_are_drawn(learnt, tmp_path):
    task, model, _ = learnt
    task.figures(tmp_path, predictor(task, model), SPLITS, "a title", pictures=6, followed=3)
    with Image.open(tmp_path / "captions.png") as sheet, Image.open(tmp_path / "attention.png") as looks:
        assert sheet.width > 4 * caption_report.SIDE and looks.width > T * 100 and looks.height > 3 * 100


# --- what is built ---


def test_a_recurrent_decoder_learns_by_a_regulariser_that_is_not_served():
    task = TASKS_HERE["lstm"]
    model = task.build(backbone(), SPEC)
    assert {name: x.shape for name, x in model.output.items()} == {"logits": (None, T - 1, len(WORDS)), "coverage": (None, 16)}
    assert list(task.trained(model).output) == ["logits"] and task.grid(model) == (4, 4)
    for plain in (dataclasses.replace(task, regulariser=0.0), dataclasses.replace(task, attention=False), TASKS_HERE["transformer"]):
        assert list(plain.build(backbone(), SPEC).output) == ["logits"] == list(plain.loss())


def test_the_served_graphs_have_the_layout_of_the_contract():
    forms = {
        name: {
            graph: ({i.name: (i.shape[1:], i.dtype) for i in model.inputs}, {k: x.shape[1:] for k, x in model.output.items()})
            for graph, model in task.serving(task.build(backbone(), SPEC), SPEC).items()
        }
        for name, task in TASKS_HERE.items()
    }
    words = len(WORDS)
    image, token = {"image": ((SIDE, SIDE, 3), "uint8")}, {"token": ((), "int32")}
    assert forms["lstm"]["encoder"] == (image, {"features": (16, 16), "keys": (16, 32), "state": (2, 32)})
    given = {"features": ((16, 16), "float32"), "keys": ((16, 32), "float32"), "state": ((2, 32), "float32"), **token}
    assert forms["lstm"]["decoder"] == (given, {"logits": (words,), "next_state": (2, 32), "attention": (1, 16)})
    assert forms["gru"]["encoder"][1]["state"] == (1, 32)
    assert forms["transformer"]["encoder"] == (image, {"cross": (2, 2, 2, 16, 8)})
    given = {"cross": ((2, 2, 2, 16, 8), "float32"), "state": ((2, 2, 2, None, 8), "float32"), **token}
    answer = {"logits": (words,), "next_state": (2, 2, 2, None, 8), "attention": (2, 16)}
    assert forms["transformer"]["decoder"] == (given, answer)


@pytest.mark.parametrize("shape, grid", [((6, 4, 8), (6, 4)), ((9, 8), (3, 3)), ((10, 8), (1, 10))])
def test_a_backbone_gives_a_map_or_tokens(shape, grid):
    image = keras.Input((SIDE, SIDE, 3), name="image")
    features = keras.layers.Reshape(shape)(keras.layers.Dense(int(np.prod(shape)))(keras.layers.GlobalAveragePooling2D()(image)))
    task = TASKS_HERE["transformer"]
    model = task.build(keras.Model(image, features, name="any"), SPEC)
    assert task.grid(model) == grid and model.get_layer("memory").grid == grid
    auxiliary = keras.Model(image, {"features": features, "aux1": features}, name="any")
    assert task.grid(task.build(auxiliary, SPEC)) == grid


def test_a_batch_asks_for_each_token_behind_those_before_it():
    import tensorflow as tf

    task, image = TASKS_HERE["lstm"], np.zeros((8, 2, 2, 3), "float32")
    stream = tf.data.Dataset.from_tensors(({"image": image}, {"tokens": TOKENS, "logits": np.zeros(8)})).map(task.batch)
    for inputs, targets in (task.batch({"image": image}, {"tokens": TOKENS}), next(iter(stream))):
        assert sorted(inputs) == ["image", "tokens"] and sorted(targets) == ["coverage", "logits"]
        np.testing.assert_array_equal(inputs["tokens"], TOKENS[:, :-1])
        np.testing.assert_array_equal(targets["logits"], TOKENS[:, 1:])


# --- scores, decisions, facts ---


def shares(candidates, references):
    return {"exact": sum(c in some for c, some in zip(candidates, references, strict=True)) / len(candidates)}


def test_slots_are_scored_too_and_only_shares_have_intervals():
    task = dataclasses.replace(TASKS_HERE["lstm"], slots=shares)
    said = TOKENS.copy()
    said[3] = TOKENS[4]
    scores = task.evaluate(lambda inputs: {"tokens": said[: len(inputs["image"])]}, SPLITS, batch_size=8)
    assert scores["exact"] == 7 / 8
    intervals = task.metric_intervals(scores, task.count(SPLITS, "valid"))
    assert list(intervals) == ["exact"] and intervals["exact"][0] < 7 / 8 < intervals["exact"][1]


def test_a_decision_is_the_whole_caption():
    outputs = {"tokens": TOKENS[[0, 1, 0]], "margin": np.array([0.5, 1e-6, 2], "float32")}
    choice, margin = TASKS_HERE["gru"].decide(outputs)
    assert choice.shape == margin.shape == (3,) and (choice == choice[0]).tolist() == [True, False, True]


def test_the_words_of_a_spec_are_a_vocabulary():
    assert vocabulary(SPEC).decode(TOKENS[2]) == SENTENCES[2] == WORDS.decode(TOKENS[2])
    assert TASKS["captioning"] is Captioning


def test_a_spec_knows_the_length_of_its_captions_and_old_ones_have_none():
    assert Spec.from_json(SPEC.to_json()) == SPEC and SPEC.to_json()["caption_length"] == T
    old = {name: value for name, value in SPEC.to_json().items() if name != "caption_length"}
    assert Spec.from_json(old).caption_length == 0
    with pytest.raises(ValueError, match="<start>, a word and <end>.* Received: caption_length=2"):
        dataclasses.replace(SPEC, caption_length=2)


def test_a_sheet_marks_what_is_right(tmp_path):
    grey = np.full((2, 8, 8, 1), 128, np.uint8)
    green = []
    for said in (["A mark.", "no"], ["no", "no"]):
        caption_report.contact_sheet(grey, said, [["a mark"], ["a dot"]], tmp_path / "sheet.png", "t")
        with Image.open(tmp_path / "sheet.png") as sheet:
            pixels = np.asarray(sheet).astype(int)
        green.append(((pixels[..., 1] - pixels[..., 0]) > 60).sum())
    assert green[0] > 20 and green[1] == 0


# --- refused ---


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: Captioning(decoder="rnn"), "decoder is one of recurrent, transformer. Received: 'rnn'"),
        (lambda: Captioning(attention=False), "only the recurrent decoder goes without attention"),
        (lambda: Captioning(beam=0), "at least 1 caption open. Received: beam=0"),
        (lambda: Captioning(regulariser=-1.0), "must not be negative. Received: regulariser=-1.0"),
        (
            lambda: Captioning().build(backbone(), dataclasses.replace(SPEC, caption_length=0)),
            "has a caption_length. Received: 'marks' without",
        ),
        (
            lambda: Captioning().build(vit((16, 16, 3), 4, 192, 1, 3), SPEC),
            r"pool='mean'. Received: \(None, 192\)",
        ),
        (
            lambda: Captioning().evaluate(lambda inputs: {}, SimpleNamespace(references={}, split=lambda name: SPLIT), "test"),
            "Received: 0 references for 8 pictures",
        ),
        (
            lambda: caption_report.attention_sheet(IMAGES[:1], [["a"]], np.ones((1, 1, 5)), (2, 2), Path("x.png"), "t"),
            r"Received: 5 places, grid=\(2, 2\)",
        ),
        (lambda: caption_report.contact_sheet(IMAGES, ["a"], REFERENCES, Path("x.png"), "t"), "Received: 8, 1 and 8"),
    ],
)
def test_the_impossible_is_refused_with_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
