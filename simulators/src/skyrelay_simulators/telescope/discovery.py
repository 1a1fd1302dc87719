"""The discovery port (4720/udp in life): answers ``scan_iscope``, broadcast or sent directly."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from typing import Any

from skyrelay_simulators.telescope.device import Device
from skyrelay_simulators.telescope.faults import LoseProbe
from skyrelay_simulators.telescope.rpc_methods import introduce

LOOPBACK_BROADCAST = "127.255.255.255"


class Discovery(asyncio.DatagramProtocol):
    """Answers whoever looks for telescopes."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._transport: asyncio.DatagramTransport | None = None
        self._broadcasts: asyncio.DatagramTransport | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, to the loopback's broadcasts too where they are ours; give the real port."""
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: self, local_addr=(host, port)
        )
        self._transport = transport
        real_port: int = transport.get_extra_info("sockname")[1]
        if host.startswith("127.") and sys.platform == "linux":
            self._broadcasts = await self._hear_broadcasts(real_port)
        return real_port

    async def _hear_broadcasts(self, port: int) -> asyncio.DatagramTransport:
        channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # every telescope here hears them
        channel.bind((LOOPBACK_BROADCAST, port))
        channel.setblocking(False)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Ear(self), sock=channel
        )
        return transport

    def stop(self) -> None:
        """Stop listening."""
        for transport in (self._transport, self._broadcasts):
            if transport is not None:
                transport.close()
        self._transport = self._broadcasts = None

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


class _Ear(asyncio.DatagramProtocol):
    """Hears broadcasts; answers come from the telescope's own address."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Pass it on (called by asyncio)."""
        self._discovery.datagram_received(data, addr)


def _parse(data: bytes) -> dict[str, Any] | None:
    try:
        request = json.loads(data)
    except ValueError:
        return None
    return request if isinstance(request, dict) else None
