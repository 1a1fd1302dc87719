"""The challenge that firmware 7.18 and later sets: RSA PKCS#1 v1.5 over SHA-1, base64."""

from __future__ import annotations

import base64
import binascii
import secrets
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

_KEY_BITS = 2048


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key made for a test or a demo, both halves as PEM."""

    private_pem: bytes = field(repr=False)
    public_pem: bytes


def generate_key_pair() -> KeyPair:
    """Make a key whose private half a client can be given, and whose public half a telescope."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    private_pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public_pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return KeyPair(private_pem, public_pem)


def new_challenge() -> str:
    """Make up a challenge."""
    return secrets.token_hex(16)


def is_signed(challenge: str, signature_base64: str, public_pem: bytes) -> bool:
    """Whether the signature of ``challenge`` was made with the private half of the key."""
    public = serialization.load_pem_public_key(public_pem)
    if not isinstance(public, rsa.RSAPublicKey):
        raise TypeError("a telescope's key is an RSA key")
    try:
        signature = base64.b64decode(signature_base64, validate=True)
        public.verify(signature, challenge.encode(), padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - the protocol's hash
    except (InvalidSignature, binascii.Error):
        return False
    return True
