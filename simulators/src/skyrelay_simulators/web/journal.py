"""What a simulated server was asked, request by request."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file as it arrived: its field, its name, its size in bytes and the SHA-256 of its bytes."""

    field: str
    file_name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One request.

    Attributes
    ----------
    at
        Aware UTC time of its arrival.
    endpoint
        The server's name for it (``upload_stack``, ``heartbeat``, …), or the path if it is none of its own.
    user
        Who logged in (CrowdSky: the user; the cloud: the node); `None` if nobody did.
    status
        Of the answer; `None` if the connection was closed without one.
    fields
        The form's fields, without the files.
    content
        The JSON that was sent, without keys and passwords; `None` if it was none.
    fault
        Mode of the fault that was shown, if one was.
    """

    at: datetime
    method: str
    path: str
    query: str
    endpoint: str
    user: str | None
    status: int | None
    bytes_received: int
    fields: dict[str, str]
    files: tuple[ReceivedFile, ...]
    content: Any
    fault: str | None

    def to_json(self) -> dict[str, object]:
        """Give it as the control endpoint does."""
        return asdict(self) | {"at": self.at.isoformat()}


@dataclass(slots=True)
class Draft:
    """An entry that is still being written, while its request is served."""

    method: str
    path: str
    query: str
    endpoint: str
    fault: str | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    user: str | None = None
    status: int | None = None
    bytes_received: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    files: list[ReceivedFile] = field(default_factory=list)
    content: Any = None

    def finished(self) -> JournalEntry:
        """Close the entry."""
        return JournalEntry(
            at=self.at,
            method=self.method,
            path=self.path,
            query=self.query,
            endpoint=self.endpoint,
            user=self.user,
            status=self.status,
            bytes_received=self.bytes_received,
            fields=dict(self.fields),
            files=tuple(self.files),
            content=self.content,
            fault=self.fault,
        )


class Journal:
    """All requests since the simulator started, but for those to its controls. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[JournalEntry] = []

    def add(self, entry: JournalEntry) -> None:
        """Write an entry down."""
        with self._lock:
            self._entries.append(entry)

    def entries(self, endpoint: str | None = None) -> list[JournalEntry]:
        """Give the entries, oldest first; those of one endpoint if one is named."""
        with self._lock:
            return [entry for entry in self._entries if endpoint in {None, entry.endpoint}]
