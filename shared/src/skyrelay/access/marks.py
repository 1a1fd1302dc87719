"""Random tokens, and the marks by which they are recognised without being kept."""

from __future__ import annotations

import hashlib
import secrets

_BYTES = 32  # 256 bits: nobody guesses one, so a fast hash is enough to keep it by


def new_token(prefix: str = "") -> str:
    """Give a random token of 256 bits."""
    return prefix + secrets.token_urlsafe(_BYTES)


def mark_of(token: str) -> str:
    """Give what a token is recognised by: its SHA-256, in hexadecimal."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
