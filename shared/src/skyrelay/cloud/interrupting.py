"""HTTP connections that another thread can break off at once, so that nobody waits for a silent server."""

from __future__ import annotations

import socket
import threading
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.poolmanager import PoolManager
from urllib3.util.timeout import Timeout


class OpenSockets:
    """The sockets of a client that are open or being opened; `break_off` ends what waits on them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self.is_broken_off = False

    def add(self, opened: socket.socket) -> None:
        """Know a socket from now on; one that comes too late is closed.

        Raises
        ------
        ConnectionAbortedError
            If everything was broken off.
        """
        with self._lock:
            self._sockets = {each for each in self._sockets if each.fileno() >= 0} | {opened}
            if self.is_broken_off:
                opened.close()
                raise ConnectionAbortedError("this client was told to end")

    def replace(self, before: socket.socket, now: socket.socket) -> None:
        """Know the wrapped socket (TLS) in the place of the bare one."""
        with self._lock:
            self._sockets.discard(before)
        self.add(now)

    def break_off(self) -> None:
        """End all calls under way, and let no other begin."""
        with self._lock:
            self.is_broken_off = True
            for opened in self._sockets:
                try:
                    opened.shutdown(socket.SHUT_RDWR)  # wakes a connect() and a recv() in other threads
                except OSError:
                    continue  # it is closed, or not connected any more


def interruptible(sockets: OpenSockets) -> HTTPAdapter:
    """Give an adapter for ``requests`` whose connections are in ``sockets``."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _opened(self, sockets)

    class Encrypted(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _opened(self, sockets)

        def connect(self) -> None:
            bare: list[socket.socket] = []
            opened = self._new_conn

            def remembering() -> socket.socket:
                bare.append(opened())
                return bare[0]

            self._new_conn = remembering  # type: ignore[method-assign] # of this one connection
            try:
                super().connect()
            finally:
                del self._new_conn
            if isinstance(self.sock, socket.socket) and bare:
                sockets.replace(bare[0], self.sock)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = Encrypted

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **options)
            manager: PoolManager = self.poolmanager
            manager.pool_classes_by_scheme = {"http": PlainPool, "https": EncryptedPool}

    return Adapter()


def _opened(connection: HTTPConnection, sockets: OpenSockets) -> socket.socket:
    """Connect to the first address that takes us, each attempt known to ``sockets`` from its beginning."""
    failure: OSError = OSError("the name has no address")
    try:
        found = socket.getaddrinfo(connection.host, connection.port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found:
            attempt = socket.socket(family, kind, protocol)
            try:
                sockets.add(attempt)
                _connect(attempt, address, connection.timeout)
            except OSError as error:
                attempt.close()
                failure = error
                continue
            return attempt
    except OSError as error:  # the look-up
        failure = error
    raise NewConnectionError(connection, f"no connection: {failure}") from failure


def _connect(attempt: socket.socket, address: Any, timeout: Any) -> None:
    seconds = Timeout.resolve_default_timeout(timeout)
    attempt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    attempt.settimeout(seconds)
    attempt.connect(address)
    attempt.getpeername()  # a connect() that was broken off may come back without an error
