"""The user's key: it signs, and never shows."""

from __future__ import annotations

import base64
import pickle
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from skyrelay.seestar.auth import load_signer
from skyrelay.seestar.errors import KeyMissing, KeyRefused

_PEM, _PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    """Give a key of the usual size."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def write(
    path: Path, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None
) -> Path:
    """Write a key file."""
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    path.write_bytes(key.private_bytes(_PEM, _PKCS8, protection))
    return path


def test_the_signature_is_what_the_firmware_verifies(key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    signature = load_signer(write(tmp_path / "key.pem", key)).sign("a challenge")
    sha1 = hashes.SHA1()  # noqa: S303 - what the firmware verifies
    key.public_key().verify(base64.b64decode(signature), b"a challenge", padding.PKCS1v15(), sha1)


def test_the_older_form_of_pem_is_read_too(key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    old = serialization.PrivateFormat.TraditionalOpenSSL
    path.write_bytes(key.private_bytes(_PEM, old, serialization.NoEncryption()))
    assert load_signer(path).sign("x")


def test_a_signer_neither_shows_nor_lends_its_key(key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    signer = load_signer(write(tmp_path / "key.pem", key))
    assert repr(signer) == "Signer(…)"
    with pytest.raises(TypeError):
        pickle.dumps(signer)


def test_a_missing_file_is_a_missing_key(tmp_path: Path) -> None:
    with pytest.raises(KeyMissing, match="key_path"):
        load_signer(tmp_path / "none.pem")


def test_what_is_no_key_is_refused_without_being_quoted(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("-----BEGIN PRIVATE KEY-----\nMY-SECRET\n-----END PRIVATE KEY-----\n")
    with pytest.raises(KeyRefused) as refused:
        load_signer(path)
    assert "MY-SECRET" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_another_kind_of_key_is_refused(key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    for path in (
        write(tmp_path / "curve.pem", ec.generate_private_key(ec.SECP256R1())),
        write(tmp_path / "locked.pem", key, b"password"),
        tmp_path,
    ):
        with pytest.raises(KeyRefused):
            load_signer(path)
