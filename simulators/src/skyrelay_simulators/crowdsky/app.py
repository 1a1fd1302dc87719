"""The application: the endpoints, the controls, and the layer that keeps the journal and shows faults."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import MutableMapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import RootModel
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skyrelay_simulators.crowdsky.endpoints import DRAFT, Endpoints, Refused
from skyrelay_simulators.crowdsky.faults import Fault, FaultBoard
from skyrelay_simulators.crowdsky.header import NotFits
from skyrelay_simulators.crowdsky.journal import Draft, Journal
from skyrelay_simulators.crowdsky.storage import Storage

TRANSPORT = "skyrelay.transport"  # where a request's scope carries its connection
_NAMES = {
    "/api/my_stacks.php": "my_stacks",
    "/api/upload_stack.php": "upload_stack",
    "/api/download_stack.php": "download_stack",
    "/api/raw_upload.php": "raw_upload",
}
_RAW_ACTIONS = {"start": "raw_start", "file": "raw_file", "finalize": "raw_finalize"}
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s, so that closing resets


class FaultOrder(RootModel[dict[str, Fault | list[Fault] | None]]):
    """Faults by endpoint: one, several in a row, or null to clear."""


def build_app(endpoints: Endpoints, storage: Storage, faults: FaultBoard, journal: Journal) -> ASGIApp:
    """Wire the application."""
    app = FastAPI(title="CrowdSky simulator", openapi_url=None)
    endpoints.add_to(app)
    _add_controls(app, storage, faults, journal)
    _add_error_answers(app)
    return Observed(app, faults, journal)


def _add_controls(app: FastAPI, storage: Storage, faults: FaultBoard, journal: Journal) -> None:
    @app.get("/_sim/journal")
    def read_journal(endpoint: str | None = None) -> list[dict[str, object]]:
        return [entry.to_json() for entry in journal.entries(endpoint)]

    @app.get("/_sim/uploads")
    def read_uploads() -> list[dict[str, object]]:
        return [stack.to_json() for stack in storage.stacks()]

    @app.post("/_sim/list_all_now")
    def list_all_now() -> dict[str, bool]:
        storage.list_all_now()
        return {"ok": True}

    @app.get("/_sim/faults")
    def read_faults() -> dict[str, list[Fault]]:
        return dict(faults.shown())

    @app.post("/_sim/faults")
    def set_faults(order: FaultOrder) -> dict[str, list[Fault]]:
        _set_faults(faults, order)
        return dict(faults.shown())

    @app.delete("/_sim/faults")
    def clear_faults() -> dict[str, bool]:
        faults.clear()
        return {"ok": True}


def _set_faults(faults: FaultBoard, order: FaultOrder) -> None:
    for endpoint, given in order.root.items():
        try:
            faults.set(endpoint, given if isinstance(given, list) else [given] if given else [])
        except ValueError as error:
            raise HTTPException(422, str(error)) from error


def _add_error_answers(app: FastAPI) -> None:
    """Let every error be ``{"error": "…"}``, as the real server's are."""

    @app.exception_handler(Refused)
    def refused(_: Request, error: Refused) -> JSONResponse:
        headers = {"www-authenticate": 'Basic realm="CrowdSky"'} if error.status == 401 else None
        return JSONResponse({"error": error.words}, error.status, headers=headers)

    @app.exception_handler(NotFits)
    def not_fits(_: Request, error: NotFits) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(StarletteHTTPException)
    def http_error(_: Request, error: StarletteHTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"error": str(error.errors())}, 422)


class Observed:
    """Keeps the journal of an application's requests, and shows the faults that are switched on."""

    def __init__(self, app: ASGIApp, faults: FaultBoard, journal: Journal) -> None:
        self._app = app
        self._faults = faults
        self._journal = journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].startswith("/_sim/"):
            await self._app(scope, receive, send)
            return
        draft = Draft(scope["method"], scope["path"], scope["query_string"].decode(), _endpoint(scope))
        fault = self._faults.take(draft.endpoint)
        draft.fault = fault.mode if fault else None
        exchange = Exchange(scope, receive, send, draft, self._journal)
        try:
            await self._serve(exchange, fault)
        except ClientDisconnect:
            exchange.write_down()

    async def _serve(self, exchange: Exchange, fault: Fault | None) -> None:
        if fault is None or fault.mode == "delay":
            exchange.delay_s = fault.seconds if fault else 0.0
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
        self._scope: MutableMapping[str, Any] = {**scope, DRAFT: draft}
        self._receive_from_client = receive
        self._send_to_client = send
        self._draft = draft
        self._journal = journal
        self._has_whole_body = False
        self._is_written_down = False
        self.delay_s = 0.0

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
            await asyncio.sleep(self.delay_s)
        elif not message.get("more_body", False):
            self.write_down()
        await self._send_to_client(message)

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


def _endpoint(scope: Scope) -> str:
    """Name what a request is for, as the faults and the journal do."""
    path: str = scope["path"]
    name = _NAMES.get(path, path)
    if name != "raw_upload":
        return name
    return _RAW_ACTIONS.get(Request(scope).query_params.get("action", ""), "raw_upload")


def ready_line(base_url: str) -> str:
    """Give the line of JSON that says where the server is."""
    return json.dumps({"base_url": base_url})
