"""The server under a telescope's ports: whoever it took is hung up on when it stops, however soon."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from skyrelay_simulators.telescope.tcp import TcpServer

Run = Callable[[Coroutine[Any, Any, Any]], Any]
_TRIES = 30
_LONG_S = 10.0


async def _listen_on(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    while await reader.read(100):
        pass


@pytest.fixture
def run() -> Iterator[Run]:
    """Run a coroutine in a loop in another thread, as a telescope has one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(_LONG_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(_LONG_S)
    loop.close()


@pytest.fixture
def _nothing_collected() -> Iterator[None]:
    """Have no socket closed because it was forgotten."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_nothing_collected")
def test_a_caller_is_hung_up_on_though_the_server_stops_at_the_same_moment(run: Run) -> None:
    server = TcpServer(_listen_on)
    for _ in range(_TRIES):
        port = run(server.start(["127.0.0.1"], 0))
        with socket.create_connection(("127.0.0.1", port), _LONG_S) as caller:
            run(server.stop())
            with contextlib.suppress(ConnectionResetError):  # the kernel's word: nobody had taken it yet
                assert caller.recv(1) == b""


def test_a_server_that_cannot_have_one_of_its_addresses_keeps_none(run: Run) -> None:
    taken, server = TcpServer(_listen_on), TcpServer(_listen_on)
    port = run(taken.start(["127.0.0.2"], 0))
    with pytest.raises(OSError, match="in use"):
        run(server.start(["127.0.0.1", "127.0.0.2"], port))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), _LONG_S)
    run(taken.stop())
