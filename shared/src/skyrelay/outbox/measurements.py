"""Measurements on their way to the node cloud: put in before the first try, each step written down.

Whoever submits a measurement puts it in as ``sending`` under a lease, tries at once, and says what came of
it (`book_accepted`, `book_refused`). Everything that is not told so, because the process died or the cloud
was away, `skyrelay.outbox.draining.send_due_measurements` sends later, oldest first.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sqlalchemy import Table, func, insert, select, update
from sqlalchemy.orm import Session

from skyrelay.cloud.errors import MeasurementInvalid
from skyrelay.cloud.measurement import MeasurementKey, read_measurement
from skyrelay.domain.states import OWED_DELIVERIES, DeliveryKind, DeliveryState
from skyrelay.errors import SkyrelayError
from skyrelay.outbox import accounts
from skyrelay.outbox.accounts import Account
from skyrelay.outbox.due import SENDABLE
from skyrelay.outbox.outcomes import Outcome, outcome_of
from skyrelay.outbox.settling import AT_REST, book_failed_send, bury, sent_then
from skyrelay.store.engine import Store
from skyrelay.store.tables import Delivery, Measurement
from skyrelay.store.tables.destinations import CLOUD
from skyrelay.store.transitions import audit, move_deliveries

if TYPE_CHECKING:  # who only enqueues needs no client, nor requests
    from skyrelay.cloud.client import CloudReceipt

FIRST_TRY = timedelta(seconds=90)  # a lease: longer than any one call to the cloud may take
_MEASUREMENTS, _DELIVERIES = cast("Table", Measurement.__table__), cast("Table", Delivery.__table__)
_IS_MEASUREMENT = Delivery.kind == DeliveryKind.MEASUREMENT


@dataclass(frozen=True, slots=True)
class Ticket:
    """A measurement's place in the outbox.

    Attributes
    ----------
    delivery_id
        Of its delivery.
    sent_at
        When its first try began, for those that say what came of it; `None` if it is not to be tried now.
    problem
        Why the cloud could not take it; then it is kept as a dead delivery, and not to be sent.
    """

    delivery_id: int
    sent_at: datetime | None
    problem: str | None = None


def enqueue_measurement(
    session: Session,
    payload: str,
    *,
    now: datetime,
    actor: str,
    first_try: timedelta | None = FIRST_TRY,
    queue_max: int = 0,
    image: Path | None = None,
) -> Ticket:
    """Put a measurement into the outbox.

    Parameters
    ----------
    session
        A writing session; the measurement is safe once it is committed.
    payload
        The JSON text ``{"measurement": {…}, "conditions": {…}}``, sent exactly as it is.
    now
        Aware time.
    actor
        The service, for the audit log.
    first_try
        How long the caller has for a try of its own; `None` leaves it to the uploader.
    queue_max
        How many measurements may wait; the oldest beyond that become dead deliveries. 0: any number.
    image
        The FITS to send after it.
    """
    try:
        key = read_measurement(payload)
    except MeasurementInvalid as error:
        return _keep_unsendable(session, payload, f"it was not sent: {error}", image, now, actor)
    if queue_max:
        _push_out(session, queue_max, now, actor)
    measurement_id = _add(session, key, payload, image, now)
    state: dict[str, object] = {"state": DeliveryState.PENDING, "reason": "to be sent"}
    if first_try is not None:
        state = {"state": DeliveryState.SENDING, "reason": "being sent"}
        state |= {"lease_until": now + first_try, "sent_at": now}
    delivery_id = _owe(session, DeliveryKind.MEASUREMENT, measurement_id, now, **state)
    return Ticket(delivery_id, None if first_try is None else now)


def book_accepted(
    store: Store, account: Account, ticket: Ticket, receipt: CloudReceipt, now: datetime
) -> None:
    """Write down that the cloud has a measurement; its image, if it has one, is owed from now on."""
    with store.write() as session:
        accounts.note_success(session, account.destination, now, account.actor)
        delivery = sent_then(session, ticket.delivery_id, ticket.sent_at)
        if delivery is not None:  # retrying: we were taken for dead, and the answer came after all
            state, receipts = DeliveryState(delivery.state), {delivery.id: receipt}
            confirm_measurements(session, receipts, now, account.actor, before=state)


def book_refused(
    store: Store, account: Account, ticket: Ticket, error: SkyrelayError, now: datetime
) -> Outcome:
    """Write down that a try failed; the error's type decides whether it is tried again."""
    with store.write() as session:
        delivery = session.get_one(Delivery, ticket.delivery_id, with_for_update=True)
        outcome = spread_outcome(error, delivery.attempts)
        sent = sent_then(session, ticket.delivery_id, ticket.sent_at)
        if sent is None:
            accounts.note_outcome(session, account, outcome, str(error), now)
        else:
            book_failed_send(session, account, sent, outcome, str(error), now)
    return outcome


