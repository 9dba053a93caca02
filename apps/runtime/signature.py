"""The signature of a bundle, in the format of OpenSSF Model Signing with a key pair: bundle.sig beside card.json.

It is a Sigstore bundle (JSON) around a DSSE envelope (github.com/secure-systems-lab/dsse) around an in-toto statement that lists every
file with its sha256. `model_signing verify key` reads it, and what `model_signing sign key` wrote is read here. Needs the package
cryptography, and only where a public key was given; a file is not hashed again, for the card's sums are compared with the statement's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps.runtime.trust import BundleError, parse_json, read_file, shown

FILE = "bundle.sig"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
CURVES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
MAX_KEY = 10_000  # bytes of a PEM file


class KeyProblem(ValueError):
    """The key cannot be used; the message is a sentence for whoever gave it."""


@dataclass(frozen=True)
class PublicKey:
    """An elliptic-curve key; `hint` is the sha256 of its PEM form, by which a signature names it."""

    key: Any
    hint: str

    def holds(self, signature: bytes, message: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec

        try:
            self.key.verify(signature, message, ec.ECDSA(hash_of(self.key)))
        except InvalidSignature:
            return False
        return True


def read_public_key(file: str | Path) -> PublicKey:
    """A PEM file with a public key on P-256, P-384 or P-521; KeyProblem."""
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError:
        raise KeyProblem("A public key needs the package cryptography: install kerasdl[signing].") from None
    data = key_bytes(file)
    try:
        key = serialization.load_pem_public_key(data)
    except Exception:  # ValueError, UnsupportedAlgorithm and others of the library
        raise KeyProblem(f"A public key must be a PEM file that begins with BEGIN PUBLIC KEY. Received: {file}") from None
    check_curve(key, file)
    return PublicKey(key, hint_of(key))


def key_bytes(file: str | Path) -> bytes:
    try:
        with Path(file).open("rb") as stream:
            return stream.read(MAX_KEY)
    except OSError as error:
        raise KeyProblem(f"The file of the key must be readable. Received: {file}, {error.strerror}") from None


def check_curve(key: Any, file: str | Path) -> None:
    name = getattr(getattr(key, "curve", None), "name", type(key).__name__)
    if name not in CURVES:
        raise KeyProblem(f"A key must be on one of the curves {', '.join(CURVES)}. Received: {file} with {name}")


def hash_of(key: Any) -> Any:
    from cryptography.hazmat.primitives import hashes

    return getattr(hashes, CURVES[key.curve.name])()


def hint_of(key: Any) -> str:
    from cryptography.hazmat.primitives import serialization

    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def message_of(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed."""
    return b" ".join([b"DSSEv1", str(len(PAYLOAD_TYPE)).encode(), PAYLOAD_TYPE.encode(), str(len(payload)).encode(), payload])


def check_signature(folder: Path, card: dict[str, Any], card_digest: str, key: PublicKey) -> None:
    """bundle.sig is of this key, and lists card.json and the card's files with the sha256 that the card says, no more and no less."""
    if not (folder / FILE).is_file():
        raise BundleError(f"A bundle must be signed: {FILE} must be there. Received: {folder.name} without it")
    signed = signed_files(parse_json(read_file(folder, FILE), f"{folder.name}/{FILE}"), folder.name, key)
    wanted = {"card.json": card_digest, **card["files"]}
    differ = sorted(name for name in {*signed, *wanted} if signed.get(name) != wanted.get(name))
    if differ:
        names = ", ".join(map(shown, differ[:5]))
        raise BundleError(f"The signature must be of this card and its files. Received: {folder.name}, where {names} differ")


def signed_files(found: Any, name: str, key: PublicKey) -> dict[str, str]:
    """Path and sha256 of each file that the signature vouches for; BundleError where it is not of this key."""
    rule = f"{FILE} must be a signature in the format of OpenSSF Model Signing"
    try:
        if found["mediaType"] != MEDIA_TYPE:
            raise BundleError(f"{rule}. Received: {name} with {shown(str(found['mediaType']))}")
        hint = found["verificationMaterial"]["publicKey"].get("hint")
        envelope = found["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        signature = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
        if envelope["payloadType"] != PAYLOAD_TYPE:
            raise BundleError(f"{rule}. Received: {name} with {shown(str(envelope['payloadType']))}")
    except (AttributeError, IndexError, KeyError, TypeError, binascii.Error, ValueError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{rule}. Received: {name} with something else") from None
    if not key.holds(signature, message_of(payload)):
        told = "another key signed it" if hint != key.hint else "it was changed"
        raise BundleError(f"The signature must be of the public key given. Received: {name}, {told}")
    return resources(parse_json(payload, f"{name}/{FILE}"), name)


def resources(statement: Any, name: str) -> dict[str, str]:
    """What the signed statement lists."""
    try:
        kinds = statement["_type"], statement["predicateType"]
        entries = statement["predicate"]["resources"]
        found = {entry["name"]: entry["digest"] for entry in entries}
        algorithms = {entry["algorithm"] for entry in entries}
        whole = kinds == (STATEMENT_TYPE, PREDICATE_TYPE) and algorithms == {"sha256"} and len(found) == len(entries)
    except (KeyError, TypeError):
        whole, found = False, {}
    if not whole:
        raise BundleError(f"A signature must list every file once with its sha256. Received: {name}, where it does not")
    return found


__all__ = ["FILE", "KeyProblem", "PublicKey", "check_signature", "read_public_key"]
