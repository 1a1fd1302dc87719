"""How far a telescope's wall clock is from UTC, measured from the frame itself.

A sub-frame's name carries the local time at which it was saved, its header's DATE-OBS the UTC time
at which its exposure began: the difference, less exposure and save lag, is the UTC offset, through
daylight-saving changes and whatever the zone of the server. (Read off 55 real frames: the lag
between the exposure's end and the name's time is 3.1 to 3.6 s.)
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum

SAVE_LAG = timedelta(seconds=2.85)  # the middle of 3.1–3.6 s, less the half second that a name cuts off
_QUARTER = timedelta(minutes=15)  # every zone's offset is a multiple of it
_FARTHEST_WEST = timedelta(hours=-12)
_FARTHEST_EAST = timedelta(hours=14)
_WORST_RESIDUAL = timedelta(seconds=120)  # a slow save is seconds; minutes mean a wrong clock


class OffsetSource(StrEnum):
    """Where a frame's UTC offset came from, best first."""

    HEADER = "header"
    NEIGHBOUR = "neighbour"
    TELESCOPE_ZONE = "telescope zone"
    SERVER_ZONE = "server zone"


class ClockWrong(ValueError):  # noqa: N818 - the state that it leads to is called so
    """Name and header cannot both be right: one of the clocks is wrong."""


def measure_utc_offset(saved_local: datetime, exposure_s: float, date_obs: datetime) -> timedelta:
    """Measure the UTC offset of the telescope's wall clock.

    Parameters
    ----------
    saved_local
        Naive local time in the frame's name.
    exposure_s
        Exposure time in seconds.
    date_obs
        Aware UTC time of DATE-OBS, the start of the exposure.

    Returns
    -------
    timedelta
        Local minus UTC, a multiple of 15 minutes from −12 h to +14 h.

    Raises
    ------
    ClockWrong
        If no real zone explains the difference.
    """
    difference = saved_local.replace(tzinfo=UTC) - date_obs - timedelta(seconds=exposure_s) - SAVE_LAG
    offset = round(difference / _QUARTER) * _QUARTER
    if not _FARTHEST_WEST <= offset <= _FARTHEST_EAST:
        raise ClockWrong(f"name and DATE-OBS are {difference} apart: no time zone is")
    if abs(difference - offset) > _WORST_RESIDUAL:
        raise ClockWrong(f"name and DATE-OBS are {difference} apart, {difference - offset} off any time zone")
    return offset


def exposure_start(saved_local: datetime, exposure_s: float, offset: timedelta) -> datetime:
    """Estimate the UTC start of an exposure from the name's time alone.

    Good to 1.3 s: the name's time has lost its fraction of a second (32 real frames of firmware 4.27
    began 0.3 to 1.3 s after their estimate).
    """
    return (saved_local - offset - timedelta(seconds=exposure_s) - SAVE_LAG).replace(tzinfo=UTC)
