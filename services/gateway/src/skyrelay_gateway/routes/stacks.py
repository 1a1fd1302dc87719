"""One stack: what is known of it, its picture, its FITS file, its header."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request
from starlette.responses import Response

from skyrelay_gateway import listings, stack_files
from skyrelay_gateway.context import GatewayDep
from skyrelay_gateway.kept_files import answer_with
from skyrelay_gateway.models import StackView
from skyrelay_gateway.problems import MEDIA_TYPE, problem_responses
from skyrelay_gateway.stack_files import PreviewSize, StackHeaderView

router = APIRouter(prefix="/api/v1/stacks", tags=["read"], responses=problem_responses(404))

_StackId = Annotated[int, Path(ge=1, le=2**53)]
_IfNoneMatch = Annotated[
    str | None, Header(max_length=4096, description="ETag of the file that the caller has")
]
_Range = Annotated[
    str | None, Header(max_length=200, description="one range of bytes", examples=["bytes=0-2879"])
]
_IfRange = Annotated[
    str | None, Header(max_length=500, description="ETag of the file that Range speaks of; else all is sent")
]
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_UNSATISFIABLE = {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}


def _file_answers(*media_types: str) -> dict[int | str, dict[str, Any]]:
    content = dict.fromkeys(media_types, _BYTES)
    return {
        200: {"description": "The file", "content": content},
        206: {"description": "A part of the file", "content": content},
        304: {"description": "The caller has it already"},
        416: {"description": "Range Not Satisfiable", "content": {MEDIA_TYPE: _UNSATISFIABLE}},
    }


@router.get("/{stack_id}")
def stack(gateway: GatewayDep, stack_id: _StackId) -> StackView:
    """Give one stack."""
    with gateway.store.read() as session:
        return listings.one_stack(session, stack_id)


@router.head("/{stack_id}/preview", include_in_schema=False)
@router.get(
    "/{stack_id}/preview", response_class=Response, responses=_file_answers("image/jpeg", "image/png")
)
def preview(
    gateway: GatewayDep,
    request: Request,
    stack_id: _StackId,
    size: Annotated[PreviewSize, Query(description="the other one is given where there is only that")] = (
        PreviewSize.THUMBNAIL
    ),
    if_none_match: _IfNoneMatch = None,  # noqa: ARG001 - read with the others from the request
    range_: Annotated[_Range, Header(alias="Range")] = None,  # noqa: ARG001 - the same
    if_range: _IfRange = None,  # noqa: ARG001 - the same
) -> Response:
    """Show a stack."""
    with gateway.store.read() as session:
        row = stack_files.find_stack(session, stack_id)
    picture, media_type = stack_files.open_picture(gateway.settings.archive_path, row, size)
    return answer_with(picture, request.headers, media_type)


@router.head("/{stack_id}/fits", include_in_schema=False)
@router.get("/{stack_id}/fits", response_class=Response, responses=_file_answers("application/fits"))
def fits(
    gateway: GatewayDep,
    request: Request,
    stack_id: _StackId,
    if_none_match: _IfNoneMatch = None,  # noqa: ARG001 - read with the others from the request
    range_: Annotated[_Range, Header(alias="Range")] = None,  # noqa: ARG001 - the same
    if_range: _IfRange = None,  # noqa: ARG001 - the same
) -> Response:
    """Download a stack's FITS file, as the telescope made it: where it stands is in the header."""
    with gateway.store.read() as session:
        row = stack_files.find_stack(session, stack_id)
    kept = stack_files.open_fits(gateway.settings.archive_path, row)
    return answer_with(kept, request.headers, "application/fits", row.crowdsky_name)


@router.get("/{stack_id}/header")
def header(gateway: GatewayDep, stack_id: _StackId) -> StackHeaderView:
    """Give a stack's FITS header, without the cards that tell where the telescope stands."""
    with gateway.store.read() as session:
        row = stack_files.find_stack(session, stack_id)
    return stack_files.read_cards(gateway.settings.archive_path, row)
