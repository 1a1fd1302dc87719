"""The cloud agent's process in a home with a telescope: plan, interrupts and conditions, end to end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from skyrelay.domain.observing_plan import Site, altitude_deg, sun_altitude_deg
from skyrelay.domain.states import TelescopeState
from skyrelay.service import utc_now
from skyrelay.store.engine import Store
from skyrelay.store.tables import CloudInterrupt, CloudPlanRow, Telescope
from skyrelay.store.telescopes import lay_down_configured
from skyrelay_simulators.cloud import Fault, SimulatedCloud
from skyrelay_simulators.telescope import SimulatedTelescope
from support.redis_server import RedisServer
from support.service_process import STOPS_WITHIN_S, ServiceProcess
from support.telescopes import MakeTelescope, asked, make_telescope, settings_of
from support.waiting import eventually

__all__ = ["make_telescope"]


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

    def agent(self, **cloud: Any) -> ServiceProcess:
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
                "cloud": {
                    "enabled": True,
                    "url": self.cloud.base_url,
                    "heartbeat_interval": 1,
                    "plan_poll_interval": 1,
                    **cloud,
                },
            },
        )

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


def test_an_interrupt_is_shown_acknowledged_and_kept(node: Node) -> None:
    node.cloud.show("ack", Fault(mode="status", status=503, times=1))
    node.cloud.interrupt("GRB 261125A", 10.0, 41.0, reason="afterglow")
    with node.agent():
        eventually(lambda: node.cloud.interrupts[0].acked_by == ("garden",), within_s=60)

        def acked_at() -> datetime | None:
            with node.store.read() as session:
                row = session.scalars(select(CloudInterrupt)).one()
                return row.acked_at if row.name == "GRB 261125A" else None

        eventually(acked_at)
    assert asked(node.telescope, "set_view_plan") == 0


def test_heartbeats_carry_what_the_telescope_does(node: Node) -> None:
    with node.agent():
        eventually(lambda: node.cloud.nodes and node.cloud.nodes[0].conditions, within_s=60)
    conditions = node.cloud.nodes[0].conditions
    assert conditions["telescope_state"] == "ready"
    assert (conditions["telescope_battery"], conditions["units"]["telescope_battery"]) == (77, "%")
