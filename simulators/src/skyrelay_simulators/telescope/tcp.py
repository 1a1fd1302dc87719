"""A TCP server whose connections can all be dropped: under the command, the file and the SMB port."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class TcpServer:
    """Serves each connection in a task; used in its event loop alone.

    Parameters
    ----------
    serve
        Talks with one client; an `OSError` ends the connection and nothing else.
    limit
        Bytes that a line may have.
    """

    def __init__(self, serve: Serve, *, limit: int = 64 * 1024) -> None:
        self._serve = serve
        self._limit = limit
        self._server: asyncio.Server | None = None
        self._opening: object | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def start(self, hosts: Sequence[str], port: int) -> int:
        """Listen at all of these addresses; give the real port (several want a port of one's choice)."""
        opening = self._opening = object()
        self._server = await asyncio.start_server(
            lambda reader, writer: self._accept(opening, reader, writer), hosts, port, limit=self._limit
        )
        real_port: int = self._server.sockets[0].getsockname()[1]
        return real_port

    async def stop(self) -> None:
        """Stop listening and drop all connections."""
        self._opening = None
        if self._server is not None:
            self._server.close()
        tasks = tuple(self._connections)
        self.drop()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the sockets are closed in the loop's next turn

    def drop(self) -> None:
        """Drop all connections, as bad Wi-Fi does."""
        for task, writer in self._connections.items():
            writer.transport.abort()
            task.cancel()

    def _accept(self, opening: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if opening is not self._opening:  # asyncio had taken it from the queue just before we stopped
            writer.transport.abort()
            return
        # Not a coroutine for asyncio to run: a task that is cancelled before it begins would close nothing.
        task = asyncio.get_running_loop().create_task(self._run(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._forget)

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await self._serve(reader, writer)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._connections.pop(task).close()
