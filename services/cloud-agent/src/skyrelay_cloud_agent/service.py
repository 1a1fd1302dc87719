"""The cloud agent's process: live as a node of the network, or say why not; keep people told."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Protocol

from skyrelay.errors import ConfigurationError, TransientError
from skyrelay.logs import get_logger
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.pulse import Pulse
from skyrelay.service import stop_on_signals
from skyrelay.settings import Settings
from skyrelay.store.accounts import settings_on_page, wait_for_other_settings

if TYPE_CHECKING:
    from skyrelay_cloud_agent.home import Home
    from skyrelay_cloud_agent.home_assistant.presence import Presence
    from skyrelay_cloud_agent.notifying.notifier import Notifier

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
    agent, home_assistant, notifications = Agent(), HomeAssistant(), Notifications()
    with Pulse(
        connect_redis(settings.redis), SERVICE, partial(_detail, agent, home_assistant, notifications)
    ):
        while not stop.is_set():
            home_assistant.live_by(now, stop)
            notifications.live_by(now, stop)
            agent.live_by(now, stop)
            now = wait_for_other_settings(settings, now, stop, part=lived_by)
        agent.end()
        notifications.end()
        home_assistant.end()
    return 0


class _Part(Protocol):
    def detail(self) -> dict[str, object] | None: ...


def _detail(*parts: _Part) -> dict[str, object] | None:
    """Put together what all say of themselves; `None` when the work of one does not turn."""
    together: dict[str, object] = {}
    for part in parts:
        said = part.detail()
        if said is None:
            return None
        together |= said
    return together


class Agent:
    """The home's node while the settings want one, started anew when they change."""

    def __init__(self) -> None:
        self._home: Home | None = None
        self._lived_by: object = None
        self._state = "starting"

    def detail(self) -> dict[str, object] | None:
        """Say how the node stands; `None` when its work does not turn."""
        home = self._home
        return {"state": self._state} if home is None else home.detail()

    def live_by(self, settings: Settings, stop: threading.Event) -> None:
        """Begin, go on or end, as these settings want; the database is waited for until ``stop`` is set."""
        wanted = node_lived_by(settings)
        if wanted == self._lived_by:
            return
        self.end()
        self._lived_by = wanted
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
        home, self._home, self._lived_by = self._home, None, None
        if home is not None:
            home.stop()


def lived_by(settings: Settings) -> tuple[object, ...]:
    """Give the settings that any part of what we do is started anew for, out of touch for a moment."""
    return (node_lived_by(settings), settings.home_assistant, notifications_lived_by(settings))


def node_lived_by(settings: Settings) -> tuple[object, ...]:
    """Give those of the node."""
    return (
        settings.is_set_up,
        settings.cloud,
        settings.mqtt,
        settings.observatory,
        settings.photometry,
        settings.crowdsky.scrub_location,
    )


def notifications_lived_by(settings: Settings) -> tuple[object, ...]:
    """Give those of what tells the owner; the receipt's morning is that of the observatory."""
    return (settings.is_set_up, settings.notifications, settings.observatory)


class HomeAssistant:
    """Our presence there while the settings want one; begun anew only when its own settings change."""

    def __init__(self) -> None:
        self._presence: Presence | None = None
        self._lived_by: object = None

    def detail(self) -> dict[str, object] | None:
        """Say how it stands, where it is wanted; `None` when its work does not turn."""
        presence = self._presence
        if presence is None:
            return {}
        connection = presence.connection
        if not presence.turns():
            return None
        return {"home_assistant": str(connection.state), "home_assistant_problem": connection.problem or None}

    def live_by(self, settings: Settings, stop: threading.Event) -> None:
        """Begin, go on or end, as these settings want; the database is waited for until ``stop`` is set."""
        wanted = (settings.home_assistant, settings.mqtt, settings.is_set_up)
        if wanted == self._lived_by:
            return
        self.end()
        self._lived_by = wanted
        if not (settings.home_assistant.enabled and settings.is_set_up):
            return
        from skyrelay.store.opening import open_store
        from skyrelay_cloud_agent.home_assistant.presence import Presence

        store = open_store(settings, stop)
        if store is not None:
            self._presence = Presence(settings, store)
            self._presence.start()

    def end(self) -> None:
        """End what was begun."""
        presence, self._presence, self._lived_by = self._presence, None, None
        if presence is not None:
            presence.stop()


class Notifications:
    """Tells the owner while there are addresses to tell."""

    def __init__(self) -> None:
        self._notifier: Notifier | None = None
        self._lived_by: object = None

    def detail(self) -> dict[str, object] | None:
        """Say what is wrong with it, where it is wanted; `None` when its work does not turn."""
        notifier = self._notifier
        if notifier is None:
            return {}
        return {"notifications_problem": notifier.problem or None} if notifier.turns() else None

    def live_by(self, settings: Settings, stop: threading.Event) -> None:
        """Begin, go on or end, as these settings want; the database is waited for until ``stop`` is set."""
        wanted = notifications_lived_by(settings)
        if wanted == self._lived_by:
            return
        self.end()
        self._lived_by = wanted
        if not (settings.notifications.urls and settings.is_set_up):
            return
        from skyrelay.store.opening import open_store
        from skyrelay_cloud_agent.notifying.notifier import Notifier

        store = open_store(settings, stop)
        if store is not None:
            self._notifier = Notifier(settings, store)
            self._notifier.start()

    def end(self) -> None:
        """End what was begun."""
        notifier, self._notifier, self._lived_by = self._notifier, None, None
        if notifier is not None:
            notifier.stop()


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
