"""The ``Range`` header: which bytes of a file are asked for (RFC 9110, section 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Numbers of more digits name no byte of a file; a set of several ranges is answered with the whole.
_ONE_RANGE = re.compile(r"bytes *= *(?P<first>[0-9]{0,18}) *- *(?P<last>[0-9]{0,18})", re.IGNORECASE)


class NotSatisfiable(ValueError):  # noqa: N818 - the standard's word: 416
    """The range lies behind the end of the file."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """From byte ``start`` up to, and without, ``end``."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.end - self.start


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Read one range of a file of ``size`` bytes.

    Returns
    -------
    ByteRange or None
        `None` where the whole file is meant: no header, another unit, several ranges, or no range at all,
        which the standard has ignored.

    Raises
    ------
    NotSatisfiable
        If the file ends before the range begins.
    """
    match = _ONE_RANGE.fullmatch((header or "").strip())
    if match is None or not (match["first"] or match["last"]):
        return None
    if not match["first"]:
        return _last_bytes(int(match["last"]), size)
    first, last = int(match["first"]), int(match["last"] or size)
    if match["last"] and last < first:
        return None
    if first >= size:
        raise NotSatisfiable(f"the file has {size} bytes")
    return ByteRange(first, min(last + 1, size))


def _last_bytes(number: int, size: int) -> ByteRange:
    if not number or not size:
        raise NotSatisfiable(f"the file has {size} bytes")
    return ByteRange(max(size - number, 0), size)
