"""Find what is due and say so. Messages make things quick; this makes them certain."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.domain.states import DeliveryKind
from skyrelay.logs import get_logger
from skyrelay.outbox import accounts
from skyrelay.outbox.due import is_lost
from skyrelay.queue.tasks import DeliveryMessage, Message, Nothing, StackMessage, TaskName
from skyrelay.store.tables import Delivery
from skyrelay.store.tables.destinations import CROWDSKY
from skyrelay_uploader.cloud_sending import is_cloud_due, look_after_cloud_account
from skyrelay_uploader.delivering import NO_CREDENTIALS
from skyrelay_uploader.due import due_deliveries, due_fetches, is_confirmation_due
from skyrelay_uploader.making_room import look_after_archive
from skyrelay_uploader.settling import book_lost
from skyrelay_uploader.workshop import Workshop

# What is said at one tick: enough to fill the worker's places. Whoever finishes says the next one, so
# that a backlog of hundreds does not fill the queue with messages that find nothing to do.
_MOST = 4

_log = get_logger(__name__)


def reconcile(workshop: Workshop) -> None:
    """Take up what died half-way, and nudge what is due; nothing happens before the set-up is done."""
    if not workshop.may_act:
        return
    now = workshop.clock()
    look_after_archive(workshop)
    with workshop.store.write() as session:
        look_after_cloud_account(workshop, session, now)
        if workshop.may_send:
            _look_after_account(workshop, session, now)
            _take_up_lost_sends(session, now)
    with workshop.store.read() as session:
        due = list(_due(workshop, session, now))
    for task, message in due:
        workshop.say(task, message)


def _look_after_account(workshop: Workshop, session: Session, now: datetime) -> None:
    account = workshop.crowdsky_account()
    accounts.resume_if_changed(session, account, now)
    if not account.has_credentials and not accounts.is_closed(session, CROWDSKY, now):
        accounts.pause(session, account, NO_CREDENTIALS, now)


def _take_up_lost_sends(session: Session, now: datetime) -> None:
    kinds = (DeliveryKind.STACK, DeliveryKind.RAW)
    lost = select(Delivery).where(Delivery.kind.in_(kinds), is_lost(now))
    for delivery in session.scalars(lost.with_for_update()):
        book_lost(session, delivery, now)
        _log.warning("a send was cut off: the server is asked first", delivery_id=delivery.id)


def _due(workshop: Workshop, session: Session, now: datetime) -> Iterator[tuple[TaskName, Message]]:
    for stack_id in due_fetches(session, now, _MOST):
        yield TaskName.FETCH_STACK, StackMessage(stack_id=stack_id)
    if is_cloud_due(workshop, session, now):
        yield TaskName.DELIVER_TO_CLOUD, Nothing()
    if not workshop.may_send or accounts.is_closed(session, CROWDSKY, now):
        return
    if workshop.quiet_until() is None:
        for delivery_id in due_deliveries(session, now, _MOST):
            yield TaskName.DELIVER, DeliveryMessage(delivery_id=delivery_id)
    if is_confirmation_due(session, now):
        yield TaskName.CONFIRM_DELIVERIES, Nothing()
