"""What of the past is forgotten: the history of steps and runs. The books themselves stay.

Frames, blocks, stacks and deliveries are never forgotten: without its row a frame that still lies on its
telescope would count as new, and a stack would be sent again.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from skyrelay.store.tables import AuditEntry, Run, RunBlock

MOST_AT_ONCE = 10_000  # rows; what is left goes at the next tick, and no writer waits for long


def forget_history(session: Session, before: datetime, most: int = MOST_AT_ONCE) -> int:
    """Forget the steps taken, and the runs ended, before a time; give how many rows went.

    The latest step stays: SQLite would give its number to the next one, and live pages, whose place in the
    log is a number, would not be told of that. A run that goes on is no history; a telescope has one at most.
    """
    old_runs = select(Run.id).where(Run.ended_at < before).order_by(Run.id).limit(most)
    runs = list(session.scalars(old_runs))
    parts = session.execute(delete(RunBlock).where(RunBlock.run_id.in_(runs))).rowcount  # type: ignore[attr-defined] # a cursor's
    session.execute(delete(Run).where(Run.id.in_(runs)))
    latest = select(func.max(AuditEntry.id)).scalar_subquery()
    is_old = (AuditEntry.at < before, AuditEntry.id < latest)
    old_steps = select(AuditEntry.id).where(*is_old).order_by(AuditEntry.id).limit(most)
    steps = session.execute(delete(AuditEntry).where(AuditEntry.id.in_(old_steps))).rowcount  # type: ignore[attr-defined] # a cursor's
    return int(steps + parts + len(runs))
