"""HTTP/1.1 with an end: no header, no body and no crowd of connections takes for ever.

uvicorn closes connections on which nothing happens between two requests. It waits without end for the first
byte, and for a request whose bytes drip in one by one; a few hundred of those, and nobody else gets in.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from skyrelay_gateway.forwarded import is_in

_TOO_SLOW = b"The request took too long to arrive.\n"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection, and one address, may take.

    ``headers_s`` counts from the first byte (or from the connection's beginning) until the headers are
    there, ``body_s`` from then until the body is; ``waiting`` connections of one address at once may have a
    request to come, except of the ``proxies``, which speak for many. One that is being answered is none.
    """

    headers_s: float = 10.0
    body_s: float = 30.0
    waiting: int = 256
    proxies: Sequence[IPv4Network | IPv6Network] = ()


class _Phase(Enum):
    HEADERS = auto()
    BODY = auto()


def bounded_protocol(limits: Limits) -> type[H11Protocol]:
    """Give uvicorn's protocol, bounded; what an address has waiting is counted for one server."""
    crowd: Counter[str] = Counter()

    class Bounded(_BoundedProtocol):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.limits = limits
            self.crowd = crowd

    return Bounded


class _BoundedProtocol(H11Protocol):
    limits: Limits
    crowd: Counter[str]

    _phase: _Phase | None = None
    _timer: asyncio.TimerHandle | None = None
    _address: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's is
        super().connection_made(transport)
        self._address = self.client[0] if self.client else None
        self._enter(_Phase.HEADERS)
        if self._is_crowded():
            transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._enter(None)
        super().connection_lost(exc)

    def _is_crowded(self) -> bool:
        if self._address is None or is_in(self._address, self.limits.proxies):
            return False
        return self.crowd[self._address] > self.limits.waiting

    def _count(self, change: int) -> None:
        if self._address is None:
            return
        self.crowd[self._address] += change
        if self.crowd[self._address] <= 0:
            del self.crowd[self._address]

    def _look(self) -> None:
        """See what of a request is still to come."""
        if self.conn.their_state is h11.SEND_BODY:
            self._enter(_Phase.BODY)
        elif self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._enter(_Phase.HEADERS)
        elif self.conn.their_state is not h11.IDLE or self.timeout_keep_alive_task is not None:
            self._enter(None)  # it is all here, or uvicorn waits for the next one

    def _enter(self, phase: _Phase | None) -> None:
        if phase is self._phase:
            return
        if self._timer is not None:
            self._timer.cancel()
        give_up: dict[_Phase, tuple[float, Callable[[], None]]] = {
            _Phase.HEADERS: (self.limits.headers_s, self._refuse_headers),
            _Phase.BODY: (self.limits.body_s, self._drop),
        }
        self._count((phase is not None) - (self._phase is not None))
        self._phase = phase
        self._timer = self.loop.call_later(*give_up[phase]) if phase else None

    def _refuse_headers(self) -> None:
        if self.transport.is_closing() or self.conn.our_state is not h11.IDLE:
            self._drop()
            return
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        events = (
            h11.Response(status_code=408, headers=headers, reason=b"Request Timeout"),
            h11.Data(data=_TOO_SLOW),
            h11.EndOfMessage(),
        )
        for event in events:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _drop(self) -> None:
        """Close without an answer: one was given already, or the route has given up before."""
        self.logger.info("A request took too long to arrive.")
        self.transport.close()
