"""A TCP server whose connections can all be dropped: under the command, the file and the SMB port."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Sequence

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_BACKLOG = 100


class TcpServer:
    """Serves each connection in a task; used in its event loop alone.

    It takes its callers from the kernel itself: asyncio's own server, closed between taking a caller and
    making its transport, leaves that caller's socket open and silent until garbage is collected.

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
        self._listeners: list[socket.socket] = []
        self._connections: dict[asyncio.Task[None], socket.socket] = {}
        self._not_begun: set[socket.socket] = set()

    async def start(self, hosts: Sequence[str], port: int) -> int:
        """Listen at all of these addresses; give the real port (several want a port of one's choice)."""
        try:
            for host in hosts:
                self._listeners.append(_listen(host, port))
        except OSError:
            self._stop_listening()
            raise
        for listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)
        real_port: int = self._listeners[0].getsockname()[1]
        return real_port

    async def stop(self) -> None:
        """Stop listening and drop all connections."""
        self._stop_listening()
        tasks = tuple(self._connections)
        self.drop()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the sockets are closed in the loop's next turn

    def drop(self) -> None:
        """Drop all connections, as bad Wi-Fi does."""
        for task, client in self._connections.items():
            with contextlib.suppress(OSError):  # the client may have gone before us
                client.shutdown(socket.SHUT_RDWR)
            task.cancel()

    def _stop_listening(self) -> None:
        while self._listeners:
            listener = self._listeners.pop()
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:  # the caller has hung up already, or there is no descriptor for it just now
            return
        client.setblocking(False)
        self._not_begun.add(client)
        task = asyncio.get_running_loop().create_task(self._run(client))
        self._connections[task] = client
        task.add_done_callback(self._forget)

    async def _run(self, client: socket.socket) -> None:
        self._not_begun.discard(client)  # from here on its transport closes it
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(sock=client, limit=self._limit)
            try:
                if writer.get_extra_info("peername") is not None:  # else the caller has gone already
                    await self._serve(reader, writer)
            finally:
                writer.close()

    def _forget(self, task: asyncio.Task[None]) -> None:
        client = self._connections.pop(task)
        if client in self._not_begun:  # a task that is cancelled before it begins closes nothing
            self._not_begun.discard(client)
            client.close()


def _listen(host: str, port: int) -> socket.socket:
    """Listen at one address (a name, too), without waiting for callers."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
