"""Find the UTC offset of a frame whose header cannot tell it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.domain.frame_facts import KnownOffset
from skyrelay.domain.utc_offset import OffsetSource
from skyrelay.store.tables import Frame, Telescope

_log = structlog.stdlib.get_logger(__name__)
_SAME_NIGHT = timedelta(hours=12)


def fallback_offset(
    session: Session, telescope: Telescope, saved_local: datetime, site_zone: ZoneInfo | None
) -> KnownOffset:
    """Give the offset that most likely holds at a naive local time of the telescope.

    A frame of the same night whose header told it, else the telescope's configured zone, else the
    observatory's, else the one that the telescope says itself, else this server's (with a warning: a
    container usually runs in UTC).
    """
    neighbour = _neighbour(session, telescope, saved_local)
    if neighbour is not None:
        return KnownOffset(neighbour, OffsetSource.NEIGHBOUR)
    zone = site_zone if telescope.timezone == "auto" else ZoneInfo(telescope.timezone)
    if zone is None and telescope.zone is not None:
        zone = ZoneInfo(telescope.zone)
    if zone is not None:
        return KnownOffset(offset_in_zone(saved_local, zone), OffsetSource.TELESCOPE_ZONE)
    _log.warning("no zone is known for the telescope; this server's is taken", telescope=telescope.name)
    local = saved_local.astimezone()  # what a naive time means on this server
    return KnownOffset(local.utcoffset() or timedelta(0), OffsetSource.SERVER_ZONE)


def offset_in_zone(local: datetime, zone: ZoneInfo) -> timedelta:
    """Give the UTC offset of a naive local time in a zone (the first of two, when clocks go back)."""
    return local.replace(tzinfo=zone).utcoffset() or timedelta(0)


def _neighbour(session: Session, telescope: Telescope, saved_local: datetime) -> timedelta | None:
    minutes = session.scalar(
        select(Frame.utc_offset_min)
        .where(
            Frame.telescope_id == telescope.id,
            Frame.offset_source == OffsetSource.HEADER,
            Frame.saved_local.between(saved_local - _SAME_NIGHT, saved_local + _SAME_NIGHT),
            # An index narrows the night; a local time is never more than 14 h from its UTC time.
            Frame.start_at.between(
                (saved_local - 3 * _SAME_NIGHT).replace(tzinfo=UTC),
                (saved_local + 3 * _SAME_NIGHT).replace(tzinfo=UTC),
            ),
        )
        .order_by(Frame.start_at.desc())
        .limit(1)
    )
    return None if minutes is None else timedelta(minutes=minutes)
