"""One TCP connection to port 4700: a reader thread, replies matched by id, events handed on.

A link lives once: when it has dropped, `skyrelay.seestar.connection` opens another.
"""

from __future__ import annotations

import contextlib
import itertools
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from skyrelay.logs import get_logger
from skyrelay.seestar.codec import Decoder, Event, Garbage, Message, Reply, encode_request
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.fields import JsonValue
from skyrelay.seestar.reach import connect

KEEP_ALIVE = timedelta(seconds=5)  # the firmware closes a socket idle for about 15.5 s (seen live, 8.89)
_GLANCE_S = 0.25  # how often the reader looks whether it should ping or end
_SEND_S = 5.0  # a request is a few kB: a telescope that does not take it in this time is gone
_JOIN_S = 2.0
_READ_BYTES = 65536

_log = get_logger(__name__)


class LinkDropped(Exception):  # noqa: N818 - internal to the connection, which decides what it means
    """The connection ended.

    Attributes
    ----------
    sent
        Whether the request may have reached the telescope.
    """

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class ReplyLate(Exception):  # noqa: N818 - internal to the connection, which decides what it means
    """The link stands, the reply did not come in time."""


@dataclass(slots=True)
class _Waiting:
    """A request on its way; ``done`` is set by the reply or by the link's end."""

    method: str
    done: threading.Event = field(default_factory=threading.Event)
    reply: Reply | None = None


class Link:
    """One connected socket and its reader thread.

    Parameters
    ----------
    host, port
        Where to connect.
    deadline
        By when the connection must stand.
    on_event
        Called in the reader thread with every event; must not block.
    keep_alive
        How long to be silent at most, once `keep_alive` is switched on.

    Raises
    ------
    OSError, UnicodeError
        If the connection cannot be made.
    """

    def __init__(
        self,
        host: str,
        port: int,
        deadline: Deadline,
        on_event: Callable[[Event], None],
        keep_alive: timedelta = KEEP_ALIVE,
    ) -> None:
        self._socket = connect(host, port, deadline)
        self._socket.settimeout(_SEND_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # no request waits
        self._on_event = on_event
        self._ids = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._lock = threading.Lock()  # guards _waiting, _ended and the order of bytes sent
        self._ended = ""
        self._silence_s = keep_alive.total_seconds()
        self._keep_alive = threading.Event()
        self._said_s = time.monotonic()
        self._reader = threading.Thread(target=self._read, name=f"seestar {host}", daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether the link still stands, as far as has been noticed."""
        return not self._ended

    def keep_alive(self, wanted: bool) -> None:
        """Ping when idle, or stop doing so."""
        if wanted:
            self._keep_alive.set()
        else:
            self._keep_alive.clear()

    def ask(self, method: str, params: JsonValue, deadline: Deadline) -> Reply:
        """Send a request and wait for its reply.

        Raises
        ------
        LinkDropped
            If the link ended first.
        ReplyLate
            If the deadline passed first.
        """
        request_id, waiting = self._send(method, params)
        try:
            answered = waiting.done.wait(deadline.left_s)
        finally:
            with self._lock:
                self._waiting.pop(request_id, None)
        if waiting.reply is not None:
            return waiting.reply
        if answered:
            raise LinkDropped(self._ended, sent=True)
        raise ReplyLate(method)

    def close(self) -> None:
        """End the link and its thread; whoever waits for a reply is told."""
        self._end("closed")
        if threading.current_thread() is not self._reader:
            self._reader.join(_JOIN_S)

    def _send(self, method: str, params: JsonValue) -> tuple[int, _Waiting]:
        request_id, waiting = next(self._ids), _Waiting(method)
        frame = encode_request(request_id, method, params)
        with self._lock:
            if self._ended:
                raise LinkDropped(self._ended, sent=False)
            self._waiting[request_id] = waiting
            self._said_s = time.monotonic()
            try:
                self._socket.sendall(frame)
            except OSError as error:  # the line's end was not taken, so the telescope carries nothing out
                del self._waiting[request_id]
                failure = error
            else:
                return request_id, waiting
        self._end(f"sending failed ({failure})")
        raise LinkDropped(str(failure), sent=False) from failure

    def _read(self) -> None:
        decoder = Decoder()
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            try:
                while not self._ended:
                    if selector.select(_GLANCE_S):
                        self._take(decoder)
                    self._ping_when_idle()
            except OSError as error:
                self._end(f"the connection broke ({error})")
            finally:
                self._end("the reader ended")
                self._socket.close()

    def _take(self, decoder: Decoder) -> None:
        data = self._socket.recv(_READ_BYTES)
        if not data:
            self._end("the telescope closed the connection")
        for message in decoder.feed(data):
            self._hand_on(message)

    def _hand_on(self, message: Message) -> None:
        match message:
            case Reply():
                self._answer(message)
            case Event():
                self._on_event(message)
            case Garbage():
                _log.debug("line skipped", reason=message.reason, length_shown=len(message.start))

    def _answer(self, reply: Reply) -> None:
        """Wake who waits for it; a reply that nobody waits for is late, a ping's, or another client's."""
        with self._lock:
            waiting = self._waiting.get(reply.id)
        if waiting is not None and reply.method in {"", waiting.method}:
            waiting.reply = reply
            waiting.done.set()

    def _ping_when_idle(self) -> None:
        """Say something when we have not for a while; what the telescope says does not count as ours."""
        idle_s = time.monotonic() - self._said_s
        if self._keep_alive.is_set() and idle_s >= self._silence_s and not self._ended:
            with self._lock:
                self._said_s = time.monotonic()
                self._socket.sendall(encode_request(next(self._ids), "test_connection"))

    def _end(self, reason: str) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = reason
            waiting = list(self._waiting.values())
        with contextlib.suppress(OSError):  # it may be gone already, which is what was wanted
            self._socket.shutdown(socket.SHUT_RDWR)
        for request in waiting:
            request.done.set()
