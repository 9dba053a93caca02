"""The generated README: its figures are the card's, and its two clients run as they stand."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from export import npm, readme

PACKAGES = ["onnxruntime-node", "pngjs"]


def block(folder, language):
    (text,) = re.findall(rf"```{language}\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return text


def expected_lines(folder, client):
    """What a client must print for the picture it opens."""
    from PIL import Image

    (example,) = set(re.findall(r"examples/[^\"]+\.png", client))
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    image = np.asarray(Image.open(folder / example)).reshape(1, 32, 32, 1)
    probabilities = np.asarray(session.run(["probabilities"], {"image": image})[0])[0]
    return [f"{label} {probabilities[label]:.4f}" for label in probabilities.argsort()[::-1][:3]]


def test_the_python_client_runs_on_numpy_pillow_and_onnxruntime_alone(bundle):
    client = block(bundle, "python")
    assert set(re.findall(r"^(?:import|from) (\w+)", client, re.MULTILINE)) == {"json", "numpy", "onnxruntime", "PIL"}
    done = subprocess.run([sys.executable, "-W", "error", "-I", "-c", client], cwd=bundle, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == expected_lines(bundle, client)
    assert float(lines[3].removeprefix("difference to Keras ")) <= 1e-5


@pytest.mark.slow  # fetches 290 MB
def test_the_javascript_client_runs_in_node(bundle, tmp_path):
    folder, setting = shutil.copytree(bundle, tmp_path / "bundle"), npm.environment()
    install = [*npm.npm(), "install", "--no-audit", "--no-fund", *PACKAGES]
    try:
        subprocess.run(install, cwd=folder, env=setting, capture_output=True, timeout=300, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("npm could not install onnxruntime-node and pngjs: the JavaScript client was not run")
    client = block(bundle, "javascript")
    (tmp_path / "bundle" / "classify.mjs").write_text(client, encoding="utf-8")
    done = subprocess.run([npm.node(), "classify.mjs"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected_lines(bundle, client)


def test_the_figures_are_those_of_the_card(bundle):
    card = json.loads((bundle / "card.json").read_text(encoding="utf-8"))
    text = (bundle / "README.md").read_text(encoding="utf-8")
    accuracy = card["metrics"]["accuracy"]
    assert f"| accuracy | {accuracy['value']:.4f} | {accuracy['interval'][0]:.4f} to {accuracy['interval'][1]:.4f} | 360 |" in text
    for row in card["parity"]:
        assert f"| {row['runtime']} | {row['batch']} | 360 | {row['max_error']:.1e} | equal | {row['near_ties']} |" in text
    assert card["limits"] in text and card["intended_use"] in text and "CC BY 4.0" in text and "61,706" in text


def test_every_step_of_a_resize_rule_is_told_in_words():
    ink = {"op": "ink", "margin": 0.1, "center": "mass"}
    assert "centre of mass centred on a black square with a margin of 0.1" in readme.in_words(ink)
    assert readme.in_words({"op": "center_crop"}) == "the largest square in the middle is cut out"
    assert readme.in_words({"op": "resize", "size": [28, 30], "method": "box"}) == "it is resized to 28 x 30 by Pillow's box filter"


def test_a_colour_picture_gets_a_colour_client():
    entry = {"name": "image", "color": "rgb", "shape": ["batch", 24, 30, 3]}
    assert '.convert("RGB")' in readme.python_client(entry, "examples/cat-1.png")
    assert "reshape(1, 24, 30, 3)" in readme.python_client(entry, "examples/cat-1.png")
    assert "rgba[4 * Math.floor(i / 3) + (i % 3)]" in readme.javascript_client(entry, "examples/cat-1.png")


def test_a_bar_in_a_cell_does_not_break_the_table():
    assert readme.table(("a",), [("x|y",)]).splitlines()[-1] == "| x/y |"
