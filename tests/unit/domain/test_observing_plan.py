"""What a plan's items mean at a site."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay.domain.observing_plan import (
    PlanItem,
    Site,
    altitude_deg,
    judge_plan,
    sky_times,
    start_of,
    sun_altitude_deg,
)

VIENNA = ZoneInfo("Europe/Vienna")
SITE = Site(48.2, 16.4)
EVENING = datetime(2026, 11, 25, 15, tzinfo=UTC)
ITEM: dict[str, Any] = {
    "target": "M 31",
    "ra": 0.7123,
    "dec": 41.27,
    "expDur": 10,
    "expCount": 60,
    "binning": 1,
    "startTime": "20:00",
    "filter": "TG",
}


def judge(*items: Any, now: datetime = EVENING, site: Site | None = SITE, **options: Any) -> list[Any]:
    """Judge a plan of the evening of 25 November 2026 in Vienna."""
    usual: dict[str, Any] = {"zone": VIENNA, "min_altitude_deg": 10.0}
    return judge_plan(list(items), "2026-11-25", site=site, now=now, **{**usual, **options})


def test_a_good_item_is_read() -> None:
    (verdict,) = judge(ITEM)
    assert (verdict.reason, verdict.is_good) == ("", True)
    assert verdict.item.start == datetime(2026, 11, 25, 19, tzinfo=UTC)
    assert verdict.item.end - verdict.item.start == timedelta(minutes=10)
    assert 60 < verdict.sky.lowest_deg <= verdict.sky.highest_deg <= 90


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"target": ""}, "target"),
        ({"target": 7}, "target"),
        ({"target": "a\nb"}, "target"),
        ({"ra": 24.5}, "ra must be from 0 to 24"),
        ({"ra": 359.0}, "ra must be from 0 to 24"),
        ({"dec": -91}, "dec"),
        ({"dec": None}, "dec must be a number"),
        ({"expDur": 0}, "expDur"),
        ({"expDur": True}, "expDur must be a number"),
        ({"expDur": float("nan")}, "expDur must be a number"),
        ({"expCount": 2.5}, "whole number"),
        ({"expCount": 10**9}, "expCount"),
        ({"expDur": 3600, "expCount": 99}, "more than a day"),
        ({"startTime": "25:00"}, "HH:MM"),
        ({"startTime": None}, "HH:MM"),
        ({"startTime": "١٢:00"}, "HH:MM"),
    ],
)
def test_a_bad_item_is_refused_by_name(change: dict[str, Any], words: str) -> None:
    bad, good = judge({**ITEM, **change}, ITEM)[::-1]
    assert words in bad.reason
    assert good.is_good


@pytest.mark.parametrize("rubbish", [None, [], 7, "M 31", {}])
def test_rubbish_is_refused(rubbish: Any) -> None:
    (verdict,) = judge(rubbish)
    assert verdict.reason


def test_items_are_in_the_order_of_time_not_of_their_text() -> None:
    verdicts = judge({**ITEM, "startTime": "02:01"}, {**ITEM, "startTime": "23:16"})
    assert [verdict.item.start.hour for verdict in verdicts] == [22, 1]


@pytest.mark.parametrize(
    ("night", "clock", "utc"),
    [
        ("2026-11-25", "23:16", "2026-11-25T22:16"),
        ("2026-11-25", "02:01", "2026-11-26T01:01"),
        ("2026-11-25", "12:00", "2026-11-25T11:00"),
        ("2026-11-25", "11:59", "2026-11-26T10:59"),
        ("2026-03-28", "02:30", "2026-03-29T01:30"),  # left out that night: an hour later by the clock
        ("2026-03-28", "03:30", "2026-03-29T01:30"),
        ("2026-10-24", "02:30", "2026-10-25T00:30"),  # comes twice that night: the first
        ("2026-10-24", "03:30", "2026-10-25T02:30"),
    ],
)
def test_times_are_of_the_observatorys_clock(night: str, clock: str, utc: str) -> None:
    assert start_of(night, clock, VIENNA) == datetime.fromisoformat(utc).replace(tzinfo=UTC)


@pytest.mark.parametrize("night", ["", "tonight", "2026-02-30", "9999-12-31"])
def test_a_night_that_is_none_refuses_each_item(night: str) -> None:
    (verdict,) = judge_plan(
        [{**ITEM, "startTime": "02:00"}], night, zone=VIENNA, site=SITE, now=EVENING, min_altitude_deg=10
    )
    assert "night" in verdict.reason


def test_an_item_that_is_over_is_refused() -> None:
    assert judge(ITEM, now=datetime(2026, 11, 25, 19, 11, tzinfo=UTC))[0].reason == "it is over"
    assert judge(ITEM, now=datetime(2026, 11, 25, 19, 9, tzinfo=UTC))[0].is_good


def test_an_item_below_the_horizon_is_refused() -> None:
    assert "below the horizon" in judge({**ITEM, "dec": -70})[0].reason


def test_an_item_that_is_too_low_is_refused() -> None:
    assert "cloud.min_altitude is 89°" in judge(ITEM, min_altitude_deg=89.0)[0].reason


def test_an_item_by_day_is_refused() -> None:
    assert (
        judge({**ITEM, "startTime": "14:00"}, now=EVENING - timedelta(hours=5))[0].reason
        == "the Sun is up then"
    )


def test_without_a_site_nothing_can_be_handed_over() -> None:
    assert "observatory.latitude" in judge(ITEM, site=None)[0].reason


def test_what_never_sets_has_neither_rise_nor_set() -> None:
    sky = judge({**ITEM, "dec": 89.2})[0].sky
    assert (sky.rise, sky.set) == (None, None)


@given(
    ra_hours=st.floats(0, 24, exclude_max=True),
    dec_deg=st.floats(-90, 90),
    latitude=st.floats(-89, 89),
    minutes=st.integers(0, 60 * 24 * 365),
)
def test_rise_and_set_are_where_the_horizon_is_crossed(
    ra_hours: float, dec_deg: float, latitude: float, minutes: int
) -> None:
    start = EVENING + timedelta(minutes=minutes)
    item = PlanItem("x", ra_hours, dec_deg, 10, 60, start, start + timedelta(minutes=10))
    site = Site(latitude, 16.4)
    sky = sky_times(item, site)
    for moment in (sky.rise, sky.set):
        if moment is not None:
            assert abs(altitude_deg(ra_hours, dec_deg, site, moment)) < 0.2
            assert abs(moment - start) <= timedelta(hours=24)


@given(
    item=st.dictionaries(
        st.sampled_from(sorted(ITEM)), st.one_of(st.none(), st.floats(), st.text(), st.integers())
    )
)
def test_no_item_breaks_the_reader(item: dict[str, Any]) -> None:
    (verdict,) = judge({**ITEM, **item})
    assert verdict.reason or verdict.item.start < verdict.item.end


def test_altitudes_agree_with_astropy() -> None:
    from astropy.coordinates import AltAz, EarthLocation, SkyCoord, get_sun
    from astropy.time import Time
    from astropy.utils import iers

    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("auto_max_age", None):
        for latitude in (-60.0, -12.5, 48.2):
            place = EarthLocation.from_geodetic(16.4, latitude)
            for hours in range(0, 4000, 613):
                moment = EVENING + timedelta(hours=hours)
                frame = AltAz(obstime=Time(moment), location=place)
                site = Site(latitude, 16.4)
                for ra, dec in ((0.7, 41.3), (15.99, 25.9), (6.0, -70.0)):
                    theirs = SkyCoord(ra * 15, dec, unit="deg").transform_to(frame).alt.deg
                    assert altitude_deg(ra, dec, site, moment) == pytest.approx(theirs, abs=0.5)
                sun = get_sun(Time(moment)).transform_to(frame).alt.deg
                assert sun_altitude_deg(site, moment) == pytest.approx(sun, abs=0.5)
