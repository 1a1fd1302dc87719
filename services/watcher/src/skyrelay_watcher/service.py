"""The watcher's process: watch the roots that the settings name, or say why there is nothing to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import asdict

from redis import Redis

from skyrelay.errors import ConfigurationError
from skyrelay.logs import get_logger
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.pulse import Pulse
from skyrelay.service import stop_on_signals
from skyrelay.settings import ImageWatcherSettings, Settings
from skyrelay_watcher.wanted import Wanted
from skyrelay_watcher.watching import Watching

_log = get_logger(__name__)

SERVICE = "watcher"
_ASK_EVERY_S = 5.0  # how soon a change on the page is noticed


def main(settings: Settings) -> int:
    """Work until told to stop; give the exit code.

    Raises
    ------
    ConfigurationError
        If the configuration turns watching on and there is nothing to watch, or no place for the spool.
    """
    stop = stop_on_signals()
    redis = connect_redis(settings.redis)
    wanted = Wanted(settings, redis)
    if settings.image_watcher.enabled and settings.is_set_up:
        check_roots(settings.image_watcher)
    watcher = Watcher(redis)
    with Pulse(redis, SERVICE, watcher.detail):
        while not stop.is_set():
            now = wanted.now()
            watcher.watch_by(now)
            while _is_same(wanted.now(), now) and not stop.wait(_ASK_EVERY_S):
                wanted.ask()
            watcher.end()
    return 0


class Watcher:
    """Watches what the settings want, started anew when they change."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._watching: Watching | None = None
        self._state = "starting"

    def detail(self) -> Mapping[str, object] | None:
        """Say what is watched; `None` when the work does not turn."""
        watching = self._watching
        return {"state": self._state, "roots": []} if watching is None else _detail(watching)

    def watch_by(self, settings: Settings) -> None:
        """Begin, if these settings want it."""
        reason = _reason_to_idle(settings)
        if reason is not None:
            self._state = reason
            _log.info("nothing is watched", reason=reason)
            return
        watching = Watching(settings.image_watcher, redis=self._redis, data_dir=settings.data_dir)
        watching.start()
        self._watching = watching

    def end(self) -> None:
        """End what was begun; the journal stays."""
        watching, self._watching = self._watching, None
        if watching is not None:
            self._state = "starting"
            watching.stop()


def check_roots(section: ImageWatcherSettings) -> None:
    """Raise `ConfigurationError` if watching is on and nothing, or something twice, is named."""
    paths = [root.path for root in section.watch_path]
    if not paths:
        raise ConfigurationError(
            "image_watcher.watch_path is empty: name a folder, or set image_watcher.enabled to false"
        )
    twice = sorted({str(path) for path in paths if paths.count(path) > 1})
    if twice:
        raise ConfigurationError(f"image_watcher.watch_path: {twice[0]} is given twice")


def _is_same(one: Settings, other: Settings) -> bool:
    return (one.image_watcher, one.is_set_up) == (other.image_watcher, other.is_set_up)


def _reason_to_idle(settings: Settings) -> str | None:
    if not settings.is_set_up:
        return "waiting for set-up"
    if not settings.image_watcher.enabled:
        return "disabled"
    try:
        check_roots(settings.image_watcher)
    except ConfigurationError as error:  # by the page: a person puts it right there
        return str(error)
    return None


def _detail(watching: Watching) -> Mapping[str, object] | None:
    if not watching.turns():
        return None
    try:
        reports = watching.reports()
    except sqlite3.Error:
        return {"state": "degraded", "roots": []}
    return {"state": watching.state(), "roots": [asdict(report) for report in reports]}
