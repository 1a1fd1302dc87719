"""A person proves to be the owner: with the password, or the first time with the set-up code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.requests import Request

from skyrelay.access.attempts import book_attempt, forgive, source_of
from skyrelay.access.marks import new_token
from skyrelay.access.owner import claim, is_in_force, set_password, verified_hash, verify_password
from skyrelay.access.passwords import check_password
from skyrelay.access.sessions import begin_session, end_all_sessions, end_session, printable
from skyrelay.logs import get_logger
from skyrelay.store.tables import LoginSession
from skyrelay.store.transitions import audit
from skyrelay_gateway.access_models import SessionView
from skyrelay_gateway.context import Gateway
from skyrelay_gateway.cookies import BROWSER
from skyrelay_gateway.visits import CallerKind, Visit, actor

_OWNER = "owner"  # who has shown the password or the code


@dataclass(frozen=True, slots=True)
class Person:
    """Where somebody comes from: ``browser`` is the cookie by which we know a browser, ``agent`` its name."""

    address: str
    agent: str
    browser: str | None
    session_id: int | None


@dataclass(frozen=True, slots=True)
class Login:
    """A login that has begun: its two cookies."""

    session: str
    browser: str


class TooEarly(Exception):  # noqa: N818 - it is a decision, not a fault
    """After so many wrong ones nothing is tried before ``wait`` is over."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__()
        self.wait = wait


def person_of(request: Request, visit: Visit) -> Person:
    """Give where a request comes from."""
    is_logged_in = visit.caller.kind is CallerKind.BROWSER
    return Person(
        address=request.client.host if request.client else "",
        agent=request.headers.get("user-agent", ""),
        browser=request.cookies.get(BROWSER),
        session_id=visit.caller.id if is_logged_in else None,
    )


def log_in(gateway: Gateway, person: Person, password: str) -> Login | None:
    """Begin a login; give `None` for a wrong password.

    Raises
    ------
    TooEarly
        Without looking at the password.
    """
    return _try(gateway, person, lambda: verified_hash(gateway.store, gateway.hasher, password), "logged in")


def claim_and_log_in(gateway: Gateway, person: Person, code: str, password: str) -> Login | None:
    """Make who has the set-up code the owner and begin a login; give `None` for a wrong code.

    Raises
    ------
    TooEarly
        Without looking at the code.
    WeakPasswordError
        With a right or a wrong code.
    """
    check_password(password)  # before anything is counted as a wrong code

    def claimed() -> str | None:
        if not claim(gateway.store, gateway.hasher, code, password, now=gateway.clock()):
            return None
        return verified_hash(gateway.store, gateway.hasher, password)

    return _try(gateway, person, claimed, "claimed and logged in")


def log_out(gateway: Gateway, session_id: int, person: Person) -> None:
    """End one login."""
    with gateway.store.write() as session:
        end_session(session, session_id)
        _write_down(gateway, session, person, "logged out", actor())


def change_password(gateway: Gateway, person: Person, current: str, new: str) -> Login | None:
    """Change the password, end all logins and begin one; give `None` where ``current`` is wrong.

    Raises
    ------
    TooEarly
        Without looking at the password.
    WeakPasswordError
        If the new one is none that protects anything.
    """
    check_password(new)

    def changed() -> str | None:
        if not verify_password(gateway.store, gateway.hasher, current):
            return None
        set_password(gateway.store, gateway.hasher, new, now=gateway.clock(), actor=actor())
        return verified_hash(gateway.store, gateway.hasher, new)

    begun = _try(gateway, person, changed, "logged in with the new password")
    if begun is not None and person.session_id is None:  # a program, which takes no cookie
        end_all(gateway)
    return begun


def list_sessions(gateway: Gateway, visit: Visit) -> tuple[SessionView, ...]:
    """List the logins that have not ended, the one used last first."""
    here = visit.caller.id if visit.caller.kind is CallerKind.BROWSER else None
    query = select(LoginSession).where(LoginSession.expires_at > gateway.clock())
    with gateway.store.read() as session:
        rows = session.scalars(query.order_by(LoginSession.last_seen_at.desc(), LoginSession.id.desc())).all()
    return tuple(
        SessionView(
            id=row.id,
            address=row.address,
            browser=row.browser,
            created_at=row.created_at,
            last_seen_at=row.last_seen_at,
            expires_at=row.expires_at,
            is_this=row.id == here,
        )
        for row in rows
    )


def end_one(gateway: Gateway, session_id: int) -> bool:
    """End one login; tell whether there was one."""
    with gateway.store.write() as session:
        was_there = end_session(session, session_id)
        if was_there:
            audit(
                session, now=gateway.clock(), actor=actor(), subject=("login", session_id), event="logged out"
            )
    return was_there


def end_others(gateway: Gateway, visit: Visit) -> int:
    """End all logins but the one that asks; give their number."""
    here = visit.caller.id if visit.caller.kind is CallerKind.BROWSER else None
    with gateway.store.write() as session:
        ended = end_all_sessions(session, but=here)
        audit(
            session,
            now=gateway.clock(),
            actor=actor(),
            subject=("login", None),
            event="logged out elsewhere",
            detail={"logins": ended},
        )
    get_logger(__name__).info("all other logins have ended", logins=ended)
    return ended


def end_all(gateway: Gateway) -> int:
    """End all logins; give their number."""
    with gateway.store.write() as session:
        ended = end_all_sessions(session)
        audit(
            session,
            now=gateway.clock(),
            actor=actor(),
            subject=("login", None),
            event="logged out everywhere",
            detail={"logins": ended},
        )
    get_logger(__name__).info("all logins have ended", logins=ended)
    return ended


def _try(gateway: Gateway, person: Person, verify: Callable[[], str | None], event: str) -> Login | None:
    """Begin a login if ``verify`` gives the hash of a password that is in force when the login begins."""
    with gateway.store.write() as session:
        source = source_of(session, person.address, person.browser)
        wait = book_attempt(session, source, gateway.clock())
    if wait is not None:
        get_logger(__name__).warning("a login came too early", address=printable(person.address))
        raise TooEarly(wait)
    password_hash, login = verify(), None
    with gateway.store.write() as session:
        # Another may have changed the password meanwhile, which ended all logins: it must end this one, too.
        if password_hash is not None and is_in_force(session, password_hash):
            login = _begin(gateway, session, person, source)
            _write_down(gateway, session, person, event, _OWNER)
        else:
            _write_down(gateway, session, person, "login refused", actor())
    if login is None:
        get_logger(__name__).warning("a login was refused", address=printable(person.address))
    else:
        get_logger(__name__).info("somebody has logged in", address=printable(person.address))
    return login


def _begin(gateway: Gateway, session: Session, person: Person, source: str) -> Login:
    now, login_browser = gateway.clock(), new_token()
    if person.session_id is not None:
        end_session(session, person.session_id)
    forgive(session, source, login_browser, now)
    cookie = begin_session(session, now=now, address=person.address, browser=person.agent)
    return Login(cookie, login_browser)


def _write_down(gateway: Gateway, session: Session, person: Person, event: str, who: str) -> None:
    audit(
        session,
        now=gateway.clock(),
        actor=who,
        subject=("login", None),
        event=event,
        detail={"address": printable(person.address)[:64], "browser": printable(person.agent)[:200]},
    )
