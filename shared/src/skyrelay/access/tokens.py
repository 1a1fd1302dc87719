"""Tokens for programs: named, shown once, each with a scope."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.access.marks import mark_of, new_token
from skyrelay.errors import PermanentError
from skyrelay.store.tables import ApiToken
from skyrelay.store.transitions import audit

PREFIX = "skyrelay_"  # by which people, and programs that look for leaked secrets, know what it is
_NAME = re.compile(r"[\w][\w .:-]{0,63}")
_USED_EVERY = timedelta(minutes=1)  # its use is not written down more often


class Scope(StrEnum):
    """What a caller may do; each includes those before it."""

    READ = "read"
    CONTROL = "control"
    ADMIN = "admin"

    def includes(self, other: Scope) -> bool:
        """Tell whether who has this scope has ``other`` too."""
        order = list(Scope)
        return order.index(self) >= order.index(other)


class TokenRefusedError(PermanentError):
    """A token cannot be made, or is not there; the message says why."""


def create_token(
    session: Session, name: str, scope: Scope, *, now: datetime, actor: str, is_local: bool = False
) -> tuple[ApiToken, str]:
    """Make a token; give its row and, for the only time, the token itself.

    Raises
    ------
    TokenRefusedError
        If the name is taken, or none that can be printed in a line.
    """
    if not _NAME.fullmatch(name):
        raise TokenRefusedError(
            "a token's name has up to 64 letters, digits, blanks, points, colons, hyphens or underscores"
        )
    if not is_local and _find_by_name(session, name) is not None:
        raise TokenRefusedError(f"there is a token {name!r} already: revoke it first, or take another name")
    token = new_token(PREFIX)
    row = ApiToken(name=name, scope=scope, token_hash=mark_of(token), is_local=is_local, created_at=now)
    session.add(row)
    session.flush()
    _write_down(session, row, "token made", now, actor)
    return row, token


def list_tokens(session: Session) -> Sequence[ApiToken]:
    """Give the tokens that are not revoked, the oldest first."""
    return session.scalars(select(ApiToken).where(ApiToken.revoked_at.is_(None)).order_by(ApiToken.id)).all()


def find_token(session: Session, token: str) -> ApiToken | None:
    """Give the row of a token, unless it is revoked."""
    if not token.startswith(PREFIX):
        return None
    return session.scalar(
        select(ApiToken).where(ApiToken.token_hash == mark_of(token), ApiToken.revoked_at.is_(None))
    )


def wants_note(row: ApiToken, now: datetime) -> bool:
    """Tell whether the use of a token is to be written down again."""
    return row.last_used_at is None or now - row.last_used_at >= _USED_EVERY


def note_use(session: Session, token_id: int, now: datetime) -> None:
    """Write down that a token was used."""
    row = session.get(ApiToken, token_id)
    if row is not None:
        row.last_used_at = now


def revoke_token(session: Session, which: int | str, *, now: datetime, actor: str) -> ApiToken:
    """Revoke a token, named by its id or its name; it is worth nothing from the next call on.

    Raises
    ------
    TokenRefusedError
        If there is none.
    """
    row = session.get(ApiToken, which) if isinstance(which, int) else _find_by_name(session, which)
    if row is None or row.revoked_at is not None:
        raise TokenRefusedError(f"there is no token {which!r}: list them to see what there is")
    row.revoked_at = now
    _write_down(session, row, "token revoked", now, actor)
    return row


def _find_by_name(session: Session, name: str) -> ApiToken | None:
    return session.scalar(
        select(ApiToken)
        .where(ApiToken.name == name, ApiToken.revoked_at.is_(None))
        .order_by(ApiToken.is_local, ApiToken.id)
        .limit(1)
    )


def _write_down(session: Session, row: ApiToken, event: str, now: datetime, actor: str) -> None:
    detail = {"name": row.name, "scope": row.scope}
    audit(session, now=now, actor=actor, subject=("token", row.id), event=event, detail=detail)
