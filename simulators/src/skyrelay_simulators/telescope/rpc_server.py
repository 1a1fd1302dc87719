"""The command port (4700 in life): JSON lines over TCP, replies by id, events in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from skyrelay_simulators.telescope.device import Device
from skyrelay_simulators.telescope.events import LINE_END
from skyrelay_simulators.telescope.faults import (
    Drop,
    DropReply,
    Garbage,
    LoseReply,
    MergePackets,
    MixListings,
    Observe,
    Reboot,
    Refuse,
    SlowReply,
    SplitPackets,
)
from skyrelay_simulators.telescope.observation import Activity, View
from skyrelay_simulators.telescope.rpc_codes import Code, RpcError
from skyrelay_simulators.telescope.rpc_methods import Session, answer, list_elsewhere
from skyrelay_simulators.telescope.rpc_rubbish import merge, rubbish, split
from skyrelay_simulators.telescope.tcp import TcpServer

_LONGEST_LINE = 4 * 1024 * 1024  # bytes; a setting that names 10,000 frames is 1 MB
_BETWEEN_PACKETS_S = 0.002  # so that the kernel does not put them together again
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
        self._tcp = TcpServer(self._serve, limit=_LONGEST_LINE)

    async def start(self, hosts: Sequence[str], port: int) -> int:
        """Listen at these addresses; give the real port."""
        return await self._tcp.start(hosts, port)

    async def stop(self) -> None:
        """Stop listening and drop all connections."""
        await self._tcp.stop()

    def drop_connections(self) -> None:
        """Drop all connections, as bad Wi-Fi does."""
        self._tcp.drop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _Connection(self._device, reader, writer).serve()


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
                await self._serve_line(line)
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
        self._device.journal.note("rpc", self._session.name, "disconnect")
        self._writer.close()

    def _tell(self, line: bytes) -> None:
        """Pass an event on, unless the client has long stopped reading."""
        if self._writer.transport.get_write_buffer_size() < _MOST_UNREAD:
            self._writer.write(line)

    async def _lines(self) -> AsyncIterator[bytes]:
        while True:
            try:
                line = await asyncio.wait_for(self._reader.readline(), self._device.idle_close_s)
            except TimeoutError:
                self._device.journal.note("rpc", self._session.name, "idle close")
                return
            except ValueError:  # longer than any request: not a client of ours
                return
            if not line:
                return
            if line.strip():
                yield line

    async def _serve_line(self, line: bytes) -> None:
        request = _parse(line)
        if request is None:
            self._device.journal.note("rpc", self._session.name, "no json", code=Code.BAD_PARAMETER)
            return
        method, params = str(request.get("method", "")), request.get("params")
        await self._suffer_before(method)
        outcome = self._outcome(method, params)
        noted = _without_signature(method, params)
        verify = bool(request.get("verify"))
        self._device.journal.note(
            "rpc", self._session.name, method, params=noted, code=outcome["code"], verify=verify
        )
        if not self._loses_reply(method):
            await self._send(
                method, self._chatter(method) + self._envelope(method, outcome, request.get("id"))
            )

    async def _suffer_before(self, method: str) -> None:
        """Let happen what comes between a command's arrival and its being carried out."""
        faults = self._device.faults
        if faults.take(Drop, method):
            raise ConnectionAbortedError(f"fault: dropped before {method}")
        if slow := faults.take(SlowReply, method):
            await asyncio.sleep(slow.seconds)
        if self._device.latency_s:
            await asyncio.sleep(self._device.latency_s)
        if observe := faults.take(Observe, method):
            self._device.observation.begin(View(Activity.WORKING, "Stack", "star", observe.target))
        if method == "get_img_file_page_name" and (mix := faults.take(MixListings, method)):
            list_elsewhere(self._device, mix.folder)

    def _outcome(self, method: str, params: Any) -> dict[str, Any]:
        try:
            self._refuse_if_told(method)
            return {"result": answer(self._device, self._session, method, params), "code": Code.GOOD}
        except RpcError as error:
            return {"error": str(error), "code": error.code}

    def _refuse_if_told(self, method: str) -> None:
        if refuse := self._device.faults.take(Refuse, method):
            raise RpcError(refuse.code)

    def _loses_reply(self, method: str) -> bool:
        """Whether the reply is lost alone; raises where the connection goes with it."""
        faults = self._device.faults
        if faults.take(DropReply, method):
            raise ConnectionAbortedError(f"fault: dropped after {method}")
        if reboot := faults.take(Reboot, method):
            self._device.reboot(reboot.seconds)
            raise ConnectionAbortedError(f"fault: rebooted after {method}")
        return faults.take(LoseReply, method) is not None

    async def _send(self, method: str, reply: bytes) -> None:
        faults = self._device.faults
        before = rubbish(garbage, faults) if (garbage := faults.take(Garbage, method)) else b""
        packets = [before + reply]
        if splitting := faults.take(SplitPackets, method):
            packets = split(before + reply, splitting.pieces)
        elif faults.take(MergePackets, method):
            event = self._device.events.line("PiStatus", self._device.power.to_json())
            packets = [*merge(before + reply, event)]
        for packet in packets:
            self._writer.write(packet)
            await self._writer.drain()
            if len(packets) > 1:
                await asyncio.sleep(_BETWEEN_PACKETS_S)

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
