"""The account at a destination: whether anything may be sent there now, and who may try first.

A working account is open. One that was never tried, or that failed as a whole, lets one try pass at a
time (a probe) until something works again; so wrong credentials or a dead server cost one request and
not one for each delivery, and fewer and fewer the longer it lasts. A paused account takes nothing until
the time of its next probe, or, where only a person can help, until the configured credentials change.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from pydantic import SecretStr
from sqlalchemy.orm import Session

from skyrelay.outbox.outcomes import Blame, GiveUp, Outcome, Pause, TryAgain, growing_delay, wait_asked
from skyrelay.store.tables import Destination
from skyrelay.store.transitions import audit

# A probe is over long before, as a rule; after that its process is taken for dead and another may try.
_PROBE = timedelta(minutes=2)
# Failures in a row of which each may be its item's own fault: so many items at once are not to blame.
_FAULTS_OF_A_SERVER = 3
# 16 MB and some 50 ms a try: a stolen database must not give the password away by guessing.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 1


@dataclass(frozen=True, slots=True)
class Account:
    """A destination, and what is configured for it now.

    Attributes
    ----------
    destination
        Name of its row.
    address, user, secret
        Where it is and who we are there.
    actor
        The service that speaks with it, for the audit log.
    """

    destination: str
    address: str
    user: str
    secret: SecretStr
    actor: str

    @property
    def has_credentials(self) -> bool:
        """Whether both parts of the credentials are configured."""
        return bool(self.user and self.secret.get_secret_value())


class Admission(Enum):
    """The answer to "may I?"."""

    CLOSED = auto()
    OPEN = auto()
    PROBE = auto()  # yes, as the only one: the others wait for what comes of it


def destination(session: Session, name: str, now: datetime) -> Destination:
    """Give a destination's row; a new account is first to be probed."""
    row = session.get(Destination, name, with_for_update=True)
    if row is None:
        row = Destination(name=name, next_probe_at=now, failures=0, listing_failures=0)
        session.add(row)
        session.flush()
    return row


def admit(session: Session, name: str, now: datetime) -> Admission:
    """Ask to send something, or to ask the server something."""
    row = destination(session, name, now)
    if row.next_probe_at is None:
        return Admission.OPEN if row.paused_reason is None else Admission.CLOSED
    if row.next_probe_at > now:
        return Admission.CLOSED
    row.next_probe_at = now + _PROBE
    return Admission.PROBE


def admit_listing(session: Session, name: str, now: datetime) -> Admission:
    """Ask to look at the server's list, which a full account still gives."""
    row = destination(session, name, now)
    if row.paused_reason is not None and row.next_probe_at is not None:
        return Admission.OPEN
    return admit(session, name, now)


def is_closed(session: Session, name: str, now: datetime) -> bool:
    """Tell whether it is of no use to ask."""
    row = session.get(Destination, name)
    if row is None:
        return False
    return row.paused_reason is not None if row.next_probe_at is None else row.next_probe_at > now


def note_success(session: Session, name: str, now: datetime, actor: str) -> None:
    """Open the account: the server did what it was asked to."""
    row = destination(session, name, now)
    row.last_ok_at = now
    if row.paused_reason is not None and row.next_probe_at is None:
        return  # an answer to something sent before the pause; what paused it still stands
    if row.paused_reason is not None:
        _resume(session, row, now, actor, "it works again")
    row.next_probe_at, row.failures, row.listing_failures, row.trouble = None, 0, 0, None


def note_listing(session: Session, name: str, now: datetime) -> None:
    """Note that a list was had: the server is there.

    That ends no pause for want of room, and is no proof that uploads work where several in a row did not.
    """
    row = destination(session, name, now)
    if row.paused_reason is not None:
        return
    row.last_ok_at, row.listing_failures = now, 0
    row.next_probe_at = None if row.failures < _FAULTS_OF_A_SERVER else now


