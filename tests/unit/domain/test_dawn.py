"""When the night is over, anywhere on Earth and on any day."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from math import asin, atan2, cos, degrees, radians, sin
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay.domain.dawn import DawnEvent, DawnRule, Place, dawn_of, last_dawn

VIENNA, VIENNA_ZONE = Place(48.2, 16.4), ZoneInfo("Europe/Vienna")
TROMSO, OSLO_ZONE = Place(69.65, 18.96), ZoneInfo("Europe/Oslo")
HALF_PAST_SEVEN = time(7, 30)
ZONES = [
    ZoneInfo(name)
    for name in (
        "UTC",
        "Europe/Vienna",
        "America/New_York",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "Pacific/Kiritimati",
        "Pacific/Niue",
    )
]
rules = st.builds(
    DawnRule,
    st.sampled_from(DawnEvent),
    st.integers(-720, 720).map(lambda minutes: timedelta(minutes=minutes)),
    st.times().map(lambda t: t.replace(tzinfo=None)),
)
places = st.none() | st.builds(Place, st.floats(-90, 90), st.floats(-180, 180))
moments = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - made aware here


def rule(event: DawnEvent, offset_min: float = 0) -> DawnRule:
    return DawnRule(event, timedelta(minutes=offset_min), HALF_PAST_SEVEN)


def sun_altitude_deg(place: Place, moment: datetime) -> float:
    """Give the sun's altitude by the Astronomical Almanac's low-precision formulae (0.01° until 2050)."""
    days = (moment - datetime(2000, 1, 1, 12, tzinfo=UTC)) / timedelta(days=1)
    anomaly = radians(357.528 + 0.9856003 * days)
    longitude = radians(280.460 + 0.9856474 * days + 1.915 * sin(anomaly) + 0.020 * sin(2 * anomaly))
    obliquity = radians(23.439 - 0.0000004 * days)
    right_ascension = atan2(cos(obliquity) * sin(longitude), cos(longitude))
    declination = asin(sin(obliquity) * sin(longitude))
    sidereal = radians(280.46062 + 360.98564737 * days + place.longitude_deg)
    latitude = radians(place.latitude_deg)
    hour_angle = sidereal - right_ascension
    return degrees(
        asin(sin(latitude) * sin(declination) + cos(latitude) * cos(declination) * cos(hour_angle))
    )


@pytest.mark.parametrize(
    ("event", "altitude_deg"),
    [
        (DawnEvent.SUNRISE, -0.83),
        (DawnEvent.CIVIL, -6.0),
        (DawnEvent.NAUTICAL, -12.0),
        (DawnEvent.ASTRONOMICAL, -18.0),
    ],
)
@pytest.mark.parametrize("place", [VIENNA, Place(-36.8, 174.8), Place(19.8, -155.5)])
def test_at_each_dawn_the_sun_stands_where_it_should_and_rises(
    event: DawnEvent, altitude_deg: float, place: Place
) -> None:
    found = dawn_of(rule(event), place, VIENNA_ZONE, date(2026, 3, 20))
    assert sun_altitude_deg(place, found) == pytest.approx(altitude_deg, abs=0.15)
    assert sun_altitude_deg(place, found + timedelta(minutes=10)) > altitude_deg


def test_the_offset_moves_it_either_way() -> None:
    sharp = dawn_of(rule(DawnEvent.SUNRISE), VIENNA, VIENNA_ZONE, date(2026, 3, 20))
    for minutes in (30, -45):
        moved = dawn_of(rule(DawnEvent.SUNRISE, minutes), VIENNA, VIENNA_ZONE, date(2026, 3, 20))
        assert moved - sharp == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("day", "utc_hour"),
    [(date(2026, 3, 28), 6), (date(2026, 3, 29), 5)],  # clocks go forward in between
)
def test_a_fixed_time_is_the_wall_clocks(day: date, utc_hour: int) -> None:
    found = dawn_of(rule(DawnEvent.TIME, 99), VIENNA, VIENNA_ZONE, day)
    assert found == datetime(day.year, day.month, day.day, utc_hour, 30, tzinfo=UTC)


def test_where_it_never_gets_so_dark_the_next_brighter_dawn_counts() -> None:
    place, day = Place(57.0, 10.0), date(2026, 6, 21)  # the sun stays within 10° of the horizon
    for darker in (DawnEvent.ASTRONOMICAL, DawnEvent.NAUTICAL):
        assert dawn_of(rule(darker), place, OSLO_ZONE, day) == dawn_of(
            rule(DawnEvent.CIVIL), place, OSLO_ZONE, day
        )


@pytest.mark.parametrize("day", [date(2026, 6, 21), date(2026, 12, 21)])
def test_on_a_polar_day_and_in_a_polar_night_the_wall_clock_says_it(day: date) -> None:
    found = dawn_of(rule(DawnEvent.SUNRISE, 30), TROMSO, OSLO_ZONE, day)
    assert found.astimezone(OSLO_ZONE).time() == HALF_PAST_SEVEN


def test_where_nobody_knows_the_place_the_wall_clock_says_it() -> None:
    now = datetime(2026, 3, 20, 12, tzinfo=UTC)
    assert (
        last_dawn(rule(DawnEvent.NAUTICAL), None, VIENNA_ZONE, now).astimezone(VIENNA_ZONE).time()
        == HALF_PAST_SEVEN
    )


def test_a_place_is_not_shown() -> None:
    assert "48.2" not in repr(VIENNA)


@given(rules, places, st.sampled_from(ZONES), moments)
def test_there_is_always_a_last_dawn_and_it_is_never_long_ago(
    rule: DawnRule, place: Place | None, zone: ZoneInfo, now: datetime
) -> None:
    found = last_dawn(rule, place, zone, now)
    assert found.tzinfo is UTC
    assert now - timedelta(hours=50) < found <= now


@given(rules, places, st.sampled_from(ZONES), moments, st.timedeltas(timedelta(0), timedelta(days=2)))
def test_time_never_takes_a_dawn_back(
    rule: DawnRule, place: Place | None, zone: ZoneInfo, now: datetime, passed: timedelta
) -> None:
    slack = timedelta(hours=25)  # the first days of a polar day swap a dawn for the wall clock's time
    assert last_dawn(rule, place, zone, now + passed) >= last_dawn(rule, place, zone, now) - slack
    if place is None or rule.event is DawnEvent.TIME:
        assert last_dawn(rule, place, zone, now + passed) >= last_dawn(rule, place, zone, now)
