"""The cloud agent as a process without a cloud: there for Home Assistant, gone by its last will."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skyrelay.mqtt import Message, MqttConnection
from skyrelay.queue.beats import read_beats
from skyrelay.queue.connection import connect_redis
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from support.mqtt_broker import PASSWORD, Broker, MakeBroker, make_broker
from support.redis_server import RedisServer
from support.service_process import STOPS_WITHIN_S, ServiceProcess
from support.waiting import eventually

__all__ = ["make_broker"]

URL = "json://me:s3cret@127.0.0.1:9/topic"


@pytest.fixture
def broker(make_broker: MakeBroker) -> Broker:
    return make_broker(secured=True)


@pytest.fixture
def availability(broker: Broker) -> Iterator[list[bytes]]:
    said: list[bytes] = []

    def hear(message: Message) -> None:
        said.append(message.payload)

    listener = MqttConnection(broker.settings(), topics={"skyrelay/status"}, on_message=hear)
    listener.start()
    yield said
    listener.stop()


def agent(folder: Path, redis: RedisServer, broker: Broker) -> ServiceProcess:
    store = Store(f"sqlite:///{folder / 'data' / 'skyrelay.db'}")
    migrate(store)
    store.close()
    settings: dict[str, Any] = {
        "setup": "done",
        "redis_url": redis.url,
        "data_dir": str(folder / "data"),
        "gateway": {"host": "127.0.0.1", "port": 9},
        "mqtt": {"host": "127.0.0.1", "port": broker.port, "username": "skyrelay", "password": PASSWORD},
        "home_assistant": {"enabled": True},
        "notifications": {"urls": [URL]},
    }
    return ServiceProcess("cloud-agent", folder, settings)


def test_the_broker_says_that_we_are_gone_and_a_stop_says_it_itself(
    tmp_path: Path, redis_server: RedisServer, broker: Broker, availability: list[bytes]
) -> None:
    with agent(tmp_path, redis_server, broker) as process:
        eventually(lambda: availability[-1:] == [b"online"], within_s=60)
        with connect_redis(redis_server.url) as redis:

            def detail() -> Any:
                beat = read_beats(redis).get("cloud-agent")
                return beat.detail if beat else {}

            eventually(lambda: detail().get("home_assistant") == "connected", within_s=30)
            eventually(lambda: detail()["state"] == "disabled")  # of the cloud nothing is wanted
            assert detail()["notifications_problem"] is None
        process.kill()
        eventually(lambda: availability[-1] == b"offline", within_s=30)
        process.start()
        eventually(lambda: availability[-1] == b"online", within_s=60)
        process.tell(signal.SIGTERM)
        assert process.wait(STOPS_WITHIN_S) == 0
        eventually(lambda: availability[-1] == b"offline", within_s=30)
        said = process.log()
        assert "s3cret" not in said
        assert PASSWORD not in said
