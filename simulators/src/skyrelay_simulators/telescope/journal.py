"""A record of everything that was asked of a telescope, for assertions and for looking at."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

from skyrelay_simulators.telescope.clock import Clock

_KEPT = 50_000  # entries; a night with two chatty clients makes about half of that


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One thing that was asked, and how it was answered.

    Attributes
    ----------
    number
        Counts from 1 over all channels of one telescope.
    monotonic_s
        When it was answered, on a clock that never goes back.
    at
        The same moment, aware, in UTC (the host's clock, not the telescope's).
    channel
        What was asked: ``rpc``, ``http``, ``smb`` or ``udp``. What the telescope did by itself:
        ``telescope`` (``observing``, ``idle``, ``reboot``, ``up``), ``stack`` (``begin`` and how it ended),
        ``fault`` (the switch of an incident that happened).
    connection
        Which connection it came over, e.g. ``127.0.0.1:51234``; empty for its own doings.
    method
        RPC method, HTTP verb, SMB command, or what happened (``connect``, ``idle close``, …).
    params
        RPC parameters, the HTTP or SMB path, the frames of a stack.
    code
        RPC code (0 = good) or HTTP status.
    verify
        Whether the request carried a ``verify`` field of its own.
    """

    number: int
    monotonic_s: float
    at: datetime
    channel: str
    connection: str
    method: str
    params: Any
    code: int
    verify: bool = False

    def to_json(self) -> dict[str, Any]:
        """Give the entry as JSON can carry it."""
        return {**asdict(self), "at": self.at.isoformat()}


class Journal:
    """Thread-safe list of `JournalEntry`, optionally appended to a file as JSON lines."""

    def __init__(self, clock: Clock, path: Path | None = None) -> None:
        self._clock = clock
        self._path = path
        self._entries: deque[JournalEntry] = deque(maxlen=_KEPT)
        self._count = 0
        self._lock = Lock()

    def note(
        self,
        channel: str,
        connection: str,
        method: str,
        *,
        params: Any = None,
        code: int = 0,
        verify: bool = False,
    ) -> None:
        """Write an entry."""
        with self._lock:
            self._count += 1
            now_s, now = self._clock.monotonic_s(), self._clock.now_utc()
            entry = JournalEntry(self._count, now_s, now, channel, connection, method, params, code, verify)
            self._entries.append(entry)
            self._append_to_file(entry)

    def _append_to_file(self, entry: JournalEntry) -> None:
        if self._path is None:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry.to_json(), ensure_ascii=False, default=str) + "\n")

    def entries(
        self, *, method: str | None = None, channel: str | None = None, since: int = 0
    ) -> list[JournalEntry]:
        """Give the entries after number ``since``, oldest first, of one method or channel if asked."""
        with self._lock:
            entries = list(self._entries)
        return [
            entry
            for entry in entries
            if entry.number > since and method in {None, entry.method} and channel in {None, entry.channel}
        ]

    def methods(self, *, channel: str = "rpc") -> list[str]:
        """Give the methods in the order asked."""
        return [entry.method for entry in self.entries(channel=channel)]

    def clear(self) -> None:
        """Forget all entries (numbers go on)."""
        with self._lock:
            self._entries.clear()
