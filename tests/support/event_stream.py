"""Read server-sent events off a running gateway, as a browser does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from support.gateway import GatewayClient


@dataclass(frozen=True, slots=True)
class Event:
    """One event; ``id`` is `None` where it has none."""

    name: str
    data: Any
    id: int | None


class EventSource:
    """An open stream of events."""

    def __init__(self, answer: requests.Response) -> None:
        self.answer = answer
        self._lines = answer.iter_lines(chunk_size=1)
        self.comments = 0

    def next(self) -> Event | None:
        """Give the next event; `None` when the server ended the stream."""
        fields: dict[str, str] = {}
        for raw in self._lines:
            name, _, value = raw.decode().partition(": ")
            if not name and value:
                self.comments += 1
            elif raw:
                fields[name] = value
            elif "event" in fields:
                id_ = int(fields["id"]) if "id" in fields else None
                return Event(fields["event"], json.loads(fields["data"]), id_)
        return None

    def until(self, name: str) -> Event:
        """Give the next event of that name."""
        while (event := self.next()) is not None:
            if event.name == name:
                return event
        raise AssertionError(f"the stream ended before an event {name!r}")

    def comment(self) -> None:
        """Wait for a comment."""
        for raw in self._lines:
            if raw.startswith(b":"):
                return
        raise AssertionError("the stream ended before a comment")


@contextmanager
def watching(gateway: GatewayClient, **headers: str) -> Iterator[EventSource]:
    """Watch a gateway's events inside the ``with``."""
    with requests.Session() as session:
        session.trust_env = False
        url = f"{gateway.address}/api/v1/events"
        with session.get(url, headers={**gateway.shown, **headers}, stream=True, timeout=30) as answer:
            assert answer.status_code == 200, answer.text
            yield EventSource(answer)
