"""The command port (4700 in life): JSON lines over TCP, replies by id, events in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from skyrelay_simulators.telescope.device import Device
from skyrelay_simulators.telescope.rpc_codes import Code, RpcError
from skyrelay_simulators.telescope.rpc_methods import Session, answer

LINE_END = b"\r\n"
_LONGEST_LINE = 4 * 1024 * 1024  # bytes; a setting that names 10,000 frames is 1 MB
_MOST_UNREAD = 1024 * 1024  # bytes of events that wait for a client that does not read


class RpcServer:
    """Serves one telescope's command port.

    Parameters
    ----------
    device
        The telescope.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listen; give the real port."""
        spec = self._device.spec
        self._server = await asyncio.start_server(self._accept, spec.host, spec.rpc_port, limit=_LONGEST_LINE)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Stop listening and drop all connections."""
        if self._server is not None:
            self._server.close()
        self.drop_connections()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def drop_connections(self) -> None:
        """Drop all connections, as bad Wi-Fi does."""
        for task in tuple(self._connections):
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs every connection in a task
        self._connections.add(task)
        try:
            await _Connection(self._device, reader, writer).serve()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client left, or the telescope stops: both end the connection, nothing else
        finally:
            self._connections.discard(task)


class _Connection:
    def __init__(self, device: Device, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._device = device
        self._reader = reader
        self._writer = writer
        host, port = writer.get_extra_info("peername")[:2]
        self._session = Session(f"{host}:{port}")

    async def serve(self) -> None:
        self._enter()
        try:
            async for line in self._lines():
                self._writer.write(self._reply(line))
                await self._writer.drain()
        finally:
            self._leave()

    def _enter(self) -> None:
        self._device.clients += 1
        self._device.events.add(self._tell)
        self._device.journal.note("rpc", self._session.name, "connect")
        if self._device.spec.event_interval_s:  # the first thing a client reads is not its reply
            self._writer.write(self._device.events.line("PiStatus", self._device.power.to_json()))

    def _leave(self) -> None:
        self._device.clients -= 1
        self._device.events.remove(self._tell)
        self._writer.close()

    def _tell(self, line: bytes) -> None:
        """Pass an event on, unless the client has long stopped reading."""
        if self._writer.transport.get_write_buffer_size() < _MOST_UNREAD:
            self._writer.write(line)

    async def _lines(self) -> AsyncIterator[bytes]:
        while True:
            try:
                line = await asyncio.wait_for(self._reader.readline(), self._device.spec.idle_close_s)
            except TimeoutError:
                self._device.journal.note("rpc", self._session.name, "idle close")
                return
            except ValueError:  # longer than any request: not a client of ours
                return
            if not line:
                return
            if line.strip():
                yield line

    def _reply(self, line: bytes) -> bytes:
        request = _parse(line)
        if request is None:
            self._device.journal.note("rpc", self._session.name, "no json", code=Code.BAD_PARAMETER)
            return b""
        method, params = str(request.get("method", "")), request.get("params")
        outcome = self._outcome(method, params)
        noted = _without_signature(method, params)
        verify = bool(request.get("verify"))
        self._device.journal.note(
            "rpc", self._session.name, method, params=noted, code=outcome["code"], verify=verify
        )
        events = self._chatter(method)
        return events + self._envelope(method, outcome, request.get("id"))

    def _outcome(self, method: str, params: Any) -> dict[str, Any]:
        try:
            return {"result": answer(self._device, self._session, method, params), "code": Code.GOOD}
        except RpcError as error:
            return {"error": str(error), "code": error.code}

    def _chatter(self, method: str) -> bytes:
        """Give an event that comes before the reply: at the handshake there is always one."""
        if method != "verify_client" or not self._device.spec.event_interval_s:
            return b""
        return self._device.events.line("temp", {"value": self._device.power.to_json()["temp"]})

    def _envelope(self, method: str, outcome: dict[str, Any], request_id: Any) -> bytes:
        timestamp = f"{self._device.wall_clock.uptime_s():.9f}"
        reply = {"jsonrpc": "2.0", "Timestamp": timestamp, "method": method, **outcome, "id": request_id}
        return json.dumps(reply, ensure_ascii=False).encode() + LINE_END


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        request = json.loads(line)
    except ValueError:
        return None
    return request if isinstance(request, dict) else None


def _without_signature(method: str, params: Any) -> Any:
    return "signature" if method == "verify_client" else params
