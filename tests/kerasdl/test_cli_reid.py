"""The command line on re-identification runs, and the pictures of a classification run."""

import keras
import numpy as np
import pytest
from keras.optimizers import SGD
from PIL import Image

from kerasdl import cli
from kerasdl.cli import main
from kerasdl.data.spec import Spec
from kerasdl.data.splits import ArraySplit, Splits
from kerasdl.mistakes import surest_mistakes
from kerasdl.models.conv import conv_bn
from kerasdl.recipe import Recipe
from kerasdl.schedules import one_cycle
from kerasdl.tasks import Classification, Embedding

SHAPE = (16, 8, 3)
SPEC = Spec(SHAPE, ("cat", "dog", "owl"), (0.5,) * 3, (0.25,) * 3, (), "noise")
TASKS = {"reid": Embedding(distances=(), size=8), "labels": Classification()}


def backbone(image_shape=SHAPE):
    image = keras.Input(image_shape)
    return keras.Model(image, conv_bn(image, 8, 3, 2, name="conv"), name="tiny")


def part(seed, count=12):
    random, numbers = np.random.default_rng(seed), np.arange(count)
    image = random.integers(0, 256, (count, *SHAPE), np.uint8)
    return ArraySplit({"image": image, "label": numbers % 3, "pid": 1 + numbers % 3, "camid": 1 + numbers // 3})


def noise():
    names = ("valid_query", "valid_gallery", "query", "gallery")
    roles = {name: part(seed) for seed, name in enumerate(names)}
    return Splits(part(9), part(0), part(2), SPEC, {"name": "noise"}, roles)


@pytest.fixture
def run_of(monkeypatch):
    """run_of(name): the next verb finds an untrained run of that task."""

    def choose(name):
        keras.utils.set_random_seed(0)
        recipe = Recipe(
            name=name,
            note="For tests.",
            data=noise,
            model=backbone,
            task=TASKS[name],
            epochs=1,
            batch_size=4,
            optimizer=SGD,
            schedule=one_cycle,
        )
        monkeypatch.setattr(cli, "open_run", lambda *_: (recipe, SPEC, recipe.task.build(backbone(), SPEC)))

    return choose


@pytest.fixture
def picture(tmp_path):
    def save(seed):
        path = tmp_path / f"{seed}.png"
        Image.fromarray(part(seed, 1).arrays()["image"][0]).save(path)
        return str(path)

    return save


def test_a_report_of_an_embedding_is_its_strips_and_curves(run_of, tmp_path, monkeypatch, capsys):
    run_of("reid")
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "reid", "--split", "test", "--report"]) == 0
    text = capsys.readouterr().out
    assert "rank1" in text and "mAP" in text and "wrote reid-test.png, reid-test-cmc.png, reid-test-roc.png" in text
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("reid-test.png", "reid-test-cmc.png", "reid-test-roc.png"))


def test_a_report_of_a_classifier_is_its_confusions_and_mistakes(run_of, tmp_path, capsys):
    run_of("labels")
    assert main(["evaluate", "labels", "--report", str(tmp_path / "a.png")]) == 0
    assert f"wrote {tmp_path / 'a.png'}, {tmp_path / 'a-mistakes.png'}" in capsys.readouterr().out
    assert (tmp_path / "a-mistakes.png").stat().st_size > 5000


def test_no_report_unless_asked(run_of, tmp_path, monkeypatch, capsys):
    run_of("labels")
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "labels"]) == 0
    assert "wrote" not in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_the_surest_mistakes_come_first():
    shares = np.array([[0.6, 0.4], [0.1, 0.9], [0.2, 0.8], [0.7, 0.3]])
    assert surest_mistakes(np.array([1, 0, 1, 1]), shares).tolist() == [1, 3, 0]
    assert surest_mistakes(np.array([1, 0, 1, 1]), shares, most=1).tolist() == [1]
    assert len(surest_mistakes(np.array([0, 1, 1, 0]), shares)) == 0


def test_a_run_is_explained(run_of, picture, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_of("labels")
    assert main(["show", "labels", "--explain", picture(1), "--label", "owl"]) == 0
    assert "wrote labels-explain.png: owl: probability 0." in capsys.readouterr().out
    assert (tmp_path / "labels-explain.png").stat().st_size > 5000
    run_of("reid")
    assert main(["show", "reid", "--explain", picture(1), "--with", picture(2), "--out", str(tmp_path / "two.png")]) == 0
    text = capsys.readouterr().out
    assert "cosine with the second picture: " in text and "layer features, 8 x 4 places" in text
    assert (tmp_path / "two.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["show", "reid", "--label", "owl"], "--label goes with --explain PICTURE"),
        (["show", "reid", "--explain", "none.png"], "no such picture. Received: 'none.png'"),
        (["show", "reid", "--explain", "none.png", "--out", "a.pdf"], "--out writes a .png file. Received: 'a.pdf'"),
        (["show", "reid", "--explain", "none.png", "--augment"], "--explain shows a trained run as it is"),
        (["show", "reid", "--explain", "PICTURE", "--with", "none.png"], "no such picture. Received: 'none.png'"),
        (["show", "reid", "--explain", "PICTURE", "--label", "owl"], "labels are for classifiers"),
        (["evaluate", "reid", "--report", "a.pdf"], "--report writes a .png file. Received: 'a.pdf'"),
        (["evaluate", "reid", "--split", "cross"], "Received: 'cross_query'"),
        (["predict", "reid", "PICTURE"], "vectors go to a file: give --csv FILE. Received: reid, of embedding, without"),
        (["predict", "reid", "PICTURE", "--top", "2"], "--top is of labels. Received: --top 2 with reid, of embedding"),
        (["predict", "reid", "PICTURE", "--top", "0"], "--top must be at least 1. Received: 0"),
    ],
)
def test_what_cannot_be_is_a_sentence(words, sentence, run_of, picture, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_of("reid")
    assert main([picture(1) if word == "PICTURE" else word for word in words]) == 1
    assert sentence in capsys.readouterr().err


def test_a_run_that_is_not_there_is_a_sentence(picture, tmp_path, capsys):
    assert main(["show", "nobody", "--explain", picture(1), "--run-dir", str(tmp_path)]) == 1
    assert "nobody' does not exist" in capsys.readouterr().err
