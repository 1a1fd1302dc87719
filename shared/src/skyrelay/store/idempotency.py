"""Calls that must not be carried out twice, by the key that the caller gave them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from skyrelay.store.tables import IdempotencyKey

KEPT_FOR = timedelta(hours=24)
_GIVEN_UP_AFTER = timedelta(minutes=2)  # no call takes a tenth of it: whoever began this one is gone


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What was answered the first time."""

    status: int
    media_type: str | None
    body: str


class KeyInUse(Exception):  # noqa: N818 - the state it names
    """The first call under this key is under way."""


class KeyTaken(Exception):  # noqa: N818 - the state it names
    """The key stands for another call."""


def claim_key(session: Session, key: str, request_hash: str, now: datetime) -> KeptAnswer | None:
    """Begin a call under a key, or give the answer that it had.

    Parameters
    ----------
    session
        A writing session: of two callers one waits for the other.

    Raises
    ------
    KeyInUse, KeyTaken
        If the call must not be begun.
    """
    row = session.get(IdempotencyKey, key)
    if row is None or _is_over(row, now):
        session.merge(IdempotencyKey(key=key, request_hash=request_hash, begun_at=now, status=None))
        return None
    if row.request_hash != request_hash:
        raise KeyTaken(key)
    if row.status is None:
        raise KeyInUse(key)
    return KeptAnswer(row.status, row.media_type, row.body or "")


def keep_answer(session: Session, key: str, answer: KeptAnswer) -> None:
    """Keep what a call was answered."""
    row = session.get(IdempotencyKey, key)
    if row is not None:
        row.status, row.media_type, row.body = answer.status, answer.media_type, answer.body


def free_key(session: Session, key: str) -> None:
    """Let a call be made anew under its key: it was refused, or came to nothing."""
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.key == key, IdempotencyKey.status.is_(None)))


def forget_old_keys(session: Session, now: datetime) -> None:
    """Forget the answers that are older than `KEPT_FOR`."""
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.begun_at < now - KEPT_FOR))


def _is_over(row: IdempotencyKey, now: datetime) -> bool:
    kept_for = KEPT_FOR if row.status is not None else _GIVEN_UP_AFTER
    return row.begun_at < now - kept_for
