"""The archive to read, and as tables for other programs."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from skyrelay.archive_tables import MEDIA_TYPES, Form, archive_text
from skyrelay.store.archive import whole_archive
from skyrelay_gateway.archive import ArchiveView, WishDep, build_archive, filters_of
from skyrelay_gateway.context import GatewayDep
from skyrelay_gateway.list_tags import FROM_DATABASE, NOT_MODIFIED, TaggedRoute
from skyrelay_gateway.paging import PageDep
from skyrelay_gateway.problems import problem_responses

router = APIRouter(
    prefix="/api/v1/archive", tags=["read"], responses=problem_responses(404), route_class=TaggedRoute
)
_TABLE = {"schema": {"type": "string"}}


@router.get(
    "/{form}",
    response_class=Response,
    responses={200: {"content": {"text/csv": _TABLE, "text/plain": _TABLE}}},
)
def table(gateway: GatewayDep, form: Form, wish: WishDep) -> Response:
    """Give the delivered stacks as a table: CSV for spreadsheets, or ECSV, which astropy reads."""
    with gateway.store.read() as session:
        filters = filters_of(session, wish)
    text = archive_text(whole_archive(gateway.store, filters), form)
    name = f'attachment; filename="skyrelay-archive.{form}"'
    return StreamingResponse(text, media_type=MEDIA_TYPES[form], headers={"Content-Disposition": name})


@router.get("", dependencies=[FROM_DATABASE], responses=NOT_MODIFIED)
def archive(gateway: GatewayDep, page: PageDep, wish: WishDep) -> ArchiveView:
    """List the stacks that were delivered, the latest first, with the total exposure by target and filter."""
    with gateway.store.read() as session:
        return build_archive(session, wish, page)
