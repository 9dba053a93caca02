"""python -m export sign, and verify --public-key: the two commands of docs/trust.md."""

import json
import os
import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from export import ExportRefused, signing, verify_bundle
from export.__main__ import main
from export.card import files_of
from export.npz import read_sample
from tests.apps.houses import regressor
from tests.service import corruptions

ROOT = Path(__file__).parents[2]


@pytest.fixture
def out(tmp_path) -> Path:
    """One small bundle that verify passes, without its SavedModel."""
    folder = shutil.copytree(
        ROOT / "saved_models" / "polynomial-demo", tmp_path / "out" / "polynomial-demo", ignore=shutil.ignore_patterns("saved_model")
    )
    card = corruptions.read_card(folder)
    card["files"] = {path: digest for path, digest in card["files"].items() if (folder / path).is_file()}
    corruptions.write_card(folder, card, True)
    return folder.parent


def test_keys_are_made_once_and_the_private_one_is_for_its_owner(tmp_path, capsys):
    assert main(["sign", "--new-key", str(tmp_path / "keys")]) == 0
    assert stat.S_IMODE((tmp_path / "keys" / "private.pem").stat().st_mode) == 0o600
    assert (tmp_path / "keys" / "public.pem").read_text().startswith("-----BEGIN PUBLIC KEY-----")
    assert "private.pem signs and must stay secret" in capsys.readouterr().out
    before = (tmp_path / "keys" / "private.pem").read_bytes()
    assert main(["sign", "--new-key", str(tmp_path / "keys")]) == 1
    assert "a key must not be overwritten" in capsys.readouterr().err and (tmp_path / "keys" / "private.pem").read_bytes() == before


def test_what_was_signed_is_verified_and_the_folder_still_holds_what_its_card_lists(out, tmp_path):
    keys = signing.make_keys(tmp_path / "keys")
    other = signing.make_keys(tmp_path / "other")
    name = "polynomial-demo"
    assert main(["sign", name, "--out", str(out), "--key", str(keys[0])]) == 0
    assert (out / name / "bundle.sig").is_file() and "bundle.sig" not in files_of(out / name)
    assert sorted(path.name for path in out.iterdir()) == [name]
    said: list[str] = []
    key = signing.signature.read_public_key(keys[1])
    verify_bundle(out / name, say=said.append, key=key)
    assert said[0] == f"{name}: the signature is of the key given, over the card and its {len(files_of(out / name))} files"
    verify_bundle(out / name)
    with pytest.raises(ExportRefused, match="another key signed it"):
        verify_bundle(out / name, key=signing.signature.read_public_key(other[1]))


def test_the_signature_comes_first_and_nothing_is_looked_at_without_it(out, tmp_path, capsys):
    keys = signing.make_keys(tmp_path / "keys")
    (out / "polynomial-demo" / "sample.npz").write_bytes(b"PK")
    assert main(["verify", "--out", str(out), "--public-key", str(keys[1])]) == 1
    assert capsys.readouterr().err == (
        "export: polynomial-demo: A bundle must be signed: bundle.sig must be there. Received: polynomial-demo without it\n"
    )


def test_what_cannot_be_signed_ends_in_a_sentence(out, tmp_path, capsys):
    keys = signing.make_keys(tmp_path / "keys")
    text = tmp_path / "text.pem"
    text.write_text("no key")
    (out / "polynomial-demo" / "README.md").write_text("another")
    for words, sentence in (
        (["polynomial-demo", "--key", str(keys[0])], "sha256 differs from card.json. Received: polynomial-demo/README.md"),
        (["polynomial", "--key", str(keys[0])], "Did you mean 'polynomial-demo'"),
        (["polynomial-demo", "--key", str(text)], "a private key must be a PEM file without a password"),
        (["polynomial-demo", "--key", str(tmp_path / "absent.pem")], "The file of the key must be readable"),
    ):
        assert main(["sign", *words, "--out", str(out)]) == 1
        assert sentence in capsys.readouterr().err
        assert not (out / "polynomial-demo" / "bundle.sig").exists()
    for words in ([], ["polynomial-demo"], ["--new-key", "x", "--key", "y"]):
        with pytest.raises(SystemExit):
            main(["sign", *words])


