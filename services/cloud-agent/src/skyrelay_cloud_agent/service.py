"""The cloud agent's process: live as a node of the network, or say why not."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from skyrelay.errors import ConfigurationError, TransientError
from skyrelay.logs import get_logger
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.pulse import Pulse
from skyrelay.service import stop_on_signals
from skyrelay.settings import Settings
from skyrelay.store.accounts import settings_on_page, wait_for_other_settings

if TYPE_CHECKING:
    from skyrelay_cloud_agent.home import Home

_log = get_logger(__name__)

SERVICE = "cloud-agent"
_NO_ADDRESS = "cloud.url is empty: set it, or set cloud.enabled to false"


def main(settings: Settings) -> int:
    """Work until told to stop; give the exit code.

    Raises
    ------
    ConfigurationError
        If the configuration enables the cloud and has no address.
    """
    stop = stop_on_signals()
    now = _settings_now(settings)
    if settings.cloud.enabled and settings.is_set_up and not now.cloud.url:
        raise ConfigurationError(_NO_ADDRESS)
    agent = Agent()
    with Pulse(connect_redis(settings.redis), SERVICE, agent.detail):
        while not stop.is_set():
            agent.live_by(now, stop)
            now = wait_for_other_settings(settings, now, stop, part=lived_by)
            agent.end()
    return 0


class Agent:
    """The home's node while the settings want one, started anew when they change."""

    def __init__(self) -> None:
        self._home: Home | None = None
        self._state = "starting"

    def detail(self) -> dict[str, object] | None:
        """Say how the node stands; `None` when its work does not turn."""
        home = self._home
        return {"state": self._state} if home is None else home.detail()

    def live_by(self, settings: Settings, stop: threading.Event) -> None:
        """Begin, if these settings want it; the database is waited for until ``stop`` is set."""
        reason = _reason_to_idle(settings)
        self._state = reason or "waiting for the database"
        if reason is not None:
            _log.info("the cloud is not spoken to", reason=reason)
            return
        from skyrelay_cloud_agent.home import open_home  # what idles needs none of it

        self._home = open_home(settings, stop)
        if self._home is not None:
            self._home.start()

    def end(self) -> None:
        """End what was begun."""
        home, self._home = self._home, None
        if home is not None:
            home.stop()


def lived_by(settings: Settings) -> tuple[object, ...]:
    """Give the settings that the node is started anew for, out of touch for a moment."""
    return (
        settings.is_set_up,
        settings.cloud,
        settings.mqtt,
        settings.observatory,
        settings.photometry,
        settings.crowdsky.scrub_location,
    )


def _settings_now(settings: Settings) -> Settings:
    try:
        return settings_on_page(settings)
    except TransientError:  # looked for again soon
        return settings


def _reason_to_idle(settings: Settings) -> str | None:
    if not settings.cloud.enabled:
        return "disabled"
    if not settings.is_set_up:
        return "waiting for set-up"
    return None if settings.cloud.url else _NO_ADDRESS
