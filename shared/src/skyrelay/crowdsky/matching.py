"""Which of the server's stacks are ours.

Equal chunk keys prove nothing (two filters, two telescopes, neighbours at an edge share one), and
a field that is null means that it cannot be known, not that it differs.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from skyrelay.crowdsky.stacks import ServerStack

TOLERANCE = timedelta(seconds=2)  # the server keeps whole seconds, cut or rounded
# What a Seestar's serial looks like (1d3fe189); "Seestar S50" says nothing about which one it is.
_SERIAL = re.compile(r"[0-9a-f]{6,}")


def is_ours(
    row: ServerStack,
    *,
    telescope_serial: str,
    filter_name: str,
    date_obs_start: datetime,
    date_obs_end: datetime,
) -> bool | None:
    """Tell whether a stack on the server is the one made of our frames.

    Parameters
    ----------
    row
        A stack as the server lists it.
    telescope_serial
        Of the telescope that took the frames, with or without its ``S50_``; empty if not known.
    filter_name
        Of the frames; empty if not known.
    date_obs_start, date_obs_end
        Aware times of the first and the last frame's DATE-OBS.

    Returns
    -------
    bool or None
        `True` when telescope, filter, start and end all agree, `False` when any of them
        disagrees, `None` when none disagrees but one cannot be known.
    """
    verdicts = (
        _same_telescope(row.telescope_id, telescope_serial),
        _same_filter(row.filter_name, filter_name),
        _same_time(row.date_obs_start, date_obs_start),
        _same_time(row.date_obs_end, date_obs_end),
    )
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _same_telescope(telescope_id: str | None, serial: str) -> bool | None:
    theirs, ours = _serial(telescope_id or ""), _serial(serial)
    if not theirs or not ours:
        return None
    if theirs == ours:
        return True
    return False if _SERIAL.fullmatch(theirs) else None


def _serial(telescope_id: str) -> str:
    """Give ``1d3fe189`` for ``S50_1d3fe189`` and for itself."""
    return telescope_id.strip().casefold().rpartition("_")[2]


def _same_filter(theirs: str | None, ours: str) -> bool | None:
    if not theirs or not ours:
        return None
    return theirs.strip().casefold() == ours.strip().casefold()


def _same_time(theirs: datetime | None, ours: datetime) -> bool | None:
    return None if theirs is None else abs(theirs - ours) <= TOLERANCE
