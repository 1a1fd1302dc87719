"""Let frames go on that were held for their telescope's clock, once a person has released them."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.domain.states import FrameState
from skyrelay.domain.utc_offset import exposure_start
from skyrelay.settings import Settings
from skyrelay.store.held_frames import is_not_ok
from skyrelay.store.tables import Frame, Telescope
from skyrelay_stacker.offsets import fallback_offset
from skyrelay_stacker.recording import put_into_block, refresh_blocks

_AT_ONCE = 2000  # of a long night; the next tick takes the next


def settle_released(session: Session, settings: Settings, now: datetime) -> int:
    """Put released frames into their blocks; give how many.

    A frame whose header's time could not be believed goes by the time in its name: that is what a person
    who releases it has seen.
    """
    is_held = Frame.state == FrameState.CLOCK_WRONG
    released = select(Frame).where(is_not_ok(), is_held, Frame.released_at.is_not(None))
    frames = session.scalars(released.order_by(Frame.id).limit(_AT_ONCE)).all()
    touched: set[int] = set()
    for frame in frames:
        if frame.utc_offset_min is None:
            _go_by_name(session, frame, settings)
        frame.state, frame.state_reason = FrameState.OK, None
        touched |= put_into_block(session, frame, settings.stacking, now)
    session.flush()
    refresh_blocks(session, touched, now)
    return len(frames)


def _go_by_name(session: Session, frame: Frame, settings: Settings) -> None:
    telescope = session.get_one(Telescope, frame.telescope_id)
    known = fallback_offset(session, telescope, frame.saved_local, settings.site_zone)
    frame.start_at = exposure_start(frame.saved_local, frame.exposure_s, known.offset)
    frame.start_source, frame.offset_source = "name", known.source
    frame.utc_offset_min = int(known.offset / timedelta(minutes=1))
