"""Status and lists: everything that can be read."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from skyrelay.access.tokens import Scope
from skyrelay.domain.states import BlockState, DeliveryState
from skyrelay.store.receipts import Receipt, build_receipt
from skyrelay_gateway import listings
from skyrelay_gateway.context import GatewayDep
from skyrelay_gateway.list_tags import FROM_DATABASE, NOT_MODIFIED, TaggedRoute
from skyrelay_gateway.listings import Filters
from skyrelay_gateway.models import (
    BlockView,
    DeliveryView,
    NightView,
    Page,
    RunView,
    StackView,
    StatusView,
    TargetView,
    TelescopeView,
)
from skyrelay_gateway.nights import list_nights
from skyrelay_gateway.paging import MOST, PageDep
from skyrelay_gateway.problems import problem_responses
from skyrelay_gateway.status import build_status
from skyrelay_gateway.visits import requires

router = APIRouter(
    prefix="/api/v1",
    tags=["read"],
    dependencies=[requires(Scope.READ)],
    responses=problem_responses(),
    route_class=TaggedRoute,
)

# Calendars end, and the arithmetic of dates with them.
_FIRST_NIGHT, _LAST_NIGHT = date(2000, 1, 1), date(2999, 12, 31)
_Limit = Annotated[int, Query(ge=1, le=MOST, description="most items in the answer")]
_Telescope = Annotated[str | None, Query(max_length=200, description="name or serial number of a telescope")]
_Target = Annotated[str | None, Query(max_length=200, description="a target, as the telescope names it")]
_NightQuery = Annotated[
    date | None, Query(ge=_FIRST_NIGHT, le=_LAST_NIGHT, description="local date of its evening")
]


async def _filters(
    telescope: _Telescope = None, target: _Target = None, night: _NightQuery = None
) -> Filters:
    return Filters(telescope, target, night)


_FiltersDep = Annotated[Filters, Depends(_filters)]


@router.get("/status")
def status(gateway: GatewayDep) -> StatusView:
    """Give everything at a glance, and what needs a person."""
    return build_status(gateway)


@router.get("/telescopes", dependencies=[FROM_DATABASE], responses=NOT_MODIFIED)
def telescopes(
    gateway: GatewayDep,
    page: PageDep,
    forgotten: Annotated[bool, Query(description="list those too that a person has forgotten")] = False,
) -> Page[TelescopeView]:
    """List the telescopes, with what each is doing."""
    with gateway.store.read() as session:
        return listings.list_telescopes(session, page, forgotten=forgotten)


@router.get("/targets", dependencies=[FROM_DATABASE], responses={**problem_responses(404), **NOT_MODIFIED})
def targets(
    gateway: GatewayDep,
    limit: _Limit = 50,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
    telescope: _Telescope = None,
) -> Page[TargetView]:
    """List what each telescope has of each target."""
    with gateway.store.read() as session:
        return listings.list_targets(session, limit, cursor, telescope)


@router.get("/blocks", dependencies=[FROM_DATABASE], responses={**problem_responses(404), **NOT_MODIFIED})
def blocks(
    gateway: GatewayDep, page: PageDep, filters: _FiltersDep, state: BlockState | None = None
) -> Page[BlockView]:
    """List blocks, the latest first, with the reason of each state."""
    with gateway.store.read() as session:
        return listings.list_blocks(session, page, filters, state)


@router.get("/runs", dependencies=[FROM_DATABASE], responses={**problem_responses(404), **NOT_MODIFIED})
def runs(
    gateway: GatewayDep, page: PageDep, telescope: _Telescope = None, night: _NightQuery = None
) -> Page[RunView]:
    """List what was stacked in one go, the latest run first, each with its summary."""
    with gateway.store.read() as session:
        return listings.list_runs(session, page, Filters(telescope, night=night))


@router.get("/stacks", dependencies=[FROM_DATABASE], responses={**problem_responses(404), **NOT_MODIFIED})
def stacks(gateway: GatewayDep, page: PageDep, filters: _FiltersDep) -> Page[StackView]:
    """List stacks, the latest first."""
    with gateway.store.read() as session:
        return listings.list_stacks(session, page, filters)


@router.get("/deliveries", dependencies=[FROM_DATABASE], responses={**problem_responses(404), **NOT_MODIFIED})
def deliveries(
    gateway: GatewayDep, page: PageDep, filters: _FiltersDep, state: DeliveryState | None = None
) -> Page[DeliveryView]:
    """List deliveries, the latest first."""
    with gateway.store.read() as session:
        return listings.list_deliveries(session, page, filters, state)


@router.get("/nights", dependencies=[FROM_DATABASE], responses=NOT_MODIFIED)
def nights(
    gateway: GatewayDep,
    limit: _Limit = 30,
    cursor: Annotated[
        date | None, Query(ge=_FIRST_NIGHT, le=_LAST_NIGHT, description="next_cursor of the answer before")
    ] = None,
) -> Page[NightView]:
    """List the nights in figures, the latest first."""
    with gateway.store.read() as session:
        return list_nights(session, limit, cursor)


@router.get("/nights/{night}/receipt")
def receipt(
    gateway: GatewayDep,
    night: Annotated[date, Path(ge=_FIRST_NIGHT, le=_LAST_NIGHT, description="local date of its evening")],
) -> Receipt:
    """Give the receipt of a night: what became of every frame. A night without frames has an empty one."""
    with gateway.store.read() as session:
        return build_receipt(session, night)
