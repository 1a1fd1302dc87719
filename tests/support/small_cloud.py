"""A small cloud over real HTTP: it registers nodes, takes heartbeats, and answers what it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass(frozen=True)
class Call:
    """One request as it came in."""

    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Answer:
    """What to answer instead of the usual; ``hold`` is waited for first."""

    status: int = 200
    content: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    hold: threading.Event | None = None


class SmallCloud:
    """Serves on a port of its own; `answers` (to what is posted) are used up first, in order."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.polls: list[Call] = []
        self.answers: list[Answer] = []
        self.keys: dict[str, str] = {}
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                call = Call(self.path, dict(self.headers), json.loads(self.rfile.read(length)))
                cloud.calls.append(call)
                cloud._reply(self, cloud.answers.pop(0) if cloud.answers else cloud._usual(call))

            def do_GET(self) -> None:
                call = Call(self.path, dict(self.headers), None)
                cloud.polls.append(call)
                cloud._reply(self, cloud._usual(call))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
                """Say nothing on stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def start(self) -> None:
        """Serve."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._server.shutdown()
        self._thread.join(5)
        self._server.server_close()

    def beats(self) -> int:
        """Count the heartbeats that came in."""
        return sum(call.path.endswith("/heartbeat") for call in self.calls)

    def registrations(self) -> int:
        """Count the registrations that came in."""
        return sum(call.path.endswith("/register") for call in self.calls)

    def _usual(self, call: Call) -> Answer:
        if call.path == "/api/v1/nodes/register":
            node_id = call.body["node_id"] or f"node-{len(self.keys) + 1}"
            self.keys[node_id] = f"key-of-{node_id}"
            return _json(200, {"node_id": node_id, "api_key": self.keys[node_id]})
        if self.keys.get(call.headers.get("X-Node-Id", "")) != call.headers.get("X-Api-Key", ""):
            return _json(401, {"error": "unknown node or key"})
        return _json(200, {"ok": True, "server_time": "2025-03-27T01:20:32Z"})

    def _reply(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        if answer.hold is not None:
            answer.hold.wait(60)
        try:
            send = handler.send_response_only if "Date" in answer.headers else handler.send_response
            send(answer.status)
            for name, value in answer.headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(answer.content)))
            handler.end_headers()
            handler.wfile.write(answer.content)
        except ConnectionError:
            return  # the caller did not wait


def _json(status: int, body: Mapping[str, object]) -> Answer:
    return Answer(status, json.dumps(body).encode())


@pytest.fixture
def cloud() -> Iterator[SmallCloud]:
    """Give a running cloud of this test's own."""
    cloud = SmallCloud()
    cloud.start()
    yield cloud
    cloud.stop()
