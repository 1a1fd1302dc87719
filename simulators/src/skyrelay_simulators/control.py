"""A small HTTP control port (JSON) through which another process drives simulated telescopes.

======  ================  ==========================================================================
verb    path              what
======  ================  ==========================================================================
GET     /endpoints        where each telescope answers
GET     /state            what each telescope is doing (``?serial=`` for one)
GET     /journal          what a telescope was asked (``?serial=``, ``method=``, ``since=``)
GET     /conduct          which rules its clients broke (``?serial=``)
GET     /switches         the faults that there are, with their fields
GET     /faults           those that are on, and how often each happened (``?serial=``)
POST    /faults           ``{"serial", "switch", "on": true, …its fields}``
POST    /faults/clear     switch all off
POST    /faults/seed      ``{"serial", "seed"}``: throw the dice anew
POST    /reboot           ``{"serial", "seconds": 2}``; answers when the telescope is back
POST    /observe          ``{"serial", "observing": true, "target"}``
POST    /night/start      begin the nights (once)
POST    /night/stop       break them off
GET     /night            how far they are
======  ================  ==========================================================================

``serial`` is needed only where there are several telescopes. docs/simulator.md shows each switch.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from http import HTTPStatus
from typing import Any

from skyrelay_simulators.telescope.http_wire import Head, HttpServer, Request

Answer = Callable[[Request], Any]
_START_S = 10.0
_STOP_S = 5.0


class WrongRequestError(Exception):
    """The request makes no sense here; its text is the answer (400)."""


class ControlServer:
    """Serves ``routes`` in a thread of its own.

    Parameters
    ----------
    routes
        By ``"GET /path"``; each gives what JSON can carry, or raises `WrongRequestError`.
    host, port
        Where to listen; port 0 takes any free one.
    """

    def __init__(self, routes: Mapping[str, Answer], *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._routes = routes
        self._host = host
        self._wanted_port = port
        self._http = HttpServer(self._respond)
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._port: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    @property
    def address(self) -> str:
        """The base URL, e.g. ``http://127.0.0.1:41234``."""
        return f"http://{self._host}:{self._port.result(_START_S)}"

    def start(self) -> None:
        """Listen; raises `OSError` if the port is taken."""
        self._thread.start()
        self._port.result(_START_S)

    def stop(self) -> None:
        """Stop listening."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_STOP_S)
        elif not self._loop.is_closed():
            self._loop.close()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        try:
            port = await self._http.start([self._host], self._wanted_port)
        except OSError as error:
            self._port.set_exception(error)
            return
        self._port.set_result(port)
        await self._stopping.wait()
        await self._http.stop()

    async def _respond(self, request: Request, writer: asyncio.StreamWriter) -> None:
        status, answer = self._answer(request)
        body = json.dumps(answer, ensure_ascii=False, default=str).encode() + b"\n"
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        writer.write(Head(status, headers).to_bytes() + body)

    def _answer(self, request: Request) -> tuple[HTTPStatus, Any]:
        route = self._routes.get(f"{request.verb} {request.path}")
        if route is None:
            return HTTPStatus.NOT_FOUND, {"error": f"unknown: {request.verb} {request.path}"}
        try:
            return HTTPStatus.OK, route(request)
        except WrongRequestError as error:
            return HTTPStatus.BAD_REQUEST, {"error": str(error)}


def json_fields(request: Request) -> dict[str, Any]:
    """Read a JSON object from a request's body, empty if there is none; raises `WrongRequestError`."""
    try:
        fields = json.loads(request.body or b"{}")
    except ValueError as error:
        raise WrongRequestError("the body is no JSON") from error
    if not isinstance(fields, dict):
        raise WrongRequestError("the body is no JSON object")
    return fields
