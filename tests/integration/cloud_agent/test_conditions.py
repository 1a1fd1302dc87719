"""Local conditions: what is known, with its units; nothing that is old, and nothing that holds a beat up."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from skyrelay.domain.states import TelescopeState
from skyrelay.service import utc_now
from skyrelay.settings import CloudSettings, ConditionsSettings, Settings, TelescopeSettings
from skyrelay.store.engine import Store
from skyrelay.store.tables import Telescope
from skyrelay.store.telescopes import lay_down_configured
from skyrelay_cloud_agent.conditions import home_conditions, of_source

NOW = datetime(2026, 11, 25, 18, tzinfo=UTC)
SKY: dict[str, Any] = {"time": "2026-11-25T17:59:00Z", "sky": {"temperature": -18.5}, "wind": [{"speed": 2}]}
VALUES: dict[str, Any] = {
    "sky_temperature": {"path": "sky.temperature", "unit": "°C"},
    "wind_speed": {"path": "wind.0.speed", "unit": "m/s"},
    "is_open": {"path": "roof.open"},
}


def wanted(source: object, **changes: Any) -> ConditionsSettings:
    """Say what is wanted of a source."""
    usual = {"source": str(source), "observed_at": "time", "values": VALUES}
    return ConditionsSettings.model_validate({**usual, **changes})


def written(folder: Path, content: Any = SKY, at: datetime = NOW) -> Path:
    """Write a source's file, at that time."""
    file = folder / "sky.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    os.utime(file, (at.timestamp(), at.timestamp()))
    return file


class Station:
    """A weather station over HTTP; it answers ``content`` once ``ready`` is set."""

    def __init__(self) -> None:
        self.content: bytes = json.dumps(SKY).encode()
        self.status = 200
        self.drips = False
        self.ready = threading.Event()
        self.ready.set()
        station = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                station.ready.wait(30)
                self.send_response(station.status)
                self.end_headers()
                with suppress(ConnectionError):
                    while station.drips:
                        self.wfile.write(b" ")
                        time.sleep(0.2)
                self.wfile.write(station.content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
                """Say nothing on stderr."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/now.json"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))


@pytest.fixture
def station() -> Iterator[Station]:
    station = Station()
    station.thread.start()
    yield station
    station.ready.set()
    station.server.shutdown()
    station.thread.join(5)
    station.server.server_close()


def test_values_come_with_their_units(tmp_path: Path) -> None:
    values, units = of_source(wanted(written(tmp_path)), NOW)
    assert values == {"sky_temperature": -18.5, "wind_speed": 2}
    assert units == {"sky_temperature": "°C", "wind_speed": "m/s"}


def test_an_address_is_asked_over_http(station: Station) -> None:
    assert of_source(wanted(station.url), NOW)[0]["sky_temperature"] == -18.5


@pytest.mark.parametrize("time", ["2026-11-25T17:59:00", "2026-11-25T18:59:00+01:00", 1795629540])
def test_the_time_of_observation_may_be_written_in_several_ways(tmp_path: Path, time: Any) -> None:
    assert of_source(wanted(written(tmp_path, {**SKY, "time": time})), NOW)[0]


@pytest.mark.parametrize("time", ["2026-11-25T17:44:00Z", 1700000000, None, "soon", {}])
def test_stale_values_and_those_of_unknown_age_are_dropped(tmp_path: Path, time: Any) -> None:
    assert of_source(wanted(written(tmp_path, {**SKY, "time": time})), NOW) == ({}, {})


def test_without_a_time_of_observation_the_files_own_counts(tmp_path: Path) -> None:
    fresh = written(tmp_path, at=NOW - timedelta(minutes=14))
    assert of_source(wanted(fresh, observed_at=""), NOW)[0]
    stale = written(tmp_path, at=NOW - timedelta(minutes=16))
    assert of_source(wanted(stale, observed_at=""), NOW) == ({}, {})


@pytest.mark.parametrize(
    "content", ["", "{", "[1, 2]", "7", "null", "[" * 100_000, '"' + "x" * 300_000 + '"']
)
def test_a_source_that_makes_no_sense_gives_nothing(tmp_path: Path, content: str) -> None:
    assert of_source(wanted(written(tmp_path, content), observed_at=""), NOW) == ({}, {})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, {}, [], "x" * 201])
def test_what_is_no_value_is_left_out(tmp_path: Path, value: Any) -> None:
    document = {**SKY, "sky": {"temperature": value}}
    assert "sky_temperature" not in of_source(wanted(written(tmp_path, document)), NOW)[0]


def test_a_source_that_is_not_there_gives_nothing(tmp_path: Path, station: Station) -> None:
    assert of_source(wanted(tmp_path / "gone.json"), NOW) == ({}, {})
    assert of_source(wanted("http://127.0.0.1:9/now.json"), NOW) == ({}, {})
    station.status = 503
    assert of_source(wanted(station.url), NOW) == ({}, {})


def test_a_source_that_says_nothing_is_not_waited_for(station: Station) -> None:
    station.ready.clear()
    assert of_source(wanted(station.url), NOW) == ({}, {})


def test_a_source_that_drips_is_not_waited_for(station: Station) -> None:
    station.drips = True
    assert of_source(wanted(station.url), NOW) == ({}, {})
    station.drips = False


def home(store: Store, **columns: Any) -> Settings:
    """Give the settings of a home with a telescope that was looked at just now."""
    settings = Settings(
        telescopes=(TelescopeSettings(name="garden", host="127.0.0.1"),), cloud=CloudSettings(enabled=True)
    )
    with store.write() as session:
        lay_down_configured(session, settings.telescopes, utc_now())
        row = session.scalars(select(Telescope)).one()
        usual = {"state": TelescopeState.READY, "last_seen_at": NOW, "battery_percent": 80, "free_mb": 41_000}
        for name, value in {**usual, **columns}.items():
            setattr(row, name, value)
    return settings


def test_the_telescopes_row_says_what_it_does(store: Store) -> None:
    assert home_conditions(home(store, charging=True, temperature_c=12.5), store, NOW) == {
        "telescope_state": "ready",
        "telescope_battery": 80,
        "telescope_charging": True,
        "telescope_free": 41_000,
        "telescope_temperature": 12.5,
        "units": {"telescope_battery": "%", "telescope_free": "MB", "telescope_temperature": "°C"},
    }


@pytest.mark.parametrize("seen", [None, NOW - timedelta(minutes=31)])
def test_a_telescope_that_was_not_seen_lately_says_nothing(store: Store, seen: datetime | None) -> None:
    assert home_conditions(home(store, last_seen_at=seen), store, NOW) == {}


def test_both_are_merged(store: Store, tmp_path: Path) -> None:
    settings = home(store)
    cloud = settings.cloud.model_copy(update={"conditions": wanted(written(tmp_path))})
    known = home_conditions(settings.model_copy(update={"cloud": cloud}), store, NOW)
    assert known["sky_temperature"] == -18.5
    assert known["units"]["telescope_free"] == "MB"
    assert known["units"]["wind_speed"] == "m/s"
