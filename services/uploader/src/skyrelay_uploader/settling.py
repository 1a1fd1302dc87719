"""What the books say of a delivery after something happened to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from skyrelay.crowdsky.stacks import ServerStack, UploadReceipt
from skyrelay.domain.states import DeliveryState
from skyrelay.logs import get_logger
from skyrelay.outbox.accounts import Account, note_outcome, note_success
from skyrelay.outbox.outcomes import Outcome, next_look
from skyrelay.outbox.settling import (
    AT_REST,
    book_failed_send,
    bury,
    move_to_retrying,
    sent_then,
)
from skyrelay.settings import CrowdSkySettings
from skyrelay.store.tables import Delivery
from skyrelay.store.tables.destinations import CROWDSKY
from skyrelay.store.transitions import move_delivery
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
        note_success(session, CROWDSKY, now, ACTOR)
        delivery = sent_then(session, delivery_id, sent_at)
        if delivery is None:
            _log.warning("the delivery went on without us")
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
            **AT_REST | {"next_attempt_at": now + timedelta(seconds=crowdsky.confirm_s)},
        )
    _log.info("a stack was accepted", server_chunk_key=receipt.chunk_key, job=receipt.job_id)


def book_failure(
    workshop: Workshop,
    account: Account,
    delivery_id: int,
    sent_at: datetime,
    outcome: Outcome,
    reason: str,
) -> None:
    """Write down that a send of a stack failed; see `skyrelay_uploader.sending.book_held_up` for none begun.

    Parameters
    ----------
    sent_at
        When the send began.
    """
    now = workshop.clock()
    with workshop.store.write() as session:
        if (sent := sent_then(session, delivery_id, sent_at)) is not None:
            book_failed_send(session, account, sent, outcome, reason, now)
        else:
            note_outcome(session, account, outcome, reason, now)
            _log.warning("the delivery went on without us")
    _log.warning("a stack was not delivered", problem=reason, outcome=type(outcome).__name__)


def book_lost(session: Session, delivery: Delivery, now: datetime) -> None:
    """Write down that whoever sent a delivery has died over it: nobody knows whether it arrived."""
    reason = "the uploader ended while it was being sent: the server is asked before it is sent again"
    tries = {
        "attempts": delivery.attempts + 1,
        "next_attempt_at": now,
        "ask_first": True,
        "raw_session": None,
    }
    move_to_retrying(session, delivery, reason, now, ACTOR, **tries)


def book_found(session: Session, delivery: Delivery, rows: Sequence[ServerStack], now: datetime) -> None:
    """Write down that the server lists a delivery: its stack, or all that it made of its raw frames."""
    ids = ",".join(str(row.id) for row in rows if row.id is not None)
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
        server_id=ids or None,
        server_chunk_key=rows[0].chunk_key or delivery.server_chunk_key,
        raw_session=None,
        **AT_REST,
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
    bury(session, delivery, _MAY_BE_THERE, now, ACTOR, ask_first=True)