def test_the_statement_is_that_of_model_signing(tmp_path):
    """Field by field as model-signing 1.1.1 writes it; `model_signing verify key` accepts ours."""
    theirs = json.loads((ROOT / "tests" / "apps" / "model_signing.json").read_text())["signature"]
    key = signing.read_private_key(signing.make_keys(tmp_path)[0])
    made = json.loads(json.dumps(signing.envelope(signing.statement("demo", {"card.json": "0" * 64}), key)))
    payloads = [json.loads(signing.base64.b64decode(one["dsseEnvelope"]["payload"])) for one in (theirs, made)]

    def form(value, depth=0):
        return {key: form(inner) for key, inner in value.items()} if isinstance(value, dict) else type(value).__name__

    assert form(made) == form(theirs) and form(payloads[1]) == form(payloads[0])
    assert sorted(payloads[1]["predicate"]["serialization"]["ignore_paths"]) == sorted(
        payloads[0]["predicate"]["serialization"]["ignore_paths"]
    )
    assert form(payloads[1]["subject"][0]) == form(payloads[0]["subject"][0])


def test_the_root_digest_is_that_of_model_signing():
    theirs = json.loads((ROOT / "tests" / "apps" / "model_signing.json").read_text())["signature"]
    told = json.loads(signing.base64.b64decode(theirs["dsseEnvelope"]["payload"]))
    files = {entry["name"]: entry["digest"] for entry in told["predicate"]["resources"]}
    assert json.loads(signing.statement("demo", files))["subject"] == told["subject"]


SAMPLES = {
    "objects to unpickle": 3,
    "a header of another size": 2,
    "members of other names or of zeros": 4,
}


@pytest.mark.parametrize("how", SAMPLES.values(), ids=list(SAMPLES))
@pytest.mark.parametrize("seed", range(6))
def test_a_sample_of_another_form_is_refused(out, how, seed):
    path = out / "polynomial-demo" / "sample.npz"
    path.write_bytes(corruptions.rewritten(corruptions.random.Random(seed), path.read_bytes(), how))
    with pytest.raises(ExportRefused, match="sample.npz must"):
        read_sample(path.parent)


def test_a_sample_that_unfolds_beyond_its_limit_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr("export.npz.MAX_ARRAYS", 1_000_000)
    with zipfile.ZipFile(tmp_path / "sample.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/input/x.npy", bytes(2_000_000))
    assert (tmp_path / "sample.npz").stat().st_size < 5000
    with pytest.raises(ExportRefused, match="sample.npz may unfold to 1000 arrays of 1,000,000 bytes. Received: 1 of 2,000,000 bytes"):
        read_sample(tmp_path)


def test_a_sound_sample_is_read_as_numpy_reads_it(out):
    import numpy as np

    found = read_sample(out / "polynomial-demo")
    with np.load(out / "polynomial-demo" / "sample.npz", allow_pickle=False) as truth:
        assert sorted(found) == sorted(truth.files)
        for name, values in found.items():
            np.testing.assert_array_equal(values, truth[name], strict=True)


def test_a_bundle_without_write_permission_is_not_half_signed(tmp_path, capsys, monkeypatch):
    folder = regressor(tmp_path / "out")
    keys = signing.make_keys(tmp_path / "keys")

    def full(*_):
        raise OSError(28, "No space left on device", "bundle.sig")

    monkeypatch.setattr(os, "replace", full)
    assert main(["sign", "houses", "--out", str(folder.parent), "--key", str(keys[0])]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert sorted(path.name for path in folder.parent.iterdir()) == ["houses"] and not (folder / "bundle.sig").exists()
