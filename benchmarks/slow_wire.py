"""A wire that takes its time: TCP ports whose bytes arrive later, in a process of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.synchronize import Event

_READ_BYTES = 65536
_START_S = 20.0


@dataclass(frozen=True, slots=True)
class SlowPort:
    """A port that leads to another one, a part of a round trip later."""

    host: str
    port: int
    to_host: str
    to_port: int


@contextmanager
def slow_wire(ports: tuple[SlowPort, ...], round_trip_s: float) -> Iterator[None]:
    """Delay all that goes through these ports, each way by half a round trip, while the ``with`` runs."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_serve, args=(ports, round_trip_s / 2, ready), daemon=True)
    process.start()
    try:
        if not ready.wait(_START_S):
            raise SystemExit(f"the ports {[port.port for port in ports]} cannot be had (they may need root)")
        yield
    finally:
        process.terminate()
        process.join()


def _serve(ports: tuple[SlowPort, ...], delay_s: float, ready: Event) -> None:
    asyncio.run(_listen(ports, delay_s, ready))


async def _listen(ports: tuple[SlowPort, ...], delay_s: float, ready: Event) -> None:
    servers = [await asyncio.start_server(_Passage(port, delay_s), port.host, port.port) for port in ports]
    ready.set()
    await asyncio.gather(*(server.serve_forever() for server in servers))


class _Passage:
    """Takes connections of one port; the first bytes wait for the connection's own round trip."""

    def __init__(self, port: SlowPort, delay_s: float) -> None:
        self._port, self._delay_s = port, delay_s

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * self._delay_s)
        upstream = await asyncio.open_connection(self._port.to_host, self._port.to_port)
        await asyncio.gather(self._pass_on(reader, upstream[1]), self._pass_on(upstream[0], writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on in their order, each after the delay; many may be on their way at once."""
        clock = asyncio.get_running_loop().time
        way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def arrive() -> None:
            while (due := await way.get())[1]:
                await asyncio.sleep(max(0.0, due[0] - clock()))
                writer.write(due[1])
                await writer.drain()
            writer.close()

        arriving = asyncio.ensure_future(arrive())
        with suppress(OSError):
            while data := await reader.read(_READ_BYTES):
                way.put_nowait((clock() + self._delay_s, data))
        way.put_nowait((0.0, b""))
        with suppress(OSError):
            await arriving
