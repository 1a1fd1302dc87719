"""The observation network: its plan, its interrupts, measurements for it. What changes takes JSON."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from skyrelay.access.tokens import Scope
from skyrelay.domain.states import DeliveryState
from skyrelay.logs import get_logger
from skyrelay.queue.tasks import TaskName
from skyrelay_gateway import network
from skyrelay_gateway.context import GatewayDep
from skyrelay_gateway.idempotency import IDEMPOTENT, IdempotentRoute
from skyrelay_gateway.list_tags import FROM_DATABASE, NOT_MODIFIED, TAGGED, TaggedRoute
from skyrelay_gateway.models import Page
from skyrelay_gateway.network import (
    InterruptRunRequest,
    InterruptView,
    MeasurementAnswer,
    MeasurementRequest,
    MeasurementView,
    PlanAnswer,
    PlanRunRequest,
    PlanView,
)
from skyrelay_gateway.nudges import try_to_nudge
from skyrelay_gateway.paging import PageDep
from skyrelay_gateway.problems import Problem, problem_responses
from skyrelay_gateway.security import require_json
from skyrelay_gateway.visits import requires


class _Route(TaggedRoute, IdempotentRoute):
    """Reads and calls stand together here."""


router = APIRouter(
    prefix="/api/v1",
    tags=["network"],
    dependencies=[requires(Scope.READ)],
    responses=problem_responses(),
    route_class=_Route,
)


@router.get("/plan")
def plan(gateway: GatewayDep) -> PlanAnswer:
    """Give the network's plan as it is seen from the site, item by item."""
    with gateway.store.read() as session:
        row = network.present_plan(session)
    view = None if row is None else network.plan_view(row, gateway.settings, gateway.clock())
    return PlanAnswer(plan=view)


@router.post(
    "/plan/run",
    status_code=202,
    dependencies=[requires(Scope.CONTROL), Depends(require_json), IDEMPOTENT],
    responses=problem_responses(400, 404, 409, 413, 415),
)
def run_plan(gateway: GatewayDep, request: PlanRunRequest) -> PlanView:
    """Have the plan handed to the telescope; GET /api/v1/plan says what comes of it."""
    _check_enabled(gateway)
    with gateway.store.write() as session:
        row = network.ask_for_run(session, request, gateway.clock())
    get_logger(__name__).info("a plan's run was asked for", plan_id=row.plan_id)
    return network.plan_view(row, gateway.settings, gateway.clock())


@router.get("/interrupts", dependencies=[TAGGED], responses=NOT_MODIFIED)
def interrupts(gateway: GatewayDep, page: PageDep) -> Page[InterruptView]:
    """List the network's interrupts, the latest first."""
    with gateway.store.read() as session:
        return network.list_interrupts(session, page, gateway.clock())


@router.post(
    "/interrupts/{interrupt_id}/run",
    status_code=202,
    dependencies=[requires(Scope.CONTROL), Depends(require_json), IDEMPOTENT],
    responses=problem_responses(404, 409, 413, 415),
)
def run_interrupt(
    gateway: GatewayDep, interrupt_id: Annotated[int, Path(ge=1, le=2**53)], request: InterruptRunRequest
) -> InterruptView:
    """Have an interrupt's target observed; GET /api/v1/interrupts says what comes of it."""
    _check_enabled(gateway)
    now = gateway.clock()
    with gateway.store.write() as session:
        row = network.ask_for_interrupt(session, interrupt_id, request, now)
    get_logger(__name__).info("an interrupt was asked for", number=row.number)
    return network.interrupt_view(row, now)


@router.get("/measurements", dependencies=[FROM_DATABASE], responses=NOT_MODIFIED)
def measurements(
    gateway: GatewayDep, page: PageDep, state: DeliveryState | None = None
) -> Page[MeasurementView]:
    """List the measurements, the latest first, with how far each has got."""
    with gateway.store.read() as session:
        return network.list_measurements(session, page, state)


@router.post(
    "/measurements",
    status_code=202,
    dependencies=[requires(Scope.CONTROL), Depends(require_json), IDEMPOTENT],
    responses={
        **problem_responses(400, 409, 413, 415),
        200: {"model": MeasurementAnswer, "description": "It was submitted before"},
    },
)
def submit_measurement(
    gateway: GatewayDep, request: MeasurementRequest, response: Response
) -> MeasurementAnswer:
    """Submit a measurement; it is kept until the network has it. The same one again changes nothing."""
    _check_enabled(gateway)
    payload, key = network.payload_of(request)
    with gateway.store.write() as session:
        view, is_new = network.submit(session, payload, key, gateway.clock())
    note = try_to_nudge(gateway, TaskName.DELIVER_TO_CLOUD) if is_new else None
    if not is_new:
        response.status_code = 200
    return MeasurementAnswer(measurement=view, is_new=is_new, note=note)


def _check_enabled(gateway: GatewayDep) -> None:
    cloud = gateway.settings.cloud
    if not (cloud.enabled and cloud.url):
        raise Problem(
            409, "The observation network is switched off.", "Set cloud.enabled to true, and cloud.url."
        )
