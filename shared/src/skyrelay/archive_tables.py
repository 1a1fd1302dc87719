"""The archive as tables for other programs: CSV for spreadsheets, ECSV for astropy.

ECSV 1.0 is CSV under a header of YAML (astropy APE 6), which says types and units. It is written here: so
neither the gateway nor a command needs astropy for it.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

from skyrelay.store.archive import ArchivedStack
from skyrelay.version import __version__

Form = Literal["csv", "ecsv"]
MEDIA_TYPES: dict[Form, str] = {"csv": "text/csv; charset=utf-8", "ecsv": "text/plain; charset=utf-8"}
# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@")
Cell = str | int | float | None
_LINES_OF_A_PART = 500


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: its name, which is that of the field too, and what ECSV says of it."""

    name: str
    datatype: Literal["string", "int64", "float64", "bool"]
    description: str
    unit: str = ""


_COLUMNS = (
    _Column("id", "int64", "number of the stack in Skyrelay"),
    _Column("name", "string", "CrowdSky name"),
    _Column("telescope", "string", "as its owner calls it"),
    _Column("target", "string", "as the telescope names it"),
    _Column("filter", "string", "filter"),
    _Column("exposure_s", "float64", "exposure of one sub-frame", "s"),
    _Column("night", "string", "local date of its evening"),
    _Column("frames", "int64", "sub-frames in the stack"),
    _Column("exposure_total_s", "float64", "exposure of all of them", "s"),
    _Column("first_start_at", "string", "start of the first exposure, UTC"),
    _Column("last_end_at", "string", "end of the last exposure, UTC"),
    _Column("ra_deg", "float64", "right ascension of the middle", "deg"),
    _Column("dec_deg", "float64", "declination of the middle", "deg"),
    _Column("chunk_key", "string", "CrowdSky's, of quarter hour and HEALPix pixel"),
    _Column("delivered_at", "string", "when the server took it, UTC"),
    _Column("is_confirmed", "bool", "whether the server lists it"),
)


def archive_text(stacks: Iterable[ArchivedStack], form: Form) -> Iterator[str]:
    """Write stacks as a table, a line each; give it in parts of some hundred lines.

    In CSV a text that a spreadsheet would run as a formula gets an apostrophe in front; ECSV has all texts as
    they are, but for control characters, which become blanks in both.
    """
    part = io.StringIO()
    if form == "ecsv":
        part.writelines(f"# {line}\n" for line in _header())
    guard = _harmless if form == "csv" else _one_line
    # Texts in quotes: in ECSV a blank line, or one that begins with #, would count for nothing.
    end = "\n" if form == "ecsv" else "\r\n"
    csv.writer(part, lineterminator=end).writerow([column.name for column in _COLUMNS])
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if form == "ecsv" else csv.QUOTE_MINIMAL
    writer = csv.writer(part, quoting=quoting, lineterminator=end)
    for number, stack in enumerate(stacks, 1):
        writer.writerow([guard(cell) for cell in _cells(stack)])
        if number % _LINES_OF_A_PART == 0:
            yield part.getvalue()
            part.seek(0)
            part.truncate()
    yield part.getvalue()


def _header() -> Iterator[str]:
    yield "%ECSV 1.0"
    yield "---"
    yield "delimiter: ','"
    yield "datatype:"
    for column in _COLUMNS:
        said = {"name": column.name, "datatype": column.datatype, "description": column.description}
        # JSON is YAML, and needs no care of its own.
        yield f"- {json.dumps({**said, **({'unit': column.unit} if column.unit else {})})}"
    yield f"meta: {json.dumps({'origin': f'Skyrelay {__version__}'})}"
    yield "schema: astropy-2.0"


def _cells(stack: ArchivedStack) -> Iterator[Cell]:
    for column in _COLUMNS:
        yield _cell(getattr(stack, column.name))


def _cell(value: object) -> Cell:
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
    if isinstance(value, date):
        return value.isoformat()
    return value if isinstance(value, int | float) else None if value is None else str(value)


def _one_line(cell: Cell) -> Cell:
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", cell) if isinstance(cell, str) else cell


def _harmless(cell: Cell) -> Cell:
    text = _one_line(cell)
    if isinstance(text, str) and text.lstrip().startswith(_FORMULA):
        return f"'{text}"
    return text
