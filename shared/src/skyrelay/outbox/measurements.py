"""Measurements on their way to the node cloud: put in before the first try, taken out in batches.

Whoever submits a measurement puts it in as ``sending`` under a lease, tries at once, and says what came of
it (`book_accepted`, `book_refused`). Everything that is not told so, because the process died or the cloud
was away, `send_due_measurements` sends later, oldest first. The cloud knows a measurement again by what it
is (node, target, bjd, filter), so an answer that was lost is no reason to wait: it is sent again, as it was.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from skyrelay.cloud.client import CloudReceipt
from skyrelay.cloud.errors import MeasurementInvalid
from skyrelay.cloud.measurement import MeasurementKey, read_measurement
from skyrelay.domain.states import OWED_DELIVERIES, DeliveryKind, DeliveryState
from skyrelay.errors import SkyrelayError
from skyrelay.logs import get_logger
from skyrelay.outbox import accounts
from skyrelay.outbox.accounts import Account, Admission
from skyrelay.outbox.due import SENDABLE, is_due, is_lost
from skyrelay.outbox.outcomes import Blame, Outcome, Pause, TryAgain, outcome_of
from skyrelay.outbox.settling import AT_REST, book_failed_send, bury, sent_then
from skyrelay.store.engine import Store
from skyrelay.store.tables import Delivery, Measurement
from skyrelay.store.tables.destinations import CLOUD
from skyrelay.store.transitions import audit, move_deliveries, move_delivery

FIRST_TRY = timedelta(seconds=90)  # a lease: longer than any one call to the cloud may take
BATCH = 100  # more in one transaction gains nothing
_BATCH_TIME = timedelta(seconds=45)  # half the lease: the rest of a slow batch is put back
_TROUBLES = 3  # in a row that may be anyone's: the rest is put back, the account decides

_log = get_logger(__name__)


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


@dataclass(frozen=True, slots=True)
class Drained:
    """What a call of `send_due_measurements` came to; ``more``: it stopped with some still due."""

    sent: int = 0
    failed: int = 0
    more: bool = False


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
        How long the caller has for a try of its own; `None` leaves it to `send_due_measurements`.
    queue_max
        How many measurements may wait; the oldest beyond that become dead deliveries. 0: any number.
    image
        The FITS to send after it.
    """
    try:
        key, problem = read_measurement(payload), None
    except MeasurementInvalid as error:
        key, problem = MeasurementKey("", "", ""), f"it was not sent: {error}"
    if queue_max and problem is None:
        _push_out(session, queue_max - 1, now, actor)
    measurement_id = _add(session, key, payload, image, now)
    is_tried = first_try is not None and problem is None
    state = DeliveryState.DEAD if problem else DeliveryState.SENDING if is_tried else DeliveryState.PENDING
    values = {
        "kind": DeliveryKind.MEASUREMENT,
        "measurement_id": measurement_id,
        "destination": CLOUD,
        "state": state,
        "reason": problem or ("being sent" if is_tried else "to be sent"),
        "needs_you": problem is not None,
        "lease_until": now + first_try if first_try is not None and is_tried else None,
        "sent_at": now if is_tried else None,
        "created_at": now,
        "updated_at": now,
    }
    delivery_id = session.execute(insert(Delivery).values(values)).inserted_primary_key[0]
    if problem:
        subject = ("delivery", delivery_id)
        audit(session, now=now, actor=actor, subject=subject, event="not sendable", reason=problem)
    return Ticket(delivery_id, now if is_tried else None, problem)


def book_accepted(store: Store, account: Account, ticket: Ticket, receipt: CloudReceipt, now: datetime) -> None:
    """Write down that the cloud has a measurement; its image, if it has one, is owed from now on."""
    with store.write() as session:
        accounts.note_success(session, account.destination, now, account.actor)
        delivery = sent_then(session, ticket.delivery_id, ticket.sent_at)
        if delivery is None:
            return
        if delivery.state == DeliveryState.SENDING:
            _confirm(session, [delivery.id], receipt, now, account.actor)
        else:  # we were taken for dead, and the answer came after all
            reason = "the cloud has it"
            move_delivery(
                session, delivery, DeliveryState.CONFIRMED, now=now, actor=account.actor, reason=reason,
                confirmed_at=now, server_id=receipt.id, **AT_REST,
            )  # fmt: skip
            _owe_images(session, [delivery.id], now)


def book_refused(
    store: Store, account: Account, ticket: Ticket, error: SkyrelayError, now: datetime
) -> Outcome:
    """Write down that a try failed; the error's type decides whether it is tried again."""
    with store.write() as session:
        delivery = session.get_one(Delivery, ticket.delivery_id, with_for_update=True)
        outcome = _outcome(error, delivery.attempts)
        sent = sent_then(session, ticket.delivery_id, ticket.sent_at)
        if sent is None:
            accounts.note_outcome(session, account, outcome, str(error), now)
        else:
            book_failed_send(session, account, sent, outcome, str(error), now)
    return outcome


