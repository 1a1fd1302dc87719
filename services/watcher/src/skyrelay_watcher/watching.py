"""All roots, the spool and the publisher together, and what the beat says of them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from redis import Redis

from skyrelay.logs import get_logger
from skyrelay.service import utc_now
from skyrelay.settings import ImageWatcherSettings
from skyrelay_watcher.frame_events import as_text
from skyrelay_watcher.publisher import Publisher
from skyrelay_watcher.root_watch import RootState, RootWatch
from skyrelay_watcher.spool import Spool

_log = get_logger(__name__)

SPOOL_FILE = Path("watcher") / "spool.db"  # below data_dir
_STALLED_AFTER = timedelta(seconds=30)  # a loop turns every second, but for one slow read
_STALLED = "stalled"  # beside the states of `RootState`, which a loop that hangs cannot set
_STOP_S = 1.5  # for all threads together: a process that is told to stop ends within 2 s


@dataclass(frozen=True, slots=True)
class RootReport:
    """What the beat says of one root; times are ISO 8601 in UTC, ages in seconds.

    ``stale_for_s`` is how long the root has owed an answer: a mount that hangs lets it grow.
    """

    path: str
    state: str
    backend: str | None
    stale_for_s: float
    files_seen: int
    published: int
    waiting: int
    unreadable: int
    spooled: int
    last_event_at: str | None
    last_event_age_s: float | None


class Watching:
    """Watches all configured roots until it is stopped.

    Parameters
    ----------
    settings
        The section ``image_watcher``.
    redis
        Client, for the publisher alone.
    data_dir
        Where the spool's folder is made.
    scan_every
        How often each root is compared with the journal; unset: by its file system.
    stalled_after
        How long a loop may take for one turn.

    Raises
    ------
    ConfigurationError
        If the spool cannot lie there.
    """

    def __init__(
        self,
        settings: ImageWatcherSettings,
        *,
        redis: Redis,
        data_dir: Path,
        scan_every: timedelta | None = None,
        stalled_after: timedelta = _STALLED_AFTER,
    ) -> None:
        self._stalled_after = stalled_after
        self._spool = Spool(data_dir / SPOOL_FILE)
        spooled = threading.Event()
        self._roots = [
            RootWatch(
                root,
                spool=self._spool,
                recursive=settings.recursive,
                backend=settings.backend,
                delay_s=settings.debounce_delay,
                on_spooled=spooled,
                scan_every=scan_every,
            )
            for root in settings.watch_path
        ]
        self._publisher = Publisher(redis, self._spool, wanted=spooled, on_epoch=self._meet_epoch)

    def start(self) -> None:
        """Begin, and forget the journal of roots that are no longer configured."""
        self._spool.forget_other_roots(root.root for root in self._roots)
        for root in self._roots:
            root.start()
        self._publisher.start()

    def stop(self) -> None:
        """End all threads; one that hangs in a dead mount, or waits for Redis, dies with the process."""
        deadline = time.monotonic() + _STOP_S
        loops: list[Publisher | RootWatch] = [self._publisher, *self._roots]
        for loop in loops:
            loop.stop()
        ended = [loop.join(max(0.0, deadline - time.monotonic())) for loop in loops]
        if all(ended):
            self._spool.close()

    def turns(self) -> bool:
        """Tell whether the work goes round; if not, nobody may say that we live.

        It does not without the publisher, which all roots need. Of the roots one is enough: another that
        stands still is no reason to start anew what works. One that waits for a mount's answer does all
        that it can; `state` and `reports` tell of it.
        """
        publishes = self._publisher.alive and not self._stalls(self._publisher)
        return publishes and any(not self._stalls(root) or self._hangs(root) for root in self._roots)

    def state(self) -> str:
        """Give the whole watcher's state in a word or two."""
        states = {self._root_state(root) for root in self._roots}
        if _STALLED in states:
            return "partly stalled"
        return "watching" if states == {RootState.WATCHING} else "degraded"

    def reports(self) -> list[RootReport]:
        """Give each root's figures."""
        return [self._report(root) for root in self._roots]

    def _meet_epoch(self, epoch: str) -> None:
        for root in self._roots:
            root.meet_epoch(epoch)

    def _report(self, root: RootWatch) -> RootReport:
        figures = self._spool.figures(root.root, self._publisher.epoch)
        last = self._publisher.last_event_at.get(root.root)
        return RootReport(
            path=as_text(root.root),
            state=self._root_state(root),
            backend=root.backend,
            stale_for_s=round(root.asks_for() / timedelta(seconds=1), 1),
            files_seen=figures.seen,
            published=figures.published,
            waiting=root.waiting,
            unreadable=figures.unreadable,
            spooled=figures.spooled,
            last_event_at=last.isoformat() if last else None,
            last_event_age_s=round((utc_now() - last) / timedelta(seconds=1), 1) if last else None,
        )

    def _root_state(self, root: RootWatch) -> str:
        if self._hangs(root):
            return RootState.OFFLINE
        return _STALLED if self._stalls(root) else str(root.state)

    def _hangs(self, root: RootWatch) -> bool:
        return root.asks_for() > self._stalled_after

    def _stalls(self, loop: Publisher | RootWatch) -> bool:
        return loop.idle_for() > self._stalled_after
