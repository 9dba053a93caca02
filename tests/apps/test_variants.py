"""Variants are served where a bundle has them here, checked as everything is, and float32 everywhere else."""

import hashlib
import json
import logging
import shutil
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from apps.facts import answers_by
from apps.gallery.importing import mark_of
from apps.repository import Repository
from apps.runtime import BundleError, load_bundle
from apps.settings import BadSettings, as_toml, read_settings

ROOT = Path(__file__).resolve().parents[2]
DIGITS, COLORS = "digits-templates", "colors-templates"
FILE = "variants/int8/model.onnx"


def add_variant(folder, rewrite_card, kind="int8", graph="model", factor=0.5):
    """The graph with its constants times `factor`, so that its answers are known from those of float32; listed in the card."""
    proto = onnx.load(folder / f"{graph}.onnx")
    for constant in proto.graph.initializer:
        if constant.data_type == onnx.TensorProto.FLOAT:
            constant.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(constant) * np.float32(factor), constant.name))
    proto.producer_name = kind  # other bytes, whatever the factor
    path = folder / "variants" / kind / f"{graph}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(proto, path)
    card = json.loads((folder / "card.json").read_text())
    name = path.relative_to(folder).as_posix()
    entry = {"kind": kind, "graph": graph, "sha256": "", "bytes": path.stat().st_size}
    variants = {**card.get("variants", {}), kind: {"accepted": True, "sentence": f"{kind} loses nothing"}, name: entry}
    (folder / "card.json").write_text(json.dumps({**card, "variants": variants}))
    rewrite_card(folder)
    card = json.loads((folder / "card.json").read_text())
    entry["sha256"] = card["files"].pop(name)  # variants are no files of the card
    card["files"] = {file: digest for file, digest in card["files"].items() if not file.startswith("variants/")}
    card["variants"][name] = entry
    (folder / "card.json").write_text(json.dumps(card))
    return path


@pytest.fixture
def folder(bundles, tmp_path, rewrite_card):
    """Two bundles, of which the digits have an int8."""
    made = shutil.copytree(bundles, tmp_path / "saved_models")
    add_variant(made / DIGITS, rewrite_card)
    return made


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (1, 32, 32, 1), dtype=np.uint8)


def test_a_variant_answers_when_it_is_asked_for(folder, picture):
    exact, rough = (load_bundle(folder / DIGITS, variant=variant) for variant in ("float32", "int8"))
    assert (exact.variant, exact.file(), exact.digest()) == ("float32", "model.onnx", exact.card["files"]["model.onnx"])
    assert (rough.variant, rough.file(), rough.digest()) == ("int8", FILE, rough.card["variants"][FILE]["sha256"])
    assert np.abs(exact.run({"image": picture})["probabilities"] - rough.run({"image": picture})["probabilities"]).max() > 0.01


def test_without_asking_and_without_the_file_float32_answers(folder, picture):
    assert load_bundle(folder / DIGITS).variant == "float32" and load_bundle(folder / DIGITS, variant="fp16").variant == "float32"
    assert load_bundle(folder / COLORS, variant="int8").variant == "float32"
    shutil.rmtree(folder / DIGITS / "variants")  # as it is after a fresh clone
    assert load_bundle(folder / DIGITS, variant="int8").file() == "model.onnx"


def test_an_encoder_alone_may_be_int8_and_half_a_variant_is_none(tmp_path, graph_bundle, rewrite_card):
    folder = graph_bundle(tmp_path)
    add_variant(folder, rewrite_card, graph="encoder")
    found = load_bundle(folder, variant="int8")
    assert found.files == {"encoder.onnx": "variants/int8/encoder.onnx", "decoder.onnx": "decoder.onnx"} and found.variant == "int8"
    decoder = add_variant(folder, rewrite_card, graph="decoder")
    assert set(load_bundle(folder, variant="int8").files.values()) == {"variants/int8/encoder.onnx", "variants/int8/decoder.onnx"}
    decoder.unlink()
    assert load_bundle(folder, variant="int8").variant == "float32"


@pytest.mark.parametrize("damage", ["cut", "other bytes", "no digest", "a link to elsewhere"])
def test_a_variant_is_checked_before_it_is_loaded(folder, damage, tmp_path):
    path = folder / DIGITS / FILE
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[:-1])
    elif damage == "other bytes":
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "no digest":
        card = json.loads((folder / DIGITS / "card.json").read_text())
        del card["variants"][FILE]["sha256"]
        (folder / DIGITS / "card.json").write_text(json.dumps(card))
    else:
        shutil.move(path, tmp_path / "elsewhere.onnx")
        path.symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(BundleError, match=f"Received: {DIGITS}/{FILE}"):
        load_bundle(folder / DIGITS, variant="int8")
    if damage != "a link to elsewhere":  # which is in no bundle at all
        assert load_bundle(folder / DIGITS).variant == "float32"


def test_a_variant_has_the_contract_of_the_card(folder):
    path = folder / DIGITS / FILE
    proto = onnx.load(path)
    proto.graph.output[0].name = proto.graph.node[-1].output[0] = "scores"
    onnx.save(proto, path)
    card = json.loads((folder / DIGITS / "card.json").read_text())
    card["variants"][FILE]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / DIGITS / "card.json").write_text(json.dumps(card))
    with pytest.raises(BundleError, match=f"The outputs of {DIGITS}/{FILE} must be those of its card"):
        load_bundle(folder / DIGITS, variant="int8")


