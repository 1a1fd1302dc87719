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
from skyrelay.outbox.settling import move_to_retrying
from skyrelay.store.transitions import move_delivery
from skyrelay_uploader.sending import Parcel, still_claimed
from skyrelay_uploader.workshop import ACTOR, Workshop


def is_sent_by_script(workshop: Workshop, parcel: Parcel, upload: StackUpload) -> bool:
    """Tell whether a script has sent the same file, and write it down: then we wait for it to be listed."""
    sent = _find(workshop, parcel.account, upload)
    now = workshop.clock()
    if sent is None or now - sent.at > timedelta(hours=workshop.settings.crowdsky.confirm_after_h):
        return False
    _book(workshop, parcel, sent, now)
    return True


def _find(workshop: Workshop, account: Account, upload: StackUpload) -> Sent | None:
    fingerprint = _fingerprint(upload.path, upload.file_name)
    if fingerprint is None:
        return None
    ledger = SentLedger(workshop.settings.data_dir, account.address, account.user)
    try:
        return ledger.find(fingerprint)
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
