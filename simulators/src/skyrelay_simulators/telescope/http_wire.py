"""As much of HTTP/1.1 as the simulators' own small servers need, with the bytes in our hands.

A web framework would not let a test send half a body under a full Content-Length.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote, urlsplit

from skyrelay_simulators.telescope.tcp import TcpServer

_LONGEST_BODY = 1024 * 1024  # bytes; control requests are a line
_IDLE_S = 30.0  # seconds a kept connection may be silent


@dataclass(frozen=True, slots=True)
class Request:
    """One request; ``path`` is percent-decoded, header names are lower case."""

    peer: str
    verb: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Head:
    """The status line and headers of an answer."""

    status: HTTPStatus
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Write it as it goes over the wire."""
        lines = [f"HTTP/1.1 {self.status.value} {self.status.phrase}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class BadRequestError(Exception):
    """What came is no HTTP request."""


Respond = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


class HttpServer:
    """Accepts connections, reads requests, keeps connections alive; ``respond`` writes each answer."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self._tcp = TcpServer(self._serve_quietly)

    async def start(self, hosts: Sequence[str], port: int) -> int:
        """Listen at these addresses; give the real port."""
        return await self._tcp.start(hosts, port)

    async def stop(self) -> None:
        """Stop listening and drop all connections."""
        await self._tcp.stop()

    async def _serve_quietly(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(TimeoutError, BadRequestError):  # the client is silent or talks nonsense
            await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = writer.get_extra_info("peername")[:2]
        while (request := await read_request(reader, f"{host}:{port}")) is not None:
            await self._respond(request, writer)
            await writer.drain()
            if request.headers.get("connection", "").lower() == "close":
                return


async def read_request(reader: asyncio.StreamReader, peer: str) -> Request | None:
    """Read one request; `None` at the end of the connection. Raises `BadRequestError`."""
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _IDLE_S)
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError as error:
        raise BadRequestError("the head is too long") from error
    request_line, *header_lines = head.decode("latin-1").split("\r\n")
    headers = _parse_headers(header_lines)
    body = await _read_body(reader, headers)
    return _parse_request(peer, request_line, headers, body)


def _parse_request(peer: str, request_line: str, headers: Mapping[str, str], body: bytes) -> Request:
    match request_line.split(" "):
        case [verb, address, _version]:
            parts = urlsplit(address)
            return Request(peer, verb, unquote(parts.path), dict(parse_qsl(parts.query)), headers, body)
    raise BadRequestError(request_line)


def _parse_headers(lines: list[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > _LONGEST_BODY:
        raise BadRequestError(f"Content-Length {length}")
    return await reader.readexactly(int(length))
