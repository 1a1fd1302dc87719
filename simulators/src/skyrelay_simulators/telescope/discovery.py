"""The discovery port (4720/udp in life): answers ``scan_iscope``, broadcast or sent directly."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

from skyrelay_simulators.telescope.device import Device
from skyrelay_simulators.telescope.rpc_methods import introduce


class Discovery(asyncio.DatagramProtocol):
    """Answers whoever looks for telescopes."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self) -> int:
        """Listen; give the real port."""
        address = (self._device.spec.host, self._device.spec.udp_port)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: self, local_addr=address
        )
        port: int = transport.get_extra_info("sockname")[1]
        return port

    def stop(self) -> None:
        """Stop listening."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket (called by asyncio)."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Answer one question (called by asyncio); anything else is ignored."""
        request = _parse(data)
        if request is None or request.get("method") != "scan_iscope" or self._transport is None:
            return
        self._device.journal.note("udp", f"{addr[0]}:{addr[1]}", "scan_iscope", params=request.get("params"))
        reply = {"jsonrpc": "2.0", "method": "scan_iscope", "result": introduce(self._device), "code": 0}
        self._transport.sendto(json.dumps({**reply, "id": request.get("id")}).encode() + b"\r\n", addr)


def _parse(data: bytes) -> dict[str, Any] | None:
    try:
        request = json.loads(data)
    except ValueError:
        return None
    return request if isinstance(request, dict) else None
