"""Whose clock the pages show, and what leads from a page to the root."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from fastapi import Request

from skyrelay.settings import ObservatorySettings, Settings
from skyrelay.store.engine import Store
from skyrelay.store.tables import Telescope
from skyrelay_gateway.page_frame import theme_of, wall_clock, way_to_root
from support.recorded_night import RecordedNight

NOW = datetime(2025, 3, 27, 3, 40, tzinfo=UTC)


def request(path: str, root_path: str = "", cookie: str = "") -> Request:
    headers = [(b"cookie", cookie.encode())] if cookie else []
    return Request({"type": "http", "path": path, "root_path": root_path, "headers": headers})


@pytest.mark.parametrize(
    ("path", "root_path", "way"),
    [
        ("/", "", ""),
        ("/gallery", "", ""),
        ("/gallery/7", "", "../"),
        ("/nights/2025-03-26", "", "../"),
        ("/sky/gallery/7", "/sky", "../"),
        ("/sky/", "/sky", ""),
    ],
)
def test_the_root_is_as_many_steps_up_as_a_page_is_below_it(path: str, root_path: str, way: str) -> None:
    assert way_to_root(request(path, root_path)) == way


def test_only_a_theme_that_there_is_is_taken() -> None:
    assert theme_of(request("/", cookie="skyrelay-theme=red")) == "red"
    assert theme_of(request("/", cookie="skyrelay-theme=pink")) == ""
    assert theme_of(request("/")) == ""


def shown(store: Store, settings: Settings) -> str:
    with store.read() as session:
        return wall_clock(session, settings, NOW).clock(NOW)


def test_the_observatorys_zone_counts_before_a_telescopes_and_that_before_its_blocks(store: Store) -> None:
    with store.write() as session:
        night = RecordedNight(session, timedelta(hours=5, minutes=30))
        garden = night.telescope()
        night.block(garden, "M 81", datetime(2025, 3, 26, 21, 15), frames=1)  # noqa: DTZ001 - a wall clock
        garden_id = garden.id
    assert shown(store, Settings()) == "09:10", "as the blocks were"
    with store.write() as session:
        session.get_one(Telescope, garden_id).zone = "Europe/Vienna"
    assert shown(store, Settings()) == "04:40", "as the telescope says"
    site = Settings(observatory=ObservatorySettings(timezone="America/Toronto"))
    assert shown(store, site) == "23:40", "as it is configured"


def test_a_telescope_that_names_a_zone_of_its_own_invention_is_not_believed(store: Store) -> None:
    with store.write() as session:
        night = RecordedNight(session, timedelta(hours=-4))
        telescope = night.telescope(zone="Mars/Olympus")
        night.block(telescope, "M 81", datetime(2025, 3, 26, 21, 15), frames=1)  # noqa: DTZ001 - a wall clock
    assert shown(store, Settings()) == "23:40"


def test_what_is_far_has_its_date(store: Store) -> None:
    site = Settings(observatory=ObservatorySettings(timezone="America/Toronto"))
    with store.read() as session:
        clock = wall_clock(session, site, NOW)
    assert clock.clock(NOW - timedelta(days=3)) == "23 Mar 2025, 23:40"