def count_waiting(session: Session) -> int:
    """Count the measurements that the cloud does not have yet and is still to get."""
    query = select(func.count()).where(
        Delivery.kind == DeliveryKind.MEASUREMENT, Delivery.state.in_(OWED_DELIVERIES)
    )
    return session.scalar(query) or 0


def are_measurements_due(session: Session, now: datetime) -> bool:
    """Tell whether there is work for `send_due_measurements`."""
    due = is_due(DeliveryKind.MEASUREMENT, now) | (
        (Delivery.kind == DeliveryKind.MEASUREMENT) & is_lost(now)
    )
    return session.scalar(select(Delivery.id).where(due).limit(1)) is not None


def send_due_measurements(
    store: Store,
    account: Account,
    send: Callable[[str], CloudReceipt],
    *,
    clock: Callable[[], datetime],
    most: int = BATCH,
) -> Drained:
    """Send a batch of what is due, oldest first; harmless when nothing is, or the account is closed.

    Parameters
    ----------
    send
        Sends one measurement's JSON text, and raises as `skyrelay.cloud.client.CloudClient` does.
    clock
        Gives the aware time.
    most
        How many at most.

    Notes
    -----
    Before the batch the rows are taken under a lease in one transaction, afterwards settled in another.
    A process that dies in between has them sent once more when the lease is over, and the cloud then says
    that it has them.
    """
    now = clock()
    parcels = _claim(store, account, now, most)
    if not parcels:
        return Drained()
    taken, failed = _send_all(parcels, send)
    reached = {parcel.delivery_id for parcel in (*taken, *failed)}
    left = [parcel for parcel in parcels if parcel.delivery_id not in reached]
    _settle(store, account, now, clock(), taken, failed, left)
    is_blocked = any(_stops(outcome) for _, outcome in failed.values())
    return Drained(len(taken), len(failed), more=not is_blocked and (bool(left) or len(parcels) == most))


@dataclass(frozen=True, slots=True)
class _Parcel:
    delivery_id: int
    attempts: int
    payload: str


def _add(session: Session, key: MeasurementKey, payload: str, image: Path | None, now: datetime) -> int:
    values = {
        "target": key.target,
        "filter": key.filter,
        "bjd": key.bjd,
        "payload": payload,
        "image_path": str(image) if image is not None else None,
        "created_at": now,
    }
    number: int = session.execute(insert(Measurement).values(values)).inserted_primary_key[0]
    return number


def _push_out(session: Session, leave: int, now: datetime, actor: str) -> None:
    """Let the oldest become dead deliveries, so that ``leave`` are left; one that is being sent stays."""
    too_many = count_waiting(session) - leave
    if too_many <= 0:
        return
    waiting = select(Delivery).where(
        Delivery.kind == DeliveryKind.MEASUREMENT, Delivery.state.in_(SENDABLE)
    )
    reason = f"pushed out of the queue by a newer one: cloud.queue_max is {leave + 1}"
    for delivery in session.scalars(waiting.order_by(Delivery.id).limit(too_many)):
        bury(session, delivery, reason, now, actor)


def _claim(store: Store, account: Account, now: datetime, most: int) -> Sequence[_Parcel]:
    with store.write() as session:
        accounts.resume_if_changed(session, account, now)
        _take_up_lost(session, account.actor, now)
        due = is_due(DeliveryKind.MEASUREMENT, now)
        query = (
            select(Delivery.id, Delivery.state, Delivery.attempts, Measurement.payload)
            .join(Measurement, Measurement.id == Delivery.measurement_id)
            .where(due)
            .order_by(Delivery.id)
        )
        if session.scalar(select(Delivery.id).where(due).limit(1)) is None:
            return ()
        admission = accounts.admit(session, account.destination, now)
        if admission is Admission.CLOSED:
            return ()
        rows = session.execute(query.limit(1 if admission is Admission.PROBE else most)).all()
        for state in SENDABLE:
            ids = [row.id for row in rows if row.state == state]
            lease = {"lease_until": now + FIRST_TRY, "sent_at": now, "next_attempt_at": None}
            move_deliveries(
                session, ids, state, DeliveryState.SENDING,
                now=now, actor=account.actor, reason="being sent", **lease,
            )  # fmt: skip
        return [_Parcel(row.id, row.attempts, row.payload) for row in rows]


def _take_up_lost(session: Session, actor: str, now: datetime) -> None:
    lost = select(Delivery.id).where(Delivery.kind == DeliveryKind.MEASUREMENT, is_lost(now))
    ids = list(session.scalars(lost))
    values = {"next_attempt_at": now, "attempts": Delivery.attempts + 1, "lease_until": None}
    move_deliveries(
        session, ids, DeliveryState.SENDING, DeliveryState.RETRYING,
        now=now, actor=actor, reason="whoever sent it ended before the answer", **values,
    )  # fmt: skip


