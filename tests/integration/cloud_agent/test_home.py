"""The cloud agent's process in a home with a telescope: plan, interrupts and conditions, end to end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from skyrelay.domain.observing_plan import Site, altitude_deg, sun_altitude_deg
from skyrelay.domain.states import TelescopeState
from skyrelay.queue.beats import read_beats
from skyrelay.queue.connection import connect_redis
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.secrets import SecretName, SecretStore
from skyrelay.store.tables import CloudInterrupt, CloudPlanRow, Telescope
from skyrelay.store.telescopes import lay_down_configured
from skyrelay_simulators.cloud import Fault, SimulatedCloud
from skyrelay_simulators.telescope import SimulatedTelescope
from support.mqtt_broker import MakeBroker, Station, make_broker
from support.redis_server import RedisServer
from support.service_process import STOPS_WITHIN_S, ServiceProcess
from support.telescopes import MakeTelescope, asked, make_telescope, settings_of
from support.waiting import eventually
from support.workshop import Home

__all__ = ["make_broker", "make_telescope"]


def dark_site(now: datetime) -> Site:
    """Give a place where it is midnight now, whenever the test runs; it is dark there for hours."""
    for longitude in range(-180, 180, 5):
        site = Site(5.0, float(longitude))
        ahead = [sun_altitude_deg(site, now + timedelta(minutes=30 * number)) for number in range(5)]
        if max(ahead) < -20:
            return site
    raise AssertionError("it is night nowhere")


def overhead(site: Site, now: datetime) -> dict[str, float]:
    """Give a position that stands high over a site now and in half an hour."""
    later = now + timedelta(minutes=30)
    ra_hours = max(range(24), key=lambda ra: min(altitude_deg(ra, 5.0, site, at) for at in (now, later)))
    return {"ra": float(ra_hours), "dec": 5.0}


class Node:
    """A home: telescope, cloud, database, and an agent as a process."""

    def __init__(
        self,
        folder: Path,
        store: Store,
        server: RedisServer,
        cloud: SimulatedCloud,
        telescope: SimulatedTelescope,
    ) -> None:
        self.folder, self.store, self.server = folder, store, server
        self.cloud, self.telescope = cloud, telescope
        self.now = utc_now()
        self.site = dark_site(self.now)
        with store.write() as session:
            lay_down_configured(session, (settings_of(telescope),), self.now)
            row = session.scalars(select(Telescope)).one()
            row.state, row.last_seen_at, row.battery_percent = TelescopeState.READY, self.now, 77

    def agent(self, mqtt: dict[str, Any] | None = None, **cloud: Any) -> ServiceProcess:
        """Give the agent."""
        return ServiceProcess(
            "cloud-agent",
            self.folder,
            {
                "setup": "done",
                "redis_url": self.server.url,
                "data_dir": str(self.folder),
                "telescopes": [settings_of(self.telescope).model_dump(mode="json", exclude_none=True)],
                "observatory": {
                    "latitude": self.site.latitude_deg,
                    "longitude": self.site.longitude_deg,
                    "timezone": "UTC",
                },
                "photometry": {"node_id": "garden"},
                "mqtt": mqtt or {},
                "cloud": {
                    "enabled": True,
                    "url": self.cloud.base_url,
                    "heartbeat_interval": 1,
                    "plan_poll_interval": 1,
                    **cloud,
                },
            },
        )

    def agent_detail(self) -> Any:
        """Give what the agent's last beat says."""
        with connect_redis(self.server.url) as redis:
            beat = read_beats(redis).get("cloud-agent")
        return beat.detail if beat else {}

    def plan(self) -> str:
        """Give a plan of the night that it is now; one of its items can be observed."""
        night = (self.now - timedelta(hours=12)).date().isoformat()
        item = {"target": "M 5", "expDur": 10, "expCount": 180, **overhead(self.site, self.now)}
        good = {**item, "startTime": self.now.strftime("%H:%M")}
        return self.cloud.set_plan([good, {**good, "target": "low", "dec": -89.9}], night=night)

    def row(self) -> CloudPlanRow | None:
        """Give the plan in the database."""
        with self.store.read() as session:
            return session.scalars(select(CloudPlanRow)).one_or_none()


@pytest.fixture
def node(
    tmp_path: Path, store: Store, redis_server: RedisServer, make_telescope: MakeTelescope
) -> Iterator[Node]:
    telescope = make_telescope(timezone="UTC")
    with SimulatedCloud(tmp_path / "cloud") as cloud:
        yield Node(tmp_path, store, redis_server, cloud, telescope)


def test_a_new_plan_goes_to_the_telescope_once_over_restarts(node: Node) -> None:
    plan_id = node.plan()
    with node.agent(auto_run_plans=True) as agent:
        eventually(lambda: (row := node.row()) is not None and row.run_state == "handed over", within_s=60)
        agent.kill()
        polls = len(node.cloud.requests("plan"))
        agent.start()
        eventually(lambda: len(node.cloud.requests("plan")) >= polls + 2, within_s=60)
        agent.tell(signal.SIGTERM)
        assert agent.wait(STOPS_WITHIN_S) == 0
    row = node.row()
    assert row is not None
    assert (row.plan_id, row.telescope) == (plan_id, "garden")
    plan = node.telescope.device.observation.plan
    assert plan is not None
    assert [view["target_name"] for view in plan["plan"]["list"]] == ["M 5"]
    assert asked(node.telescope, "set_view_plan") == 1


