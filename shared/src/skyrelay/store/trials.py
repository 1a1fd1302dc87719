"""Telescopes that are tried before they are added: a page asks, the stacker answers.

The gateway never speaks to a telescope itself: the stacker has the network that telescopes are in, and holds
their port. A question is a row; a nudge makes it quick, the reconciler certain. Answers are of a moment, so
rows go after a day.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.orm import Session

from skyrelay.store.tables import TelescopeTrial

_KEPT_FOR = timedelta(days=1)
_GIVEN_UP_AFTER = timedelta(minutes=2)  # nobody waits longer; an answer itself takes seconds


def ask(
    session: Session, telescope: Mapping[str, Any], *, watches: bool, now: datetime, actor: str
) -> TelescopeTrial:
    """Write down that a telescope is to be tried, in a writing session.

    Parameters
    ----------
    telescope
        As the settings would hold it.
    watches
        Whether its share is to be watched once it is added.
    """
    session.execute(delete(TelescopeTrial).where(TelescopeTrial.asked_at < now - _KEPT_FOR))
    row = TelescopeTrial(telescope=dict(telescope), watches=watches, asked_at=now, asked_by=actor)
    session.add(row)
    session.flush()
    return row


def claim(session: Session, trial_id: int, now: datetime) -> TelescopeTrial | None:
    """Take a question to answer it; `None` when it is gone, taken, or too old for anybody to wait for it."""
    mine = (
        TelescopeTrial.id == trial_id,
        TelescopeTrial.started_at.is_(None),
        TelescopeTrial.asked_at > now - _GIVEN_UP_AFTER,
    )
    done = session.execute(update(TelescopeTrial).where(*mine).values(started_at=now))
    return session.get(TelescopeTrial, trial_id) if cast("CursorResult[Any]", done).rowcount else None


def finish(
    session: Session, trial_id: int, *, now: datetime, answer: Mapping[str, Any] | None, problem: str = ""
) -> TelescopeTrial | None:
    """Write the answer down, or why there is none; give the question, unless it is gone."""
    row = session.get(TelescopeTrial, trial_id)
    if row is not None:
        row.finished_at, row.problem = now, problem
        row.answer = None if answer is None else dict(answer)
    return row


def waiting(session: Session, now: datetime) -> list[int]:
    """Give the questions that nobody has taken yet, oldest first."""
    query = select(TelescopeTrial.id).where(
        TelescopeTrial.started_at.is_(None), TelescopeTrial.asked_at > now - _GIVEN_UP_AFTER
    )
    return list(session.scalars(query.order_by(TelescopeTrial.id)))


def is_under_way(row: TelescopeTrial, now: datetime) -> bool:
    """Tell whether an answer may still come."""
    return row.finished_at is None and now - (row.started_at or row.asked_at) <= _GIVEN_UP_AFTER
