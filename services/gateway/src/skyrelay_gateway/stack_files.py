"""What lies in the archive of a stack: its FITS file, its pictures, its header."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import ConfigDict
from sqlalchemy.orm import Session

from skyrelay.fits_header import FitsError, parse_header, read_header_bytes, without_location
from skyrelay.logs import get_logger
from skyrelay.store.tables import Stack
from skyrelay_gateway.kept_files import KeptFile, NotKept, open_kept
from skyrelay_gateway.models import View
from skyrelay_gateway.problems import Problem

_PICTURES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
_LOOK_AGAIN = "GET /api/v1/stacks/{id} says when it was fetched, and why not."


class PreviewSize(StrEnum):
    """Which picture of a stack: at most 480 pixels wide and high, or the telescope's whole one."""

    THUMBNAIL = "thumbnail"
    PICTURE = "picture"


class StackHeaderView(View):
    """The cards of a stack's FITS header by keyword, without those that tell where the telescope stands."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"stack_id": 7, "cards": {"SIMPLE": True, "NAXIS1": 1080, "OBJECT": "M 81"}}]
        }
    )

    stack_id: int
    cards: dict[str, str | int | float | bool]


def find_stack(session: Session, stack_id: int) -> Stack:
    """Give a stack's row; raise a 404 `Problem` when there is none."""
    stack = session.get(Stack, stack_id)
    if stack is None:
        raise Problem(404, f"There is no stack {stack_id}.", "GET /api/v1/stacks lists what there is.")
    return stack


def open_fits(root: Path, stack: Stack) -> KeptFile:
    """Open a stack's file; raise a 404 `Problem` that says why it cannot be had."""
    if stack.archive_path is None or stack.removed_at is not None:
        raise Problem(404, _why_not(stack), _LOOK_AGAIN.format(id=stack.id))
    return _open(root, stack, stack.archive_path, stack.sha256)


def open_picture(root: Path, stack: Stack, size: PreviewSize) -> tuple[KeptFile, str]:
    """Open a picture of a stack, the other one where there is none of that size.

    Returns
    -------
    tuple
        The open file and its media type, by what its first bytes say.

    Raises
    ------
    Problem
        404 when there is no picture.
    """
    kept = [(stack.thumbnail_path, stack.thumbnail_sha256), (stack.picture_path, stack.picture_sha256)]
    wanted = kept if size is PreviewSize.THUMBNAIL else reversed(kept)
    path, sha256 = next(((path, sha256) for path, sha256 in wanted if path), (None, None))
    if path is None:
        raise Problem(404, f"There is no picture of stack {stack.id}.", _LOOK_AGAIN.format(id=stack.id))
    picture = _open(root, stack, path, sha256)
    start = picture.file.read(8)
    media_type = next((kind for magic, kind in _PICTURES.items() if start.startswith(magic)), None)
    if media_type is None:
        picture.file.close()
        raise Problem(404, f"The picture of stack {stack.id} is none.", "Look at its file in the archive.")
    return picture, media_type


def read_cards(root: Path, stack: Stack) -> StackHeaderView:
    """Read a stack's header; raise a 404 `Problem` where there is none."""
    kept = open_fits(root, stack)
    with kept.file as file:
        try:
            header = parse_header(without_location(read_header_bytes(file.read)))
        except (FitsError, OSError) as error:
            raise Problem(
                404, f"The header of stack {stack.id} cannot be read: {error}.", "Look at its file."
            ) from error
    return StackHeaderView(stack_id=stack.id, cards=dict(header.cards))


def _open(root: Path, stack: Stack, path: str, sha256: str | None) -> KeptFile:
    try:
        return open_kept(root, path, sha256)
    except NotKept as error:
        get_logger(__name__).warning("a kept file cannot be had", stack_id=stack.id, problem=str(error))
        raise Problem(
            404,
            f"The file of stack {stack.id} cannot be had from the archive: {error}.",
            "See that the archive's disk is there, and that the file was not moved.",
        ) from error


def _why_not(stack: Stack) -> str:
    if stack.removed_at is not None:
        return f"The file of stack {stack.id} has left the archive, to make room."
    if stack.is_offered:
        return f"Stack {stack.id} was made by another tool, and is fetched once you want it sent."
    why = f": {stack.fetch_error}" if stack.fetch_error else ""
    return f"Stack {stack.id} has not been fetched from its telescope yet{why}."
