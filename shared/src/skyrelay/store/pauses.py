"""Pauses of stacking: order them, lift them, and say whether one holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from skyrelay.store.tables import Pause, Telescope
from skyrelay.store.transitions import audit


def pauses_on(session: Session, telescope_id: int) -> Sequence[Pause]:
    """Give the pauses that hold on a telescope, for all of its targets or for some."""
    query = select(Pause).where(or_(Pause.telescope_id.is_(None), Pause.telescope_id == telescope_id))
    return session.scalars(query.order_by(Pause.id)).all()


def pause_of(pauses: Iterable[Pause], target: str) -> Pause | None:
    """Give the first of a telescope's pauses that holds a target."""
    return next((pause for pause in pauses if pause.target in {None, target}), None)


def pause_words(pause: Pause) -> str:
    """Say who has paused and why."""
    return f"paused by {pause.by} since {pause.paused_at:%Y-%m-%d %H:%M} UTC" + (
        f": {pause.reason}" if pause.reason else ""
    )


def order_pause(
    session: Session, telescope_id: int | None, target: str | None, *, by: str, reason: str, now: datetime
) -> Pause:
    """Pause stacking; what is paused already keeps its date and gets the new reason."""
    pause = session.scalar(select(Pause).where(*_exactly(telescope_id, target)))
    if pause is None:
        pause = Pause(telescope_id=telescope_id, target=target, paused_at=now)
        session.add(pause)
    pause.by, pause.reason = by, reason
    session.flush()
    _note(session, pause, "paused", by, reason, now)
    return pause


def lift_pauses(
    session: Session, telescope_id: int | None, target: str | None, *, by: str, now: datetime
) -> int:
    """Lift the pauses inside a scope (all of a telescope's, of a target's, of both, or all); count them."""
    query = select(Pause)
    if telescope_id is not None:
        query = query.where(Pause.telescope_id == telescope_id)
    if target is not None:
        query = query.where(Pause.target == target)
    lifted = session.scalars(query).all()
    for pause in lifted:
        _note(session, pause, "resumed", by, pause.reason, now)
        session.delete(pause)
    return len(lifted)


def is_paused(session: Session, telescope_id: int | None, target: str | None) -> bool:
    """Tell whether there is a pause of exactly this scope."""
    return session.scalar(select(Pause.id).where(*_exactly(telescope_id, target))) is not None


def lift_exactly(
    session: Session, telescope_id: int | None, target: str | None, *, by: str, now: datetime
) -> bool:
    """Lift the one pause of exactly this scope, and leave narrower ones; tell whether there was one."""
    pause = session.scalar(select(Pause).where(*_exactly(telescope_id, target)))
    if pause is not None:
        _note(session, pause, "resumed", by, pause.reason, now)
        session.delete(pause)
    return pause is not None


def scope_words(session: Session, pause: Pause) -> str:
    """Say what a pause holds: ``everything``, ``M 81 on garden``."""
    telescope = session.get(Telescope, pause.telescope_id) if pause.telescope_id is not None else None
    name = None if telescope is None else telescope.name
    if pause.target is None:
        return name or "everything"
    return pause.target if name is None else f"{pause.target} on {name}"


def _exactly(telescope_id: int | None, target: str | None) -> tuple[ColumnElement[bool], ...]:
    return (
        Pause.telescope_id.is_(None) if telescope_id is None else Pause.telescope_id == telescope_id,
        Pause.target.is_(None) if target is None else Pause.target == target,
    )


def _note(session: Session, pause: Pause, event: str, by: str, reason: str, now: datetime) -> None:
    what = scope_words(session, pause)
    audit(
        session,
        now=now,
        actor=by,
        subject=("telescope", pause.telescope_id),
        event=event,
        reason=f"stacking of {what} was {event}" + (f": {reason}" if reason else ""),
        detail={"target": pause.target},
    )
