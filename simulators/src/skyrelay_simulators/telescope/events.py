"""What a telescope says unasked, to everybody who is connected."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from skyrelay_simulators.telescope.clock import WallClock

Listener = Callable[[bytes], None]
LINE_END = b"\r\n"


class Events:
    """Hands events to all connections; may be told of them from any thread.

    Parameters
    ----------
    loop
        The loop that the connections live in.
    wall_clock
        Gives the Timestamp of each event.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, wall_clock: WallClock) -> None:
        self._loop = loop
        self._wall_clock = wall_clock
        self._listeners: set[Listener] = set()

    def add(self, listener: Listener) -> None:
        """Begin to tell ``listener`` (in the loop)."""
        self._listeners.add(listener)

    def remove(self, listener: Listener) -> None:
        """Stop telling ``listener`` (in the loop)."""
        self._listeners.discard(listener)

    def line(self, name: str, fields: dict[str, Any]) -> bytes:
        """Write one event as it goes over the wire."""
        event = {"Event": name, "Timestamp": f"{self._wall_clock.uptime_s():.9f}", **fields}
        return json.dumps(event, ensure_ascii=False).encode() + LINE_END

    def publish(self, name: str, fields: dict[str, Any]) -> None:
        """Tell everybody, from any thread; nothing happens once the loop is closed."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell, self.line(name, fields))

    def _tell(self, line: bytes) -> None:
        for listener in tuple(self._listeners):
            listener(line)
