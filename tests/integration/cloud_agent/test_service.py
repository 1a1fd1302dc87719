"""The cloud agent as a process, against a cloud over real HTTP."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from skyrelay.queue.beats import read_beats
from skyrelay.queue.connection import connect_redis
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from support.redis_server import RedisServer
from support.service_process import STOPS_WITHIN_S, ServiceProcess
from support.small_cloud import Answer, SmallCloud
from support.waiting import eventually


class Node:
    """A home with a cloud agent."""

    def __init__(self, folder: Path, server: RedisServer, cloud: SmallCloud) -> None:
        self.folder, self.server, self.cloud = folder, server, cloud
        self.redis: Redis = connect_redis(server.url)
        store = Store(f"sqlite:///{folder / 'data' / 'skyrelay.db'}")
        migrate(store)
        store.close()
        self.state_file = folder / "data" / "cloud_state.json"

    def agent(
        self, *, setup: str = "done", site: dict[str, Any] | None = None, **section: Any
    ) -> ServiceProcess:
        """Give an agent; ``section`` are settings of ``cloud``."""
        place = {"latitude": 48.2345, "longitude": 16.3456, "elevation": 171.5, "timezone": "Asia/Kolkata"}
        return ServiceProcess(
            "cloud-agent",
            self.folder,
            {
                "setup": setup,
                "redis_url": self.server.url,
                "data_dir": str(self.folder / "data"),
                "observatory": {"observer": "Ada", **(place if site is None else site)},
                "cloud": {"enabled": True, "url": self.cloud.url, "heartbeat_interval": 1, **section},
            },
        )

    def detail(self) -> Any:
        """Give what the last beat says."""
        beat = read_beats(self.redis).get("cloud-agent")
        return beat.detail if beat else {}

    def state(self) -> Any:
        """Give the state that the last beat says."""
        return self.detail().get("state")


@pytest.fixture
def node(tmp_path: Path, redis_server: RedisServer, cloud: SmallCloud) -> Iterator[Node]:
    node = Node(tmp_path, redis_server, cloud)
    yield node
    node.redis.close()


@pytest.mark.parametrize(
    ("settings", "state"),
    [({"enabled": False}, "disabled"), ({"setup": "ask"}, "waiting for set-up")],
)
def test_with_nothing_to_do_it_idles_and_says_so(node: Node, settings: dict[str, Any], state: str) -> None:
    with node.agent(**settings) as agent:
        eventually(lambda: node.state() == state)
        agent.tell(signal.SIGTERM)
        assert agent.wait(STOPS_WITHIN_S) == 0
    assert node.cloud.calls == []


def test_it_registers_once_and_beats(node: Node) -> None:
    with node.agent() as agent:
        eventually(lambda: node.cloud.beats() >= 2)
        eventually(lambda: node.state() == "connected")
        detail = node.detail()
        assert (detail["registered"], detail["last_heartbeat_ok"], detail["error"]) == (True, True, None)
        agent.kill()
        before = node.cloud.beats()
        agent.start()
        eventually(lambda: node.cloud.beats() > before)
    assert node.cloud.registrations() == 1
    sent = node.cloud.calls[0].body
    assert (sent["latitude"], sent["longitude"], sent["elevation"]) == (48.2, 16.3, 170.0)
    assert (sent["utc_offset_hours"], node.cloud.calls[1].body) == (
        5.5,
        {"conditions": {"utc_offset_hours": 5.5}},
    )
    assert "48.2345" not in agent.log()
    assert "key-of" not in agent.log()


def test_configured_credentials_win(node: Node) -> None:
    node.cloud.keys["mine"] = "my-key"
    with node.agent(node_id="mine", api_key="my-key"):
        eventually(lambda: node.state() == "connected")
    assert node.cloud.registrations() == 0
    assert not node.state_file.exists()


def test_refused_credentials_end_the_heartbeats_until_there_are_others(node: Node) -> None:
    with node.agent() as agent:
        eventually(lambda: node.cloud.beats() >= 1)
        node.cloud.keys["node-1"] = "changed by the operator"
        eventually(lambda: node.state() == "credentials refused")
        assert "unknown node or key" in node.detail()["error"]
        eventually(lambda: node.detail()["last_heartbeat_ok"] is False)
        before = node.cloud.beats()
        later = datetime.now(UTC) + timedelta(seconds=2)  # two heartbeat intervals
        eventually(lambda: read_beats(node.redis)["cloud-agent"].at > later)
        assert (node.cloud.beats(), node.state()) == (before, "credentials refused")
        agent.tell(signal.SIGTERM)
        assert agent.wait(STOPS_WITHIN_S) == 0
    assert node.cloud.registrations() == 1


def test_a_cloud_that_is_away_is_tried_again(node: Node) -> None:
    node.cloud.answers += [Answer(503), Answer(500, b"<html>")]
    with node.agent():
        eventually(lambda: node.state() == "cloud away")
        assert node.detail()["registered"] is False
        eventually(lambda: node.state() == "connected", within_s=30)
    assert node.cloud.registrations() == 3


def test_without_a_place_nothing_is_sent(node: Node) -> None:
    with node.agent(site={}):
        eventually(lambda: node.state() == "needs you")
        assert "observatory.latitude" in node.detail()["error"]
    assert node.cloud.calls == []


def test_a_broken_state_file_is_not_registered_over(node: Node) -> None:
    node.state_file.write_text('{"node_id": "node-1", "api_k', encoding="utf-8")
    with node.agent():
        eventually(lambda: node.state() == "needs you")
        assert "cloud_state.json" in node.detail()["error"]
    assert node.cloud.calls == []


def test_another_id_than_the_registered_one_is_a_question_for_a_person(node: Node) -> None:
    node.state_file.write_text(json.dumps({"node_id": "node-1", "api_key": "x"}), encoding="utf-8")
    with node.agent(node_id="node-2"):
        eventually(lambda: node.state() == "needs you")
        assert "registered as node-1" in node.detail()["error"]
    assert node.cloud.calls == []


def test_clocks_that_differ_are_told(node: Node) -> None:
    node.cloud.keys["mine"] = "my-key"
    then = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    node.cloud.answers.append(Answer(200, b'{"ok": true}', {"Date": then}))
    with node.agent(node_id="mine", api_key="my-key", heartbeat_interval=60):
        eventually(lambda: node.detail().get("clock_off_s"))
        assert node.detail()["clock_off_s"] == pytest.approx(-3600, abs=30)


def test_a_cloud_that_never_answers_holds_up_nothing(node: Node) -> None:
    release = threading.Event()
    node.cloud.answers.append(Answer(hold=release))
    with node.agent() as agent:
        eventually(lambda: node.cloud.calls)
        eventually(lambda: node.state() == "starting")
        agent.tell(signal.SIGTERM)
        assert agent.wait(STOPS_WITHIN_S) == 0
    release.set()


def test_an_enabled_cloud_needs_an_address(node: Node) -> None:
    with node.agent(url="") as agent:
        assert agent.wait(60) == 2
        assert "cloud.url" in agent.log()
