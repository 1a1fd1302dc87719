"""From the spool to the Redis stream; while Redis is away, the spool keeps everything."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from skyrelay.logs import get_logger
from skyrelay.queue.events import FrameEvent
from skyrelay.queue.frame_stream import current_epoch, publish_written
from skyrelay.service import utc_now
from skyrelay_watcher.frame_events import as_text
from skyrelay_watcher.spool import Spool, Spooled

_log = get_logger(__name__)

_BATCH = 500  # events a round trip: some 300 kB
_LOOK_S = 2.0  # how often the stream's epoch is read when there is nothing to publish
_EPOCH_S = 1.0  # how old our knowledge of the epoch may be while there is something to publish
_FIRST_RETRY_S, _LAST_RETRY_S = 0.1, 5.0


class Publisher:
    """The thread that empties the spool.

    Parameters
    ----------
    redis
        Client.
    spool
        What to publish.
    wanted
        Set by others when there is something in the spool.
    on_epoch
        Told the stream's epoch when it is not the one that was known: everything has to be said again.
    """

    def __init__(
        self, redis: Redis, spool: Spool, *, wanted: threading.Event, on_epoch: Callable[[str], None]
    ) -> None:
        self._redis, self._spool = redis, spool
        self._wanted, self._on_epoch = wanted, on_epoch
        self._stopping = threading.Event()
        self._sent: tuple[Sequence[Spooled], str] | None = None
        self._retry_s = _FIRST_RETRY_S
        self._away = False
        self._turned_s = self._epoch_asked_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self.epoch: str | None = None
        self.last_event_at: dict[str, datetime] = {}

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Tell the loop to end; what is in the spool stays there."""
        self._stopping.set()
        self._wanted.set()

    def join(self, within_s: float) -> bool:
        """Wait for the loop's end; `False` when it still waits for Redis."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def idle_for(self) -> timedelta:
        """Tell how long ago the loop got through a turn, or last asked a Redis that is away."""
        return timedelta(seconds=time.monotonic() - self._turned_s)

    @property
    def alive(self) -> bool:
        """Whether the loop has begun and not ended."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                published = self._turn()
            except (RedisError, OSError, sqlite3.Error) as error:
                self._wait_out(error)
                continue
            self._be_back()
            if not published:
                self._wanted.wait(_LOOK_S)

    def _turn(self) -> int:
        """Publish one batch; give how many events it had."""
        self._wanted.clear()
        self._finish_sent()
        self._mind_epoch()
        rows = self._spool.oldest(_BATCH)
        if rows and self.epoch is not None:
            events = self._known(rows)
            publish_written(self._redis, (row.event for row in events))
            self._sent = events, self.epoch
            self._finish_sent()
        return len(rows)

    def _known(self, rows: Sequence[Spooled]) -> list[Spooled]:
        """Give the rows that hold an event of ours; one of another release may not."""
        events = [row for row in rows if FrameEvent.is_written(row.event)]
        strange = [row for row in rows if not FrameEvent.is_written(row.event)]
        if strange:
            _log.warning(
                "events in the spool are none that this release knows: their files are looked at again",
                first=as_text(f"{strange[0].root}/{strange[0].path}"),
                count=len(strange),
            )
            self._spool.forget_spooled(strange)  # their files are found again by the next scan
        return events

    def _mind_epoch(self) -> None:
        """Ask now and then: what is sent under an old epoch meanwhile is sent again under the new one."""
        if self.epoch is None or self._away or time.monotonic() - self._epoch_asked_s >= _EPOCH_S:
            self._epoch_asked_s = time.monotonic()
            self._meet(current_epoch(self._redis))

    def _meet(self, epoch: str) -> None:
        if epoch != self.epoch:
            _log.info("a stream of frames begins", epoch=epoch)
            self.epoch = epoch
            self._on_epoch(epoch)

    def _finish_sent(self) -> None:
        # Apart from sending: with a full disk, what Redis has already is not sent to it again and again.
        if self._sent is not None:
            rows, epoch = self._sent
            self._spool.mark_published(rows, epoch)
            self._sent = None
            self.last_event_at.update(dict.fromkeys((row.root for row in rows), utc_now()))

    def _wait_out(self, error: Exception) -> None:
        if isinstance(error, RedisConnectionError | RedisTimeoutError):
            self._turned_s = time.monotonic()  # it is Redis that stands still
        if not self._away:
            _log.warning("events are kept on disk until Redis takes them", problem=type(error).__name__)
        self._away = True
        self._stopping.wait(self._retry_s)
        self._retry_s = min(self._retry_s * 2, _LAST_RETRY_S)

    def _be_back(self) -> None:
        if self._away:
            _log.info("Redis takes events again")
        self._away, self._retry_s = False, _FIRST_RETRY_S
        self._turned_s = time.monotonic()
