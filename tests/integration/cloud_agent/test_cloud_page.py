"""The page on the network is true: its programs run as they stand there, its settings load."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from skyrelay.access.tokens import Scope
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.events import FrameEvent
from skyrelay.queue.frame_stream import publish
from skyrelay.settings import CloudSettings, Settings, load_settings
from skyrelay.store.engine import Store
from skyrelay_gateway.network import GivenMeasurement
from skyrelay_simulators.cloud import SimulatedCloud
from support.gateway import make_token, running_gateway
from support.redis_server import RedisServer
from support.waiting import eventually

PAGE = (Path(__file__).parents[3] / "docs" / "cloud.md").read_text(encoding="utf-8")
NOW = datetime(2025, 3, 27, 1, 21, tzinfo=UTC)


def program(name: str, folder: Path) -> Path:
    """Write a program of the page to a file."""
    (code,) = re.findall(rf"```python\n# {re.escape(name)}\n(.*?)```", PAGE, re.DOTALL)
    file = folder / name
    file.write_text(code, encoding="utf-8")
    return file


def test_the_example_registers_is_told_of_plan_and_interrupt_and_delivers(tmp_path: Path) -> None:
    file = program("node.py", tmp_path)
    with SimulatedCloud(tmp_path / "cloud") as cloud:
        ran = subprocess.run(
            [sys.executable, file.name, cloud.base_url],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        assert "delivered: True\nwaiting: 0" in ran.stdout
        (node,), (stored,) = cloud.nodes, cloud.measurements
    assert node.conditions["sky_temperature_c"] == -18.5
    assert (stored.measurement["bjd"], stored.conditions) == (2460761.5123, {"airmass": 1.2})
    assert (tmp_path / "data" / "cloud_state.json").exists()


def test_the_consumer_submits_what_it_makes_of_frame_events(
    tmp_path: Path, store: Store, redis_server: RedisServer
) -> None:
    file = program("photometry.py", tmp_path)
    header: dict[str, str | int | float | bool] = {"OBJECT": "T CrB"}
    frames = [
        FrameEvent(
            root="/photos",
            path=name,
            size_bytes=1,
            modified_at=NOW,
            seen_at=NOW,
            problem=problem,
            header={} if problem else header,
        )
        for name, problem in (("a.fit", None), ("bad.fit", "cut short"), ("a.fit", None))
    ]
    cloud = CloudSettings(enabled=True, url="http://127.0.0.1:9")
    with (
        running_gateway(store, redis_server.url, Settings(setup="done", cloud=cloud)) as gateway,
        connect_redis(redis_server.url) as redis,
    ):
        publish(redis, frames)
        token = make_token(store, Scope.CONTROL) or ""
        process = subprocess.Popen([sys.executable, str(file), redis_server.url, gateway.address, token])
        try:
            eventually(lambda: gateway.read("/api/v1/measurements")["items"], within_s=60)
            eventually(lambda: redis.xpending("skyrelay:frames", "photometry")["pending"] == 0)
            (one,) = gateway.read("/api/v1/measurements")["items"]
            assert (one["target"], one["bjd"], one["state"]) == ("T CrB", "2460761.5123", "pending")
            assert process.poll() is None
        finally:
            process.kill()
            process.wait(10)


def test_the_settings_load(tmp_path: Path) -> None:
    texts = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    for number, text in enumerate(texts):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text, encoding="utf-8")
    assert load_settings(tmp_path / "0.yaml", environ={}).cloud.telescope == "garden"
    assert load_settings(tmp_path / "1.yaml", environ={}).cloud.conditions.values["wind_speed"].unit == "m/s"
    over_mqtt = load_settings(tmp_path / "2.yaml", environ={})
    assert (over_mqtt.mqtt.port_in_use, len(over_mqtt.cloud.conditions.topics), len(texts)) == (8883, 2, 3)


@pytest.mark.parametrize("field", list(GivenMeasurement.model_fields))
def test_the_fields_of_a_measurement_are_on_the_page(field: str) -> None:
    unbounded = {"filter", "node_id", "fits_file"}
    assert field in unbounded or f"`{field}`" in PAGE
