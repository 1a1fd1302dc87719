"""The cloud agent's process: live as a node of the network, or say why not."""

from __future__ import annotations

import threading

from redis import Redis

from skyrelay.errors import ConfigurationError
from skyrelay.logs import get_logger
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.pulse import Pulse
from skyrelay.service import stop_on_signals
from skyrelay.settings import Settings

_log = get_logger(__name__)

SERVICE = "cloud-agent"


def main(settings: Settings) -> int:
    """Work until told to stop; give the exit code.

    Raises
    ------
    ConfigurationError
        If the cloud is enabled and has no address.
    """
    stop = stop_on_signals()
    redis = connect_redis(settings.redis)
    reason = _reason_to_idle(settings)
    if reason is None:
        _live(settings, redis, stop)
    else:
        _idle(reason, redis, stop)
    return 0


def _reason_to_idle(settings: Settings) -> str | None:
    if not settings.cloud.enabled:
        return "disabled"
    return "waiting for set-up" if settings.setup == "ask" else None


def _idle(reason: str, redis: Redis, stop: threading.Event) -> None:
    _log.info("the cloud is not spoken to", reason=reason)
    with Pulse(redis, SERVICE, lambda: {"state": reason}):
        stop.wait()


def _live(settings: Settings, redis: Redis, stop: threading.Event) -> None:
    if not settings.cloud.url:
        raise ConfigurationError("cloud.url is empty: set it, or set cloud.enabled to false")
    from skyrelay_cloud_agent.home import open_home  # what idles needs no database

    home = None
    with Pulse(redis, SERVICE, lambda: home.detail() if home else {"state": "waiting for the database"}):
        home = open_home(settings, stop)
        if home is None:
            return
        try:
            home.start()
            stop.wait()
        finally:
            home.stop()
