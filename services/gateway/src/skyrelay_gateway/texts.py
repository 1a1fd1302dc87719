"""The catalogue: every text of the pages stands in ``texts/en.toml``, under a name that says where it is."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any


def text(name: str, /, **values: Any) -> str:
    """Give the text of that name, with ``values`` put into its braces.

    A text with the forms ``one`` and ``other`` takes the one that fits ``n``.

    Raises
    ------
    KeyError
        If there is no such text, or a value for it is missing.
    """
    found = catalogue()[name]
    if isinstance(found, str):
        return found.format(**values) if values else found
    return found["one" if values["n"] == 1 else "other"].format(**values)


@cache
def catalogue() -> Mapping[str, str | Mapping[str, str]]:
    """Read the English catalogue; names are joined with dots."""
    file = resources.files("skyrelay_gateway").joinpath("texts", "en.toml")
    return dict(_flat(tomllib.loads(file.read_text("utf-8"))))


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, dict) and "other" not in value:
            flat.extend(_flat(value, f"{prefix}{key}."))
        else:
            flat.append((prefix + key, value))
    return flat
