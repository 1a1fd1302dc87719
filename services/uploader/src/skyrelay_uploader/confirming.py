"""Confirm deliveries: what the server lists has arrived; what it never lists needs a person."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.crowdsky.stacks import ServerStack
from skyrelay.domain.states import DeliveryState
from skyrelay.errors import SkyrelayError
from skyrelay.logs import get_logger
from skyrelay.outbox import accounts
from skyrelay.outbox.accounts import Admission
from skyrelay.outbox.identity import Found, find_delivery
from skyrelay.outbox.outcomes import has_waited_enough, next_look, outcome_of
from skyrelay.settings import CrowdSkySettings
from skyrelay.store.tables import Delivery
from skyrelay.store.tables.destinations import CROWDSKY
from skyrelay.store.transitions import audit
from skyrelay_uploader.due import is_confirmation_due, is_unlisted
from skyrelay_uploader.settling import book_found
from skyrelay_uploader.workshop import ACTOR, Workshop

_OF_SEVERAL = (
    "; its block was sent more than once, and the list has fewer rows of it: of equal stacks nobody can tell "
    "which one is missing"
)

_log = get_logger(__name__)


def confirm_deliveries(workshop: Workshop) -> None:
    """Look at the server's list, once for all that was accepted, when one of them is due."""
    if not workshop.may_send:
        return
    with workshop.confirmations.one() as free:
        if free and _may_look(workshop):
            rows = _list(workshop)
            if rows is not None:
                _book(workshop, rows)


def _may_look(workshop: Workshop) -> bool:
    now = workshop.clock()
    with workshop.store.read() as session:
        if not is_confirmation_due(session, now):
            return False
    with workshop.store.write() as session:
        return accounts.admit_listing(session, CROWDSKY, now) is not Admission.CLOSED


def _list(workshop: Workshop) -> Sequence[ServerStack] | None:
    """Give the server's list; `None` when there is none to be had, which is not an empty one."""
    account = workshop.crowdsky_account()
    try:
        return workshop.server_list.ask(workshop.crowdsky(account), account, workshop.clock())
    except SkyrelayError as error:
        outcome = outcome_of(error, attempts=0, jitter=random.random())  # noqa: S311 - spreads load only
        with workshop.store.write() as session:
            accounts.note_outcome(session, account, outcome, str(error), workshop.clock(), listing=True)
        _log.warning("the server's list cannot be had", problem=str(error))
        return None


@dataclass(frozen=True, slots=True)
class _Match:
    """What the list says of a delivery, and how that stood when it was looked for."""

    delivery_id: int
    state: str
    sent_at: datetime | None
    found: Found


def _book(workshop: Workshop, rows: Sequence[ServerStack]) -> None:
    """Compare first, with nobody kept from writing; then write down what came of it, in one short step."""
    matches = _compare(workshop, rows)
    now, given = workshop.clock(), set[int | None]()
    with workshop.store.write() as session:
        accounts.note_listing(session, CROWDSKY, now)
        for match in matches:
            delivery = session.get_one(Delivery, match.delivery_id, with_for_update=True)
            if (delivery.state, delivery.sent_at) != (match.state, match.sent_at):
                continue  # it went on meanwhile: the next look sees it as it is then
            ids = {row.id for row in match.found.rows if row.id is not None}
            if ids & given:
                continue  # another has just got that row: the next look knows
            if match.found.shared_with and find_delivery(session, delivery, rows).rows != match.found.rows:
                continue  # another worker has just given one of those that share it to another
            given |= ids
            _book_match(session, delivery, match.found, workshop.settings.crowdsky, now)


def _compare(workshop: Workshop, rows: Sequence[ServerStack]) -> list[_Match]:
    with workshop.store.read() as session:
        unlisted = session.scalars(select(Delivery).where(is_unlisted()).order_by(Delivery.id)).all()
        return [
            _Match(each.id, each.state, each.sent_at, find_delivery(session, each, rows)) for each in unlisted
        ]


def _book_match(
    session: Session, delivery: Delivery, found: Found, crowdsky: CrowdSkySettings, now: datetime
) -> None:
    if found.rows:
        book_found(session, delivery, found.rows, now)
        _log.info("a stack is confirmed", delivery_id=delivery.id, chunk_key=found.rows[0].chunk_key)
    elif delivery.state == DeliveryState.ACCEPTED:
        _book_unlisted(session, delivery, found, crowdsky, now)


def _book_unlisted(
    session: Session, delivery: Delivery, found: Found, crowdsky: CrowdSkySettings, now: datetime
) -> None:
    since = delivery.accepted_at or delivery.updated_at
    delivery.next_attempt_at = now + next_look(now - since, crowdsky.confirm_s)
    if delivery.needs_you or not has_waited_enough(since, now, crowdsky.confirm_after_h):
        return
    delivery.needs_you = True
    delivery.reason = (
        f"the server took it {crowdsky.confirm_after_h:g} h ago and does not list it"
        + (", or says too little about a stack to tell that it is this one" if found.may_be else "")
        + (_OF_SEVERAL if found.shared_with else "")
        + ": look for it on its web page"
    )
    subject = ("delivery", delivery.id)
    audit(session, now=now, actor=ACTOR, subject=subject, event="not listed", reason=delivery.reason)
    _log.warning("an accepted stack is not listed", delivery_id=delivery.id, problem=delivery.reason)
