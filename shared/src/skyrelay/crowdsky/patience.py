"""Waiting for a server that asks us to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from skyrelay.crowdsky.errors import ServerBusy, UploadInterrupted

_T = TypeVar("_T")
_TRIES = 3
_BUSY_WAIT = timedelta(seconds=5)  # where the server does not say how long
_BROKEN_WAIT = timedelta(seconds=1)  # a Wi-Fi that hiccups
LONGEST_WAIT = timedelta(minutes=2)  # a person looks on; whoever is asked for more comes back himself


@dataclass(frozen=True, slots=True)
class Patience:
    """Tries again what the server, or the line, did not take this time and surely has not done.

    Attributes
    ----------
    pause
        Waits for so many seconds.
    """

    pause: Callable[[float], None] = time.sleep

    def call(self, ask: Callable[[], _T]) -> _T:
        """Ask, and ask again up to two times. What is raised last is raised on."""
        for _ in range(_TRIES - 1):
            try:
                return ask()
            except (ServerBusy, UploadInterrupted) as error:
                usual = _BUSY_WAIT if isinstance(error, ServerBusy) else _BROKEN_WAIT
                wait = usual if error.retry_after is None else error.retry_after
                if wait > LONGEST_WAIT:
                    raise
                self.pause(wait.total_seconds())
        return ask()
