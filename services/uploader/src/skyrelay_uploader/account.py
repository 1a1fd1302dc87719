"""The account at a destination: whether anything may be sent there now, and who may try first.

A working account is open. One that was never tried, or that failed as a whole, lets one try pass at a
time (a probe) until something works again; so wrong credentials or a dead server cost one request and
not one for each delivery. A paused account takes nothing until the time of its next probe, or, where
only a person can help, until the configured credentials change.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from enum import Enum, auto

from sqlalchemy.orm import Session

from skyrelay.settings import CrowdSkySettings
from skyrelay.store.tables import Destination
from skyrelay.store.tables.destinations import CROWDSKY
from skyrelay.store.transitions import audit
from skyrelay_uploader.outcomes import GiveUp, Outcome, Pause, TryAgain
from skyrelay_uploader.workshop import ACTOR

NO_CREDENTIALS = "set crowdsky.username and crowdsky.password, the web login's user name and password"
# A probe is over long before, as a rule; after that its process is taken for dead and another may try.
_PROBE = timedelta(minutes=2)
# 16 MB and some 50 ms a try: a stolen database must not give the password away by guessing.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 1


class Admission(Enum):
    """The answer to "may I?"."""

    CLOSED = auto()
    OPEN = auto()
    PROBE = auto()  # yes, as the only one: the others wait for what comes of it


def destination(session: Session, now: datetime) -> Destination:
    """Give CrowdSky's row; a new account is first to be probed."""
    row = session.get(Destination, CROWDSKY, with_for_update=True)
    if row is None:
        row = Destination(name=CROWDSKY, next_probe_at=now)
        session.add(row)
        session.flush()
    return row


def admit(session: Session, now: datetime) -> Admission:
    """Ask to send something, or to ask the server something."""
    row = destination(session, now)
    if row.next_probe_at is None:
        return Admission.OPEN if row.paused_reason is None else Admission.CLOSED
    if row.next_probe_at > now:
        return Admission.CLOSED
    row.next_probe_at = now + _PROBE
    return Admission.PROBE


def admit_listing(session: Session, now: datetime) -> Admission:
    """Ask to look at the server's list, which a full account still gives."""
    row = destination(session, now)
    if row.paused_reason is not None and row.next_probe_at is not None:
        return Admission.OPEN
    return admit(session, now)


def is_closed(session: Session, now: datetime) -> bool:
    """Tell whether it is of no use to ask."""
    row = session.get(Destination, CROWDSKY)
    if row is None:
        return False
    return row.paused_reason is not None if row.next_probe_at is None else row.next_probe_at > now


def note_success(session: Session, now: datetime) -> None:
    """Open the account: the server did what it was asked to."""
    row = destination(session, now)
    row.last_ok_at = now
    if row.paused_reason is not None and row.next_probe_at is None:
        return  # an answer to something sent before the pause; what paused it still stands
    if row.paused_reason is not None:
        _resume(session, row, now, "the server takes stacks again")
    row.next_probe_at = None


def note_listing(session: Session, now: datetime) -> None:
    """Open the account after a list was had, unless it is full: a full one gives lists all the same."""
    row = destination(session, now)
    if row.paused_reason is None:
        note_success(session, now)


def note_outcome(
    session: Session, account: CrowdSkySettings, outcome: Outcome, reason: str, now: datetime
) -> None:
    """Write down what a failed try says about the account."""
    row = destination(session, now)
    match outcome:
        case Pause(probe_after):
            pause(session, account, reason, now, probe_after)
        case GiveUp(server_said_so=True):
            note_success(session, now)
        case TryAgain(after, holds_account=True) if row.paused_reason is None:
            row.next_probe_at = max(row.next_probe_at or now, now + after)
        case _:
            if row.next_probe_at is not None and row.paused_reason is None:
                row.next_probe_at = now  # it said nothing about the account: the next one may try


def pause(
    session: Session,
    account: CrowdSkySettings,
    reason: str,
    now: datetime,
    probe_after: timedelta | None = None,
) -> None:
    """Send nothing more until the credentials change, or the next probe shows that it works again."""
    row = destination(session, now)
    if row.paused_reason != reason:
        audit(session, now=now, actor=ACTOR, subject=_SUBJECT, event="paused", reason=reason)
    row.paused_at = row.paused_at or now
    row.paused_reason = reason
    row.credentials_digest = credentials_digest(account)
    row.next_probe_at = None if probe_after is None else now + probe_after


def resume_if_changed(session: Session, account: CrowdSkySettings, now: datetime) -> None:
    """End a pause once the configured credentials are others than those it began with."""
    row = destination(session, now)
    if row.paused_reason is None or is_of(row.credentials_digest, account):
        return
    _resume(session, row, now, "the credentials have changed")
    row.next_probe_at = now


def has_credentials(account: CrowdSkySettings) -> bool:
    """Tell whether a user name and a password are configured."""
    return bool(account.username and account.password.get_secret_value())


def credentials_digest(account: CrowdSkySettings, salt: bytes | None = None) -> str:
    """Digest an account's address, user name and password: ``<salt>$<scrypt>``, both in hex."""
    salt = salt or secrets.token_bytes(16)
    parts = (account.base_url, account.username, account.password.get_secret_value())
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    digest = hashlib.scrypt(text, salt=salt, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P, dklen=32)
    return f"{salt.hex()}${digest.hex()}"


def is_of(digest: str | None, account: CrowdSkySettings) -> bool:
    """Tell whether a digest was made of the account as it is configured now."""
    try:
        salt = bytes.fromhex((digest or "").partition("$")[0])
    except ValueError:
        return False
    return bool(salt) and hmac.compare_digest(digest or "", credentials_digest(account, salt))


_SUBJECT = ("destination", None)


def _resume(session: Session, row: Destination, now: datetime, reason: str) -> None:
    audit(session, now=now, actor=ACTOR, subject=_SUBJECT, event="resumed", reason=reason)
    row.paused_reason = row.paused_at = row.credentials_digest = None