def confirm_measurements(
    session: Session,
    receipts: Mapping[int, CloudReceipt],
    now: datetime,
    actor: str,
    *,
    before: DeliveryState = DeliveryState.SENDING,
) -> None:
    """Take deliveries, by their ids, to ``confirmed``: the cloud's word is all that there is to be had."""
    known = [id_ for id_, receipt in receipts.items() if receipt.duplicate]
    new = [id_ for id_, receipt in receipts.items() if not receipt.duplicate]
    values = {**AT_REST, "attempts": Delivery.attempts + 1, "confirmed_at": now}
    for ids, reason in ((new, "the cloud has it"), (known, "the cloud had it already")):
        move_deliveries(
            session, ids, before, DeliveryState.CONFIRMED, now=now, actor=actor, reason=reason, **values
        )
    numbers = [{"id": id_, "server_id": receipt.id} for id_, receipt in receipts.items() if receipt.id]
    if numbers:
        session.execute(update(Delivery), numbers)
    _owe_images(session, list(receipts), now)


def count_waiting(session: Session) -> int:
    """Count the measurements that the cloud does not have yet and is still to get."""
    query = select(func.count()).where(_IS_MEASUREMENT, Delivery.state.in_(OWED_DELIVERIES))
    return session.scalar(query) or 0


def spread_outcome(error: SkyrelayError, attempts: int) -> Outcome:
    """Decide what follows from an error, with a random part in its waits."""
    return outcome_of(error, attempts, jitter=random.random())  # noqa: S311 - it spreads load only


def _keep_unsendable(
    session: Session, payload: str, problem: str, image: Path | None, now: datetime, actor: str
) -> Ticket:
    """Keep what the cloud could not take, for a person to see."""
    measurement_id = _add(session, MeasurementKey("", "", ""), payload, image, now)
    state = {"state": DeliveryState.DEAD, "reason": problem, "needs_you": True}
    delivery_id = _owe(session, DeliveryKind.MEASUREMENT, measurement_id, now, **state)
    subject = ("delivery", delivery_id)
    audit(session, now=now, actor=actor, subject=subject, event="not sendable", reason=problem)
    return Ticket(delivery_id, None, problem)


def _add(session: Session, key: MeasurementKey, payload: str, image: Path | None, now: datetime) -> int:
    values: dict[str, object] = {
        "target": key.target,
        "filter": key.filter,
        "bjd": key.bjd,
        "payload": payload,
        "image_path": None if image is None else str(image),
        "created_at": now,
    }
    return _insert(session, _MEASUREMENTS, values)


def _owe(session: Session, kind: DeliveryKind, measurement_id: int, now: datetime, **values: object) -> int:
    row = {"kind": kind, "measurement_id": measurement_id, "destination": CLOUD}
    return _insert(session, _DELIVERIES, {**row, "created_at": now, "updated_at": now, **values})


def _insert(session: Session, table: Table, row: dict[str, object]) -> int:
    """Insert a row; give its id. (Past the ORM's unit of work: a quarter of the time of an enqueue.)"""
    key = session.connection().execute(insert(table), row).inserted_primary_key
    return int(key[0]) if key is not None else 0


def _push_out(session: Session, queue_max: int, now: datetime, actor: str) -> None:
    """Make room for one more: the oldest become dead deliveries, but one that is being sent stays."""
    too_many = count_waiting(session) + 1 - queue_max
    if too_many <= 0:
        return
    waiting = select(Delivery).where(_IS_MEASUREMENT, Delivery.state.in_(SENDABLE)).order_by(Delivery.id)
    reason = f"pushed out of the queue by a newer one: cloud.queue_max is {queue_max}"
    for delivery in session.scalars(waiting.limit(too_many)).all():
        bury(session, delivery, reason, now, actor)


def _owe_images(session: Session, ids: Sequence[int], now: datetime) -> None:
    """Owe the images of measurements that the cloud has got, in the transaction that says so."""
    query = (
        select(Delivery.measurement_id)
        .join(Measurement, Measurement.id == Delivery.measurement_id)
        .where(Delivery.id.in_(ids), Measurement.image_path.is_not(None))
    )
    for measurement_id in session.scalars(query).all():
        if measurement_id is not None:
            _owe(session, DeliveryKind.IMAGE, measurement_id, now, reason="to be sent")
