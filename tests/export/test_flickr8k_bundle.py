"""`flickr8k-captioner` on a folder of that layout, by the commands a person types: trained, scored, asked, exported and served."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from apps.runtime import caption, load_bundle, open_picture
from export import verify_bundle
from export.__main__ import main as export
from kerasdl.cli import main

WALLS = {"red": (200, 30, 30), "green": (30, 160, 40), "blue": (30, 50, 200), "yellow": (220, 210, 40)}
TOLD = ("A {} wall .", "The wall is {} .", "There is a {} wall here .", "One {} wall , nothing else .", "A wall that is {} .")
LISTS = {"train": slice(60), "dev": slice(60, 76), "test": slice(76, 100)}
NAME = "flickr8k-captioner"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A hundred photographs of walls with five captions each, in the files of Flickr8k under KERASDL_DATA_DIR."""
    root = tmp_path / "data" / "flickr8k"
    (root / "Images").mkdir(parents=True)
    rng, names, lines = np.random.default_rng(0), [], []
    for number in range(100):
        colour = list(WALLS)[number % 4]
        names.append(f"{1000 + number}_{colour}.jpg")
        pixels = np.array(WALLS[colour]) + rng.integers(-25, 25, (48, 64, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / "Images" / names[-1])
        lines += [f"{names[-1]}#{i}\t{sentence.format(colour)}" for i, sentence in enumerate(TOLD)]
    (root / "Flickr8k.token.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for part, some in LISTS.items():
        (root / f"Flickr_8k.{part}Images.txt").write_text("\n".join(names[some]) + "\n", encoding="utf-8")
    monkeypatch.setenv("KERASDL_DATA_DIR", str(root.parent))
    return root


@pytest.mark.slow  # ResNet-18 in eight short epochs, and its export
def test_a_folder_like_flickr8k_becomes_a_captioner(folder, tmp_path, capsys):
    runs, out = ["--run-dir", str(tmp_path / "runs")], tmp_path / "bundles"
    smaller = ["data.side=64", "data.least=1", "epochs=8", "schedule.peak=2e-3"]
    assert main(["train", NAME, *(word for value in smaller for word in ("--set", value)), "--quiet", *runs]) == 0
    assert "validation BLEU-1" in capsys.readouterr().out

    assert main(["evaluate", NAME, "--split", "test", "--report", str(tmp_path / "test.png"), *runs]) == 0
    scores = {line.split()[0]: float(line.split()[1]) for line in capsys.readouterr().out.splitlines() if line.endswith("n = 24")}
    assert list(scores) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D"] and scores["BLEU-4"] > 0.8
    assert (tmp_path / "test-attention.png").stat().st_size > 5000

    assert main(["predict", NAME, str(folder / "Images"), "--csv", str(tmp_path / "said.csv"), *runs]) == 0
    with (tmp_path / "said.csv").open(encoding="utf-8") as file:
        said = {row["picture"]: row["caption"] for row in csv.DictReader(file)}
    right = [file.rpartition("_")[2].removesuffix(".jpg") in sentence.split() for file, sentence in said.items()]
    assert len(said) == 100 and np.mean(right) > 0.9

    assert export([NAME, "--quiet", "--out", str(out), *runs]) == 0
    card = verify_bundle(out / NAME)
    assert list(card["metrics"]) == list(scores) and card["metrics"]["BLEU-4"]["n"] == 24
    assert card["caption"]["pictures_scored"] == 24 and card["caption"]["references"] == 120 and card["metrics"]["BLEU-4"]["value"] > 0.8
    assert card["data"]["name"] == "Flickr8k" and not card["data"]["synthetic"]
    assert len(json.loads((out / NAME / "examples" / "captions.json").read_text(encoding="utf-8"))) == 24
    bundle = load_bundle(out / NAME)
    (answer,) = caption(bundle, [open_picture(folder / "Images" / "1098_blue.jpg", bundle.color)])
    assert "blue" in answer.words
