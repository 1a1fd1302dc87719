"""The two clocks in play: the world's, and the telescope's own, which can be wrong."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Protocol
from zoneinfo import ZoneInfo


class Clock(Protocol):
    """Where the simulators get the time from."""

    def now_utc(self) -> datetime:
        """Give the present moment, aware, in UTC."""

    def monotonic_s(self) -> float:
        """Give seconds of a clock that never goes back."""

    def real_s(self, seconds: float) -> float:
        """Give for how long to wait, really, until so many seconds have passed by this clock."""


class SystemClock:
    """This machine's clock."""

    def now_utc(self) -> datetime:
        """Give the present moment, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Give seconds of a clock that never goes back."""
        return time.monotonic()

    def real_s(self, seconds: float) -> float:
        """Give for how long to wait, really, until so many seconds have passed by this clock."""
        return seconds


class FastClock:
    """A clock that begins at a moment of one's choice and runs as fast as one likes.

    Parameters
    ----------
    start
        What it shows at first, aware; `None` is the present.
    speed
        Its seconds in a real one.
    """

    def __init__(self, start: datetime | None = None, speed: float = 1.0) -> None:
        if speed <= 0 or (start is not None and start.tzinfo is None):
            raise ValueError("a clock wants a speed above 0, and a start with its offset from UTC")
        self._start = (start or datetime.now(UTC)).astimezone(UTC)
        self._speed = speed
        self._began_s = time.monotonic()

    def now_utc(self) -> datetime:
        """Give the moment that it shows, aware, in UTC."""
        return self._start + timedelta(seconds=self.monotonic_s())

    def monotonic_s(self) -> float:
        """Give its seconds since it began."""
        return (time.monotonic() - self._began_s) * self._speed

    def real_s(self, seconds: float) -> float:
        """Give for how long to wait, really, until so many seconds have passed by this clock."""
        return seconds / self._speed


class WallClock:
    """The telescope's wall clock: a zone, and an error that ``pi_set_time`` changes."""

    def __init__(self, clock: Clock, timezone: str) -> None:
        self._clock = clock
        self._zone = ZoneInfo(timezone)
        self._error = timedelta()
        self._lock = Lock()
        self._started_s = clock.monotonic_s()

    @property
    def zone_name(self) -> str:
        """IANA name of the zone that is shown."""
        return self._zone.key

    def now_utc(self) -> datetime:
        """Give what the telescope takes for the present moment, aware, in UTC."""
        with self._lock:
            return self._clock.now_utc() + self._error

    def now_local(self) -> datetime:
        """Give what the telescope's clock shows: naive local time."""
        return self.to_local(self.now_utc())

    def to_local(self, moment: datetime) -> datetime:
        """Give the naive local time that the clock shows at an aware ``moment``."""
        return moment.astimezone(self._zone).replace(tzinfo=None)

    def set_local(self, shown_local: datetime, timezone: str) -> None:
        """Set the clock to a naive local time in ``timezone``; raises `KeyError` on an unknown zone."""
        zone = ZoneInfo(timezone)
        with self._lock:
            self._zone = zone
            self._error = shown_local.replace(tzinfo=zone).astimezone(UTC) - self._clock.now_utc()

    def shift(self, error: timedelta) -> None:
        """Make the clock wrong by ``error`` (positive = ahead)."""
        with self._lock:
            self._error = error

    def restart(self) -> None:
        """Begin to count the uptime anew."""
        self._started_s = self._clock.monotonic_s()

    def uptime_s(self) -> float:
        """Give the seconds since the telescope was switched on, as in every reply's Timestamp."""
        return self._clock.monotonic_s() - self._started_s
