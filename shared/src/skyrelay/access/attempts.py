"""Wrong passwords are counted in the database, so that a restart forgives nothing.

A browser that has logged in before carries a second cookie; what it does wrong is counted by itself, and
what all the others do wrong does not hold it up. So nobody can lock the owner out.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from skyrelay.access.marks import mark_of
from skyrelay.domain.login_delay import FORGOTTEN_AFTER, delay_of_all, delay_of_one
from skyrelay.store.tables import LoginAttempts

_ALL = "all"
_BROWSER = "browser:"
_ADDRESS = "address:"
_BROWSERS_KNOWN = 50  # of one home; the one that logged in the longest ago is forgotten
_IPV6_HOME = 64  # bits of a network, in which one machine may have any number of addresses


def source_of(session: Session, address: str, browser: str | None) -> str:
    """Name the source of an attempt: the browser if it is known, else its address."""
    known = _BROWSER + mark_of(browser) if browser else None
    if known is not None and session.get(LoginAttempts, known) is not None:
        return known
    return _ADDRESS + _home_of(address)


def book_attempt(session: Session, source: str, now: datetime) -> timedelta | None:
    """Count an attempt as a wrong one before it is tried; give how long to wait if it comes too early.

    It is counted first so that a hundred at once are not all the first one. `forgive` takes it back.
    """
    _forget_old(session, now)
    names = [source] if source.startswith(_BROWSER) else [source, _ALL]
    rows = [_row(session, name, now) for name in names]
    wait = max(row.free_at for row in rows) - now
    if wait > timedelta(0):
        return wait
    for row in rows:
        row.failures += 1
        row.last_at = now
        row.free_at = now + _delay(row)
    return None


def forgive(session: Session, source: str, browser: str, now: datetime) -> None:
    """Take the attempts of a source back that was right at last, and know its browser from now on."""
    everybody = session.get(LoginAttempts, _ALL)
    if everybody is not None and not source.startswith(_BROWSER):
        everybody.failures = max(0, everybody.failures - 1)
    session.execute(delete(LoginAttempts).where(LoginAttempts.source == source))
    session.add(LoginAttempts(source=_BROWSER + mark_of(browser), failures=0, last_at=now, free_at=now))
    session.flush()
    known = select(LoginAttempts.source).where(LoginAttempts.source.startswith(_BROWSER))
    too_many = session.scalars(known.order_by(LoginAttempts.last_at.desc()).offset(_BROWSERS_KNOWN)).all()
    session.execute(delete(LoginAttempts).where(LoginAttempts.source.in_(too_many)))


def _row(session: Session, source: str, now: datetime) -> LoginAttempts:
    row = session.get(LoginAttempts, source)
    if row is None:
        row = LoginAttempts(source=source, failures=0, last_at=now, free_at=now)
        session.add(row)
    elif now - row.last_at > FORGOTTEN_AFTER:
        row.failures = 0
    elif row.last_at > now:  # the clock was put back, on a board without a battery by years: wait anew
        row.last_at = now
        row.free_at = now + _delay(row)
    return row


def _delay(row: LoginAttempts) -> timedelta:
    return delay_of_all(row.failures) if row.source == _ALL else delay_of_one(row.failures)


def _forget_old(session: Session, now: datetime) -> None:
    session.execute(
        delete(LoginAttempts).where(
            LoginAttempts.source.not_like(f"{_BROWSER}%"), LoginAttempts.last_at < now - FORGOTTEN_AFTER
        )
    )


def _home_of(address: str) -> str:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, _IPV6_HOME), strict=False))
