"""The layer around a simulated server's application: it keeps the journal and shows the faults."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, MutableMapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skyrelay_simulators.web.faults import Fault, FaultBoard
from skyrelay_simulators.web.journal import Draft, Journal

TRANSPORT = "skyrelay.transport"  # where a request's scope carries its connection
CONTROLS = "/_sim/"
_DRAFT = "skyrelay.draft"  # where a request's scope carries its journal entry
_OTHERWISE_SERVED = frozenset({"delay", "cut-answer", "no-ranges", "headers"})  # the application serves it
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s, so that closing resets


def draft_of(request: Request) -> Draft:
    """Give the journal entry of a request that is being served."""
    draft: Draft = request.scope[_DRAFT]
    return draft


class Observed:
    """Keeps the journal of an application's requests, and shows the faults that are switched on.

    Parameters
    ----------
    app
        The application; requests below ``/_sim/`` are its controls and go straight to it.
    name_of
        Names the endpoint that a request is for, as the faults and the journal do.
    """

    def __init__(
        self, app: ASGIApp, faults: FaultBoard, journal: Journal, name_of: Callable[[Scope], str]
    ) -> None:
        self._app = app
        self._name_of = name_of
        self._faults = faults
        self._journal = journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].startswith(CONTROLS):
            await self._app(scope, receive, send)
            return
        draft = Draft(scope["method"], scope["path"], scope["query_string"].decode(), self._name_of(scope))
        fault = self._faults.take(draft.endpoint)
        draft.fault = fault.mode if fault else None
        exchange = Exchange(scope, receive, send, draft, self._journal)
        try:
            await self._serve(exchange, fault)
        except ClientDisconnect:
            exchange.write_down()

    async def _serve(self, exchange: Exchange, fault: Fault | None) -> None:
        if fault is None:
            await exchange.run(self._app)
        elif fault.mode in _OTHERWISE_SERVED:
            exchange.change(fault)
            await exchange.run(self._app)
        elif fault.answers:
            await exchange.answer(*fault.answer())
        elif fault.mode == "reset":
            await exchange.reset(fault.after_bytes)
        else:
            await exchange.run_and_hang_up(self._app)


class Exchange:
    """One request and its answer on their way through."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, draft: Draft, journal: Journal) -> None:
        self._scope: MutableMapping[str, Any] = {**scope, _DRAFT: draft}
        self._receive_from_client = receive
        self._send_to_client = send
        self._draft = draft
        self._journal = journal
        self._has_whole_body = False
        self._is_written_down = False
        self._delay_s = 0.0
        self._other_headers: dict[str, str] = {}
        self._left_to_send: int | None = None

    def change(self, fault: Fault) -> None:
        """Have it served with a delay, without ranges, with other headers, or not to its end."""
        if fault.mode == "delay":
            self._delay_s = fault.seconds
        elif fault.mode == "headers":
            self._other_headers = {name.lower(): value for name, value in fault.headers.items()}
        elif fault.mode == "cut-answer":
            self._left_to_send = fault.after_bytes
        else:
            asked = [(name, value) for name, value in self._scope["headers"] if name != b"range"]
            self._scope["headers"] = asked

    async def run(self, app: ASGIApp) -> None:
        """Let the application serve it."""
        await app(self._scope, self._receive, self._send)

    async def run_and_hang_up(self, app: ASGIApp) -> None:
        """Let the application serve it, keep its answer back, and close the connection."""

        async def keep_back(_: Message) -> None:
            pass

        await app(self._scope, self._receive, keep_back)
        self.write_down()
        await self._hang_up(reset=False)

    async def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Take the whole request, and answer it with this."""
        lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        lines.append((b"content-length", str(len(body)).encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": lines})
        await self._send({"type": "http.response.body", "body": body})

    async def reset(self, after_bytes: int) -> None:
        """Take some of the body (-1: all of it), and reset the connection."""
        while not self._has_whole_body and not 0 <= after_bytes <= self._draft.bytes_received:
            await self._receive()
        self.write_down()
        await self._hang_up(reset=True)

    def write_down(self) -> None:
        """Put the request into the journal, once."""
        if not self._is_written_down:
            self._is_written_down = True
            self._journal.add(self._draft.finished())

    async def _receive(self) -> Message:
        message = await self._receive_from_client()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        self._draft.bytes_received += len(message.get("body", b""))
        self._has_whole_body = not message.get("more_body", False)
        return message

    async def _send(self, message: Message) -> None:
        """Send on; the body is taken first, and the journal written before the answer is complete."""
        if message["type"] == "http.response.start":
            while not self._has_whole_body:
                await self._receive()
            self._draft.status = message["status"]
            self._replace_headers(message)
            await asyncio.sleep(self._delay_s)
        elif self._left_to_send is not None:
            await self._send_some(message, self._left_to_send)
            return
        elif not message.get("more_body", False):
            self.write_down()
        await self._send_to_client(message)

    def _replace_headers(self, start: Message) -> None:
        own = [(name, value) for name, value in start["headers"] if name.decode() not in self._other_headers]
        others = self._other_headers.items()
        start["headers"] = own + [(name.encode(), value.encode("latin-1")) for name, value in others]

    async def _send_some(self, message: Message, left: int) -> None:
        """Send a part of the body, and hang up once the bytes are used up."""
        body = message.get("body", b"")
        self._left_to_send = max(left - len(body), 0)
        await self._send_to_client({**message, "body": body[:left], "more_body": True})
        if len(body) >= left:
            self.write_down()
            await self._hang_up(reset=False)
            raise ClientDisconnect

    async def _hang_up(self, *, reset: bool) -> None:
        transport: asyncio.Transport = self._scope[TRANSPORT]
        if reset:
            connection: socket.socket = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            transport.abort()
        else:
            transport.close()
        while (await self._receive_from_client())["type"] != "http.disconnect":
            pass
