"""A person has a delivery tried again now."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from skyrelay.domain.states import BlockState, DeliveryKind, DeliveryState
from skyrelay.store.tables import Block, Delivery, Destination, Stack
from skyrelay.store.transitions import audit, move_delivery
from skyrelay_gateway.problems import Problem
from skyrelay_gateway.visits import actor

_REFUSALS = {
    DeliveryState.SENDING: "is being sent right now",
    DeliveryState.ACCEPTED: "was accepted by the server, which has yet to list it",
    DeliveryState.CONFIRMED: "has arrived: the server lists it",
}


def retry(session: Session, delivery_id: int, now: datetime) -> str | None:
    """Make a delivery due now: a dead one pending again, a waiting one without its wait.

    One that the server took and never listed is given up first, and pending again like any dead one; the
    uploader looks at the server's list once more before it sends it.

    Returns
    -------
    str or None
        What holds it up all the same.

    Raises
    ------
    Problem
        404 for a delivery that is not there, 409 for one that cannot be tried again.
    """
    delivery = session.get(Delivery, delivery_id, with_for_update=True)
    if delivery is None:
        raise Problem(
            404, f"There is no delivery {delivery_id}.", "GET /api/v1/deliveries lists what there is."
        )
    state = DeliveryState(delivery.state)
    _check_route(session, delivery)
    if not can_be_retried(delivery):
        raise Problem(409, f"Delivery {delivery_id} {_REFUSALS[state]}.", "There is nothing to do.")
    if state is DeliveryState.ACCEPTED:
        _give_up_unlisted(session, delivery, now)
    if delivery.state == DeliveryState.DEAD:
        _revive(session, delivery, now)
    else:
        _clear_wait(session, delivery, now)
    # Until the stack is in the archive, that is what its delivery waits for.
    if delivery.stack_id is not None:
        session.get_one(Stack, delivery.stack_id).next_fetch_at = None
    return _pause_of(session, delivery.destination)


def _check_route(session: Session, delivery: Delivery) -> None:
    """Refuse to send raw frames of a block that is on its way to a stack, or has one."""
    if delivery.kind != DeliveryKind.RAW:
        return
    block = session.get_one(Block, delivery.block_id)
    if block.state != BlockState.RAW:
        raise Problem(
            409,
            f"Block {block.id} is {block.state}, so its raw frames are not sent.",
            'POST /api/v1/raw {"block_id": …} sends them, as long as it is not stacked.',
        )


def can_be_retried(delivery: Delivery) -> bool:
    """Tell whether a person can have a delivery tried again: not one whose end is still awaited, or known."""
    unlisted = delivery.state == DeliveryState.ACCEPTED and delivery.needs_you
    return unlisted or delivery.state not in _REFUSALS


def _give_up_unlisted(session: Session, delivery: Delivery, now: datetime) -> None:
    move_delivery(
        session,
        delivery,
        DeliveryState.DEAD,
        now=now,
        actor=actor(),
        reason="accepted, and given up as never listed",
        detail={"server_job": delivery.server_job, "server_chunk_key": delivery.server_chunk_key},
        # They tell of the send that was given up. The chunk key stays: by it a late listing is found.
        accepted_at=None,
        server_job=None,
    )


def _revive(session: Session, delivery: Delivery, now: datetime) -> None:
    move_delivery(
        session,
        delivery,
        DeliveryState.PENDING,
        now=now,
        actor=actor(),
        reason="asked for",
        next_attempt_at=now,
        needs_you=False,
        given_up_at=None,
    )


def _clear_wait(session: Session, delivery: Delivery, now: datetime) -> None:
    delivery.next_attempt_at = now
    delivery.needs_you = False
    audit(session, now=now, actor=actor(), subject=("delivery", delivery.id), event="asked for")


def _pause_of(session: Session, name: str) -> str | None:
    destination = session.get(Destination, name)
    if destination is None or destination.paused_reason is None:
        return None
    return f"Deliveries to {name} are paused: {destination.paused_reason}"