def note_outcome(
    session: Session, account: Account, outcome: Outcome, reason: str, now: datetime, *, listing: bool = False
) -> None:
    """Write down what a failed try says about the account.

    Parameters
    ----------
    listing
        Whether the server was only asked for its list.
    """
    row = destination(session, account.destination, now)
    match outcome:
        case Pause(probe_after):
            pause(session, account, reason, now, probe_after)
        case GiveUp(server_said_so=True):
            note_success(session, account.destination, now, account.actor)
        case TryAgain(blame=Blame.LINE | Blame.UNSURE) if row.paused_reason is None:
            row.trouble = reason
            _hold(row, outcome, _count(row, listing=listing), now)
        case _:
            if row.next_probe_at is not None and row.paused_reason is None:
                row.next_probe_at = now  # it said nothing about the account: the next one may try


def pause(
    session: Session,
    account: Account,
    reason: str,
    now: datetime,
    probe_after: timedelta | None = None,
) -> None:
    """Send nothing more until the credentials change, or the next probe shows that it works again."""
    row = destination(session, account.destination, now)
    if row.paused_reason != reason:
        _audit(session, row, now, account.actor, "paused", reason)
    row.paused_at = row.paused_at or now
    row.paused_reason = reason
    row.credentials_digest = credentials_digest(account)
    row.next_probe_at = None if probe_after is None else now + probe_after


def resume_if_changed(session: Session, account: Account, now: datetime) -> None:
    """End a pause once the configured credentials are others than those it began with."""
    row = destination(session, account.destination, now)
    if row.paused_reason is None or is_of(row.credentials_digest, account):
        return
    _resume(session, row, now, account.actor, "the credentials have changed")
    row.next_probe_at = now


def credentials_digest(account: Account, salt: bytes | None = None) -> str:
    """Digest an account's address, user name and password: ``<salt>$<scrypt>``, both in hex."""
    salt = salt or secrets.token_bytes(16)
    parts = (account.address, account.user, account.secret.get_secret_value())
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    digest = hashlib.scrypt(text, salt=salt, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P, dklen=32)
    return f"{salt.hex()}${digest.hex()}"


def is_of(digest: str | None, account: Account) -> bool:
    """Tell whether a digest was made of the account as it is configured now."""
    try:
        salt = bytes.fromhex((digest or "").partition("$")[0])
    except ValueError:
        return False
    return bool(salt) and hmac.compare_digest(digest or "", credentials_digest(account, salt))


def _count(row: Destination, *, listing: bool) -> int:
    if listing:
        row.listing_failures += 1
        return row.listing_failures
    row.failures += 1
    return row.failures


def _hold(row: Destination, outcome: TryAgain, failures: int, now: datetime) -> None:
    """Let the whole account wait, the longer the more failures there were."""
    if outcome.blame is Blame.LINE:
        wait = wait_asked(outcome.asked, failures - 1, jitter=0.0)
    elif failures >= _FAULTS_OF_A_SERVER:
        wait = growing_delay(failures - _FAULTS_OF_A_SERVER, jitter=0.0)
    else:  # this item may be to blame: a probe that failed so tells nothing, and the next one may try
        row.next_probe_at = now if row.next_probe_at is not None else None
        return
    held = row.next_probe_at
    is_held_by_others = held is not None and held > now + _PROBE  # else it is the place of this very probe
    row.next_probe_at = max(held, now + wait) if held is not None and is_held_by_others else now + wait


def _resume(session: Session, row: Destination, now: datetime, actor: str, reason: str) -> None:
    _audit(session, row, now, actor, "resumed", reason)
    row.paused_reason = row.paused_at = row.credentials_digest = None
    row.failures = row.listing_failures = 0
    row.trouble = None


def _audit(session: Session, row: Destination, now: datetime, actor: str, event: str, reason: str) -> None:
    detail = {"destination": row.name}
    subject = ("destination", None)
    audit(session, now=now, actor=actor, subject=subject, event=event, reason=reason, detail=detail)
