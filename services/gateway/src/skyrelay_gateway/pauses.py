"""A person pauses stacking, or lets it go on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.store.pauses import lift_pauses, order_pause, scope_words
from skyrelay.store.tables import Pause, Telescope
from skyrelay_gateway.finding import check_target, find_telescope
from skyrelay_gateway.models import PauseAnswer, PauseRequest, PauseView, ResumeRequest
from skyrelay_gateway.visits import actor


def pause(session: Session, request: PauseRequest, now: datetime) -> PauseAnswer:
    """Write a pause down.

    Raises
    ------
    Problem
        404 for a telescope or target that is not there.
    """
    telescope_id = _telescope(session, request.telescope)
    if request.target is not None:
        check_target(session, request.target)
    order_pause(session, telescope_id, request.target, by=actor(request.by), reason=request.reason, now=now)
    return PauseAnswer(pauses=tuple(pause_views(session)), lifted=0)


def resume(session: Session, request: ResumeRequest, now: datetime) -> PauseAnswer:
    """Lift the pauses inside what the request names; what a wider one holds stays held, and is listed."""
    telescope_id = _telescope(session, request.telescope)
    lifted = lift_pauses(session, telescope_id, request.target, by=actor(request.by), now=now)
    session.flush()
    return PauseAnswer(pauses=tuple(pause_views(session)), lifted=lifted)


def pause_views(session: Session) -> Iterator[PauseView]:
    """Give all pauses, the oldest first."""
    query = select(Pause, Telescope.name).outerjoin(Telescope, Telescope.id == Pause.telescope_id)
    for row, telescope in session.execute(query.order_by(Pause.id)):
        yield PauseView(
            what=scope_words(session, row),
            telescope=telescope,
            target=row.target,
            by=row.by,
            reason=row.reason,
            paused_at=row.paused_at,
        )


def _telescope(session: Session, name: str | None) -> int | None:
    return None if name is None else find_telescope(session, name)