def _send_all(
    parcels: Sequence[_Parcel], send: Callable[[str], CloudReceipt]
) -> tuple[dict[_Parcel, CloudReceipt], dict[_Parcel, tuple[SkyrelayError, Outcome]]]:
    """Send one after the other until all are sent, the time is over, or the cloud is in trouble."""
    taken: dict[_Parcel, CloudReceipt] = {}
    failed: dict[_Parcel, tuple[SkyrelayError, Outcome]] = {}
    end_s, troubles = time.monotonic() + _BATCH_TIME.total_seconds(), 0
    for parcel in parcels:
        try:
            taken[parcel] = send(parcel.payload)
            troubles = 0
        except SkyrelayError as error:
            outcome = _outcome(error, parcel.attempts)
            failed[parcel] = (error, outcome)
            troubles = troubles + 1 if isinstance(outcome, TryAgain) else 0
            if _stops(outcome) or troubles >= _TROUBLES:
                break
        if time.monotonic() > end_s:
            break
    return taken, failed


def _settle(
    store: Store,
    account: Account,
    sent_at: datetime,
    now: datetime,
    taken: dict[_Parcel, CloudReceipt],
    failed: dict[_Parcel, tuple[SkyrelayError, Outcome]],
    left: Sequence[_Parcel],
) -> None:
    with store.write() as session:
        ours = _still_ours(session, [parcel.delivery_id for parcel in (*taken, *failed, *left)], sent_at)
        if taken:
            accounts.note_success(session, account.destination, now, account.actor)
        for is_known in (False, True):
            some = {p.delivery_id: r for p, r in taken.items() if r.duplicate is is_known}
            _confirm_all(session, {id_: r for id_, r in some.items() if id_ in ours}, now, account.actor)
        _put_back(session, [p.delivery_id for p in left if p.delivery_id in ours], now, account.actor)
        for parcel, (error, outcome) in failed.items():
            delivery = session.get_one(Delivery, parcel.delivery_id)
            if parcel.delivery_id in ours:
                book_failed_send(session, account, delivery, outcome, str(error), now)
                _log.warning("a measurement was not delivered", delivery_id=delivery.id, problem=str(error))
    if taken:
        _log.info("measurements were delivered", number=len(taken))


def _still_ours(session: Session, ids: Sequence[int], sent_at: datetime) -> frozenset[int]:
    query = select(Delivery.id).where(
        Delivery.id.in_(ids), Delivery.state == DeliveryState.SENDING, Delivery.sent_at == sent_at
    )
    return frozenset(session.scalars(query))


def _confirm_all(session: Session, receipts: dict[int, CloudReceipt], now: datetime, actor: str) -> None:
    if not receipts:
        return
    duplicate = next(iter(receipts.values())).duplicate
    _confirm(session, list(receipts), CloudReceipt(None, duplicate=duplicate), now, actor)


def _confirm(session: Session, ids: Sequence[int], receipt: CloudReceipt, now: datetime, actor: str) -> None:
    reason = "the cloud had it already" if receipt.duplicate else "the cloud has it"
    values = {**AT_REST, "attempts": Delivery.attempts + 1, "confirmed_at": now, "server_id": receipt.id}
    move_deliveries(
        session, ids, DeliveryState.SENDING, DeliveryState.CONFIRMED,
        now=now, actor=actor, reason=reason, **values,
    )  # fmt: skip
    _owe_images(session, ids, now)


def _owe_images(session: Session, ids: Sequence[int], now: datetime) -> None:
    """Owe the images of measurements that the cloud has got, in the transaction that says so."""
    query = (
        select(Delivery.measurement_id)
        .join(Measurement, Measurement.id == Delivery.measurement_id)
        .where(Delivery.id.in_(ids), Measurement.image_path.is_not(None))
    )
    rows = [
        {
            "kind": DeliveryKind.IMAGE,
            "measurement_id": measurement_id,
            "destination": CLOUD,
            "state": DeliveryState.PENDING,
            "reason": "to be sent",
            "created_at": now,
            "updated_at": now,
        }
        for measurement_id in session.scalars(query)
    ]
    if rows:
        session.execute(insert(Delivery), rows)


def _put_back(session: Session, ids: Sequence[int], now: datetime, actor: str) -> None:
    move_deliveries(
        session, ids, DeliveryState.SENDING, DeliveryState.RETRYING,
        now=now, actor=actor, reason="not reached in this round", next_attempt_at=now, lease_until=None,
    )  # fmt: skip


def _outcome(error: SkyrelayError, attempts: int) -> Outcome:
    return outcome_of(error, attempts, jitter=random.random())  # noqa: S311 - it spreads load only


def _stops(outcome: Outcome) -> bool:
    """Tell whether the rest of a batch would fare no better."""
    return isinstance(outcome, Pause) or (isinstance(outcome, TryAgain) and outcome.blame is Blame.LINE)
