"""Questions about the network that a page asks and the stacker answers: who is there, does this telescope
answer, what lies on it.

The gateway never speaks to a telescope itself: the stacker has the network that telescopes are in, and holds
their port. A question is a row; a nudge makes it quick, the reconciler certain. Answers are of a moment, so
rows go after a day.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, cast

from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.orm import Session

from skyrelay.store.tables import Lookup

KEPT_FOR = timedelta(days=1)
GIVEN_UP_AFTER = timedelta(minutes=2)  # nobody waits longer for somebody to take it
_LONGEST = timedelta(minutes=15)  # an inventory of a full telescope takes minutes; all else seconds


class LookupKind(StrEnum):
    """What is looked up.

    ``find``: who is there, at ``addresses`` or anywhere. ``test``: whether the ``telescope`` of these
    settings answers, and to our key. ``inventory``: what lies on the telescope of the row ``telescope_id``.
    """

    FIND = "find"
    TEST = "test"
    INVENTORY = "inventory"


class LookupState(StrEnum):
    """How far it is."""

    WAITING = "waiting"
    WORKING = "working"
    DONE = "done"
    FAILED = "failed"
    UNANSWERED = "unanswered"


def ask(
    session: Session, kind: LookupKind, question: Mapping[str, Any], *, now: datetime, actor: str
) -> Lookup:
    """Write a question down in a writing session; whoever asks says `LOOK_UP` to the stacker then."""
    session.execute(delete(Lookup).where(Lookup.asked_at < now - KEPT_FOR))
    row = Lookup(kind=kind, question=dict(question), asked_at=now, asked_by=actor)
    session.add(row)
    session.flush()
    return row


def claim(session: Session, lookup_id: int, now: datetime) -> Lookup | None:
    """Take a question to answer it; `None` when it is gone, taken, or too old for anybody to wait for it."""
    mine = Lookup.id == lookup_id, Lookup.started_at.is_(None), Lookup.asked_at > now - GIVEN_UP_AFTER
    taken = cast("CursorResult[Any]", session.execute(update(Lookup).where(*mine).values(started_at=now)))
    return session.get(Lookup, lookup_id) if taken.rowcount else None


def finish(
    session: Session, lookup_id: int, *, now: datetime, answer: Mapping[str, Any] | None, problem: str = ""
) -> None:
    """Write the answer down, or why there is none."""
    row = session.get(Lookup, lookup_id)
    if row is not None:
        row.finished_at, row.problem = now, problem
        row.answer = None if answer is None else dict(answer)


def waiting(session: Session, now: datetime) -> list[int]:
    """Give the questions that nobody has taken yet, oldest first."""
    query = select(Lookup.id).where(Lookup.started_at.is_(None), Lookup.asked_at > now - GIVEN_UP_AFTER)
    return list(session.scalars(query.order_by(Lookup.id)))


def state_of(row: Lookup, now: datetime) -> LookupState:
    """Say how far a question is."""
    if row.finished_at is not None:
        return LookupState.DONE if row.answer is not None else LookupState.FAILED
    if row.started_at is None:
        return LookupState.UNANSWERED if now - row.asked_at > GIVEN_UP_AFTER else LookupState.WAITING
    return LookupState.UNANSWERED if now - row.started_at > _LONGEST else LookupState.WORKING
