"""Hours of the day in which no files are sent, by the wall clock of the observatory."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo

_SPAN = re.compile(r"(?P<begin>\d\d?:\d\d)\s*[-–]\s*(?P<end>\d\d?:\d\d)", re.ASCII)
_MINUTE = timedelta(minutes=1)
_MINUTES_LOOKED_AT = 26 * 60  # a day, and the hour that a clock change may add


@dataclass(frozen=True, slots=True)
class QuietHours:
    """One span of the wall clock, its end not included; over midnight where it ends before it begins."""

    begin: time
    end: time

    def __post_init__(self) -> None:
        """Refuse a span without a length: it could be no time at all, or the whole day."""
        if self.begin == self.end:
            raise ValueError(f"begin and end are both {self.begin:%H:%M}: write a span such as 22:00-06:30")

    @classmethod
    def parse(cls, text: str) -> QuietHours:
        """Read ``22:00-06:30``.

        Raises
        ------
        ValueError
            If it is none.
        """
        match = _SPAN.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is no span of hours: write it as 22:00-06:30")
        return cls(_time(match["begin"]), _time(match["end"]))

    def __str__(self) -> str:
        """Write it as it is read."""
        return f"{self.begin:%H:%M}-{self.end:%H:%M}"

    def holds(self, local: time) -> bool:
        """Tell whether the wall clock is inside."""
        if self.begin < self.end:
            return self.begin <= local < self.end
        return local >= self.begin or local < self.end


def quiet_until(spans: Iterable[QuietHours], now: datetime, zone: tzinfo | None) -> datetime | None:
    """Give when the quiet ends that lasts now; `None` when there is none.

    The wall clock decides at each moment. So an hour that a clock change repeats is quiet both times, one
    that it leaves out is no hour, and a span whose end is left out ends where the clock jumps over it.

    Parameters
    ----------
    now
        Aware time.
    zone
        Of the observatory; `None`: the machine's.

    Returns
    -------
    datetime or None
        Aware, in the zone of ``now``, to the minute; a day on where the spans leave no minute free.
    """
    spans = tuple(spans)
    if not _is_quiet(spans, now, zone):
        return None
    minute = now.replace(second=0, microsecond=0)
    following = (minute + number * _MINUTE for number in range(1, _MINUTES_LOOKED_AT))
    free = (moment for moment in following if not _is_quiet(spans, moment, zone))
    return next(free, minute + _MINUTES_LOOKED_AT * _MINUTE)


def _is_quiet(spans: tuple[QuietHours, ...], moment: datetime, zone: tzinfo | None) -> bool:
    local = moment.astimezone(zone).time()
    return any(span.holds(local) for span in spans)


def _time(text: str) -> time:
    hour, _, minute = text.partition(":")
    return time(int(hour), int(minute))
