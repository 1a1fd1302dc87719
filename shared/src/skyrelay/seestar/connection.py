"""An authenticated connection to one telescope, opened when needed and again when it dropped.

A read is repeated once after a drop. A command that changes something is never blindly repeated:
its lost reply becomes `skyrelay.seestar.errors.ReplyLost`, and the caller looks at the state.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType

from skyrelay.logs import get_logger
from skyrelay.seestar.auth import Signer
from skyrelay.seestar.codec import Event, Reply
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.errors import (
    Code,
    ConnectionClosed,
    DeadlinePassed,
    KeyMissing,
    KeyRefused,
    NoAnswer,
    ProgramSilent,
    ReplyLost,
    refusal,
)
from skyrelay.seestar.fields import Fields, JsonValue
from skyrelay.seestar.link import KEEP_ALIVE, Link, LinkDropped, ReplyLate
from skyrelay.seestar.reach import Port

CONNECT = timedelta(seconds=5)  # a telescope in the same Wi-Fi answers within one
REPLY = timedelta(seconds=15)  # listings of thousands of frames take several
_EVENTS_KEPT = 256  # for a subscriber that does not look; the oldest go, the state is polled anyway

_log = get_logger(__name__)


class Subscription:
    """The events of some names, in order; the oldest are dropped when nobody takes them."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._events: deque[Event] = deque(maxlen=_EVENTS_KEPT)
        self._arrived = threading.Condition()

    def put(self, event: Event) -> None:
        """Take an event in, if it is of a name asked for."""
        if event.name in self._names:
            with self._arrived:
                self._events.append(event)
                self._arrived.notify()

    def take(self, within: timedelta) -> Event | None:
        """Give the next event; `None` when none comes in time."""
        with self._arrived:
            self._arrived.wait_for(lambda: bool(self._events), timeout=within.total_seconds())
            return self._events.popleft() if self._events else None


