"""Images on their way to the node cloud, each after its measurement.

The cloud overwrites an image of the same name on the same UTC day and keeps one of another day beside it,
and it cannot be asked what it has. So each image has a name of its own, and one whose answer was lost is
sent again on the same day only; later that is for a person to decide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from skyrelay.domain.states import DeliveryKind, DeliveryState
from skyrelay.errors import SkyrelayError
from skyrelay.logs import get_logger
from skyrelay.outbox import accounts
from skyrelay.outbox.accounts import Account, Admission
from skyrelay.outbox.due import is_due, is_lost
from skyrelay.outbox.leases import LEASE, RENEW_EVERY, renewal, renewing
from skyrelay.outbox.measurements import spread_outcome
from skyrelay.outbox.settling import AT_REST, book_failed_send, bury, move_to_retrying, sent_then
from skyrelay.store.engine import Store
from skyrelay.store.tables import Delivery, Measurement
from skyrelay.store.transitions import move_delivery

_MAYBE_THERE = (
    "its answer was lost on {day}, and the cloud cannot be asked whether it has it: have it sent again if it "
    "is not there"
)
_IS_IMAGE = Delivery.kind == DeliveryKind.IMAGE

_log = get_logger(__name__)

SendImage = Callable[[Path, str], str | None]


@dataclass(frozen=True, slots=True)
class _Parcel:
    delivery_id: int
    attempts: int
    file: Path
    name: str


def are_images_due(session: Session, now: datetime) -> bool:
    """Tell whether there is work for `send_due_image`."""
    due = is_due(DeliveryKind.IMAGE, now) | (_IS_IMAGE & is_lost(now))
    return session.scalar(select(Delivery.id).where(due).limit(1)) is not None


def send_due_image(
    store: Store,
    account: Account,
    send: SendImage,
    *,
    clock: Callable[[], datetime],
    renew_every: timedelta = RENEW_EVERY,
) -> bool:
    """Send the oldest image that is due; tell whether another one may follow at once.

    Parameters
    ----------
    send
        Sends a file under a name, and raises as `skyrelay.cloud.client.CloudClient.send_image` does.
    clock
        Gives the aware time.
    """
    sent_at = clock()
    parcel = _claim(store, account, sent_at)
    if parcel is None:
        return False
    try:
        with renewing(lambda: _renew(store, parcel.delivery_id, clock), every=renew_every):
            stored = send(parcel.file, parcel.name)
    except SkyrelayError as error:
        _book_failure(store, account, parcel, sent_at, error, clock())
    else:
        _book_success(store, account, parcel, sent_at, stored, clock())
    return True


def image_name(file_name: str, payload: str) -> str:
    """Give an image's name at the cloud: the same at each try, and no other measurement's.

    Examples
    --------
    >>> image_name("T CrB.fit", "{}")
    'T CrB_44136fa355b3.fit'
    """
    path = Path(file_name)
    return f"{path.stem}_{hashlib.sha256(payload.encode()).hexdigest()[:12]}{path.suffix}"


def _claim(store: Store, account: Account, now: datetime) -> _Parcel | None:
    with store.write() as session:
        accounts.resume_if_changed(session, account, now)
        for lost in session.scalars(select(Delivery).where(_IS_IMAGE, is_lost(now))).all():
            reason = "whoever sent it ended before the answer"
            tries = {"attempts": lost.attempts + 1, "next_attempt_at": now, "ask_first": True}
            move_to_retrying(session, lost, reason, now, account.actor, **tries)
        _bury_unsure(session, account.actor, now)
        delivery = _oldest_due(session, now)
        if delivery is None or accounts.admit(session, account.destination, now) is Admission.CLOSED:
            return None
        _begin(session, delivery, account.actor, now)
        measurement = session.get_one(Measurement, delivery.measurement_id)
        file = Path(measurement.image_path or "")
        return _Parcel(delivery.id, delivery.attempts, file, image_name(file.name, measurement.payload))


def _oldest_due(session: Session, now: datetime) -> Delivery | None:
    due = is_due(DeliveryKind.IMAGE, now)
    return session.scalar(select(Delivery).where(due).order_by(Delivery.id).limit(1))


def _begin(session: Session, delivery: Delivery, actor: str, now: datetime) -> None:
    move_delivery(
        session,
        delivery,
        DeliveryState.SENDING,
        now=now,
        actor=actor,
        reason="being sent",
        sent_at=now,
        lease_until=now + LEASE,
        next_attempt_at=None,
        ask_first=False,
    )


def _bury_unsure(session: Session, actor: str, now: datetime) -> None:
    """Leave to a person what a further try might put there a second time."""
    unsure = (Delivery.state == DeliveryState.RETRYING, Delivery.ask_first.is_(True))
    for delivery in session.scalars(select(Delivery).where(_IS_IMAGE, *unsure)).all():
        day = _utc_day(delivery.sent_at or now)
        if day != _utc_day(now):
            bury(session, delivery, _MAYBE_THERE.format(day=day), now, actor)


def _utc_day(moment: datetime) -> str:
    return moment.astimezone(UTC).date().isoformat()


def _renew(store: Store, delivery_id: int, clock: Callable[[], datetime]) -> None:
    with renewal(store, clock) as (session, now):
        held = update(Delivery).where(Delivery.id == delivery_id, Delivery.lease_until > now)
        session.execute(held.values(lease_until=now + LEASE))


def _book_success(
    store: Store, account: Account, parcel: _Parcel, sent_at: datetime, stored: str | None, now: datetime
) -> None:
    with store.write() as session:
        accounts.note_success(session, account.destination, now, account.actor)
        delivery = sent_then(session, parcel.delivery_id, sent_at)
        if delivery is not None:
            move_delivery(
                session,
                delivery,
                DeliveryState.CONFIRMED,
                now=now,
                actor=account.actor,
                reason="the cloud has it",
                attempts=delivery.attempts + 1,
                confirmed_at=now,
                server_id=stored,
                **AT_REST,
            )
    _log.info("an image was delivered", delivery_id=parcel.delivery_id, stored=stored)


def _book_failure(
    store: Store, account: Account, parcel: _Parcel, sent_at: datetime, error: SkyrelayError, now: datetime
) -> None:
    outcome = spread_outcome(error, parcel.attempts)
    with store.write() as session:
        delivery = sent_then(session, parcel.delivery_id, sent_at)
        if delivery is None:
            accounts.note_outcome(session, account, outcome, str(error), now)
        else:
            book_failed_send(session, account, delivery, outcome, str(error), now)
    _log.warning("an image was not delivered", delivery_id=parcel.delivery_id, problem=str(error))
