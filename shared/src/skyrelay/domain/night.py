"""Nights: noon to noon, named by the evening's local date."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

_HALF_DAY = timedelta(hours=12)


def night_of(instant: datetime, offset: timedelta) -> date:
    """Name the night of an aware instant by the local date of its evening.

    Parameters
    ----------
    instant
        Aware time.
    offset
        The telescope's local time minus UTC.
    """
    return (instant.astimezone(UTC) + offset - _HALF_DAY).date()
