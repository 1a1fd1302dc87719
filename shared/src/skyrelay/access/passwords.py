"""Passwords and set-up codes, kept as argon2id hashes."""

from __future__ import annotations

import secrets
import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from skyrelay.domain.password_rule import weakness_of
from skyrelay.errors import PermanentError

_LETTERS = "ABCDEFGHJKMNPQRSTVWXYZ23456789"  # none that is taken for another one
_CODE_PART = 4


class WeakPasswordError(PermanentError):
    """The password is refused; the message says why."""


class Hasher:
    """Hashes and verifies, one at a time: each takes 64 MiB (RFC 9106's second choice).

    Verifying takes the same time whether there is something to compare with or not.

    Parameters
    ----------
    argon2
        How it hashes; argon2-cffi's defaults (argon2id, 64 MiB, three passes) when not given.
    """

    def __init__(self, argon2: PasswordHasher | None = None) -> None:
        self._argon2 = argon2 or PasswordHasher()
        self._one_at_a_time = threading.Lock()
        self._hash_of_nothing: str | None = None

    def hash(self, secret: str) -> str:
        """Give the hash of a password, with its salt and parameters."""
        with self._one_at_a_time:
            return self._argon2.hash(secret)

    def verify(self, kept: str | None, secret: str) -> bool:
        """Tell whether ``secret`` is what was kept; never for `None`."""
        with self._one_at_a_time:
            try:
                return self._argon2.verify(kept or self._nothing(), secret) and kept is not None
            except (VerificationError, InvalidHashError):
                return False

    def _nothing(self) -> str:
        if self._hash_of_nothing is None:
            self._hash_of_nothing = self._argon2.hash(secrets.token_urlsafe())
        return self._hash_of_nothing


def check_password(password: str) -> str:
    """Give the password back; raise `WeakPasswordError` for one that protects nothing."""
    weakness = weakness_of(password)
    if weakness is not None:
        raise WeakPasswordError(f"the password {weakness}")
    return password


def new_setup_code() -> str:
    """Give a set-up code such as ``ABCD-EFGH``: 39 bits, tried a few times a minute at the most."""
    parts = ("".join(secrets.choice(_LETTERS) for _ in range(_CODE_PART)) for _ in range(2))
    return "-".join(parts)


def plain_code(typed: str) -> str:
    """Give a code as it is kept: however it was typed, in capitals, without what stands between."""
    return "".join(letter for letter in typed.upper() if letter in _LETTERS)[: 2 * _CODE_PART + 1]
