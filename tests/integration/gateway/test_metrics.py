"""What Prometheus is told, and that what is made of it speaks of figures that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from skyrelay.domain.states import BlockState, DeliveryState, FrameState
from skyrelay.queue.beats import beat
from skyrelay.queue.connection import connect_redis
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.tables import Destination
from support.gateway import GatewayClient, running_gateway
from support.recorded_night import RecordedNight
from support.redis_server import RedisServer

EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock
NOW = datetime(2025, 3, 27, 3, tzinfo=UTC)
MONITORING = Path(__file__).parents[3] / "docs" / "monitoring"
NAMES = re.compile(r"\b(?:skyrelay|process)_[a-z0-9_]+")
Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def gateway(store: Store, redis_server: RedisServer, tmp_path: Path) -> Iterator[GatewayClient]:
    """Give a gateway with a bit of everything."""
    with store.write() as session:
        night = RecordedNight(session)
        seen = {"last_seen_at": NOW - timedelta(seconds=90), "inventory_finished_at": NOW}
        garden = night.telescope(
            battery_percent=64, free_mb=2048, temperature_c=11.5, latitude_deg=48.123, **seen
        )
        block = night.block(garden, "M 81", EVENING, BlockState.STACKED, frames=4)
        stack = night.stack(block)
        night.delivery(stack, DeliveryState.RETRYING, needs_you=True, created_at=NOW - timedelta(hours=2))
        night.frame(garden, "M 81", EVENING + timedelta(hours=1), state=FrameState.CLOCK_WRONG)
        session.add(Destination(name="crowdsky", paused_reason="401", paused_at=NOW))
    with connect_redis(redis_server.url) as redis:
        beat(redis, "stacker", NOW - timedelta(seconds=7), state="working")
    settings = Settings(setup="done", data_dir=tmp_path)
    with running_gateway(store, redis_server.url, settings, clock=lambda: NOW) as client:
        yield client


def figures(gateway: GatewayClient) -> Figures:
    answer = gateway.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def of(all_: Figures, name: str, **labels: str) -> float:
    return all_[name, frozenset(labels.items())]


def test_the_figures_are_those_of_the_books(gateway: GatewayClient) -> None:
    told = figures(gateway)
    assert of(told, "skyrelay_frames", state="ok") == 4
    assert of(told, "skyrelay_frames", state="clock wrong") == 1
    assert of(told, "skyrelay_blocks", state="stacked") == 1
    assert of(told, "skyrelay_blocks", state="failed") == 0
    assert of(told, "skyrelay_deliveries", destination="crowdsky", state="retrying") == 1
    assert of(told, "skyrelay_deliveries", destination="crowdsky", state="dead") == 0
    assert of(told, "skyrelay_deliveries_need_you") == 1
    assert of(told, "skyrelay_outbox_oldest_seconds", destination="crowdsky") == 7200
    assert of(told, "skyrelay_destination_paused", destination="crowdsky") == 1
    assert of(told, "skyrelay_telescope_state", telescope="garden", state="ready") == 1
    assert of(told, "skyrelay_telescope_state", telescope="garden", state="observing") == 0
    assert of(told, "skyrelay_telescope_last_seen_seconds", telescope="garden") == 90
    assert of(told, "skyrelay_telescope_free_bytes", telescope="garden") == 2 * 1024**3
    assert of(told, "skyrelay_heartbeat_age_seconds", service="stacker") == 7
    assert of(told, "skyrelay_queue_length", queue="stacker") == 0
    assert of(told, "skyrelay_part_ready", part="database") == 1
    assert of(told, "skyrelay_part_ready", part="watcher") == 0
    assert of(told, "skyrelay_disk_free_bytes", folder="archive") > 0
    assert of(told, "process_resident_memory_bytes") > 0


def test_no_place_is_among_the_figures(gateway: GatewayClient) -> None:
    assert "48.123" not in gateway.get("/metrics").text


def test_they_come_without_redis_and_without_the_database(
    gateway: GatewayClient, store: Store, redis_server: RedisServer
) -> None:
    redis_server.stop()
    told = figures(gateway)
    assert of(told, "skyrelay_part_ready", part="redis") == 0
    assert of(told, "skyrelay_frames", state="ok") == 4
    with store.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE deliveries RENAME TO elsewhere")
    assert "skyrelay_frames" not in {name for name, _labels in figures(gateway)}


def test_dashboard_and_alerts_and_page_speak_of_figures_that_there_are(gateway: GatewayClient) -> None:
    told = {name for name, _labels in figures(gateway)}
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
    expressions += [rule["expr"] for rule in rules]
    used = {name for expression in expressions for name in NAMES.findall(expression)}
    assert len(used) > 15
    assert used <= told
    page = set(NAMES.findall((MONITORING / "README.md").read_text()))
    assert page <= told
    assert {name for name in told if name.startswith("skyrelay_")} <= page
    assert all({"summary", "description"} <= rule["annotations"].keys() for rule in rules)
