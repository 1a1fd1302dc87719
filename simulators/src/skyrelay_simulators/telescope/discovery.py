"""The discovery port (4720/udp in life): answers ``scan_iscope``, broadcast or sent directly."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from skyrelay_simulators.telescope.device import Device
from skyrelay_simulators.telescope.faults import LoseProbe
from skyrelay_simulators.telescope.rpc_methods import introduce

LOOPBACK_BROADCAST = "127.255.255.255"


class Discovery:
    """Answers whoever looks for telescopes, from each address of its own."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._ears: list[asyncio.DatagramTransport] = []

    async def start(self, hosts: Sequence[str], port: int) -> int:
        """Listen at these addresses, and to the loopback's broadcasts where they are; give the real port."""
        for host in hosts:
            mouth, ear = await _open(lambda: _Ear(self._device), local_addr=(host, port))
            self._ears.append(mouth)
            port = mouth.get_extra_info("sockname")[1]
            if host.startswith("127.") and sys.platform == "linux":
                await self._hear_broadcasts(port, ear)
        return port

    async def _hear_broadcasts(self, port: int, answers: _Ear) -> None:
        channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # every telescope here hears them
        channel.bind((LOOPBACK_BROADCAST, port))
        channel.setblocking(False)
        transport, _ = await _open(lambda: _BroadcastEar(answers), sock=channel)
        self._ears.append(transport)

    def stop(self) -> None:
        """Stop listening."""
        while self._ears:
            self._ears.pop().close()


P = TypeVar("P", bound=asyncio.DatagramProtocol)


async def _open(make: Callable[[], P], **options: Any) -> tuple[asyncio.DatagramTransport, P]:
    return await asyncio.get_running_loop().create_datagram_endpoint(make, **options)


class _Ear(asyncio.DatagramProtocol):
    """Hears what is sent to one address, and answers from there."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket (called by asyncio)."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Answer one question (called by asyncio); anything else is ignored."""
        request = _parse(data)
        if request is None or request.get("method") != "scan_iscope" or self._transport is None:
            return
        self._device.journal.note("udp", f"{addr[0]}:{addr[1]}", "scan_iscope", params=request.get("params"))
        if self._device.faults.take(LoseProbe):
            return
        reply = {"jsonrpc": "2.0", "method": "scan_iscope", "result": introduce(self._device), "code": 0}
        self._transport.sendto(json.dumps({**reply, "id": request.get("id")}).encode() + b"\r\n", addr)


class _BroadcastEar(asyncio.DatagramProtocol):
    """Hears broadcasts; answers come from the telescope's own address."""

    def __init__(self, answers: _Ear) -> None:
        self._answers = answers

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Pass it on (called by asyncio)."""
        self._answers.datagram_received(data, addr)


def _parse(data: bytes) -> dict[str, Any] | None:
    try:
        request = json.loads(data)
    except ValueError:
        return None
    return request if isinstance(request, dict) else None
