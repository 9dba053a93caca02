"""Sign a bundle with a key pair, in the format of OpenSSF Model Signing; apps/runtime/signature.py says what it is and checks it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from apps.runtime import BundleError, signature
from apps.runtime.bundle import card_bytes, check_files, parse_card
from export.gates import ExportRefused

PRIVATE, PUBLIC = "private.pem", "public.pem"
# what `model_signing verify` leaves out of its comparison; a variant is pinned by the card, which is signed
LEFT_OUT = [signature.FILE, "variants", ".git", ".gitattributes", ".github", ".gitignore"]


def make_keys(folder: Path) -> tuple[Path, Path]:
    """FOLDER/private.pem, which only its owner can read, and FOLDER/public.pem, a new pair on P-256; ExportRefused where one is there."""
    need_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    paths = folder / PRIVATE, folder / PUBLIC
    there = [str(path) for path in paths if path.exists()]
    if there:
        raise ExportRefused(f"a key must not be overwritten. Received: {', '.join(there)}")
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for path, data, mode in ((paths[0], private, 0o600), (paths[1], public, 0o644)):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
            stream.write(data)
    return paths


def read_private_key(file: str | Path) -> Any:
    """A PEM file without a password; ExportRefused."""
    need_cryptography()
    from cryptography.hazmat.primitives import serialization

    try:
        data = signature.key_bytes(file)
        key = serialization.load_pem_private_key(data, None)
        signature.check_curve(key, file)
    except signature.KeyProblem as problem:
        raise ExportRefused(str(problem)) from None
    except Exception:  # ValueError, TypeError for one with a password, UnsupportedAlgorithm
        raise ExportRefused(f"a private key must be a PEM file without a password. Received: {file}") from None
    return key


def need_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise ExportRefused("signing needs the package cryptography: install kerasdl[signing]") from None


def sign_bundle(folder: Path, key: Any) -> Path:
    """Write FOLDER/bundle.sig over card.json and all its files, which must be whole; ExportRefused. A file appears when it is complete."""
    try:
        data = card_bytes(folder)
        card = parse_card(data, folder.name)
        check_files(folder, card)
    except BundleError as error:
        raise ExportRefused(str(error)) from error
    payload = statement(folder.name, {"card.json": hashlib.sha256(data).hexdigest(), **card["files"]})
    write_whole(folder / signature.FILE, json.dumps(envelope(payload, key)).encode())
    return folder / signature.FILE


def statement(name: str, files: dict[str, str]) -> bytes:
    """in-toto's: the files by name with their sha256, and one sha256 over these."""
    listed = sorted(files.items())
    root = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in listed)).hexdigest()
    told = {
        "_type": signature.STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": root}}],
        "predicateType": signature.PREDICATE_TYPE,
        "predicate": {
            "resources": [{"name": path, "algorithm": "sha256", "digest": digest} for path, digest in listed],
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": LEFT_OUT},
        },
    }
    return json.dumps(told, indent=2).encode()


def envelope(payload: bytes, key: Any) -> dict[str, Any]:
    """Sigstore's bundle of a DSSE envelope signed with a key pair."""
    from cryptography.hazmat.primitives.asymmetric import ec

    signed = key.sign(signature.message_of(payload), ec.ECDSA(signature.hash_of(key)))
    return {
        "mediaType": signature.MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": signature.hint_of(key.public_key())}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": signature.PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signed).decode(), "keyid": ""}],
        },
    }


def write_whole(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent.parent)  # beside the bundle, which must hold nothing else
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        Path(name).chmod(0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


__all__ = ["make_keys", "read_private_key", "sign_bundle"]
