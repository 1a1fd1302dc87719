"""Deliver to CrowdSky, a stack or a block's raw frames: once, whatever happens on the way."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session
from structlog.contextvars import bound_contextvars

from skyrelay.crowdsky.stacks import StackUpload
from skyrelay.domain.states import DeliveryKind, DeliveryState
from skyrelay.errors import SkyrelayError
from skyrelay.logs import get_logger
from skyrelay.outbox import accounts
from skyrelay.outbox.accounts import Account, Admission
from skyrelay.outbox.leases import LEASE, renewal, renewing
from skyrelay.outbox.outcomes import outcome_of
from skyrelay.queue.tasks import DeliveryMessage, TaskName
from skyrelay.store.tables import Block, Delivery, Stack
from skyrelay.store.tables.destinations import CROWDSKY
from skyrelay.store.transitions import StaleState
from skyrelay_uploader.due import due_deliveries, is_to_deliver, uploads_under_way
from skyrelay_uploader.raw_sending import RawParcel, carry_raw, raw_parcel
from skyrelay_uploader.script_sends import is_sent_by_script
from skyrelay_uploader.second_copies import ensure_here
from skyrelay_uploader.sending import Parcel, begin, book_held_up, look
from skyrelay_uploader.settling import book_acceptance, book_failure
from skyrelay_uploader.workshop import UPLOADS_AT_ONCE, Workshop

NO_CREDENTIALS = "set crowdsky.username and crowdsky.password, the web login's user name and password"

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StackParcel(Parcel):
    """A stack's delivery as it was claimed."""

    stack_id: int
    upload: StackUpload


def deliver(workshop: Workshop, delivery_id: int) -> None:
    """Send a delivery if it is due; harmless when it is not, or is in another's hands."""
    if not workshop.may_send or workshop.quiet_until() is not None:
        return
    with workshop.uploads.one() as free:
        parcel = claim(workshop, delivery_id) if free else None
        if parcel is None:
            return
        with (
            bound_contextvars(**parcel.ids),
            renewing(lambda: _renew(workshop, delivery_id), every=workshop.renew_every),
        ):
            if isinstance(parcel, RawParcel):
                carry_raw(workshop, parcel)
            else:
                carry_stack(workshop, parcel)
    _say_next(workshop)


def claim(workshop: Workshop, delivery_id: int) -> StackParcel | RawParcel | None:
    """Take the lease on a delivery; `None` when it is not due, not fetched, or may not be sent now."""
    now, account = workshop.clock(), workshop.crowdsky_account()
    with workshop.store.write() as session:
        delivery = session.scalar(
            select(Delivery).where(Delivery.id == delivery_id, is_to_deliver(now)).with_for_update()
        )
        if delivery is None or not _is_here(session, delivery):
            return None
        if not account.has_credentials:
            accounts.pause(session, account, NO_CREDENTIALS, now)
        if uploads_under_way(session, now) >= UPLOADS_AT_ONCE:
            return None
        admission = accounts.admit(session, CROWDSKY, now)
        if admission is Admission.CLOSED:
            return None
        delivery.lease_until = now + LEASE
        claimed = _claimed(delivery, account, is_probe=admission is Admission.PROBE)
        if delivery.kind == DeliveryKind.RAW:
            return raw_parcel(session, delivery, claimed)
        return _stack_parcel(session, workshop, delivery, claimed)


def _is_here(session: Session, delivery: Delivery) -> bool:
    """Tell whether what is to be sent is in the archive; raw frames are had when they are sent."""
    is_raw = delivery.kind == DeliveryKind.RAW
    return is_raw or session.get_one(Stack, delivery.stack_id).fetched_at is not None


def _claimed(delivery: Delivery, account: Account, *, is_probe: bool) -> Parcel:
    return Parcel(
        delivery_id=delivery.id,
        state=DeliveryState(delivery.state),
        attempts=delivery.attempts,
        ask_first=delivery.ask_first,
        sent_at=delivery.sent_at,
        is_probe=is_probe,
        account=account,
        ids={"delivery_id": delivery.id},
    )


def _stack_parcel(session: Session, workshop: Workshop, delivery: Delivery, claimed: Parcel) -> StackParcel:
    stack = session.get_one(Stack, delivery.stack_id)
    target = session.get_one(Block, stack.block_id).target
    ids = {"stack_id": stack.id, "target": target, "chunk_key": stack.chunk_key}
    return StackParcel(**claimed.given(ids), stack_id=stack.id, upload=_upload(workshop, stack))


def _upload(workshop: Workshop, stack: Stack) -> StackUpload:
    locate = workshop.archive.locate
    thumbnail = locate(stack.thumbnail_path) if stack.thumbnail_path else None
    return StackUpload(
        path=locate(stack.archive_path or ""),
        file_name=stack.crowdsky_name,
        thumbnail=thumbnail if thumbnail is not None and thumbnail.is_file() else None,
        n_frames_input=stack.frames_input if stack.knows_frames else None,
        n_frames_aligned=stack.frames_aligned,
        date_obs_start=stack.first_start_at,
        date_obs_end=stack.last_start_at if stack.knows_frames else None,
        scrub_location=workshop.settings.crowdsky.scrubs_location,
    )


def carry_stack(workshop: Workshop, parcel: StackParcel) -> None:
    """Look for a stack on the server, send it if it is to be sent, book the outcome."""
    sent_at: datetime | None = None
    try:
        client = workshop.crowdsky(parcel.account)
        if not look(workshop, parcel, client):
            return
        if parcel.is_first and is_sent_by_script(workshop, parcel, parcel.upload):
            return
        upload = _upload_here(workshop, parcel)
        sent_at = begin(workshop, parcel)
        receipt = client.upload_stack(upload, workshop.bandwidth.pace())
    except StaleState as error:
        _log.info("the delivery is in other hands now", reason=str(error))
    except SkyrelayError as error:
        outcome = outcome_of(error, parcel.attempts, jitter=random.random())  # noqa: S311 - spreads load only
        if sent_at is None:
            book_held_up(workshop, parcel, outcome, str(error))
        else:
            book_failure(workshop, parcel.account, parcel.delivery_id, sent_at, outcome, str(error))
    else:
        book_acceptance(workshop, parcel.delivery_id, sent_at, receipt)


def _upload_here(workshop: Workshop, parcel: StackParcel) -> StackUpload:
    """Give what is to be uploaded, once its file is in this host's archive."""
    if not ensure_here(workshop, parcel.stack_id):
        return parcel.upload
    with workshop.store.read() as session:
        thumbnail = _upload(workshop, session.get_one(Stack, parcel.stack_id)).thumbnail
    return replace(parcel.upload, thumbnail=thumbnail)


def _renew(workshop: Workshop, delivery_id: int) -> None:
    with renewal(workshop.store, workshop.clock) as (session, now):
        session.execute(
            update(Delivery)
            .where(Delivery.id == delivery_id, Delivery.lease_until > now)
            .values(lease_until=now + LEASE)
        )


def _say_next(workshop: Workshop) -> None:
    """Say the next delivery that is due, so that a night's stacks follow each other at once."""
    now = workshop.clock()
    with workshop.store.read() as session:
        following = [] if accounts.is_closed(session, CROWDSKY, now) else due_deliveries(session, now, most=1)
    for delivery_id in following:
        workshop.say(TaskName.DELIVER, DeliveryMessage(delivery_id=delivery_id))
