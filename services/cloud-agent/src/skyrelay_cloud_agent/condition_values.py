"""A value of the local conditions: found in a document, with the time it was observed at. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

MOST_VALUES = 50
_MOST_TEXT = 200


class AgeUnknown(Exception):  # noqa: N818 - the state it names
    """There is no time of observation where one should be."""


def value_at(document: Any, path: str) -> Any:
    """Follow a path such as ``sensors.0.value``; `None` where it leads nowhere."""
    for part in path.split("."):
        if isinstance(document, Mapping):
            document = document.get(part)
        elif isinstance(document, list) and part.isascii() and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return None
    return document


def observed_at(document: Any, path: str) -> datetime:
    """Read the time of observation: ISO 8601, or seconds since 1970; one without a zone is UTC.

    Raises
    ------
    AgeUnknown
        If there is none.
    """
    value = value_at(document, path)
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        moment = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError) as error:
        raise AgeUnknown(f"there is no time at {path}: its age is not known") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def is_sendable(value: object) -> bool:
    """Tell whether the cloud can be sent a value: a number that is one, a flag, or a short text."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool | int) or (isinstance(value, str) and len(value) <= _MOST_TEXT)
