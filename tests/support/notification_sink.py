"""Where notifications arrive in tests: a real HTTP server that Apprise's json:// speaks to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr


class Sink:
    """Keeps what arrives; ``status`` is what it answers."""

    def __init__(self) -> None:
        self.status, self.messages = 200, list[dict[str, Any]]()
        self.refused = 0
        self.answers = threading.Event()  # cleared: what arrives has to wait for its answer
        self.answers.set()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                sink.answers.wait()
                if sink.status == 200:
                    sink.messages.append(message)
                else:
                    sink.refused += 1
                self.send_response(sink.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, name="sink", daemon=True).start()

    @property
    def url(self) -> SecretStr:
        """Its address, with a secret in it."""
        return SecretStr(f"json://me:s3cret@127.0.0.1:{self.server.server_port}/topic")

    @property
    def titles(self) -> list[str]:
        """The titles of what has arrived."""
        return [message["title"] for message in self.messages]

    def close(self) -> None:
        """End."""
        self.answers.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def sink() -> Iterator[Sink]:
    """Give a sink."""
    sink = Sink()
    yield sink
    sink.close()


@pytest.fixture
def other_sink() -> Iterator[Sink]:
    """Give a second one."""
    sink = Sink()
    yield sink
    sink.close()
