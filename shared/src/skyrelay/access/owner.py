"""The owner: claims a new Skyrelay with the one-time code, and has a password from then on."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from skyrelay.access.passwords import Hasher, check_password, new_setup_code, plain_code
from skyrelay.store.engine import Store
from skyrelay.store.tables import LoginAttempts, LoginSession, Owner
from skyrelay.store.transitions import audit

_ONLY = 1


def is_claimed(session: Session) -> bool:
    """Tell whether there is a password."""
    owner = session.get(Owner, _ONLY)
    return owner is not None and owner.password_hash is not None


def verify_password(store: Store, hasher: Hasher, password: str) -> bool:
    """Tell whether this is the owner's password; takes as long when there is none."""
    return verified_hash(store, hasher, password) is not None


def verified_hash(store: Store, hasher: Hasher, password: str) -> str | None:
    """Give the hash that this password is right for, to ask `is_in_force` later; `None` if wrong."""
    with store.read() as session:
        owner = session.get(Owner, _ONLY)
    password_hash = owner.password_hash if owner else None
    return password_hash if hasher.verify(password_hash, password) else None


def is_in_force(session: Session, password_hash: str) -> bool:
    """Tell whether the password is still the one of this hash."""
    owner = session.get(Owner, _ONLY)
    return owner is not None and owner.password_hash == password_hash


def set_password(store: Store, hasher: Hasher, password: str, *, now: datetime, actor: str) -> None:
    """Set the password, end all logins, and let everybody try again at once.

    Raises
    ------
    WeakPasswordError
        If it is none that protects anything.
    """
    hashed = hasher.hash(check_password(password))
    with store.write() as session:
        _put_password(session, hashed, now, actor, "password set")
        session.execute(update(LoginAttempts).values(failures=0, free_at=now))


def ensure_password(store: Store, hasher: Hasher, password: str, *, now: datetime, actor: str) -> None:
    """Set the password that the configuration names, unless it is that already."""
    if not verify_password(store, hasher, check_password(password)):
        set_password(store, hasher, password, now=now, actor=actor)


def make_setup_code(store: Store, hasher: Hasher, *, now: datetime) -> str | None:
    """Give a new code, after which the one before is worth nothing; `None` when there is a password."""
    code = new_setup_code()
    hashed = hasher.hash(plain_code(code))
    with store.write() as session:
        if is_claimed(session):
            return None
        owner = _owner(session, now)
        owner.setup_code_hash = hashed
        owner.updated_at = now
    return code


def claim(store: Store, hasher: Hasher, code: str, password: str, *, now: datetime) -> bool:
    """Make who has the code the owner, with this password; tell whether it was the code.

    Raises
    ------
    WeakPasswordError
        If the password is none that protects anything; the code stays good.
    """
    check_password(password)
    with store.read() as session:
        owner = session.get(Owner, _ONLY)
    kept = owner.setup_code_hash if owner and owner.password_hash is None else None
    if not hasher.verify(kept, plain_code(code)):
        return False
    hashed = hasher.hash(password)
    with store.write() as session:
        # Of two that come with the code at once, one wins.
        if is_claimed(session) or _owner(session, now).setup_code_hash != kept:
            return False
        _put_password(session, hashed, now, "owner", "claimed")
    return True


def _put_password(session: Session, hashed: str, now: datetime, actor: str, event: str) -> None:
    owner = _owner(session, now)
    owner.password_hash = hashed
    owner.setup_code_hash = None
    owner.updated_at = now
    session.execute(delete(LoginSession))
    audit(session, now=now, actor=actor, subject=("owner", _ONLY), event=event)


def _owner(session: Session, now: datetime) -> Owner:
    owner = session.get(Owner, _ONLY)
    if owner is None:
        owner = Owner(id=_ONLY, updated_at=now)
        session.add(owner)
        session.flush()
    return owner
