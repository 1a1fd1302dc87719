"""A person has a delivery tried again now."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from skyrelay.domain.states import DeliveryState
from skyrelay.store.tables import Delivery, Destination, Stack
from skyrelay.store.transitions import audit, move_delivery
from skyrelay_gateway.problems import Problem

_ACTOR = "person"
_REFUSALS = {
    DeliveryState.SENDING: "is being sent right now",
    DeliveryState.ACCEPTED: "was accepted by the server, which has yet to list it",
    DeliveryState.CONFIRMED: "has arrived: the server lists it",
}


def retry(session: Session, delivery_id: int, now: datetime) -> str | None:
    """Make a delivery due now: a dead one pending again, a waiting one without its wait.

    Returns
    -------
    str or None
        What holds it up all the same.

    Raises
    ------
    Problem
        404 for a delivery that is not there, 409 for one that cannot be tried again.
    """
    delivery = session.get(Delivery, delivery_id)
    if delivery is None:
        raise Problem(
            404, f"There is no delivery {delivery_id}.", "GET /api/v1/deliveries lists what there is."
        )
    state = DeliveryState(delivery.state)
    if state in _REFUSALS:
        raise Problem(409, f"Delivery {delivery_id} {_REFUSALS[state]}.", "There is nothing to do.")
    if state is DeliveryState.DEAD:
        move_delivery(
            session,
            delivery,
            DeliveryState.PENDING,
            now=now,
            actor=_ACTOR,
            reason="asked for",
            next_attempt_at=now,
            needs_you=False,
        )
    else:
        _clear_wait(session, delivery, now)
    # Until the stack is in the archive, that is what its delivery waits for.
    session.get_one(Stack, delivery.stack_id).next_fetch_at = None
    return _pause_of(session, delivery.destination)


def _clear_wait(session: Session, delivery: Delivery, now: datetime) -> None:
    delivery.next_attempt_at = now
    delivery.needs_you = False
    audit(session, now=now, actor=_ACTOR, subject=("delivery", delivery.id), event="asked for")


def _pause_of(session: Session, name: str) -> str | None:
    destination = session.get(Destination, name)
    if destination is None or destination.paused_reason is None:
        return None
    return f"Deliveries to {name} are paused: {destination.paused_reason}"
