"""The command line as a person meets it."""

import csv
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from kerasdl.cli import main
from kerasdl.data.digits import digits


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    assert main(["train", "digits-lenet5", "--set", "epochs=3", "--run-dir", str(folder), "--quiet"]) == 0
    return folder


def test_list_names_everything(capsys):
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    for word in ("resnet20", "digits-lenet5", "cifar10", "tfds:NAME", "image_folder:PATH", "classification"):
        assert word in text
    main(["list", "lenet*"])
    assert "resnet20" not in capsys.readouterr().out


def test_list_takes_a_section_a_pattern_or_both(capsys):
    def listed(*words: str) -> list[str]:
        assert main(["list", *words]) == 0
        return [line.split()[0] for line in capsys.readouterr().out.splitlines()]

    assert listed("models", "vgg16*") == ["models", "vgg16", "vgg16_bn"]
    assert listed("recipes", "digits-*")[:2] == ["recipes", "digits-lenet5"]
    assert listed("data")[:3] == ["data", "digits", "mnist"] and "tasks" not in listed("data")
    assert listed("*resnet20") == ["models", "resnet20", "recipes", "cifar10-resnet20"]


def test_show_counts_parameters_and_multiply_adds(capsys):
    assert main(["show", "digits-lenet5"]) == 0
    text = capsys.readouterr().out
    assert "61,706 trainable parameters" in text
    # 28*28*25*6 + 10*10*150*16 + 400*120 + 120*84 + 84*10
    assert f"{(117_600 + 240_000 + 48_000 + 10_080 + 840) / 1e6:.2f} million multiply-adds" in text
    assert main(["show", "resnet20"]) == 0
    assert "269,722 trainable parameters" in capsys.readouterr().out
    assert main(["show", "vit_h14"]) == 0  # at once: no weight is made
    text = capsys.readouterr().out
    assert "632,045,800 trainable parameters" in text and "167,295.11 million multiply-adds" in text
    assert main(["show", "diabetes-ridge"]) == 0
    assert "10 multiply-adds a row" in capsys.readouterr().out


def test_train_says_device_and_what_comes_next(tmp_path, capsys):
    assert main(["train", "digits-lenet5", "--set", "epochs=1", "--run-dir", str(tmp_path), "--quiet"]) == 0
    text = capsys.readouterr().out
    assert "training digits-lenet5 on CPU" in text or "on GPU" in text
    assert "python -m export digits-lenet5" in text
    assert main(["train", "digits-lenet5", "--run-dir", str(tmp_path)]) == 1
    assert "--resume, --overwrite or --run-dir" in capsys.readouterr().err


def test_evaluate_prints_the_interval(runs, capsys):
    assert main(["evaluate", "digits-lenet5", "--run-dir", str(runs)]) == 0
    text = capsys.readouterr().out
    assert "95 % interval" in text and "valid split, n = 144" in text


def test_predict_a_folder_to_csv_names_the_bad_file(runs, tmp_path, capsys):
    examples = digits().test.arrays(np.arange(5))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, picture in enumerate(examples["image"]):
        Image.fromarray(picture[..., 0]).save(pictures / f"{number}.png")
    (pictures / "broken.png").write_text("text")
    assert main(["predict", "digits-lenet5", str(pictures), "--csv", str(tmp_path / "a.csv"), "--run-dir", str(runs)]) == 0
    captured = capsys.readouterr()
    assert "5 pictures labelled, 1 not readable" in captured.out and "broken.png is not a readable picture" in captured.err
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 and rows[5]["problem"]
    assert abs(sum(float(rows[0][f"p({d})"]) for d in range(10)) - 1) < 1e-4
    assert main(["predict", "digits-lenet5", str(pictures / "0.png"), "--run-dir", str(runs)]) == 0
    assert rows[0]["label"] in capsys.readouterr().out


def test_train_on_a_folder_of_pictures(tmp_path, capsys):
    random = np.random.default_rng(0)
    for label, level in (("dark", 60), ("light", 200)):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for n in range(30):
            noise = random.integers(-50, 50, (40, 40, 3)) + level
            Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "pets" / label / f"{n}.jpg")
    words = ["--data", f"image_folder:{tmp_path / 'pets'}", "--model", "softmax_regression", "--set", "epochs=2", "--set", "batch_size=8"]
    assert main(["train", *words, "--run-dir", str(tmp_path / "runs"), "--quiet"]) == 0
    assert main(["evaluate", "pets-softmax_regression", "--split", "test", "--run-dir", str(tmp_path / "runs")]) == 0
    assert "accuracy   1.0000" in capsys.readouterr().out


def test_a_recipe_of_ones_own_trains_and_is_scored_later(tmp_path, capsys, monkeypatch):
    (tmp_path / "my_first.py").write_text(
        "from dataclasses import replace\nfrom kerasdl.recipes.digits import LENET5\n"
        "def flat(image_shape):\n    from kerasdl.models import softmax_regression\n    return softmax_regression(image_shape)\n"
        "MINE = replace(LENET5, name='my-first', model=flat, epochs=1)\n"
    )
    assert main(["train", f"{tmp_path}/my_first.py:MINE", "--run-dir", str(tmp_path / "runs"), "--quiet"]) == 0
    capsys.readouterr()
    sys.modules.pop("my_first")
    monkeypatch.chdir(tmp_path / "runs")
    assert main(["evaluate", "my-first", "--run-dir", "."]) == 1
    assert "start in the folder of my_first.py, or put it on PYTHONPATH" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "my-first"]) == 0
    assert "accuracy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["list", "reznet20"], "nothing has that name. Received: 'reznet20'. Did you mean 'resnet20'?"),
        (["list", "models", "digits*"], "nothing has that name. Received: 'digits*'"),
        (["list", "modles", "*"], "a section is one of models, recipes, data, tasks. Received: 'modles'"),
        (["train", "digits-lenet"], "Did you mean 'digits-lenet5'?"),
        (["train"], "train needs a recipe, or --data with --model"),
        (["train", "--data", "digits"], "--data and --model go together"),
        (["train", "--data", "digts", "--model", "mlp"], "Did you mean 'digits'?"),
        (["train", "--data", "digits", "--model", "mpl"], "Did you mean 'mlp'?"),
        (["train", "digits-lenet5", "--set", "epochs=x"], "epochs is of type int. Received: 'x' (str)"),
        (["show", "reznet20"], "Did you mean 'resnet20'?"),
        (["show", "resnet20", "--set", "epochs=3"], "--set changes a recipe, and resnet20 is a model"),
        (["train", "digits-lenet5", "--run-dir", "/proc/no-such-place"], "/proc/no-such-place"),
        (["evaluate", "digits-lenet5", "--run-dir", "nowhere"], "does not exist"),
        (["predict", "digits-lenet5", "no-such-picture.png"], "no such picture or folder"),
    ],
)
def test_wrong_words_get_a_sentence(words, sentence, capsys):
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("kerasdl: ") and sentence in error and "Traceback" not in error


def test_help_imports_neither_tensorflow_nor_keras():
    code = (
        "import sys; from kerasdl.cli import parser; parser().format_help(); "
        "print([m for m in ('tensorflow', 'keras', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
