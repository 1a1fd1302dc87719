"""A reverse proxy as people put before the gateway: HTTP in, HTTP out, below a path."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import urlsplit

_OF_ONE_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "host"})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target: ClassVar[str]
    prefix: ClassVar[str]
    strips: ClassVar[bool]
    scheme: ClassVar[str]

    def _pass_on(self) -> None:
        if not self.path.startswith(self.prefix):
            self.send_error(404)
            return
        path = self.path.removeprefix(self.prefix) if self.strips else self.path
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with closing(http.client.HTTPConnection(self.target, timeout=20)) as connection:
            connection.request(self.command, path or "/", body, self._headers())
            with connection.getresponse() as answer, suppress(ConnectionError):  # who asked may be gone
                self._answer(answer)

    def _headers(self) -> dict[str, str]:
        passed = {name: value for name, value in self.headers.items() if name.lower() not in _OF_ONE_HOP}
        before = self.headers.get("X-Forwarded-For")
        chain = f"{before}, {self.client_address[0]}" if before else self.client_address[0]
        # Like many, it names the gateway by the address at which it reaches it, and the name asked for aside.
        ours = {"X-Forwarded-For": chain, "X-Forwarded-Proto": self.scheme, "Host": self.target}
        return {**passed, **ours, "X-Forwarded-Host": self.headers["Host"]}

    def _answer(self, answer: http.client.HTTPResponse) -> None:
        if answer.headers.get_content_type() == "text/event-stream":
            self._pass_events(answer)
            return
        content = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _OF_ONE_HOP | {"content-length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _pass_events(self, answer: http.client.HTTPResponse) -> None:
        """Hand a stream on as it comes, until one of the two ends it."""
        self.close_connection = True
        self.send_response_only(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Connection", "close")
        self.end_headers()
        with suppress(OSError):
            while part := answer.read1(4096):
                self.wfile.write(part)
                self.wfile.flush()

    do_GET = do_POST = do_DELETE = _pass_on  # noqa: N815 - the base's names

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@contextmanager
def little_proxy(address: str, prefix: str, *, strips: bool, scheme: str = "http") -> Iterator[str]:
    """Show the gateway at ``address`` below ``prefix``; give the address of that.

    Parameters
    ----------
    strips
        Whether the prefix is taken off before a request is passed on.
    scheme
        What it says that it was spoken to with.
    """
    traits = {"target": urlsplit(address).netloc, "prefix": prefix, "strips": strips, "scheme": scheme}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), traits))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{prefix}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
