"""What a person typed into a form, read with care: lengths are bounded, nothing is trusted to be there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.datastructures import FormData, UploadFile

_MOST_CHARACTERS = 20_000  # a pasted key has some two thousand
_MOST_FIELDS = 60


async def _read_form(request: Request) -> AsyncIterator[FormData]:
    async with request.form(max_files=2, max_fields=_MOST_FIELDS) as form:
        yield form


FormDep = Annotated[FormData, Depends(_read_form)]


def text(form: Mapping[str, Any], name: str) -> str:
    """Give a field's text without the spaces around it; empty where it was not sent."""
    value = form.get(name)
    return value[:_MOST_CHARACTERS].strip() if isinstance(value, str) else ""


def is_checked(form: Mapping[str, Any], name: str) -> bool:
    """Tell whether a box is checked."""
    return text(form, name) == "yes"


def number(form: Mapping[str, Any], name: str) -> float | int | str | None:
    """Give a field's number, however its point is written; its text where it is none, `None` where empty."""
    typed = text(form, name).replace(",", ".")
    if not typed:
        return None
    try:
        return int(typed) if typed.isdecimal() and len(typed) < 10 else float(typed)
    except ValueError:
        return typed


def file_of(form: Mapping[str, Any], name: str, most_bytes: int) -> bytes:
    """Give the content of a file that was sent; empty where none was."""
    value = form.get(name)
    return value.file.read(most_bytes + 1) if isinstance(value, UploadFile) else b""
