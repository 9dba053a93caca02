"""verify passes a good bundle in a fresh process and names what was tampered with."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from export import ExportRefused, verify_bundle
from export import card as cards

ROOT = Path(__file__).parents[2]
WITHOUT_TENSORFLOW = (
    "import sys\n"
    "for name in ('tensorflow', 'keras'): sys.modules[name] = None\n"
    "from export.__main__ import main\n"
    "raise SystemExit(main(sys.argv[1:]))"
)


def change(folder, edit, everywhere=False):
    """Edit the card; `everywhere` also renews README's fingerprint and sum, as a careful forger would."""
    path = folder / "card.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    before = cards.fingerprint(card)
    edit(card)
    if everywhere:
        readme = folder / "README.md"
        readme.write_text(readme.read_text(encoding="utf-8").replace(before, cards.fingerprint(card)), encoding="utf-8")
        card["files"] |= {name: cards.digest_of_file(folder / name) for name in card["files"] if (folder / name).exists()}
    path.write_text(json.dumps(card), encoding="utf-8")


def test_a_fresh_process_passes_a_good_bundle(bundle):
    command = [sys.executable, "-m", "export", "verify", bundle.name, "--out", str(bundle.parent)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime reproduces sample.npz" in done.stdout and "SavedModel reproduces sample.npz" in done.stdout
    assert done.stderr == ""


def test_a_process_without_tensorflow_passes_it_too(bundle):
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, "verify", "--out", str(bundle.parent)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime reproduces sample.npz" in done.stdout and "SavedModel" not in done.stdout


def test_a_tampered_bundle_ends_in_one_sentence_and_code_1(copied):
    change(copied, lambda card: card["metrics"]["accuracy"].update(value=0.999))
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, "verify", copied.name, "--out", str(copied.parent)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.startswith("export: digits-tiny: card.json must have the fingerprint") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["model.onnx", "saved_model/saved_model.pb", "README.md", "sample.npz"])
def test_a_tampered_file_is_found(name, copied):
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(bytes(data))
    with pytest.raises(ExportRefused, match=f"its sha256 differs from card.json. Received: digits-tiny/{name}"):
        verify_bundle(copied)


def test_a_missing_and_an_added_file_are_found(copied):
    (copied / "extra.bin").write_bytes(b"x")
    with pytest.raises(ExportRefused, match="exactly the files of its card. Received: a difference in extra.bin"):
        verify_bundle(copied)
    (copied / "extra.bin").unlink()
    (copied / "sample.npz").unlink()
    with pytest.raises(ExportRefused, match="a difference in sample.npz"):
        verify_bundle(copied)


def test_variants_may_be_added(copied):
    (copied / "variants").mkdir()
    (copied / "variants" / "model.int8.onnx").write_bytes(b"x")
    assert verify_bundle(copied)["name"] == "digits-tiny"


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda card: card["metrics"]["accuracy"].update(value=0.999), "fingerprint"),
        (lambda card: card.update(limits="None."), "fingerprint"),
        (lambda card: card.pop("limits"), "no usable limits"),
        (lambda card: card.update(labels="0123456789"), "no usable labels"),
        (lambda card: card.update(format="2.0"), "must be of format 1.x. Received: 2.0"),
    ],
)
def test_a_tampered_card_is_found(edit, sentence, copied):
    change(copied, edit)
    with pytest.raises(ExportRefused, match=sentence):
        verify_bundle(copied)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda card: card["labels"].reverse(), "metadata of model.onnx must agree with the card. Received: another kerasdl.labels"),
        (lambda card: card.update(recipe={"name": "another"}), "another kerasdl.recipe_sha256"),
        (lambda card: card["graphs"]["model.onnx"].update(sha256="0" * 64), "the graph's sha256 must be the file's"),
        (lambda card: card["parity"][0].update(max_error=0.1), "parity must hold"),
        (lambda card: card["parity"][0].update(samples=10), "parity must hold"),
        (lambda card: card["parity"].pop(), "parity of onnxruntime must be shown at batch 1, 2 and 7"),
    ],
)
def test_a_forged_card_that_contradicts_the_graph_is_found(edit, sentence, copied):
    change(copied, edit, everywhere=True)
    with pytest.raises(ExportRefused, match=sentence):
        verify_bundle(copied)


def test_a_graph_that_no_longer_gives_the_sample_is_found(copied):
    proto = onnx.load(copied / "model.onnx")
    held = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    held.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(held) * np.float32(1.01), held.name))
    onnx.save(proto, copied / "model.onnx")
    digest = cards.digest_of_file(copied / "model.onnx")
    change(copied, lambda card: card["graphs"]["model.onnx"].update(sha256=digest), everywhere=True)
    with pytest.raises(ExportRefused, match="onnxruntime must reproduce sample.npz within 1e-05"):
        verify_bundle(copied)


def test_a_folder_without_a_card_and_a_broken_card_are_named(tmp_path):
    with pytest.raises(ExportRefused, match="must have a card.json"):
        verify_bundle(tmp_path)
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(ExportRefused, match="card.json must be valid JSON"):
        verify_bundle(tmp_path)
    (tmp_path / "card.json").write_text("[]")
    with pytest.raises(ExportRefused, match="must hold an object. Received: list"):
        verify_bundle(tmp_path)
