"""A daemon thread that takes turns: each says how long to wait for the next."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta

FIRST_RETRY = timedelta(seconds=2)
LONGEST_RETRY = timedelta(minutes=10)
_RETRY_JITTER = 0.25  # of a delay, so that what failed together does not come back together
_BEAT_JITTER = 0.1  # of an interval: ten thousand nodes that began in one second drift apart
_LATE_S = 120.0  # longer than any one turn may take


class Loop:
    """Takes turns in a thread until it is stopped.

    Parameters
    ----------
    name
        Of the thread.
    turn
        Does what is due, raises nothing, and gives how long to wait.
    """

    def __init__(self, name: str, turn: Callable[[], timedelta]) -> None:
        self._turn = turn
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._due_s = time.monotonic()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._due_s = time.monotonic()
        self.thread.start()

    def wake(self) -> None:
        """Have the next turn taken now."""
        self._wake.set()

    def tell_to_stop(self) -> None:
        """Have no further turn taken."""
        self._stopping.set()
        self._wake.set()

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    def turns(self) -> bool:
        """Tell whether the thread comes back when it should."""
        return time.monotonic() < self._due_s + _LATE_S

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            self._due_s = time.monotonic()
            pause_s = self._turn().total_seconds()
            self._due_s = time.monotonic() + pause_s
            if not self._stopping.is_set():
                self._wake.wait(pause_s)


def spread(interval_s: float) -> timedelta:
    """Give an interval, up to a tenth longer or shorter by chance."""
    return timedelta(seconds=interval_s) * (1 + _BEAT_JITTER * _chance())


def retry_delay(failures: int, wish: timedelta | None, longest: timedelta = LONGEST_RETRY) -> timedelta:
    """Give the wait after ``failures`` earlier ones: doubling, or as long as was asked for."""
    grown = min(FIRST_RETRY * 2 ** min(failures, 16), longest)
    return max(grown if wish is None else wish, FIRST_RETRY) * (1 + _RETRY_JITTER * _chance())


def _chance() -> float:
    return 2 * random.random() - 1  # noqa: S311 - it spreads load and hides nothing