class Connection:
    """Speaks JSON-RPC with one telescope. Threads may share it; it survives drops.

    Parameters
    ----------
    host, port
        The telescope's address.
    name
        What the configuration calls it; messages name the setting to fill in with it.
    signer
        Loads the user's key, once a telescope asks for it; `None` when none is configured.
    connect, reply
        How long to wait for a connection and for one reply, unless a call says otherwise.
    keep_alive
        How long to be silent at most while something is under way.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        name: str = "",
        signer: Callable[[], Signer] | None = None,
        connect: timedelta = CONNECT,
        reply: timedelta = REPLY,
        keep_alive: timedelta = KEEP_ALIVE,
    ) -> None:
        self.name = name or host
        self._port = Port(self.name, host, port, "rpc_port")
        self._signer = signer
        self._connect_within, self._reply_within, self._keep_alive = connect, reply, keep_alive
        self._link: Link | None = None
        self._opening = threading.RLock()
        self._subscriptions: list[Subscription] = []
        self._under_way = 0
        self._closed = False
        self._opened = 0

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self, deadline: Deadline | None = None) -> int:
        """Connect, if that is not so already; give how often that was done.

        Behind each new connection there may be another telescope. Raises as `read` does.
        """
        try:
            self._open_link(self._until(deadline))
        except LinkDropped as drop:
            raise NoAnswer(f"{self.name}: the connection drops during the handshake ({drop})") from drop
        return self._opened

    def close(self) -> None:
        """End the connection for good; whoever waits for a reply is told."""
        self._closed = True  # before the lock: who is just opening a link looks at it again
        link = self._link
        if link is not None:
            link.close()

    def read(self, method: str, params: JsonValue = None, *, deadline: Deadline | None = None) -> JsonValue:
        """Ask for something and change nothing; repeated once when the connection dropped.

        Raises
        ------
        Unreachable, KeyMissing, KeyRefused, CommandRefused, DeadlinePassed
        """
        try:
            return _result(self._ask(method, params, self._until(deadline), harmless=True))
        except LinkDropped as drop:
            raise NoAnswer(
                f"{self.name}: the connection drops before {method} is answered ({drop})"
            ) from drop
        except ReplyLate as late:
            raise NoAnswer(f"{self.name}: {method} was not answered in time") from late

    def command(
        self, method: str, params: JsonValue = None, *, deadline: Deadline | None = None
    ) -> JsonValue:
        """Have something changed; never repeated once it may have arrived.

        Raises
        ------
        ReplyLost
            If it was sent and no reply came: it may have been carried out.
        Unreachable, KeyMissing, KeyRefused, CommandRefused, DeadlinePassed
            If it was not carried out.
        """
        try:
            return _result(self._ask(method, params, self._until(deadline), harmless=False))
        except LinkDropped as drop:
            if not drop.sent:
                raise NoAnswer(
                    f"{self.name}: the connection drops before {method} is sent ({drop})"
                ) from drop
            raise ReplyLost(f"{self.name}: {method} was sent, then the connection dropped ({drop})") from drop
        except ReplyLate as late:
            raise ReplyLost(f"{self.name}: {method} was sent and not answered in time") from late

    @contextmanager
    def subscribed(self, *names: str) -> Iterator[Subscription]:
        """Receive events while something is under way; the connection is kept alive meanwhile."""
        subscription = Subscription(frozenset(names))
        with self._opening:
            self._subscriptions.append(subscription)
            self._under_way += 1
            self._mind_keep_alive()
        try:
            yield subscription
        finally:
            with self._opening:
                self._subscriptions.remove(subscription)
                self._under_way -= 1
                self._mind_keep_alive()

    def _until(self, deadline: Deadline | None) -> Deadline:
        return deadline or Deadline.after(self._connect_within + self._reply_within)

    def _ask(self, method: str, params: JsonValue, until: Deadline, *, harmless: bool) -> Reply:
        """Ask once, and once more over a new connection if that can do no harm."""
        try:
            return self._ask_once(method, params, until)
        except LinkDropped as drop:
            if drop.sent and not harmless:
                raise
            _log.info("asking again after a drop", telescope=self.name, method=method, reason=str(drop))
        return self._ask_once(method, params, until)

    def _ask_once(self, method: str, params: JsonValue, until: Deadline) -> Reply:
        link = self._open_link(until)
        if until.passed:
            raise DeadlinePassed(f"{self.name}: the time for {method} was over before it was sent")
        try:
            return link.ask(method, params, until.or_after(self._reply_within))
        except ReplyLate:
            self._discard(link)  # a link that swallows a request is not to be trusted with the next
            raise

    def _open_link(self, until: Deadline) -> Link:
        with self._opening:
            self._check_open()
            if self._link is None or not self._link.alive:
                self._discard(self._link)
                self._link = self._new_link(until)
                self._opened += 1
                self._mind_keep_alive()
                if self._closed:  # meanwhile
                    self._discard(self._link)
            return self._link

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionClosed(f"{self.name}: the connection was closed on our side")

    def _new_link(self, until: Deadline) -> Link:
        soon = until.or_after(self._connect_within)
        if soon.passed:
            raise DeadlinePassed(f"{self.name}: the time was over before a connection was made")
        try:
            link = Link(self._port.host, self._port.number, soon, self._fan_out, self._keep_alive)
        except (OSError, UnicodeError) as error:
            raise self._port.away(error) from error
        try:
            self._authenticate(link, until)
        except BaseException:
            link.close()
            raise
        return link

    def _discard(self, link: Link | None) -> None:
        if link is None:
            return
        link.close()
        with self._opening:
            if self._link is link:
                self._link = None

    def _mind_keep_alive(self) -> None:
        if self._link is not None:
            self._link.keep_alive(self._under_way > 0)

    def _fan_out(self, event: Event) -> None:
        for subscription in tuple(self._subscriptions):
            subscription.put(event)

    def _authenticate(self, link: Link, until: Deadline) -> None:
        """Pass the firmware's challenge, where it has one (7.18 and later), once a TCP connection."""
        challenge = self._challenge(link, until)
        if challenge is None:
            return
        if self._signer is None:
            raise KeyMissing(f"{self.name} wants a key: set telescopes[{self.name}].key_path")
        answer: JsonValue = {"sign": self._signer().sign(challenge), "data": challenge}
        reply = self._in_handshake(link, "verify_client", answer, until)
        if reply.code != 0:
            raise KeyRefused(
                f"{self.name} does not accept the key (code {reply.code}): "
                f"is telescopes[{self.name}].key_path the right one?"
            )
        self._in_handshake(link, "pi_is_verified", None, until)  # its answer is not fatal, whatever it is

    def _challenge(self, link: Link, until: Deadline) -> str | None:
        reply = self._in_handshake(link, "get_verify_str", "verify", until)
        if reply.code == Code.METHOD_UNKNOWN:
            return None
        if reply.code != 0:
            raise refusal("get_verify_str", reply.code, reply.error)
        challenge = reply.result if isinstance(reply.result, str) else Fields.of(reply.result).text("str")
        return challenge or None

    def _in_handshake(self, link: Link, method: str, params: JsonValue, until: Deadline) -> Reply:
        try:
            return link.ask(method, params, until.or_after(self._reply_within))
        except LinkDropped as drop:
            raise LinkDropped(str(drop), sent=False) from drop  # the caller's own request was not sent
        except ReplyLate as late:
            raise ProgramSilent(
                f"{self.name} is there and takes connections, but {method} was not answered in time: "
                "it is stuck or half asleep, or its Wi-Fi is very weak"
            ) from late


def _result(reply: Reply) -> JsonValue:
    if reply.code != 0:
        raise refusal(reply.method, reply.code, reply.error)
    return reply.result
