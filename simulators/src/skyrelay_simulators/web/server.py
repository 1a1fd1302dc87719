"""What all simulated web servers have in common: as a library for tests, and as a program."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from skyrelay_simulators.web.faults import Fault, FaultBoard
from skyrelay_simulators.web.journal import Journal, JournalEntry
from skyrelay_simulators.web.observed import TRANSPORT

_START_S = 30.0  # a small board under load
_GRACE_S = 1  # for requests under way when the server stops
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class SimulatedServer(ABC):
    """A web server of our own, in a thread; use it as a context manager.

    Parameters
    ----------
    host, port
        Where it listens; port 0 takes a free one, and keeps it over a stop and a start.
    endpoints
        Names of its endpoints, for the faults.
    """

    name: ClassVar[str]

    def __init__(self, host: str, port: int, endpoints: Collection[str]) -> None:
        self._address = (host, port)
        self._faults = FaultBoard(endpoints)
        self._journal = Journal()
        self._running: _Running | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        """Address of the server; a port of its own once it has been started."""
        host, port = self._address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def start(self) -> None:
        """Listen.

        Raises
        ------
        OSError
            If the address is taken.
        TimeoutError
            If the server does not come up.
        """
        host, port = self._address
        listener = socket.create_server((host, port), family=_family(host))
        self._address = (host, listener.getsockname()[1])
        self._running = _Running(self._app(), listener, self.name)
        self._running.wait_until_up()

    def stop(self) -> None:
        """Stop listening; what it holds can still be looked at. Harmless when it is not running."""
        if self._running is not None:
            self._running.stop()
            self._running = None

    def show(self, endpoint: str, *faults: Fault) -> None:
        """Show these faults at an endpoint (``*``: at all), one after the other; none clears it."""
        self._faults.set(endpoint, faults)

    def requests(self, endpoint: str | None = None) -> list[JournalEntry]:
        """Give the journal, oldest first; of one endpoint if one is named."""
        return self._journal.entries(endpoint)

    @abstractmethod
    def _app(self) -> ASGIApp:
        """Wire the application."""


def run_until_told(server: SimulatedServer, ready_file: Path | None = None) -> None:
    """Run a server until SIGTERM or SIGINT; call it in the main thread.

    Once it listens, ``{"base_url": "http://…"}`` is written to ``ready_file``, or printed if there
    is none.
    """
    # Blocked before any thread starts, so that the signals wait for us here.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    with server:
        _announce(json.dumps({"base_url": server.base_url}), ready_file)
        signal.sigwait(_STOP_SIGNALS)


def _announce(line: str, ready_file: Path | None) -> None:
    if ready_file is None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        return
    part = ready_file.with_name(ready_file.name + ".part")
    part.write_text(line + "\n", encoding="utf-8")
    part.replace(ready_file)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class _Running:
    """A web server in a thread."""

    def __init__(self, app: ASGIApp, listener: socket.socket, name: str) -> None:
        config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
        self._server = _Server(config)
        self._listener = listener
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wait_until_up(self) -> None:
        """Return once requests are served."""
        if not self._server.up.wait(_START_S):
            raise TimeoutError(f"the {self._thread.name} did not come up within {_START_S} s")

    def stop(self) -> None:
        """End the server, and wait for its end."""
        self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._listener]))


class _Server(uvicorn.Server):
    """A web server that says when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        await super().startup(list(sockets or []))
        self.up.set()


class _Protocol(H11Protocol):
    """HTTP that lets the application close the connection under a request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        app = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            scope[TRANSPORT] = transport
            await app(scope, receive, send)

        self.app = with_transport
