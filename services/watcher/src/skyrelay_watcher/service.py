"""The watcher's process: watch the configured roots, or say why there is nothing to do."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import asdict

from redis import Redis

from skyrelay.errors import ConfigurationError
from skyrelay.logs import get_logger
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.pulse import Pulse
from skyrelay.service import stop_on_signals
from skyrelay.settings import ImageWatcherSettings, Settings
from skyrelay_watcher.watching import Watching

_log = get_logger(__name__)

SERVICE = "watcher"


def main(settings: Settings) -> int:
    """Work until told to stop; give the exit code.

    Raises
    ------
    ConfigurationError
        If watching is on and there is nothing to watch, or no place for the spool.
    """
    stop = stop_on_signals()
    redis = connect_redis(settings.redis)
    reason = _reason_to_idle(settings)
    if reason is None:
        _watch(settings, redis, stop)
    else:
        _idle(reason, redis, stop)
    return 0


def _reason_to_idle(settings: Settings) -> str | None:
    if settings.setup == "ask":
        return "waiting for set-up"
    return None if settings.image_watcher.enabled else "disabled"


def _idle(reason: str, redis: Redis, stop: threading.Event) -> None:
    _log.info("nothing is watched", reason=reason)
    with Pulse(redis, SERVICE, lambda: {"state": reason, "roots": []}):
        stop.wait()


def _watch(settings: Settings, redis: Redis, stop: threading.Event) -> None:
    _check_roots(settings.image_watcher)
    watching = Watching(settings.image_watcher, redis=redis, data_dir=settings.data_dir)
    watching.start()
    try:
        with Pulse(redis, SERVICE, lambda: _detail(watching)):
            stop.wait()
    finally:
        watching.stop()


def _check_roots(section: ImageWatcherSettings) -> None:
    paths = [root.path for root in section.watch_path]
    if not paths:
        raise ConfigurationError(
            "image_watcher.watch_path is empty: name a folder, or set image_watcher.enabled to false"
        )
    twice = sorted({str(path) for path in paths if paths.count(path) > 1})
    if twice:
        raise ConfigurationError(f"image_watcher.watch_path: {twice[0]} is given twice")


def _detail(watching: Watching) -> Mapping[str, object] | None:
    if not watching.turns():
        return None
    try:
        reports = watching.reports()
    except sqlite3.Error:
        return {"state": "degraded", "roots": []}
    return {"state": watching.state(), "roots": [asdict(report) for report in reports]}
