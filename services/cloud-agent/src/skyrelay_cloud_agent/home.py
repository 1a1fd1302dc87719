"""The agent in a home: the same `CloudCommunicator`, on the services' database and with their telescopes."""

from __future__ import annotations

import threading

from pydantic import SecretStr

from skyrelay.settings import Settings
from skyrelay.store.accounts import with_entered_secrets
from skyrelay.store.engine import Store
from skyrelay.store.opening import open_store
from skyrelay.store.secrets import SecretStore
from skyrelay_cloud_agent.communicator import CloudCommunicator


class Home:
    """The node of a home that runs the services; measurements are sent by the uploader."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._cloud = CloudCommunicator(settings, store=store, login=self._login)

    def start(self) -> None:
        """Begin."""
        self._cloud.start()

    def stop(self) -> None:
        """End."""
        self._cloud.stop()
        self._store.close()

    def detail(self) -> dict[str, object] | None:
        """Say how the node stands; `None` when its work does not turn."""
        return self._cloud.detail()

    def _login(self) -> tuple[str, SecretStr]:
        entered = SecretStore(self._store, self._settings.key_path).read()
        cloud = with_entered_secrets(self._settings, entered).cloud
        return cloud.node_id, cloud.api_key


def open_home(settings: Settings, stop: threading.Event) -> Home | None:
    """Give the home once its database is there; `None` when ``stop`` is set first."""
    store = open_store(settings, stop)
    return None if store is None else Home(settings, store)
