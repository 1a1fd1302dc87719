"""The pages: what the API says, for people."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.responses import HTMLResponse

from skyrelay.access.tokens import Scope
from skyrelay.domain.states import BlockState, DeliveryState
from skyrelay.fits_picture import NATURAL, Curve, Stretch
from skyrelay.store.receipts import Receipt, build_receipt
from skyrelay.store.tables import Delivery
from skyrelay_gateway import network, sky_page
from skyrelay_gateway.actions import send_all_offered, stack_again
from skyrelay_gateway.context import Gateway, GatewayDep
from skyrelay_gateway.delivery_retries import can_be_retried
from skyrelay_gateway.gallery import StackStory, build_wall, file_of, tell_story
from skyrelay_gateway.listings import Filters, list_deliveries
from skyrelay_gateway.models import Action
from skyrelay_gateway.network_part import network_part
from skyrelay_gateway.night_calendar import FIRST_NIGHT, LAST_NIGHT, build_month, month_of
from skyrelay_gateway.nights import known_nights
from skyrelay_gateway.offers import count_offered
from skyrelay_gateway.page_frame import render_page
from skyrelay_gateway.page_route import PageRoute
from skyrelay_gateway.paging import PageRequest
from skyrelay_gateway.pauses import pause_views
from skyrelay_gateway.problems import Problem
from skyrelay_gateway.routes.pictures import Black, White
from skyrelay_gateway.sky_map import sexagesimal
from skyrelay_gateway.stack_files import read_cards
from skyrelay_gateway.status import ignored_files
from skyrelay_gateway.tonight import (
    build_tonight,
    current_needs,
    current_services,
    headline_of,
    paused_destinations,
    telescopes_now,
    unseen_telescopes,
)
from skyrelay_gateway.visits import requires

router = APIRouter(include_in_schema=False, route_class=PageRoute, dependencies=[requires(Scope.READ)])

_Root = Annotated[str, Query(pattern=r"^(\.\./){0,5}$")]
_Night = Annotated[date | None, Query(ge=FIRST_NIGHT, le=LAST_NIGHT)]
_NightInPath = Annotated[date, Path(ge=FIRST_NIGHT, le=LAST_NIGHT)]
_Month = Annotated[str | None, Query(pattern="^2[0-9]{3}-(0[1-9]|1[0-2])$")]
_Name = Annotated[str | None, Query(max_length=200)]
_Cursor = Annotated[str | None, Query(pattern="^[0-9]{1,18}$")]
_PICTURES = 24  # of the gallery at a time: fills a large screen
_LINES = 40
_INTERRUPTS = 20


@router.get("/")
def tonight(request: Request, gateway: GatewayDep, night: _Night = None) -> HTMLResponse:
    """Show a night (the latest, unless one is asked for) and how everything is."""
    with gateway.store.read() as session:
        values: dict[str, Any] = {
            "tonight": build_tonight(gateway, session, night),
            "network": network_part(session, gateway.settings, gateway.clock()),
            "is_set_up": gateway.settings.is_set_up,
        }
        return render_page(request, gateway, session, "tonight.html", here="tonight", **values)


@router.get("/parts/headline")
def headline(request: Request, gateway: GatewayDep, root: _Root = "") -> HTMLResponse:
    """Give the line in the head of each page that says how everything is; ``root`` is that page's."""
    with gateway.store.read() as session:
        needs = current_needs(gateway, session)
        shown = headline_of(session, needs)
        return render_page(
            request, gateway, session, "parts/headline.html", here="", headline=shown, root=root
        )


@router.get("/nights")
def nights(request: Request, gateway: GatewayDep, month: _Month = None) -> HTMLResponse:
    """Show the nights of a month."""
    with gateway.store.read() as session:
        shown = build_month(session, month_of(month) if month else None)
        return render_page(request, gateway, session, "nights.html", here="nights", month=shown)


@router.get("/nights/{night}")
def receipt(request: Request, gateway: GatewayDep, night: _NightInPath) -> HTMLResponse:
    """Show the receipt of a night."""
    with gateway.store.read() as session:
        known, shown = known_nights(session), build_receipt(session, night)
        return render_page(
            request,
            gateway,
            session,
            "receipt.html",
            here="nights",
            receipt=shown,
            again=_again(shown),
            earlier=max((each for each in known if each < night), default=None),
            later=min((each for each in known if each > night), default=None),
        )


def _again(receipt: Receipt) -> dict[int, Action]:
    """Give what has the blocks stacked once more that got frames afterwards."""
    gone = (block for _group, block in receipt.blocks_in(BlockState.STACKED, BlockState.RAW))
    late = (each for each in gone if each.frames > each.frames_in_stack + each.frames_sent_raw)
    return {block.id: stack_again(block.id, block.state) for block in late}


