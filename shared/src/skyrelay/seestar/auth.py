"""The telescope's challenge, signed with the user's own key (firmware 7.18 and later).

RSA PKCS#1 v1.5 over SHA-1 is what the firmware verifies; the choice is not ours.
"""

from __future__ import annotations

import base64
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from skyrelay.seestar.errors import KeyMissing, KeyRefused

_MAX_KEY_BYTES = 64 * 1024  # a PEM key has some 2 kB; a device file or a film is refused unread


class Signer:
    """Signs challenges; the key stays inside."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key

    def __repr__(self) -> str:
        """Never show the key."""
        return "Signer(…)"

    def __reduce__(self) -> str:
        """Refuse to be pickled: the key would travel with it."""
        raise TypeError("a signer holds a private key and is not to be pickled")

    def sign(self, challenge: str) -> str:
        """Give the base64 signature of a challenge."""
        signature = self._key.sign(
            challenge.encode(),
            padding.PKCS1v15(),
            hashes.SHA1(),  # noqa: S303 - what the firmware verifies
        )
        return base64.b64encode(signature).decode("ascii")


def load_signer(key_path: Path) -> Signer:
    """Read the user's private key from its PEM file.

    Raises
    ------
    KeyMissing
        If the file is not there.
    KeyRefused
        If it cannot be read or is no unencrypted RSA private key. The message never quotes it.
    """
    try:
        key = serialization.load_pem_private_key(_read(key_path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _refused(key_path) from None  # the parser's own words may quote the file
    if not isinstance(key, rsa.RSAPrivateKey):
        raise _refused(key_path)
    return Signer(key)


def _refused(key_path: Path) -> KeyRefused:
    return KeyRefused(
        f"{key_path} holds no RSA private key in PEM form without a password: key_path must name one"
    )


def _read(key_path: Path) -> bytes:
    try:
        with key_path.open("rb") as stream:
            return stream.read(_MAX_KEY_BYTES)
    except FileNotFoundError:
        raise KeyMissing(
            f"the key file {key_path} is not there: key_path must name your telescope's key"
        ) from None
    except OSError as error:
        raise KeyRefused(f"the key file {key_path} cannot be read ({error.strerror})") from error
