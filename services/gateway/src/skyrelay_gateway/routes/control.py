"""Control: everything that a person can have done. These calls take JSON only."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from skyrelay.access.tokens import Scope
from skyrelay.logs import get_logger
from skyrelay.queue.tasks import TaskName
from skyrelay_gateway import offers, pauses, stack_requests
from skyrelay_gateway.context import Gateway, GatewayDep
from skyrelay_gateway.delivery_retries import retry
from skyrelay_gateway.idempotency import IDEMPOTENT, IdempotentRoute
from skyrelay_gateway.listings import find_delivery
from skyrelay_gateway.models import (
    NoFields,
    OfferAnswer,
    OfferRequest,
    PauseAnswer,
    PauseRequest,
    RawAnswer,
    RawRequest,
    ResumeRequest,
    RetryAnswer,
    StackAnswer,
    StackRequest,
)
from skyrelay_gateway.nudges import try_to_nudge
from skyrelay_gateway.problems import Problem, problem_responses
from skyrelay_gateway.raw_requests import ask_for_raw
from skyrelay_gateway.security import require_json
from skyrelay_gateway.visits import requires

router = APIRouter(
    prefix="/api/v1",
    tags=["control"],
    dependencies=[requires(Scope.CONTROL), Depends(require_json), IDEMPOTENT],
    route_class=IdempotentRoute,
    responses=problem_responses(400, 404, 409, 413, 415),
)


@router.post("/stack", status_code=202, responses={200: {"model": StackAnswer, "description": "A dry run"}})
def stack(gateway: GatewayDep, request: StackRequest, response: Response) -> StackAnswer:
    """Ask for stacks, or (``dry_run``) hear what would be stacked."""
    if request.dry_run:
        response.status_code = 200
        return _dry_run(gateway, request)
    now = gateway.clock()
    with gateway.store.write() as session:
        decisions = stack_requests.decide(session, request, gateway.settings.stacking, now)
        asked_for = stack_requests.ask_for(session, decisions, now)
    note = try_to_nudge(gateway, TaskName.RECONCILE_STACKING) if asked_for else None
    get_logger(__name__).info("stacks were asked for", asked_for=asked_for, request=request.model_dump())
    return stack_requests.answer(decisions, dry_run=False, asked_for=asked_for, note=note)


@router.post("/offers")
def take_up_offers(gateway: GatewayDep, request: OfferRequest) -> OfferAnswer:
    """Have stacks sent that another tool made, or (``dry_run``) hear which those would be."""
    with gateway.store.write() as session:
        answer = offers.take_up(session, request, gateway.clock())
    if answer.stacks and not request.dry_run:
        try_to_nudge(gateway, TaskName.RECONCILE_DELIVERIES)
        get_logger(__name__).info("offered stacks are to be sent", stacks=answer.stacks)
    return answer


@router.post("/raw", status_code=202, responses=problem_responses(409))
def send_raw_frames(gateway: GatewayDep, request: RawRequest, response: Response) -> RawAnswer:
    """Have a block's raw frames sent to the server's own stacker, or (``dry_run``) hear how much that is."""
    if request.dry_run:
        response.status_code = 200
    with gateway.store.write() as session:
        answer = ask_for_raw(session, request, gateway.settings.crowdsky, gateway.clock())
    if not request.dry_run:
        try_to_nudge(gateway, TaskName.RECONCILE_DELIVERIES)
        get_logger(__name__).info("raw frames are to be sent", block=answer.block_id, frames=answer.frames)
    return answer


@router.post("/pause")
def pause(gateway: GatewayDep, request: PauseRequest) -> PauseAnswer:
    """Begin no stack of what is named; a run that is under way is left to end."""
    with gateway.store.write() as session:
        answer = pauses.pause(session, request, gateway.clock())
    get_logger(__name__).info("stacking was paused", request=request.model_dump())
    return answer


@router.post("/resume")
def resume(gateway: GatewayDep, request: ResumeRequest) -> PauseAnswer:
    """Let stacking go on: of all, or of what is named."""
    with gateway.store.write() as session:
        answer = pauses.resume(session, request, gateway.clock())
    try_to_nudge(gateway, TaskName.RECONCILE_STACKING)
    get_logger(__name__).info("stacking goes on", request=request.model_dump())
    return answer


@router.post("/deliveries/{delivery_id}/retry", status_code=202)
def retry_delivery(
    gateway: GatewayDep, delivery_id: Annotated[int, Path(ge=1, le=2**53)], _: NoFields
) -> RetryAnswer:
    """Have a delivery tried again now: one that was given up, that waits, or that was never listed."""
    with gateway.store.write() as session:
        pause = retry(session, delivery_id, gateway.clock())
    unheard = try_to_nudge(gateway, TaskName.RECONCILE_DELIVERIES)
    get_logger(__name__).info("a delivery was asked for", delivery=delivery_id)
    with gateway.store.read() as session:
        view = find_delivery(session, delivery_id)
    if view is None:
        raise Problem(404, f"There is no delivery {delivery_id} any more.", "Look at the list again.")
    return RetryAnswer(delivery=view, note=pause or unheard)


def _dry_run(gateway: Gateway, request: StackRequest) -> StackAnswer:
    with gateway.store.read() as session:
        decisions = stack_requests.decide(session, request, gateway.settings.stacking, gateway.clock())
    return stack_requests.answer(decisions, dry_run=True, asked_for=0, note=None)
