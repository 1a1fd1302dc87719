"""Send the measurements that wait, in batches; the uploader does, and a communicator used by itself.

The cloud knows a measurement again by what it is (node, target, bjd, filter), so an answer that was lost is
no reason to wait: it is sent again, as it was, and the cloud says that it has it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from skyrelay.cloud.client import CloudReceipt
from skyrelay.domain.states import DeliveryKind, DeliveryState
from skyrelay.errors import SkyrelayError
from skyrelay.logs import get_logger
from skyrelay.outbox import accounts
from skyrelay.outbox.accounts import Account, Admission
from skyrelay.outbox.due import SENDABLE, is_due, is_lost
from skyrelay.outbox.measurements import FIRST_TRY, confirm_measurements, spread_outcome
from skyrelay.outbox.outcomes import Blame, Outcome, Pause, TryAgain
from skyrelay.outbox.settling import book_failed_send
from skyrelay.store.engine import Store
from skyrelay.store.tables import Delivery, Measurement
from skyrelay.store.transitions import move_deliveries

BATCH = 100  # more in one transaction gains nothing
_LEASE = FIRST_TRY
_BATCH_TIME_S = 45.0  # half the lease: the rest of a slow batch is put back
_TROUBLES = 3  # in a row, each maybe its item's fault: the rest is put back, the account decides
_IS_MEASUREMENT = Delivery.kind == DeliveryKind.MEASUREMENT

_log = get_logger(__name__)

Send = Callable[[str], CloudReceipt]


@dataclass(frozen=True, slots=True)
class Drained:
    """What a batch came to; ``more``: there may be more that could be sent now."""

    sent: int = 0
    failed: int = 0
    more: bool = False


@dataclass(frozen=True, slots=True)
class _Parcel:
    delivery_id: int
    attempts: int
    payload: str


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch after it was carried: what the cloud has, what failed, what was not reached."""

    taken: Mapping[int, CloudReceipt]
    failed: Mapping[int, tuple[SkyrelayError, Outcome]]
    left: Sequence[int]

    @property
    def is_blocked(self) -> bool:
        return any(_stops(outcome) for _, outcome in self.failed.values())


def are_measurements_due(session: Session, now: datetime) -> bool:
    """Tell whether there is work for `send_due_measurements`."""
    due = or_(is_due(DeliveryKind.MEASUREMENT, now), _IS_MEASUREMENT & is_lost(now))
    return session.scalar(select(Delivery.id).where(due).limit(1)) is not None


def send_due_measurements(
    store: Store, account: Account, send: Send, *, clock: Callable[[], datetime], most: int = BATCH
) -> Drained:
    """Send a batch of what is due, oldest first; harmless when nothing is, or the account is closed.

    Before the batch the rows are taken under a lease in one transaction, afterwards settled in another.
    A process that dies in between has them sent once more when the lease is over.

    Parameters
    ----------
    send
        Sends one measurement's JSON text, and raises as `skyrelay.cloud.client.CloudClient` does.
    clock
        Gives the aware time.
    most
        How many at most.
    """
    claimed_at = clock()
    parcels = _claim(store, account, claimed_at, most)
    if not parcels:
        return Drained()
    batch = _carry(parcels, send)
    _settle(store, account, batch, claimed_at, clock())
    may_be_more = bool(batch.left) or len(parcels) == most or bool(batch.taken)
    return Drained(len(batch.taken), len(batch.failed), more=may_be_more and not batch.is_blocked)


def _claim(store: Store, account: Account, now: datetime, most: int) -> Sequence[_Parcel]:
    with store.write() as session:
        accounts.resume_if_changed(session, account, now)
        _take_up_lost(session, account.actor, now)
        due = is_due(DeliveryKind.MEASUREMENT, now)
        if session.scalar(select(Delivery.id).where(due).limit(1)) is None:
            return ()
        admission = accounts.admit(session, account.destination, now)
        if admission is Admission.CLOSED:
            return ()
        query = (
            select(Delivery.id, Delivery.state, Delivery.attempts, Measurement.payload)
            .join(Measurement, Measurement.id == Delivery.measurement_id)
            .where(due)
            .order_by(Delivery.id)
        )
        rows = session.execute(query.limit(1 if admission is Admission.PROBE else most)).all()
        for state in SENDABLE:
            ids = [row.id for row in rows if row.state == state]
            _begin(session, ids, state, account.actor, now)
        return [_Parcel(row.id, row.attempts, row.payload) for row in rows]


