"""Deliver a stack to CrowdSky: once, whatever happens on the way.

A delivery that was sent before, and the first one to an account that is not known to work, begins with a
look at the server's list. It costs little, finds what is there already, and finds a wrong password or a
server that is away before 12 MB have been sent to it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session
from structlog.contextvars import bound_contextvars

from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.crowdsky.matching import Finding, StackIdentity, find_ours
from skyrelay.crowdsky.stacks import StackUpload
from skyrelay.domain.states import DeliveryState
from skyrelay.errors import SkyrelayError
from skyrelay.logs import get_logger
from skyrelay.outbox import accounts
from skyrelay.outbox.accounts import Account, Admission
from skyrelay.outbox.identity import identity_of
from skyrelay.outbox.leases import LEASE, renewing
from skyrelay.outbox.outcomes import has_waited_enough, outcome_of
from skyrelay.queue.tasks import DeliveryMessage, TaskName
from skyrelay.store.tables import Block, Delivery, Stack
from skyrelay.store.tables.destinations import CROWDSKY
from skyrelay.store.transitions import StaleState, move_delivery
from skyrelay_uploader.due import due_deliveries, is_to_deliver, uploads_under_way
from skyrelay_uploader.settling import book_acceptance, book_failure, book_found, book_wait, give_up_unsure
from skyrelay_uploader.workshop import ACTOR, UPLOADS_AT_ONCE, Workshop

NO_CREDENTIALS = "set crowdsky.username and crowdsky.password, the web login's user name and password"

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parcel:
    """A delivery as it was claimed.

    Attributes
    ----------
    state
        Pending: it was never sent, or a person wants it sent again. Retrying: by itself.
    sent_at
        When it was sent last; `None` if never.
    is_probe
        It is the only one that may go now: the account is not known to work.
    was_found
        Another program made it, and may have sent it: the server is asked first.
    ids
        What its log lines are bound to.
    """

    delivery_id: int
    state: DeliveryState
    attempts: int
    ask_first: bool
    sent_at: datetime | None
    is_probe: bool
    was_found: bool
    account: Account
    identity: StackIdentity
    upload: StackUpload
    ids: Mapping[str, object]

    @property
    def is_unsure(self) -> bool:
        """Whether the server may have it, and nobody has decided that it is to be sent all the same."""
        return self.ask_first and self.state is DeliveryState.RETRYING and self.sent_at is not None


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
            _carry(workshop, parcel)
    _say_next(workshop)


def claim(workshop: Workshop, delivery_id: int) -> Parcel | None:
    """Take the lease on a delivery; `None` when it is not due, not fetched, or may not be sent now."""
    now, account = workshop.clock(), workshop.crowdsky_account()
    with workshop.store.write() as session:
        delivery = session.scalar(
            select(Delivery).where(Delivery.id == delivery_id, is_to_deliver(now)).with_for_update()
        )
        if delivery is None or session.get_one(Stack, delivery.stack_id).fetched_at is None:
            return None
        if not account.has_credentials:
            accounts.pause(session, account, NO_CREDENTIALS, now)
        if uploads_under_way(session, now) >= UPLOADS_AT_ONCE:
            return None
        admission = accounts.admit(session, CROWDSKY, now)
        if admission is Admission.CLOSED:
            return None
        delivery.lease_until = now + LEASE
        return _parcel(session, workshop, delivery, account, is_probe=admission is Admission.PROBE)


def _parcel(
    session: Session, workshop: Workshop, delivery: Delivery, account: Account, *, is_probe: bool
) -> Parcel:
    stack = session.get_one(Stack, delivery.stack_id)
    target = session.get_one(Block, stack.block_id).target
    return Parcel(
        delivery_id=delivery.id,
        state=DeliveryState(delivery.state),
        attempts=delivery.attempts,
        ask_first=delivery.ask_first,
        sent_at=delivery.sent_at,
        is_probe=is_probe,
        was_found=stack.found_at is not None,
        account=account,
        identity=identity_of(session, delivery),
        upload=_upload(workshop, stack),
        ids={
            "delivery_id": delivery.id,
            "stack_id": stack.id,
            "target": target,
            "chunk_key": stack.chunk_key,
        },
    )


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


def _carry(workshop: Workshop, parcel: Parcel) -> None:
    """Look for it on the server where that is called for, send it if it is to be sent, book the outcome."""
    sent_at: datetime | None = None
    try:
        client = workshop.crowdsky(parcel.account)
        if (parcel.is_probe or parcel.was_found or parcel.sent_at is not None) and not _look(
            workshop, parcel, client
        ):
            return
        sent_at = _begin(workshop, parcel)
        receipt = client.upload_stack(parcel.upload, workshop.bandwidth.pace())
    except StaleState as error:
        _log.info("the delivery is in other hands now", reason=str(error))
    except SkyrelayError as error:
        outcome = outcome_of(error, parcel.attempts, jitter=random.random())  # noqa: S311 - spreads load only
        book_failure(workshop, parcel.account, parcel.delivery_id, sent_at, outcome, str(error))
    else:
        book_acceptance(workshop, parcel.delivery_id, sent_at, receipt)


def _look(workshop: Workshop, parcel: Parcel, client: CrowdSkyClient) -> bool:
    """Look for a stack in the server's list; tell whether it is to be sent."""
    finding = find_ours(client.list_stacks(), parcel.identity)
    now = workshop.clock()
    with workshop.store.write() as session:
        accounts.note_listing(session, CROWDSKY, now)
        delivery = _still_claimed(session, parcel)
        return not _is_settled_by(workshop, session, delivery, parcel, finding, now)


def _is_settled_by(
    workshop: Workshop,
    session: Session,
    delivery: Delivery,
    parcel: Parcel,
    finding: Finding,
    now: datetime,
) -> bool:
    crowdsky = workshop.settings.crowdsky
    listed = finding.row
    if listed is not None:
        book_found(session, delivery, listed, now)
    elif not parcel.is_unsure or parcel.sent_at is None:
        return False
    elif not has_waited_enough(parcel.sent_at, now, crowdsky.confirm_after_h):
        book_wait(delivery, parcel.sent_at, crowdsky, now)
    elif finding.may_be_there:
        give_up_unsure(session, delivery, now)
    else:
        return False
    return True


def _begin(workshop: Workshop, parcel: Parcel) -> datetime:
    """Take the step to ``sending``; the time of it is what a later write is checked against."""
    now = workshop.clock()
    with workshop.store.write() as session:
        delivery = _still_claimed(session, parcel)
        move_delivery(
            session,
            delivery,
            DeliveryState.SENDING,
            now=now,
            actor=ACTOR,
            reason="being sent",
            sent_at=now,
            lease_until=now + LEASE,
            next_attempt_at=None,
            ask_first=False,
        )
    return now


def _still_claimed(session: Session, parcel: Parcel) -> Delivery:
    delivery = session.get_one(Delivery, parcel.delivery_id, with_for_update=True)
    if delivery.state != parcel.state or delivery.sent_at != parcel.sent_at:
        raise StaleState(f"delivery {parcel.delivery_id} is no longer as it was claimed")
    return delivery


def _renew(workshop: Workshop, delivery_id: int) -> None:
    now = workshop.clock()
    with workshop.store.write() as session:
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
