"""The wire to a telescope, in the hands of a test: odd answers, lost replies, dead connections."""

from __future__ import annotations

import json
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

Answer = Callable[[dict[str, Any]], bytes | None]


class _Listener(ABC):
    """Accepts connections on a free port of this machine, each in a thread of its own."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._server.getsockname()
        self.accepted = 0
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    def _spawn(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self.accepted += 1
                self._open.append(client)
                self._spawn(self._serve_until_closed, client)

    def _serve_until_closed(self, client: socket.socket) -> None:
        with suppress(OSError, ValueError):
            self.serve(client)
        _hang_up(client)

    @abstractmethod
    def serve(self, client: socket.socket) -> None:
        """Talk with one client until it is done with."""

    def drop(self) -> None:
        """Drop all connections."""
        for connection in tuple(self._open):
            _hang_up(connection)

    def close(self) -> None:
        """Stop listening and drop all connections."""
        _hang_up(self._server)
        self.drop()
        for thread in self._threads:
            thread.join(5)


class ScriptedTelescope(_Listener):
    """Answers each request with the bytes that ``answer`` gives; `None` drops the connection."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.requests: list[dict[str, Any]] = []
        super().__init__()

    def serve(self, client: socket.socket) -> None:
        """Answer each line."""
        with client.makefile("rb") as lines:
            for line in lines:
                request = json.loads(line)
                self.requests.append(request)
                answer = self._answer(request)
                if answer is None:
                    return
                client.sendall(answer)

    def asked(self, method: str) -> int:
        """Count the requests of a method."""
        return sum(request["method"] == method for request in self.requests)


class LossyWire(_Listener):
    """Stands between a client and a telescope and loses what it is told to.

    Attributes
    ----------
    drop_at
        The connection drops where the reply to such a method should pass, once for each mention.
    swallow
        Replies to such a method never pass, the connection stands; once for each mention.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self.drop_at: list[str] = []
        self.swallow: list[str] = []
        super().__init__()

    def serve(self, client: socket.socket) -> None:
        """Pass lines on, both ways."""
        with socket.create_connection(self._upstream) as telescope:
            self._open.append(telescope)
            self._spawn(self._pass_on, client, telescope)
            with telescope.makefile("rb") as lines:
                for line in lines:
                    if not self._loses(json.loads(line).get("method"), client):
                        client.sendall(line)

    def _loses(self, method: str, client: socket.socket) -> bool:
        if method in self.swallow:
            self.swallow.remove(method)
            return True
        if method in self.drop_at:
            self.drop_at.remove(method)
            _hang_up(client)
            return True
        return False

    def _pass_on(self, client: socket.socket, telescope: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                telescope.sendall(data)
        _hang_up(telescope)


class MutableWire(_Listener):
    """Passes bytes of any protocol, and loses answers or requests when a test says so."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._muted: set[socket.socket] = set()
        self._mute_when: Callable[[], bool] = lambda: False
        self._close_when: Callable[[], bool] = lambda: False
        self._refused: Callable[[bytes], bool] = lambda _data: False
        super().__init__()

    def mute(self) -> None:
        """Let no answer pass on the connections that are open now."""
        self._muted.update(self._open)

    def mute_when(self, condition: Callable[[], bool]) -> None:
        """Mute a connection once, where an answer should pass and the condition holds."""
        self._mute_when = condition

    def close_when(self, condition: Callable[[], bool]) -> None:
        """Close everything where an answer should pass and the condition holds."""
        self._close_when = condition

    def refuse_requests_of(self, condition: Callable[[bytes], bool]) -> None:
        """Drop the connection instead of passing such a request."""
        self._refused = condition

    def serve(self, client: socket.socket) -> None:
        """Pass bytes on, both ways."""
        with socket.create_connection(self._upstream) as telescope:
            self._open.append(telescope)
            self._spawn(self._pass_on, client, telescope)
            while data := telescope.recv(65536):
                self._lose(client)
                if client not in self._muted:
                    client.sendall(data)

    def _lose(self, client: socket.socket) -> None:
        if self._mute_when():
            self._mute_when = lambda: False
            self._muted.add(client)
        if self._close_when():
            _hang_up(self._server)
            self.drop()

    def _pass_on(self, client: socket.socket, telescope: socket.socket) -> None:
        with suppress(OSError):
            while (data := client.recv(65536)) and not self._refused(data):
                telescope.sendall(data)
        _hang_up(telescope)
        _hang_up(client)


def reply(request: dict[str, Any], result: object = 0, code: int = 0) -> bytes:
    """Write a reply as the firmware does."""
    content = {
        "jsonrpc": "2.0",
        "Timestamp": "1.5",
        "method": request["method"],
        "id": request["id"],
        "code": code,
    }
    outcome = {"error": "fail", "result": None} if code else {"result": result}
    return json.dumps({**content, **outcome}).encode() + b"\r\n"


def old_firmware(answer: Answer) -> Answer:
    """Answer as a firmware without authentication, where ``answer`` is not asked otherwise."""
    return lambda request: (
        reply(request, code=103) if request["method"] == "get_verify_str" else answer(request)
    )


@contextmanager
def scripted(answer: Answer) -> Iterator[ScriptedTelescope]:
    """Run a telescope that answers as scripted."""
    telescope = ScriptedTelescope(answer)
    try:
        yield telescope
    finally:
        telescope.close()


@contextmanager
def lossy(host: str, port: int) -> Iterator[LossyWire]:
    """Run a wire to a telescope that can lose things."""
    wire = LossyWire(host, port)
    try:
        yield wire
    finally:
        wire.close()


@contextmanager
def mutable(host: str, port: int) -> Iterator[MutableWire]:
    """Run a wire to a telescope that can be muted."""
    wire = MutableWire(host, port)
    try:
        yield wire
    finally:
        wire.close()


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
