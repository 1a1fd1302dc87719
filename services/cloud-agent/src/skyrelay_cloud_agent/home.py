"""The agent in a home: the same `CloudCommunicator`, on the services' database and with their telescopes."""

from __future__ import annotations

import threading

from pydantic import SecretStr

from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.accounts import with_entered_secrets
from skyrelay.store.engine import Store
from skyrelay.store.opening import open_store
from skyrelay.store.secrets import SecretStore
from skyrelay_cloud_agent.communicator import CloudCommunicator
from skyrelay_cloud_agent.conditions import home_conditions
from skyrelay_cloud_agent.loop import Loop
from skyrelay_cloud_agent.plan_runs import PlanRuns

_STOP_S = 1.0


class Home:
    """The node of a home that runs the services; measurements are sent by the uploader."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        runs = PlanRuns(settings, store)
        self._runs = Loop("cloud-plan-runs", runs.turn)
        self._cloud = CloudCommunicator(
            settings,
            lambda: home_conditions(settings, store, utc_now()),
            runs.ask_for_new_plan,
            runs.take_interrupt,
            store=store,
            login=self._login,
        )

    def start(self) -> None:
        """Begin."""
        self._cloud.start()
        self._runs.start()

    def stop(self) -> None:
        """End; a telescope that does not answer is left to the end of the process."""
        self._runs.tell_to_stop()
        self._cloud.stop()
        self._runs.thread.join(_STOP_S)
        self._store.close()

    def detail(self) -> dict[str, object] | None:
        """Say how the node stands; `None` when its work does not turn."""
        return self._cloud.detail() if self._runs.turns() else None

    def _login(self) -> tuple[str, SecretStr]:
        entered = SecretStore(self._store, self._settings.key_path).read()
        cloud = with_entered_secrets(self._settings, entered).cloud
        return cloud.node_id, cloud.api_key


def open_home(settings: Settings, stop: threading.Event) -> Home | None:
    """Give the home once its database is there; `None` when ``stop`` is set first."""
    store = open_store(settings, stop)
    return None if store is None else Home(settings, store)
