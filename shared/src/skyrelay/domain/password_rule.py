"""What makes a password one that protects anything."""

from __future__ import annotations

MIN_PASSWORD = 10  # characters
MAX_PASSWORD = 256  # longer ones only cost time
_FEWEST_LETTERS = 4  # different ones


def weakness_of(password: str) -> str | None:
    """Say what is wrong with a password; `None` when nothing is."""
    if len(password) < MIN_PASSWORD:
        return f"is too short: take at least {MIN_PASSWORD} characters"
    if len(password) > MAX_PASSWORD:
        return f"is too long: take at most {MAX_PASSWORD} characters"
    if len(set(password)) < _FEWEST_LETTERS:
        return "is the same few characters over and over: take another one"
    return None