def test_a_variant_nobody_knows_is_a_sentence(folder):
    with pytest.raises(BundleError, match="must be one of float32, int8, fp16. Received: int4"):
        load_bundle(folder / DIGITS, variant="int4")
    with pytest.raises(ValueError, match="must be one of float32, int8, fp16. Received: int4"):
        Repository(folder, variant="int4")
    with pytest.raises(BadSettings, match="variant must be one of float32, int8, fp16. Received: int4"):
        read_settings(["--variant", "int4"])


def test_the_setting_comes_from_flag_environment_and_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_settings([]).variant == "float32"
    (tmp_path / "apps.toml").write_text('variant = "fp16"\n')
    assert read_settings([]).variant == "fp16"
    monkeypatch.setenv("KERASDL_APPS_VARIANT", "int8")
    assert read_settings([]).variant == "int8" and 'variant = "int8"' in as_toml(read_settings([]))
    assert read_settings(["--variant", "float32"]).variant == "float32"


def test_a_log_line_says_which_bundles_a_variant_serves(folder, caplog):
    caplog.set_level(logging.INFO, "apps")
    repository = Repository(folder, variant="int8")
    repository.load_all()
    assert f"int8 serves {DIGITS}; float32 serves {COLORS}" in caplog.messages
    caplog.clear()
    Repository(folder).load_all()
    assert not caplog.messages


def test_reloads_keep_the_variant_and_see_it_come_and_go(folder, rewrite_card):
    repository = Repository(folder, variant="int8")
    repository.load_all()
    assert [bundle.variant for bundle in repository.bundles.values()] == ["float32", "int8"]
    assert repository.reload() == {COLORS: "unchanged", DIGITS: "unchanged"}
    shutil.move(folder / DIGITS / "variants", folder.parent / "away")
    assert repository.reload()[DIGITS] == "replaced" and repository.bundles[DIGITS].variant == "float32"
    shutil.move(folder.parent / "away", folder / DIGITS / "variants")
    assert repository.reload()[DIGITS] == "replaced" and repository.bundles[DIGITS].variant == "int8"
    repository.unload(DIGITS)
    repository.load(DIGITS)
    assert repository.bundles[DIGITS].variant == "int8"


def test_a_variant_spoilt_while_it_serves_is_refused_and_the_old_one_serves_on(folder):
    repository = Repository(folder, variant="int8")
    repository.load_all()
    kept = repository.bundles[DIGITS]
    (folder / DIGITS / FILE).write_bytes(b"x")
    assert f"{DIGITS}/{FILE}" in repository.reload()[DIGITS] and repository.bundles[DIGITS] is kept


def test_a_page_says_which_file_answers_and_what_a_variant_lost(folder):
    rough = load_bundle(folder / DIGITS, variant="int8")
    assert answers_by(rough.card, list(rough.files.values()), rough.variant) == f"{FILE} (int8 loses nothing)"
    exact = load_bundle(folder / DIGITS)
    assert answers_by(exact.card, list(exact.files.values()), exact.variant) == "model.onnx"


def test_vectors_of_a_variant_are_another_networks(tmp_path, rewrite_card):
    """int8 moves every vector a little: a gallery holds those of one file."""
    shipped, without = ROOT / "saved_models" / "pedestrians-reid", shutil.ignore_patterns("variants")
    folder = shutil.copytree(shipped, tmp_path / shipped.name, ignore=without)
    add_variant(folder, rewrite_card, factor=1.0)
    exact, rough = (mark_of(load_bundle(folder, variant=variant)) for variant in ("float32", "int8"))
    card = load_bundle(folder).card
    assert (exact.sha256, rough.sha256) == (card["files"]["model.onnx"], card["variants"][FILE]["sha256"])
    assert (exact.name, exact.dimensions) == (rough.name, rough.dimensions) and exact.sha256 != rough.sha256


@pytest.mark.slow
def test_a_server_answers_by_int8_over_http(folder, own_server, tmp_path, picture):
    server = own_server(folder, tmp_path / "sockets.log", "--variant", "int8")
    wanted = load_bundle(folder / DIGITS, variant="int8").run({"image": picture})["probabilities"]
    tensor = {"name": "image", "shape": list(picture.shape), "datatype": "UINT8", "data": picture.ravel().tolist()}
    with httpx.Client(base_url=server.url, timeout=120) as http:
        answer = http.post(f"/v2/models/{DIGITS}/infer", json={"inputs": [tensor]}).json()
        assert np.allclose(answer["outputs"][0]["data"], wanted.ravel(), atol=1e-6)
        assert http.get(f"/v2/models/{DIGITS}").json()["properties"]["file"] == FILE
        assert http.get(f"/v2/models/{COLORS}").json()["properties"]["file"] == "model.onnx"
        assert http.post("/v2/repository/reload").json() == {COLORS: "unchanged", DIGITS: "unchanged"}
    assert any(f"int8 serves {DIGITS}; float32 serves {COLORS}" in line for line in server.lines)