def test_a_plan_waits_for_a_click_and_is_run_then(node: Node) -> None:
    node.plan()
    with node.agent():
        eventually(lambda: node.row() is not None, within_s=60)
        assert asked(node.telescope, "set_view_plan") == 0
        with node.store.write() as session:
            row = session.scalars(select(CloudPlanRow)).one()
            row.run_asked_at, row.run_state = utc_now(), "waiting"
        eventually(lambda: (row := node.row()) is not None and row.run_state == "handed over", within_s=60)
    assert asked(node.telescope, "set_view_plan") == 1


def test_an_interrupt_is_shown_acknowledged_and_kept_and_observed_after_a_click(node: Node) -> None:
    at = overhead(node.site, node.now)
    node.cloud.show("ack", Fault(mode="status", status=503, times=1))
    node.cloud.interrupt("GRB 261125A", at["ra"] * 15, at["dec"], reason="afterglow")

    def row() -> CloudInterrupt | None:
        with node.store.read() as session:
            return session.scalars(select(CloudInterrupt)).one_or_none()

    with node.agent():
        eventually(lambda: node.cloud.interrupts[0].acked_by == ("garden",), within_s=60)
        eventually(lambda: (seen := row()) is not None and seen.acked_at)
        assert asked(node.telescope, "set_view_plan") == 0
        with node.store.write() as session:
            clicked = session.scalars(select(CloudInterrupt)).one()
            clicked.run_asked_at, clicked.run_state = utc_now(), "waiting"
        eventually(lambda: (seen := row()) is not None and seen.run_state == "handed over", within_s=60)
    plan = node.telescope.device.observation.plan
    assert plan is not None
    assert [view["target_name"] for view in plan["plan"]["list"]] == ["GRB 261125A"]


def test_heartbeats_carry_what_the_telescope_does(node: Node) -> None:
    home = Home(node.store, node.server, Settings(setup="done", data_dir=node.folder))
    looked_at = home.own(node.telescope).look()
    with node.agent():
        eventually(lambda: node.cloud.nodes and node.cloud.nodes[0].conditions, within_s=60)
    conditions = node.cloud.nodes[0].conditions
    told = {name: conditions[f"telescope_{name}"] for name in ("state", "battery", "free", "temperature")}
    assert told == {
        "state": "ready",
        "battery": looked_at.battery_percent,
        "free": looked_at.free_mb,
        "temperature": 41.5,
    }
    assert None not in told.values()
    units = {"telescope_battery": "%", "telescope_free": "MB", "telescope_temperature": "°C"}
    assert conditions["units"] == units


def test_heartbeats_carry_what_came_over_mqtt_and_go_on_without_the_broker(
    node: Node, make_broker: MakeBroker
) -> None:
    broker = make_broker(secured=True, tls=True)
    login = {"mqtt.username": broker.settings().username, "mqtt.password": broker.settings().password}
    entered = SecretStore(node.store, node.folder / "secret.key")
    for name, value in login.items():
        secret = value if isinstance(value, SecretStr) else SecretStr(value)
        entered.put(cast("SecretName", name), secret, now=utc_now(), actor="person")
    mqtt = {"host": "127.0.0.1", "port": broker.port, "tls": True, "ca_file": str(broker.folder / "ca.pem")}
    sky = {"topic": "roof/sky", "path": "temperature", "unit": "°C"}
    values = {"sky_temperature": sky, "wind": {"topic": "roof/wind"}}

    def told() -> Any:
        return node.cloud.nodes[0].conditions if node.cloud.nodes else {}

    with node.agent(mqtt, conditions={"values": values, "max_age_s": 3}) as agent:
        station = Station(broker)

        def said() -> bool:
            station.say("roof/sky", '{"temperature": -18.5}')
            station.say("roof/wind", "calm")
            return told().get("sky_temperature") == -18.5 and told().get("wind") == "calm"

        eventually(said, within_s=60)
        assert told()["units"]["sky_temperature"] == "°C"
        assert node.agent_detail()["mqtt"] == "connected"
        station.stop()
        broker.stop()
        eventually(lambda: told() and "sky_temperature" not in told(), within_s=60)  # stale by now
        beats = len(node.cloud.requests("heartbeat"))
        eventually(lambda: len(node.cloud.requests("heartbeat")) >= beats + 2, within_s=60)
        eventually(lambda: node.agent_detail()["mqtt"] == "broker away", within_s=60)
        assert "-18.5" not in agent.log()
        assert broker.settings().password.get_secret_value() not in agent.log()
        agent.tell(signal.SIGTERM)
        assert agent.wait(STOPS_WITHIN_S) == 0
