"""apps.runtime.signature and --public-key: only bundles of the key are served, and cryptography is asked for only with it."""

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from apps.repository import Repository
from apps.runtime import BundleError, load_bundle, signature
from apps.settings import BadSettings, read_settings
from export.signing import make_keys, read_private_key, sign_bundle
from tests.apps.houses import regressor
from tests.service.corruptions import mend

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = json.loads((Path(__file__).parent / "model_signing.json").read_text())  # by model-signing 1.1.1, of two files


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> list[Path]:
    """Private and public, and another pair."""
    folder = tmp_path_factory.mktemp("keys")
    return [*make_keys(folder / "ours"), *make_keys(folder / "theirs")]


@pytest.fixture
def signed(tmp_path, keys) -> Path:
    folder = regressor(tmp_path / "saved_models")
    sign_bundle(folder, read_private_key(keys[0]))
    return folder


@pytest.fixture
def key(keys) -> signature.PublicKey:
    return signature.read_public_key(keys[1])


def test_a_signed_bundle_loads_with_its_key_and_without(signed, key):
    assert load_bundle(signed, key=key).name == load_bundle(signed).name == "houses"


def changed_card(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | {"limits": "None."}))


def changed_statement(folder: Path) -> None:
    """The card is changed and the statement lists its new sum, but nobody signed that."""
    changed_card(folder)
    found = json.loads((folder / "bundle.sig").read_text())
    statement = json.loads(base64.b64decode(found["dsseEnvelope"]["payload"]))
    for entry in statement["predicate"]["resources"]:
        if entry["name"] == "card.json":
            entry["digest"] = signature.hashlib.sha256((folder / "card.json").read_bytes()).hexdigest()
    found["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    (folder / "bundle.sig").write_text(json.dumps(found))


def changed_graph(folder: Path) -> None:
    (folder / "examples" / "rows.csv").write_text("area,age\n")
    mend(folder)


CHANGES = {
    "no signature": (
        lambda folder: (folder / "bundle.sig").unlink(),
        "A bundle must be signed: bundle.sig must be there. Received: houses",
    ),
    "another card": (changed_card, "must be of this card and its files. Received: houses, where card.json differ"),
    "another file, its sum mended": (changed_graph, "where card.json, examples/rows.csv differ"),
    "a forged statement": (changed_statement, "must be of the public key given. Received: houses, it was changed"),
    "no JSON": (lambda folder: (folder / "bundle.sig").write_text("signed!"), "bundle.sig must be valid JSON"),
    "other JSON": (lambda folder: (folder / "bundle.sig").write_text("[]"), "in the format of OpenSSF Model Signing. Received: houses"),
    "a link": (
        lambda folder: (shutil.move(folder / "bundle.sig", folder / "x"), (folder / "bundle.sig").symlink_to("x")),
        "must not be a link",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_bundle_that_is_not_the_signed_one_is_refused(signed, key, case):
    change, sentence = CHANGES[case]
    change(signed)
    with pytest.raises(BundleError, match=sentence):
        load_bundle(signed, key=key)


def test_a_bundle_of_another_key_is_refused(signed, keys):
    with pytest.raises(BundleError, match="must be of the public key given. Received: houses, another key signed it"):
        load_bundle(signed, key=signature.read_public_key(keys[3]))


def test_a_server_with_a_key_serves_the_signed_bundles_and_tells_of_the_others(signed, keys, key):
    regressor(signed.parent, "unsigned")
    repository = Repository(signed.parent, key=key)
    repository.load_all()
    assert list(repository.bundles) == ["houses"] and "A bundle must be signed" in repository.broken["unsigned"]
    sign_bundle(signed.parent / "unsigned", read_private_key(keys[0]))
    assert repository.reload() == {"houses": "unchanged", "unsigned": "loaded"}
    (signed / "bundle.sig").unlink()  # its files are the same
    assert "A bundle must be signed" in repository.reload()["houses"] and "houses" in repository.bundles


def test_what_model_signing_wrote_is_read(tmp_path):
    (tmp_path / "public.pem").write_text(FOREIGN["public_key"])
    found = signature.signed_files(FOREIGN["signature"], "demo", signature.read_public_key(tmp_path / "public.pem"))
    assert list(found) == ["card.json", "model.onnx"] and found["model.onnx"][:8] == "2d711642"
    FOREIGN["signature"]["dsseEnvelope"]["payload"] = base64.b64encode(b"{}").decode()
    with pytest.raises(BundleError, match="it was changed"):
        signature.signed_files(FOREIGN["signature"], "demo", signature.read_public_key(tmp_path / "public.pem"))


def test_the_setting_is_a_key_that_can_be_read(keys, tmp_path):
    assert read_settings(["--public-key", str(keys[1])]).public_key == keys[1]
    (tmp_path / "text.pem").write_text("no key")
    for file, sentence in (("absent.pem", "file of the key must be readable"), ("text.pem", "must be a PEM file that begins with")):
        with pytest.raises(BadSettings, match=sentence):
            read_settings(["--public-key", str(tmp_path / file)])
    with pytest.raises(BadSettings, match="must be a PEM file that begins with BEGIN PUBLIC KEY. Received: .*private.pem"):
        read_settings(["--public-key", str(keys[0])])


def test_a_key_of_another_kind_is_refused(tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    public = ed25519.Ed25519PrivateKey.generate().public_key()
    (tmp_path / "ed.pem").write_bytes(public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(signature.KeyProblem, match="must be on one of the curves secp256r1, secp384r1, secp521r1"):
        signature.read_public_key(tmp_path / "ed.pem")


CODE = """
import sys
sys.modules["cryptography"] = None
from apps.runtime import load_bundle
from apps.settings import BadSettings, read_settings
print(load_bundle(sys.argv[1]).name)
try:
    read_settings(["--public-key", sys.argv[2]])
except BadSettings as sentence:
    print(sentence)
"""


def test_without_cryptography_bundles_are_served_and_a_key_asks_for_it(signed, keys, tmp_path):
    command = [sys.executable, "-c", CODE, str(signed), str(keys[1])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.stdout.splitlines()[0] == "houses", done.stderr
    assert "needs the package cryptography: install kerasdl[signing]" in done.stdout
