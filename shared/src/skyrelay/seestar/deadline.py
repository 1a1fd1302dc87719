"""Deadlines on the monotonic clock, so that a wrong or stepping wall clock stretches no wait."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on this machine's monotonic clock; it goes on while a process is stopped (SIGSTOP).

    Attributes
    ----------
    at_s
        Seconds on `time.monotonic`.
    """

    at_s: float

    @classmethod
    def after(cls, wait: timedelta) -> Deadline:
        """Give the deadline that lies ``wait`` from now."""
        return cls(time.monotonic() + wait.total_seconds())

    @property
    def left_s(self) -> float:
        """Seconds left; 0 when it has passed."""
        return max(0.0, self.at_s - time.monotonic())

    @property
    def left(self) -> timedelta:
        """Time left; zero when it has passed."""
        return timedelta(seconds=self.left_s)

    @property
    def passed(self) -> bool:
        """Whether nothing is left."""
        return self.left_s <= 0.0

    def or_after(self, wait: timedelta) -> Deadline:
        """Give this deadline, or the one ``wait`` from now if that comes sooner."""
        return Deadline(min(self.at_s, time.monotonic() + wait.total_seconds()))
