"""Have CrowdSky's files removed from telescopes: ask for the list, confirm it, follow it."""

from __future__ import annotations

import threading
import time
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from skyrelay.access.tokens import Scope
from skyrelay.domain.purge_states import PurgeState
from skyrelay.logs import get_logger
from skyrelay.queue.tasks import PurgeMessage, TaskName
from skyrelay_gateway import purges
from skyrelay_gateway.context import Gateway, GatewayDep
from skyrelay_gateway.idempotency import IDEMPOTENT, IdempotentRoute
from skyrelay_gateway.nudges import try_to_nudge
from skyrelay_gateway.problems import problem_responses
from skyrelay_gateway.purges import PurgeAnswer, PurgeConfirmation, PurgeRequest, PurgeView
from skyrelay_gateway.security import require_json
from skyrelay_gateway.visits import requires

router = APIRouter(
    prefix="/api/v1",
    tags=["purge"],
    dependencies=[requires(Scope.READ)],
    responses=problem_responses(404),
    route_class=IdempotentRoute,
)
_LOOK_EVERY_S = 0.2


@router.post(  # asked again it is harmless, and its answer holds a token, which is kept nowhere
    "/purge",
    dependencies=[requires(Scope.CONTROL), Depends(require_json)],
    responses={
        202: {"model": PurgeAnswer, "description": "Not listed yet"},
        **problem_responses(409, 413, 415),
    },
)
def purge(gateway: GatewayDep, request: PurgeRequest, response: Response) -> PurgeAnswer:
    """List what would be removed, with a token that confirms it. Nothing is removed by this call.

    Where the list takes longer than ``wait_s`` the answer is a 202: ask with its ``purge_id`` again.
    """
    purge_id, note = _asked(gateway, request)
    if note is None:
        _wait_for_list(gateway, purge_id, request.wait_s)
    with gateway.store.write() as session:
        answer = purges.hand_out(session, purge_id, gateway.clock(), note)
    if answer.purge.state is PurgeState.LISTING:
        response.status_code = 202
    return answer


@router.post(
    "/purge/confirm",
    status_code=202,
    dependencies=[requires(Scope.CONTROL), Depends(require_json), IDEMPOTENT],
    responses=problem_responses(409, 410, 413, 415),
)
def confirm_purge(gateway: GatewayDep, request: PurgeConfirmation) -> PurgeView:
    """Have the files of a list removed for good. The token is good once."""
    with gateway.store.write() as session:
        purge_id = purges.confirm(session, request.token, gateway.clock())
        part_ids = purges.part_ids(session, purge_id, PurgeState.REMOVING)
    get_logger(__name__).info("a purge was confirmed", purge=purge_id)
    for part_id in part_ids:
        try_to_nudge(gateway, TaskName.PURGE, PurgeMessage(part_id=part_id))
    with gateway.store.read() as session:
        return purges.view(session, purge_id)


@router.get("/purges/{purge_id}")
def purge_of(gateway: GatewayDep, purge_id: Annotated[int, Path(ge=1, le=2**53)]) -> PurgeView:
    """Say how far a purge is, file by file."""
    with gateway.store.read() as session:
        return purges.view(session, purge_id)


def _asked(gateway: Gateway, request: PurgeRequest) -> tuple[int, str | None]:
    """Give the id of the purge that is meant, a new one maybe, and a note when nobody heard of it."""
    with gateway.store.write() as session:
        purge_id = request.purge_id
        if purge_id is None:
            purge_id = purges.order(session, request, gateway.clock())
        part_ids = purges.part_ids(session, purge_id, PurgeState.LISTING)
    notes = [try_to_nudge(gateway, TaskName.PURGE, PurgeMessage(part_id=part_id)) for part_id in part_ids]
    return purge_id, next((note for note in notes if note is not None), None)


def _wait_for_list(gateway: Gateway, purge_id: int, wait_s: float) -> None:
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        with gateway.store.read() as session:
            if not purges.part_ids(session, purge_id, PurgeState.LISTING):
                return
        threading.Event().wait(_LOOK_EVERY_S)
