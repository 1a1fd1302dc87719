"""A server that answers with exactly the bytes that it is given, whatever HTTP has to say about them."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

_ENDS = (b"\r\n\r\n", b"}", b"--\r\n")  # of a head alone, of JSON, of a form with files


class RawAnswers:
    """Reads a request and says `answer`, then hangs up; on a port of its own."""

    def __init__(self) -> None:
        self.answer = b""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _address = self._listening.accept()
            except OSError:  # shut down
                return
            with connection, suppress(OSError):  # who hangs up first does no harm
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(30)
        while (piece := connection.recv(65536)) and not piece.endswith(_ENDS):
            pass
        connection.sendall(self.answer)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):  # closed too early, what was sent is lost with it
            pass
