"""What the books say of a delivery after a try, whatever it was and wherever it went."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from skyrelay.domain.states import DeliveryState
from skyrelay.outbox.accounts import Account, destination, note_outcome
from skyrelay.outbox.outcomes import (
    GIVE_UP_AFTER_FAULTS,
    NEEDS_YOU_AFTER,
    Blame,
    GiveUp,
    Outcome,
    Pause,
    TryAgain,
)
from skyrelay.store.tables import Delivery
from skyrelay.store.transitions import audit, move_delivery

AT_REST: dict[str, Any] = {
    "lease_until": None,
    "next_attempt_at": None,
    "needs_you": False,
    "ask_first": False,
}


def sent_then(session: Session, delivery_id: int, sent_at: datetime | None) -> Delivery | None:
    """Give the delivery if it is the send of that time that it waits for: a late writer must not."""
    delivery = session.get_one(Delivery, delivery_id, with_for_update=True)
    waiting = (DeliveryState.SENDING, DeliveryState.RETRYING)
    return delivery if delivery.state in waiting and delivery.sent_at == sent_at else None


def book_failed_send(
    session: Session, account: Account, delivery: Delivery, outcome: Outcome, reason: str, now: datetime
) -> None:
    """Write down that a send failed, for the delivery and for its account."""
    others_pass = destination(session, account.destination, now).failures == 0
    note_outcome(session, account, outcome, reason, now)
    if delivery.state != DeliveryState.SENDING:
        return
    attempts = delivery.attempts + 1
    faults = _faults(delivery.item_faults, outcome, others_pass=others_pass)
    if isinstance(outcome, GiveUp):
        bury(session, delivery, reason, now, account.actor, attempts=attempts)
    elif isinstance(outcome, Pause):
        move_to_retrying(session, delivery, reason, now, account.actor, next_attempt_at=now)
    elif faults >= GIVE_UP_AFTER_FAULTS:
        words = f"given up after {faults} such answers while others pass: {reason}"
        bury(session, delivery, words, now, account.actor, attempts=attempts)
    else:
        move_to_retrying(
            session,
            delivery,
            reason,
            now,
            account.actor,
            attempts=attempts,
            item_faults=faults,
            next_attempt_at=now + outcome.after,
            ask_first=outcome.ask_first,
            needs_you=attempts >= NEEDS_YOU_AFTER,
        )


def book_unsent(
    session: Session,
    account: Account,
    delivery: Delivery,
    outcome: Outcome,
    reason: str,
    now: datetime,
    *,
    listing: bool = True,
) -> None:
    """Write down what went wrong before anything was sent that counts: the state stays.

    Parameters
    ----------
    listing
        Whether the server was only asked for its list.
    """
    note_outcome(session, account, outcome, reason, now, listing=listing)
    if isinstance(outcome, GiveUp):
        bury(session, delivery, reason, now, account.actor, attempts=delivery.attempts + 1)
        return
    if delivery.reason != reason:
        subject = ("delivery", delivery.id)
        audit(session, now=now, actor=account.actor, subject=subject, event="held up", reason=reason)
    delivery.reason, delivery.lease_until, delivery.updated_at = reason, None, now
    delivery.next_attempt_at = now
    if isinstance(outcome, TryAgain):
        delivery.attempts += 1
        delivery.next_attempt_at = now + outcome.after
        delivery.needs_you = delivery.attempts >= NEEDS_YOU_AFTER


def move_to_retrying(
    session: Session, delivery: Delivery, reason: str, now: datetime, actor: str, **values: object
) -> None:
    """Take a delivery back from being sent."""
    changes = {**AT_REST, **values}
    move_delivery(session, delivery, DeliveryState.RETRYING, now=now, actor=actor, reason=reason, **changes)


def bury(
    session: Session, delivery: Delivery, reason: str, now: datetime, actor: str, **values: object
) -> None:
    """Try a delivery no more by itself; it is kept, and shown to a person."""
    changes = {**AT_REST, "needs_you": True, **values}
    move_delivery(session, delivery, DeliveryState.DEAD, now=now, actor=actor, reason=reason, **changes)


def _faults(so_far: int, outcome: Outcome, *, others_pass: bool) -> int:
    """Count what may be an item's own fault: only if the destination took the item before this one."""
    if not (isinstance(outcome, TryAgain) and outcome.blame is Blame.UNSURE):
        return 0
    return so_far + 1 if others_pass else so_far
