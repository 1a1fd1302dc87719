"""The pages: what the API says, for people."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from skyrelay_gateway.context import GatewayDep
from skyrelay_gateway.page_frame import render_page
from skyrelay_gateway.page_route import PageRoute
from skyrelay_gateway.tonight import build_tonight, current_needs, headline_of

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_Root = Annotated[str, Query(pattern=r"^(\.\./){0,5}$")]
_Night = Annotated[date | None, Query(ge=date(2000, 1, 1), le=date(2999, 12, 31))]


@router.get("/")
def tonight(request: Request, gateway: GatewayDep, night: _Night = None) -> HTMLResponse:
    """Show a night (the latest, unless one is asked for) and how everything is."""
    with gateway.store.read() as session:
        values = build_tonight(gateway, session, night)
        return render_page(request, gateway, session, "tonight.html", here="tonight", tonight=values)


@router.get("/parts/headline")
def headline(request: Request, gateway: GatewayDep, root: _Root = "") -> HTMLResponse:
    """Give the line in the head of each page that says how everything is; ``root`` is that page's."""
    with gateway.store.read() as session:
        needs = current_needs(gateway, session)
        shown = headline_of(session, needs)
        return render_page(
            request, gateway, session, "parts/headline.html", here="", headline=shown, root=root
        )


@router.get("/more")
def more(request: Request, gateway: GatewayDep) -> HTMLResponse:
    """Show the pages that have no place in a telephone's menu."""
    with gateway.store.read() as session:
        return render_page(request, gateway, session, "more.html", here="more")
