"""FITS files for tests, written byte by byte."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

BLOCK = 2880
# A stack of the S50 whose first frame began at 01:20:32.955 UTC; its home is a made-up one.
STACK_CARDS: Mapping[str, object] = {
    "SIMPLE": True,
    "BITPIX": 16,
    "NAXIS": 2,
    "NAXIS1": 8,
    "NAXIS2": 4,
    "BZERO": 32768,
    "EXPTIME": 10.0,
    "RA": 193.04166,
    "DEC": 40.970556,
    "SITELONG": -80.123456,
    "SITELAT": 33.654321,
    "DATE-OBS": "2025-03-27T01:20:32.955368",
    "FILTER": "IRCUT",
    "TELESCOP": "S50_1d3fe189",
    "OBJECT": "M 94",
    "TOTALEXP": 320.0,
}


def header(cards: Mapping[str, object]) -> bytes:
    """Write a padded header; a card whose value is `None` is left out."""
    lines = [f"{keyword:<8}= {_value(value)}" for keyword, value in cards.items() if value is not None]
    return _padded("".join(line.ljust(80) for line in [*lines, "END"]).encode(), b" ")


def fits_bytes(data: bytes = bytes(64), **changes: object) -> bytes:
    """Write a file: `STACK_CARDS` with some of them changed (``DATE_OBS`` stands for DATE-OBS), and data."""
    named = {keyword.replace("_", "-"): value for keyword, value in changes.items()}
    return header({**STACK_CARDS, **named}) + _padded(data, b"\0")


def write_fits(path: Path, data: bytes = bytes(64), **changes: object) -> Path:
    """Write such a file to ``path``."""
    path.write_bytes(fits_bytes(data, **changes))
    return path


def _value(value: object) -> str:
    if isinstance(value, bool):
        return f"{'T' if value else 'F':>20}"
    return f"'{value:<8}'" if isinstance(value, str) else f"{value:>20}"


def _padded(content: bytes, fill: bytes) -> bytes:
    return content + fill * (-len(content) % BLOCK)
