"""All ports of one telescope together: opened, closed, moved to another address."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace

from skyrelay_simulators.telescope.device import Device
from skyrelay_simulators.telescope.discovery import Discovery
from skyrelay_simulators.telescope.faults import CloseShare, OtherAddress, SecondAddress, SwitchedOff
from skyrelay_simulators.telescope.http_files import FileServer
from skyrelay_simulators.telescope.rpc_server import RpcServer
from skyrelay_simulators.telescope.smb_wire import SmbWire
from skyrelay_simulators.telescope.spec import Endpoint

_CALLERS_UNHEARD = 3  # connections that fill a queue of length 0, so that no further one gets through


@dataclass(frozen=True, slots=True)
class _Wanted:
    """How the ports are to be: ``away`` closed, or ``silent`` where nobody answers at all."""

    host: str
    second: str = ""
    away: bool = False
    silent: bool = False
    share: bool = True


class Network:
    """The ports of a telescope; used in its event loop alone.

    Parameters
    ----------
    device
        The telescope.
    smb_upstream
        Gives where its SMB server listens; `None` if it has none.
    """

    def __init__(self, device: Device, smb_upstream: Callable[[], tuple[str, int] | None]) -> None:
        self._device = device
        self._smb_upstream = smb_upstream
        self.rpc = RpcServer(device)
        self.files = FileServer(device)
        self._discovery = Discovery(device)
        self._share = SmbWire(device)
        self._silence: list[socket.socket] = []
        self._open: _Wanted | None = None
        self._changing = asyncio.Lock()
        spec = device.spec
        self.endpoint = Endpoint(spec.host, spec.rpc_port, spec.http_port, spec.smb_port, spec.udp_port)

    async def open(self) -> Endpoint:
        """Take all ports, so that they have their numbers, then be as the faults will have it.

        Raises
        ------
        OSError
            If a port is taken.
        """
        self._open = _Wanted(self.endpoint.host)
        await self._listen(self._open)
        await self.settle()
        return self.endpoint

    async def settle(self, *, rebooting: bool = False) -> None:
        """Open and close as the faults will have it now; nothing happens where nothing changed."""
        faults = self._device.faults
        moved, off, second = faults.on(OtherAddress), faults.on(SwitchedOff), faults.on(SecondAddress)
        host = moved.host if moved else self._device.spec.host
        wanted = _Wanted(
            host,
            second.host if second else "",
            away=off is not None or rebooting,
            silent=off is not None and off.silent and sys.platform == "linux",
            share=faults.on(CloseShare) is None,
        )
        async with self._changing:
            if wanted != self._open:
                await self.close()
                await self._become(wanted)
                self._open = wanted

    async def _become(self, wanted: _Wanted) -> None:
        if not wanted.away:
            await self._listen(wanted)
        elif wanted.silent:
            self._fall_silent(wanted.host)

    async def close(self) -> None:
        """Close all ports and drop all connections."""
        self._discovery.stop()
        await self.rpc.stop()
        await self.files.stop()
        await self._share.stop()
        while self._silence:
            self._silence.pop().close()

    async def _listen(self, wanted: _Wanted) -> None:
        was, hosts = self.endpoint, [host for host in (wanted.host, wanted.second) if host]
        rpc = await self.rpc.start(hosts, was.rpc_port)
        http = await self.files.start(hosts, was.http_port)
        udp = await self._discovery.start(hosts, was.udp_port)
        self.endpoint = replace(was, host=wanted.host, rpc_port=rpc, http_port=http, udp_port=udp)
        upstream = self._smb_upstream()
        if wanted.share and upstream is not None:
            smb = await self._share.start(hosts, was.smb_port, upstream)
            self.endpoint = replace(self.endpoint, smb_port=smb)

    def _fall_silent(self, host: str) -> None:
        """Let connections be neither made nor refused, as with a telescope that has no power."""
        self.endpoint = replace(self.endpoint, host=host)
        _, rpc, http, smb, _ = astuple(self.endpoint)
        for port in filter(None, (rpc, http, smb)):
            self._silence += _silent_port(host, port)


def _silent_port(host: str, port: int) -> list[socket.socket]:
    """Listen with a queue of no length and fill that: the kernel lets further callers wait (Linux)."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(0)
    callers = [socket.socket() for _ in range(_CALLERS_UNHEARD)]
    for caller in callers:
        caller.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            caller.connect((host, port))
    return [listener, *callers]