@router.get("/gallery")
def gallery(
    request: Request,
    gateway: GatewayDep,
    telescope: _Name = None,
    target: _Name = None,
    cursor: _Cursor = None,
) -> HTMLResponse:
    """Show stacks, the latest first."""
    filters = Filters(telescope or None, target or None)
    part = PageRequest(_PICTURES, None if cursor is None else int(cursor))
    query = urlencode({"telescope": telescope or "", "target": target or ""})
    with gateway.store.read() as session:
        wall = build_wall(session, part, filters)
        values: dict[str, Any] = {"wall": wall, "filters": filters, "query": query}
        return render_page(request, gateway, session, "gallery.html", here="gallery", **values)


@router.get("/gallery/{stack_id}")
def stack(
    request: Request,
    gateway: GatewayDep,
    stack_id: Annotated[int, Path(ge=1, le=2**53)],
    black: Black = NATURAL.black,
    white: White = NATURAL.white,
    curve: Curve = NATURAL.curve,
) -> HTMLResponse:
    """Show one stack, and all that is known of it."""
    with gateway.store.read() as session:
        story = tell_story(session, stack_id)
        values: dict[str, Any] = {
            "story": story,
            "cards": _cards(gateway, session, story),
            "position": _position(story),
            "stretch": Stretch(black, white, curve),
        }
        return render_page(request, gateway, session, "stack.html", here="gallery", **values)


def _cards(gateway: Gateway, session: Session, story: StackStory) -> dict[str, Any]:
    """Give the header's cards; none of a file that cannot be had at the moment."""
    if not story.has_file:
        return {}
    try:
        row = file_of(session, story.picture.view.id)
        return dict(read_cards(gateway.settings.archive_path, row).cards)
    except Problem:
        return {}


def _position(story: StackStory) -> str | None:
    view = story.picture.view
    if view.ra_deg is None or view.dec_deg is None:
        return None
    return sexagesimal(view.ra_deg, view.dec_deg)


@router.get("/sky")
def sky(request: Request, gateway: GatewayDep) -> HTMLResponse:
    """Show the whole sky with what was observed and delivered."""
    with gateway.store.read() as session:
        values = sky_page.values(request.app.state.sky_memory.map_of(session))
        return render_page(request, gateway, session, "sky.html", here="sky", **values)


@router.get("/deliveries")
def deliveries(
    request: Request, gateway: GatewayDep, state: DeliveryState | None = None, cursor: _Cursor = None
) -> HTMLResponse:
    """Show the deliveries, the latest first."""
    part = PageRequest(_LINES, None if cursor is None else int(cursor))
    with gateway.store.read() as session:
        page = list_deliveries(session, part, Filters(), state)
        values: dict[str, Any] = {
            "page": page,
            "state": state,
            "query": urlencode({"state": state.value} if state else {}),
            "counts": _delivery_counts(session),
            "paused": paused_destinations(session),
            **_offers(session),
            "retryable": _retryable(session, [delivery.id for delivery in page.items]),
        }
        return render_page(request, gateway, session, "deliveries.html", here="deliveries", **values)


def _offers(session: Session) -> dict[str, Any]:
    """Give what other tools made and nobody has wanted sent so far."""
    number, only_id = count_offered(session)
    return {"offered": number, "offered_id": only_id, "send_offered": send_all_offered(number)}


def _delivery_counts(session: Session) -> dict[str, int]:
    query = select(Delivery.state, func.count().label("number")).group_by(Delivery.state)
    found = {row.state: row.number for row in session.execute(query)}
    return {state.value: found[state] for state in DeliveryState if found.get(state)}


def _retryable(session: Session, ids: list[int]) -> frozenset[int]:
    rows = session.scalars(select(Delivery).where(Delivery.id.in_(ids)))
    return frozenset(row.id for row in rows if can_be_retried(row))


@router.get("/telescopes")
def telescopes(request: Request, gateway: GatewayDep) -> HTMLResponse:
    """Show the telescopes, what each is doing, and the services."""
    with gateway.store.read() as session:
        now = telescopes_now(session)
        services, backlog = current_services(gateway)
        values: dict[str, Any] = {
            "telescopes": now,
            "unseen": unseen_telescopes(gateway, now),
            "pauses": tuple(pause_views(session)),
            "services": services,
            "backlog": backlog,
            "ignored": ignored_files(session),
        }
        return render_page(request, gateway, session, "telescopes.html", here="telescopes", **values)


@router.get("/plan")
def plan(request: Request, gateway: GatewayDep) -> HTMLResponse:
    """Show the observation network's plan and interrupts."""
    settings, now = gateway.settings, gateway.clock()
    with gateway.store.read() as session:
        row = network.present_plan(session)
        values: dict[str, Any] = {
            "plan": None if row is None else network.plan_view(row, settings, now),
            "interrupts": network.list_interrupts(session, PageRequest(_INTERRUPTS, None), now).items,
            "is_enabled": bool(settings.cloud.enabled and settings.cloud.url),
        }
        return render_page(request, gateway, session, "plan.html", here="plan", **values)


@router.get("/more")
def more(request: Request, gateway: GatewayDep) -> HTMLResponse:
    """Show the pages that have no place in a telephone's menu."""
    with gateway.store.read() as session:
        return render_page(request, gateway, session, "more.html", here="more")
