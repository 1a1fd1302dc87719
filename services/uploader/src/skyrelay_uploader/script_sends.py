"""What scripts have sent of late: their ledger says so long before the server lists it."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

from skyrelay.crowdsky.errors import StackUnreadable
from skyrelay.crowdsky.sent_ledger import Sent, SentLedger
from skyrelay.crowdsky.stack_facts import stack_facts
from skyrelay.crowdsky.stacks import StackUpload
from skyrelay.domain.states import DeliveryState
from skyrelay.errors import TransientError
from skyrelay.fits_header import FitsError, read_header
from skyrelay.outbox.accounts import Account
from skyrelay.outbox.raw_progress import Manifest
from skyrelay.outbox.settling import move_to_retrying
from skyrelay.store.transitions import move_delivery
from skyrelay_uploader.sending import Parcel, still_claimed
from skyrelay_uploader.workshop import ACTOR, Workshop


def is_sent_by_script(workshop: Workshop, parcel: Parcel, upload: StackUpload) -> bool:
    """Tell whether a script has sent the same file, and write it down: then we wait for it to be listed."""
    sent = _find(workshop, parcel.account, upload)
    if sent is None or not _is_of_late(workshop, sent):
        return False
    book_sent_by_script(workshop, parcel, sent)
    return True


def find_raw_of_script(workshop: Workshop, parcel: Parcel, manifest: Manifest) -> tuple[bool, Sent] | None:
    """Give what a script has sent of late of a block's raw frames, and whether it is the very same.

    The server stacks one session of a chunk: it does not matter how many of the frames the script had.

    Raises
    ------
    StackUnreadable
        If the ledger cannot be read: then it is not known.
    """
    if not manifest.kind:
        return None
    ledger = _ledger(workshop, parcel.account)
    try:
        same, like = ledger.find(manifest.fingerprint), ledger.find_like(manifest.kind)
    except TransientError as error:
        raise StackUnreadable(f"it is not known whether a script has sent it: {error}") from error
    sent = same or (like[1] if like is not None else None)
    if sent is None or not _is_of_late(workshop, sent):
        return None
    return same is not None, sent


def book_sent_by_script(workshop: Workshop, parcel: Parcel, sent: Sent) -> None:
    """Write down that a script has sent the same: then we wait for it to be listed."""
    _book(workshop, parcel, sent, workshop.clock())


def _is_of_late(workshop: Workshop, sent: Sent) -> bool:
    return workshop.clock() - sent.at <= timedelta(hours=workshop.settings.crowdsky.confirm_after_h)


def _ledger(workshop: Workshop, account: Account) -> SentLedger:
    return SentLedger(workshop.settings.data_dir, account.address, account.user)


def _find(workshop: Workshop, account: Account, upload: StackUpload) -> Sent | None:
    fingerprint = _fingerprint(upload.path, upload.file_name)
    if fingerprint is None:
        return None
    try:
        return _ledger(workshop, account).find(fingerprint)
    except TransientError as error:
        raise StackUnreadable(f"it is not known whether a script has sent it: {error}") from error


def _fingerprint(path: Path, name: str) -> str | None:
    try:
        with path.open("rb") as file:
            return stack_facts(name, read_header(file.read), os.fstat(file.fileno()).st_size).fingerprint
    except (OSError, FitsError):  # the upload says what is wrong with it
        return None


def _book(workshop: Workshop, parcel: Parcel, sent: Sent, now: datetime) -> None:
    when = f"{sent.at:%Y-%m-%d %H:%M} UTC"
    with workshop.store.write() as session:
        delivery = still_claimed(session, parcel)
        move_delivery(
            session,
            delivery,
            DeliveryState.SENDING,
            now=now,
            actor=ACTOR,
            reason=f"a script sent it on {when}",
            sent_at=sent.at,
            lease_until=None,
            raw_session=None,
        )
        if sent.accepted:
            reason = f"the server took it from a script on {when} and is yet to list it"
            move_delivery(
                session,
                delivery,
                DeliveryState.ACCEPTED,
                now=now,
                actor=ACTOR,
                reason=reason,
                accepted_at=sent.at,
                next_attempt_at=now,
            )
        else:
            reason = f"a script sent it on {when} without an answer: the server is asked first"
            move_to_retrying(session, delivery, reason, now, ACTOR, ask_first=True, next_attempt_at=now)