def _begin(session: Session, ids: Sequence[int], before: DeliveryState, actor: str, now: datetime) -> None:
    move_deliveries(
        session,
        ids,
        before,
        DeliveryState.SENDING,
        now=now,
        actor=actor,
        reason="being sent",
        lease_until=now + _LEASE,
        sent_at=now,
        next_attempt_at=None,
    )


def _take_up_lost(session: Session, actor: str, now: datetime) -> None:
    lost = list(session.scalars(select(Delivery.id).where(_IS_MEASUREMENT, is_lost(now))))
    _give_back(session, lost, "whoever sent it ended before the answer", actor, now, tries=1)


def _give_back(
    session: Session, ids: Sequence[int], reason: str, actor: str, now: datetime, *, tries: int
) -> None:
    move_deliveries(
        session,
        ids,
        DeliveryState.SENDING,
        DeliveryState.RETRYING,
        now=now,
        actor=actor,
        reason=reason,
        attempts=Delivery.attempts + tries,
        next_attempt_at=now,
        lease_until=None,
    )


def _carry(parcels: Sequence[_Parcel], send: Send) -> _Batch:
    """Send one after the other until all are sent, the time is over, or the cloud is in trouble."""
    taken: dict[int, CloudReceipt] = {}
    failed: dict[int, tuple[SkyrelayError, Outcome]] = {}
    end_s, troubles = time.monotonic() + _BATCH_TIME_S, 0
    for parcel in parcels:
        try:
            taken[parcel.delivery_id] = send(parcel.payload)
            troubles = 0
        except SkyrelayError as error:
            outcome = spread_outcome(error, parcel.attempts)
            failed[parcel.delivery_id] = (error, outcome)
            troubles = troubles + 1 if isinstance(outcome, TryAgain) else 0
            if _stops(outcome) or troubles >= _TROUBLES:
                break
        if time.monotonic() > end_s:
            break
    left = [p.delivery_id for p in parcels if p.delivery_id not in taken and p.delivery_id not in failed]
    return _Batch(taken, failed, left)


def _stops(outcome: Outcome) -> bool:
    """Tell whether the rest of a batch would fare no better."""
    return isinstance(outcome, Pause) or (isinstance(outcome, TryAgain) and outcome.blame is Blame.LINE)


def _settle(store: Store, account: Account, batch: _Batch, claimed_at: datetime, now: datetime) -> None:
    with store.write() as session:
        ours = _still_ours(session, [*batch.taken, *batch.failed, *batch.left], claimed_at)
        if batch.taken:
            accounts.note_success(session, account.destination, now, account.actor)
        taken = {id_: receipt for id_, receipt in batch.taken.items() if id_ in ours}
        confirm_measurements(session, taken, now, account.actor)
        left = [id_ for id_ in batch.left if id_ in ours]
        _give_back(session, left, "not reached in this round", account.actor, now, tries=0)
        for id_, (error, outcome) in batch.failed.items():
            if id_ in ours:
                delivery = session.get_one(Delivery, id_)
                book_failed_send(session, account, delivery, outcome, str(error), now)
    _say(batch)


def _still_ours(session: Session, ids: Sequence[int], claimed_at: datetime) -> frozenset[int]:
    is_ours = (Delivery.state == DeliveryState.SENDING, Delivery.sent_at == claimed_at)
    return frozenset(session.scalars(select(Delivery.id).where(Delivery.id.in_(ids), *is_ours)))


def _say(batch: _Batch) -> None:
    if batch.taken:
        _log.info("measurements were delivered", number=len(batch.taken))
    for id_, (error, _) in batch.failed.items():
        _log.warning("a measurement was not delivered", delivery_id=id_, problem=str(error))
