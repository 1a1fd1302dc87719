"""What the books say of a delivery after something happened to it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from skyrelay.crowdsky.stacks import ServerStack, UploadReceipt
from skyrelay.domain.states import DeliveryState
from skyrelay.logs import get_logger
from skyrelay.settings import CrowdSkySettings
from skyrelay.store.tables import Delivery
from skyrelay.store.transitions import audit, move_delivery
from skyrelay_uploader import account
from skyrelay_uploader.outcomes import NEEDS_YOU_AFTER, GiveUp, Outcome, Pause, TryAgain, next_look
from skyrelay_uploader.workshop import ACTOR, Workshop

_MAY_BE_THERE = (
    "the server lists a stack that may be this one, and says too little about it to tell: look for it on "
    "its web page, and have it sent again if it is not there"
)

_log = get_logger(__name__)


def book_acceptance(
    workshop: Workshop, delivery_id: int, sent_at: datetime | None, receipt: UploadReceipt
) -> None:
    """Write down that the server took a stack; it is there only once the server lists it."""
    now, crowdsky = workshop.clock(), workshop.settings.crowdsky
    with workshop.store.write() as session:
        account.note_success(session, now)
        delivery = _sent_then(session, delivery_id, sent_at)
        if delivery is None:
            return
        if delivery.state == DeliveryState.RETRYING:  # we were taken for dead, and the answer came after all
            move_delivery(
                session, delivery, DeliveryState.SENDING, now=now, actor=ACTOR, reason="answered late"
            )
        move_delivery(
            session,
            delivery,
            DeliveryState.ACCEPTED,
            now=now,
            actor=ACTOR,
            reason="the server has taken it and is yet to list it",
            attempts=delivery.attempts + 1,
            accepted_at=now,
            server_job=None if receipt.job_id is None else str(receipt.job_id),
            server_chunk_key=receipt.chunk_key,
            **_AT_REST | {"next_attempt_at": now + timedelta(seconds=crowdsky.confirm_s)},
        )
    _log.info("a stack was accepted", server_chunk_key=receipt.chunk_key, job=receipt.job_id)


def book_failure(
    workshop: Workshop, delivery_id: int, sent_at: datetime | None, outcome: Outcome, reason: str
) -> None:
    """Write down that a stack was not delivered this time.

    Parameters
    ----------
    sent_at
        When the send began; `None` when it came to none.
    """
    now = workshop.clock()
    with workshop.store.write() as session:
        account.note_outcome(session, workshop.settings.crowdsky, outcome, reason, now)
        if sent_at is None:
            delivery = session.get_one(Delivery, delivery_id, with_for_update=True)
            _book_unsent(session, delivery, outcome, reason, now)
        else:
            sent = _sent_then(session, delivery_id, sent_at)
            if sent is not None and sent.state == DeliveryState.SENDING:
                _book_sent(session, sent, outcome, reason, now)
    _log.warning("a stack was not delivered", problem=reason, outcome=type(outcome).__name__)


def book_lost(session: Session, delivery: Delivery, now: datetime) -> None:
    """Write down that whoever sent a delivery has died over it: nobody knows whether it arrived."""
    reason = "the uploader ended while it was being sent: the server is asked before it is sent again"
    _move_to_retrying(
        session,
        delivery,
        reason,
        now,
        attempts=delivery.attempts + 1,
        next_attempt_at=now,
        ask_first=True,
    )


def book_found(session: Session, delivery: Delivery, row: ServerStack, now: datetime) -> None:
    """Write down that the server lists a delivery's stack."""
    reason = "the server lists it"
    if delivery.state == DeliveryState.PENDING:  # it came there by another way than ours
        move_delivery(
            session, delivery, DeliveryState.SENDING, now=now, actor=ACTOR, reason="it is there already"
        )
    move_delivery(
        session,
        delivery,
        DeliveryState.CONFIRMED,
        now=now,
        actor=ACTOR,
        reason=reason,
        confirmed_at=now,
        server_id=None if row.id is None else str(row.id),
        server_chunk_key=row.chunk_key or delivery.server_chunk_key,
        **_AT_REST,
    )


def book_wait(delivery: Delivery, since: datetime, crowdsky: CrowdSkySettings, now: datetime) -> None:
    """Write down that the server does not list a stack which it may have, and when to look again."""
    delivery.reason = (
        "it was sent without an answer, and the server does not list it so far: it is sent again if it is "
        f"not there {crowdsky.confirm_after_h:g} h after it was sent"
    )
    delivery.next_attempt_at = now + next_look(now - since, crowdsky.confirm_s)
    delivery.lease_until, delivery.updated_at = None, now


def give_up_unsure(session: Session, delivery: Delivery, now: datetime) -> None:
    """Leave to a person what cannot be known."""
    values = {**_AT_REST, "ask_first": True, "needs_you": True}
    move_delivery(session, delivery, DeliveryState.DEAD, now=now, actor=ACTOR, reason=_MAY_BE_THERE, **values)


_AT_REST: dict[str, Any] = {
    "lease_until": None,
    "next_attempt_at": None,
    "needs_you": False,
    "ask_first": False,
}


def _sent_then(session: Session, delivery_id: int, sent_at: datetime | None) -> Delivery | None:
    """Give the delivery if it is the send of that time that it waits for: a late writer must not."""
    delivery = session.get_one(Delivery, delivery_id, with_for_update=True)
    waiting = (DeliveryState.SENDING, DeliveryState.RETRYING)
    if delivery.state in waiting and delivery.sent_at == sent_at:
        return delivery
    _log.warning("the delivery went on without us", state=delivery.state)
    return None


def _book_sent(session: Session, delivery: Delivery, outcome: Outcome, reason: str, now: datetime) -> None:
    attempts = delivery.attempts + 1
    match outcome:
        case TryAgain(after, ask_first):
            _move_to_retrying(
                session,
                delivery,
                reason,
                now,
                attempts=attempts,
                next_attempt_at=now + after,
                ask_first=ask_first,
                needs_you=attempts >= NEEDS_YOU_AFTER,
            )
        case Pause():
            _move_to_retrying(session, delivery, reason, now, next_attempt_at=now)
        case GiveUp():
            _bury(session, delivery, reason, now, attempts)


def _book_unsent(session: Session, delivery: Delivery, outcome: Outcome, reason: str, now: datetime) -> None:
    """Book what went wrong before the send began: the delivery stays in its state."""
    if isinstance(outcome, GiveUp):
        _bury(session, delivery, reason, now, delivery.attempts + 1)
        return
    if delivery.reason != reason:
        audit(
            session,
            now=now,
            actor=ACTOR,
            subject=("delivery", delivery.id),
            event="held up",
            reason=reason,
        )
    delivery.reason, delivery.lease_until, delivery.updated_at = reason, None, now
    delivery.next_attempt_at = now
    if isinstance(outcome, TryAgain):
        delivery.attempts += 1
        delivery.next_attempt_at = now + outcome.after
        delivery.needs_you = delivery.attempts >= NEEDS_YOU_AFTER


def _move_to_retrying(
    session: Session, delivery: Delivery, reason: str, now: datetime, **values: object
) -> None:
    changes = {**_AT_REST, **values}
    move_delivery(session, delivery, DeliveryState.RETRYING, now=now, actor=ACTOR, reason=reason, **changes)


def _bury(session: Session, delivery: Delivery, reason: str, now: datetime, attempts: int) -> None:
    values = {**_AT_REST, "attempts": attempts, "needs_you": True}
    move_delivery(session, delivery, DeliveryState.DEAD, now=now, actor=ACTOR, reason=reason, **values)
