"""Browsers that are logged in."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from skyrelay.access.marks import mark_of, new_token
from skyrelay.store.tables import LoginSession

IDLE_FOR = timedelta(days=30)  # a login that nobody uses for so long ends
LONGEST = timedelta(days=180)  # and any ends by then
_SEEN_EVERY = timedelta(hours=1)  # its use is not written down more often
_MOST = 100  # of one home; the one unused for the longest ends
_BROWSER_CHARACTERS = 200


def begin_session(session: Session, *, now: datetime, address: str, browser: str) -> str:
    """Begin a login and give its cookie, which is never one that the browser brought along.

    Parameters
    ----------
    address, browser
        Where it comes from and what it calls itself, for the list.
    """
    token = new_token()
    session.add(
        LoginSession(
            token_hash=mark_of(token),
            address=printable(address)[:64],
            browser=printable(browser)[:_BROWSER_CHARACTERS],
            created_at=now,
            last_seen_at=now,
            expires_at=now + IDLE_FOR,
        )
    )
    session.flush()
    _end_old(session, now)
    return token


def find_session(session: Session, token: str, now: datetime) -> LoginSession | None:
    """Give the login of a cookie, unless it has ended."""
    found = session.scalar(select(LoginSession).where(LoginSession.token_hash == mark_of(token)))
    return found if found is not None and found.expires_at > now else None


def wants_renewal(found: LoginSession, now: datetime) -> bool:
    """Tell whether the use of a login is to be written down again."""
    return now - found.last_seen_at >= _SEEN_EVERY


def renew_session(session: Session, session_id: int, now: datetime) -> None:
    """Write down that a login is used, which lets it go on."""
    found = session.get(LoginSession, session_id)
    if found is not None:
        found.last_seen_at = now
        found.expires_at = min(now + IDLE_FOR, found.created_at + LONGEST)


def end_session(session: Session, session_id: int) -> bool:
    """End a login; tell whether there was one."""
    found = session.get(LoginSession, session_id)
    if found is not None:
        session.delete(found)
    return found is not None


def end_all_sessions(session: Session, *, but: int | None = None) -> int:
    """End all logins, or all ``but`` one; give their number."""
    others = delete(LoginSession).where(LoginSession.id != (0 if but is None else but))
    ended = session.scalars(others.returning(LoginSession.id)).all()
    return len(ended)


def printable(text: str) -> str:
    """Take out of a text from outside what could fake a line or speak to a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _end_old(session: Session, now: datetime) -> None:
    session.execute(delete(LoginSession).where(LoginSession.expires_at <= now))
    kept = select(LoginSession.id).order_by(LoginSession.last_seen_at.desc(), LoginSession.id.desc())
    too_many = session.scalars(kept.offset(_MOST)).all()
    session.execute(delete(LoginSession).where(LoginSession.id.in_(too_many)))
