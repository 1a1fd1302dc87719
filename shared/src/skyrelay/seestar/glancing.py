"""Glance at what a telescope does while somebody waits for its stack.

The glances have a thread of their own, so that a telescope which does not answer delays nobody who
asks to stop.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from types import TracebackType
from typing import Self

from skyrelay.errors import SkyrelayError
from skyrelay.logs import get_logger
from skyrelay.seestar.device import TelescopeStatus
from skyrelay.seestar.telescope import Telescope as Seestar

EVERY = timedelta(seconds=3)  # how soon a stack makes way for an observation
_JOIN_S = 0.5  # a glance that hangs ends by itself, at its own deadline


class Glances:
    """What the telescope was last seen to do; a context, glances are cast inside it.

    Parameters
    ----------
    seestar
        The telescope; its connection is shared with whoever waits.
    """

    def __init__(self, seestar: Seestar) -> None:
        self._seestar = seestar
        self._newest: TelescopeStatus | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._glance_on, name="glances", daemon=True)

    @property
    def newest(self) -> TelescopeStatus | None:
        """The status seen last; `None` before the first glance."""
        return self._newest

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(_JOIN_S)

    def _glance_on(self) -> None:
        while not self._done.is_set():
            try:
                self._newest = self._seestar.state()
            except SkyrelayError as error:  # closed on our side, say: whoever waits learns it too
                get_logger(__name__).info("no glance", problem=str(error))
            self._done.wait(EVERY.total_seconds())
