"""Frames to read."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Path, Query

from skyrelay.domain.states import FrameState
from skyrelay_gateway import frames as use_cases
from skyrelay_gateway.context import GatewayDep
from skyrelay_gateway.frames import FrameFilters, FrameView
from skyrelay_gateway.list_tags import FROM_DATABASE, NOT_MODIFIED, TaggedRoute
from skyrelay_gateway.models import Page
from skyrelay_gateway.paging import PageDep
from skyrelay_gateway.problems import problem_responses

router = APIRouter(
    prefix="/api/v1/frames", tags=["read"], responses=problem_responses(404), route_class=TaggedRoute
)


@router.get("", dependencies=[FROM_DATABASE], responses=NOT_MODIFIED)
def frames(
    gateway: GatewayDep,
    page: PageDep,
    block: Annotated[int | None, Query(ge=1, le=2**53, description="id of a block")] = None,
    telescope: Annotated[
        str | None, Query(max_length=200, description="name or serial number of a telescope")
    ] = None,
    target: Annotated[
        str | None, Query(max_length=200, description="a target, as the telescope names it")
    ] = None,
    night: Annotated[
        date | None,
        Query(ge=date(2000, 1, 1), le=date(2999, 12, 31), description="local date of its evening"),
    ] = None,
    state: FrameState | None = None,
) -> Page[FrameView]:
    """List sub-frames, the latest recorded first."""
    with gateway.store.read() as session:
        return use_cases.list_frames(session, page, FrameFilters(block, telescope, target, night, state))


@router.get("/{frame_id}")
def frame(gateway: GatewayDep, frame_id: Annotated[int, Path(ge=1, le=2**53)]) -> FrameView:
    """Give one sub-frame."""
    with gateway.store.read() as session:
        return use_cases.one_frame(session, frame_id)
