"""Compare a telescope's clock with this server's, and hold what may have been taken while it was wrong."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from skyrelay.seestar.device import CLOCK_TOLERANCE, DeviceInfo, clock_error
from skyrelay.store.tables import Telescope
from skyrelay.store.transitions import audit
from skyrelay_stacker.recording import ACTOR, hold_frames

_SAME_NIGHT = timedelta(hours=12)  # what else of a night came late is no better: held rather than mislabelled
_LONG_AGO = timedelta(days=36_500)  # an error beyond it reaches out of the calendar


def record_clock(session: Session, row: Telescope, device: DeviceInfo, now: datetime) -> None:
    """Write down whether a telescope's clock is right; a clock that is not shown changes nothing.

    When it is first found wrong, the frames that were recorded since it was right, and say that they
    were taken since then, are held: nobody saw when it went wrong.
    """
    error = clock_error(device, now)
    if error is None:
        return
    if abs(error) <= CLOCK_TOLERANCE:
        row.clock_checked_at, row.clock_wrong_since = now, None
    elif row.clock_wrong_since is None:
        row.clock_wrong_since = now
        _note_wrong(session, row, error, now)
        hold_frames(session, row.id, row.clock_checked_at, _taken_after(row.clock_checked_at, error), now)


def _taken_after(checked_at: datetime | None, error: timedelta) -> datetime | None:
    """Give the earliest time that a clock with such an error can have written into a frame since a check."""
    if checked_at is None or abs(error) > _LONG_AGO:
        return None
    return checked_at - abs(error) - _SAME_NIGHT


def _note_wrong(session: Session, row: Telescope, error: timedelta, now: datetime) -> None:
    way = "ahead of" if error > timedelta(0) else "behind"
    audit(
        session,
        now=now,
        actor=ACTOR,
        subject=("telescope", row.id),
        event="clock wrong",
        reason=f"the clock of {row.name} is {abs(error).total_seconds():.0f} s {way} this server's",
    )
