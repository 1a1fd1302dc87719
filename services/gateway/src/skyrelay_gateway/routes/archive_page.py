"""The archive for people."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from sqlalchemy import select
from starlette.responses import HTMLResponse

from skyrelay.access.tokens import Scope
from skyrelay.store.archive import archive_filters
from skyrelay.store.tables import Block, Telescope
from skyrelay_gateway.archive import Wish, build_archive
from skyrelay_gateway.context import GatewayDep
from skyrelay_gateway.page_frame import render_page
from skyrelay_gateway.page_route import PageRoute
from skyrelay_gateway.paging import PageRequest
from skyrelay_gateway.visits import requires

router = APIRouter(include_in_schema=False, route_class=PageRoute, dependencies=[requires(Scope.READ)])
_LINES = 40
_Name = Annotated[str, Query(max_length=200)]
_Cursor = Annotated[str | None, Query(pattern="^[0-9]{1,18}$")]


@router.get("/archive")
def archive(
    request: Request,
    gateway: GatewayDep,
    telescope: _Name = "",
    target: _Name = "",
    filter: _Name = "",  # noqa: A002 - as the address calls it
    cursor: _Cursor = None,
) -> HTMLResponse:
    """Show what was delivered, and how much of each target that makes."""
    part = PageRequest(_LINES, None if cursor is None else int(cursor))
    wish = Wish(telescope or None, target or None, filter or None)
    chosen = {"telescope": telescope, "target": target, "filter": filter}
    with gateway.store.read() as session:
        shown = build_archive(session, wish, part)
        values: dict[str, Any] = {
            "archive": shown,
            "wish": wish,
            "query": urlencode({name: value for name, value in chosen.items() if value}),
            "stacks": sum(total.stacks for total in shown.totals),
            "exposure_s": sum(total.exposure_total_s for total in shown.totals),
            "choices": {
                "target": session.scalars(select(Block.target).distinct().order_by(Block.target)).all(),
                "filter": archive_filters(session),
                "telescope": session.scalars(select(Telescope.name).order_by(Telescope.name)).all(),
            },
        }
        return render_page(request, gateway, session, "archive.html", here="archive", **values)
