"""Telescopes: one of them, and who else is in the network."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from skyrelay_gateway import telescope_requests
from skyrelay_gateway.context import GatewayDep
from skyrelay_gateway.list_tags import FROM_DATABASE, NOT_MODIFIED, TaggedRoute
from skyrelay_gateway.models import Page, TelescopeView
from skyrelay_gateway.paging import PageDep
from skyrelay_gateway.problems import problem_responses
from skyrelay_gateway.telescope_requests import DiscoveryView

router = APIRouter(prefix="/api/v1", tags=["read"], responses=problem_responses(404), route_class=TaggedRoute)


@router.get("/telescopes/{telescope}")
def telescope(
    gateway: GatewayDep,
    telescope: Annotated[str, Path(max_length=200, description="its serial number or name")],
) -> TelescopeView:
    """Give one telescope."""
    with gateway.store.read() as session:
        return telescope_requests.one_telescope(session, telescope)


@router.get("/discoveries", dependencies=[FROM_DATABASE], responses=NOT_MODIFIED)
def discoveries(gateway: GatewayDep, page: PageDep) -> Page[DiscoveryView]:
    """List who was looked for in the network, and who answered, the latest first."""
    with gateway.store.read() as session:
        return telescope_requests.list_discoveries(session, page)


@router.get("/discoveries/{discovery_id}")
def discovery(gateway: GatewayDep, discovery_id: Annotated[int, Path(ge=1, le=2**53)]) -> DiscoveryView:
    """Give one question to the network; it is answered once ``finished_at`` is set."""
    with gateway.store.read() as session:
        return telescope_requests.one_discovery(session, discovery_id)
