"""The audit log, and single things with their history."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime

from skyrelay_gateway import details, listings
from skyrelay_gateway.audit_log import AuditFilters, AuditView, list_audit
from skyrelay_gateway.context import GatewayDep
from skyrelay_gateway.details import BlockDetail, DeliveryDetail
from skyrelay_gateway.list_tags import FROM_DATABASE, NOT_MODIFIED, TaggedRoute
from skyrelay_gateway.models import Page, RunView
from skyrelay_gateway.paging import PageDep
from skyrelay_gateway.problems import Problem, problem_responses

router = APIRouter(prefix="/api/v1", tags=["read"], responses=problem_responses(404), route_class=TaggedRoute)

_Id = Annotated[int, Path(ge=1, le=2**53)]


@router.get("/audit", dependencies=[FROM_DATABASE], responses=NOT_MODIFIED)
def audit(
    gateway: GatewayDep,
    page: PageDep,
    kind: Annotated[
        str | None, Query(max_length=50, description="block, delivery, stack, telescope, frame, plan, …")
    ] = None,
    subject: Annotated[int | None, Query(ge=1, le=2**53, description="id of the thing; needs kind")] = None,
    since: Annotated[AwareDatetime | None, Query(examples=["2025-03-26T18:00:00Z"])] = None,
    until: Annotated[AwareDatetime | None, Query(examples=["2025-03-27T06:00:00Z"])] = None,
) -> Page[AuditView]:
    """List who did what to which thing, when and why, the latest first."""
    if subject is not None and kind is None:
        raise Problem(422, "subject: needs kind beside it.", "Say of which kind the thing is: kind=block.")
    with gateway.store.read() as session:
        return list_audit(session, page, AuditFilters(kind, subject, since, until))


@router.get("/blocks/{block_id}")
def block(gateway: GatewayDep, block_id: _Id) -> BlockDetail:
    """Give one block with its stacks, their deliveries, and the reason of each decision."""
    with gateway.store.read() as session:
        return details.block_detail(session, block_id)


@router.get("/deliveries/{delivery_id}")
def delivery(gateway: GatewayDep, delivery_id: _Id) -> DeliveryDetail:
    """Give one delivery with the reason of each step."""
    with gateway.store.read() as session:
        return details.delivery_detail(session, delivery_id)


@router.get("/runs/{run_id}")
def run(gateway: GatewayDep, run_id: _Id) -> RunView:
    """Give one run."""
    with gateway.store.read() as session:
        return listings.one_run(session, run_id)
