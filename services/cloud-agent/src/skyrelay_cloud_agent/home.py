"""The agent in a home: the same `CloudCommunicator`, on the services' database and with their telescopes."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import timedelta

from pydantic import SecretStr

from skyrelay.logs import get_logger
from skyrelay.mqtt import MqttConnection
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.accounts import settings_in_force
from skyrelay.store.engine import Store
from skyrelay.store.opening import open_store
from skyrelay_cloud_agent.broker_login import broker_login
from skyrelay_cloud_agent.communicator import CloudCommunicator
from skyrelay_cloud_agent.conditions import home_conditions
from skyrelay_cloud_agent.interrupt_runs import InterruptRuns
from skyrelay_cloud_agent.loop import Loop
from skyrelay_cloud_agent.mqtt_conditions import MqttConditions
from skyrelay_cloud_agent.plan_runs import PlanRuns

_STOP_S = 1.0
_LOOK = timedelta(seconds=2)  # at a few rows of our own database

_log = get_logger(__name__)


class Home:
    """The node of a home that runs the services; measurements are sent by the uploader."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        plans, interrupts = PlanRuns(settings, store), InterruptRuns(settings, store)
        self._runs = Loop("cloud-plan-runs", lambda: _run_what_waits(interrupts, plans))
        self._weather = _weather(settings, store)
        over_mqtt = self._weather.conditions if self._weather else None
        self._cloud = CloudCommunicator(
            settings,
            lambda: home_conditions(settings, store, utc_now(), over_mqtt),
            plans.ask_for_new_plan,
            interrupts.take,
            store=store,
            login=self._login,
        )

    def start(self) -> None:
        """Begin."""
        if self._weather is not None:
            self._weather.connection.start()
        self._cloud.start()
        self._runs.start()

    def stop(self) -> None:
        """End; a telescope that does not answer is left to the end of the process."""
        self._runs.tell_to_stop()
        self._cloud.stop()
        if self._weather is not None:
            self._weather.connection.stop()
        self._runs.thread.join(_STOP_S)
        self._store.close()

    def detail(self) -> dict[str, object] | None:
        """Say how the node stands; `None` when its work does not turn."""
        detail = self._cloud.detail() if self._runs.turns() else None
        if detail is None or self._weather is None:
            return detail
        connection = self._weather.connection
        return {**detail, "mqtt": str(connection.state), "mqtt_problem": connection.problem or None}

    def _login(self) -> tuple[str, SecretStr]:
        cloud = settings_in_force(self._settings, self._store, of=["cloud"]).cloud
        return cloud.node_id, cloud.api_key


def _run_what_waits(*runs: PlanRuns | InterruptRuns) -> timedelta:
    """See to what a person or the settings asked for; give how long to wait then."""
    for each in runs:
        try:
            each.run_what_waits()
        except Exception:  # noqa: BLE001 - a fault of ours must not end the next run; the log has it
            _log.exception("what is to be run could not be seen to")
    return _LOOK


@dataclass(frozen=True, slots=True)
class _Weather:
    """The topics that conditions come from, and the connection that brings them."""

    conditions: MqttConditions
    connection: MqttConnection


def _weather(settings: Settings, store: Store) -> _Weather | None:
    if not settings.cloud.conditions.topics:
        return None
    login = broker_login(settings, store)
    conditions = MqttConditions(settings.cloud.conditions, utc_now)
    topics = settings.cloud.conditions.topics
    return _Weather(
        conditions, MqttConnection(settings.mqtt, login=login, topics=topics, on_message=conditions.hear)
    )


def open_home(settings: Settings, stop: threading.Event) -> Home | None:
    """Give the home once its database is there; `None` when ``stop`` is set first."""
    store = open_store(settings, stop)
    return None if store is None else Home(settings, store)
