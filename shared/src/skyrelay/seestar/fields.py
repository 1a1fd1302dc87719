"""A typed look into the JSON that a telescope sends: whatever is there, the answer has the asked type."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]
_MAX_NUMBER = 2**53  # beyond it a double counts no longer in ones: no telescope's number is that large


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object whose members are asked for by type; a member of another type counts as absent."""

    members: Mapping[str, JsonValue]

    def __repr__(self) -> str:
        """Leave the values out: a location may be among them."""
        return f"Fields({', '.join(sorted(self.members))})"

    @classmethod
    def of(cls, value: JsonValue) -> Fields:
        """Look into any JSON value; one that is no object has no members."""
        return cls(value if isinstance(value, dict) else {})

    def text(self, name: str) -> str | None:
        """Give a member that is text, without what UTF-8 cannot carry."""
        value = self.members.get(name)
        return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None

    def integer(self, name: str) -> int | None:
        """Give a member that is a whole number, also one written ``12.0`` or ``"12"``."""
        number = self.number(name)
        return int(number) if number is not None and number == int(number) else None

    def number(self, name: str) -> float | None:
        """Give a member that is a finite number, also one written as text."""
        return as_number(self.members.get(name))

    def inner(self, name: str) -> Fields:
        """Look into a member that is an object."""
        return Fields.of(self.members.get(name))

    def each(self, name: str) -> Iterator[Fields]:
        """Look into every object of a member that is a list."""
        value = self.members.get(name)
        for item in value if isinstance(value, list) else ():
            if isinstance(item, dict):
                yield Fields(item)


def as_number(value: JsonValue) -> float | None:
    """Give a finite number of a sane size; `None` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and abs(number) <= _MAX_NUMBER else None


def as_json(value: object) -> JsonValue:
    """Take what `json.loads` gave for what it is."""
    return cast("JsonValue", value)
