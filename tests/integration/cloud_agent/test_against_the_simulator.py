"""The cloud agent as a process, against the cloud that has the real server's manners."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis

from skyrelay.queue.beats import read_beats
from skyrelay.queue.connection import connect_redis
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay_simulators.cloud import Fault, SimulatedCloud
from support.redis_server import RedisServer
from support.service_process import ServiceProcess
from support.waiting import eventually

NODE_ID = "garden"


class Node:
    """A home with a cloud agent."""

    def __init__(self, folder: Path, server: RedisServer, cloud: SimulatedCloud) -> None:
        self.folder, self.server, self.cloud = folder, server, cloud
        self.redis: Redis = connect_redis(server.url)
        store = Store(f"sqlite:///{folder / 'data' / 'skyrelay.db'}")
        migrate(store)
        store.close()

    def agent(self) -> ServiceProcess:
        """Give an agent that wishes to be called `NODE_ID`."""
        return ServiceProcess(
            "cloud-agent",
            self.folder,
            {
                "setup": "done",
                "redis_url": self.server.url,
                "data_dir": str(self.folder / "data"),
                "observatory": {
                    "observer": "Ada",
                    "latitude": 48.2345,
                    "longitude": 16.3456,
                    "elevation": 171.5,
                    "timezone": "Asia/Kolkata",
                },
                "photometry": {"node_id": NODE_ID},
                "cloud": {"enabled": True, "url": self.cloud.base_url, "heartbeat_interval": 1},
            },
        )

    def detail(self) -> Any:
        """Give what the last beat says."""
        beat = read_beats(self.redis).get("cloud-agent")
        return beat.detail if beat else {}

    def state(self) -> Any:
        """Give the state that the last beat says."""
        return self.detail().get("state")

    def accepted_beats(self) -> int:
        """Count the heartbeats that the cloud took."""
        return sum(entry.status == 200 for entry in self.cloud.requests("heartbeat"))


@pytest.fixture
def node(tmp_path: Path, redis_server: RedisServer) -> Iterator[Node]:
    with SimulatedCloud(tmp_path / "cloud") as cloud:
        node = Node(tmp_path, redis_server, cloud)
        yield node
        node.redis.close()


def test_it_enters_the_registry_once_and_keeps_its_conditions_there(node: Node) -> None:
    with node.agent() as agent:
        eventually(lambda: node.accepted_beats() >= 2)
        agent.kill()
        before = node.accepted_beats()
        agent.start()
        eventually(lambda: node.accepted_beats() > before)
        eventually(lambda: node.state() == "connected")
    assert len(node.cloud.requests("register")) == 1
    (entry,) = node.cloud.nodes
    assert (entry.node_id, entry.conditions) == (NODE_ID, {"utc_offset_hours": 5.5})
    assert (entry.card["latitude"], entry.card["longitude"], entry.card["elevation"]) == (48.2, 16.3, 170.0)
    assert (entry.card["owner_name"], entry.card["utc_offset_hours"]) == ("Ada", 5.5)


def test_a_revoked_key_is_told_and_not_replaced(node: Node) -> None:
    with node.agent():
        eventually(lambda: node.accepted_beats() >= 1)
        node.cloud.revoke(NODE_ID)
        eventually(lambda: node.state() == "credentials refused")
        assert "invalid node credentials" in node.detail()["error"]
    assert len(node.cloud.requests("register")) == 1


def test_a_name_that_is_somebody_elses_is_a_question_for_a_person(node: Node) -> None:
    card = {"node_id": NODE_ID, "latitude": 1.0, "longitude": 2.0}
    requests.post(f"{node.cloud.base_url}/api/v1/nodes/register", json=card, timeout=30).raise_for_status()

    with node.agent():
        eventually(lambda: node.state() == "needs you")
        assert "already registered with a different API key" in node.detail()["error"]
    assert (len(node.cloud.nodes), node.cloud.requests("heartbeat")) == (1, [])


def test_a_login_page_in_between_is_no_cloud(node: Node) -> None:
    node.cloud.show("register", Fault(mode="html-200", times=1))

    with node.agent():
        eventually(lambda: node.state() == "connected", within_s=30)
    assert [entry.fault for entry in node.cloud.requests("register")] == ["html-200", None]
    assert len(node.cloud.nodes) == 1
