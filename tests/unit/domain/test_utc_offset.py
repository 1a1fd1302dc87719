"""The UTC offset comes out of the frame itself, in every zone and through every change of clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from skyrelay.domain.utc_offset import ClockWrong, exposure_start, measure_utc_offset
from support.strategies import quarter_hour_offsets

_ZONES = sorted(available_timezones())
_QUARTER = timedelta(minutes=15)

starts = st.datetimes(datetime(2020, 1, 1), datetime(2035, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - Hypothesis adds UTC
exposures_s = st.floats(1.0, 60.0)
lags_s = st.floats(3.1, 3.6)


def saved_local(date_obs: datetime, exposure_s: float, lag_s: float, zone: ZoneInfo) -> datetime:
    """Give the wall clock that a telescope in ``zone`` writes into the name of a frame."""
    saved_at = date_obs + timedelta(seconds=exposure_s + lag_s)
    return saved_at.astimezone(zone).replace(tzinfo=None, microsecond=0)


def true_offset(date_obs: datetime, exposure_s: float, lag_s: float, zone: ZoneInfo) -> timedelta:
    offset = (date_obs + timedelta(seconds=exposure_s + lag_s)).astimezone(zone).utcoffset()
    assert offset is not None
    return offset


@settings(deadline=None, max_examples=500)
@given(st.sampled_from(_ZONES), starts, exposures_s, lags_s)
def test_the_measured_offset_is_the_zones(
    zone_name: str, date_obs: datetime, exposure_s: float, lag_s: float
) -> None:
    zone = ZoneInfo(zone_name)
    expected = true_offset(date_obs, exposure_s, lag_s, zone)
    assume(expected % _QUARTER == timedelta(0))
    saved = saved_local(date_obs, exposure_s, lag_s, zone)
    assert measure_utc_offset(saved, exposure_s, date_obs) == expected


def test_the_measured_offset_is_right_in_every_zone_in_summer_and_in_winter() -> None:
    wrong = []
    for zone_name in _ZONES:
        zone = ZoneInfo(zone_name)
        for year in range(2020, 2036):
            for month in (1, 7):
                date_obs = datetime(year, month, 15, 3, 59, 58, 700_000, tzinfo=UTC)
                expected = true_offset(date_obs, 10.0, 3.3, zone)
                measured = measure_utc_offset(saved_local(date_obs, 10.0, 3.3, zone), 10.0, date_obs)
                if measured != expected:
                    wrong.append((zone_name, year, month, expected, measured))
    assert wrong == []


@pytest.mark.parametrize(
    ("zone_name", "change"),
    [
        ("Europe/Vienna", datetime(2025, 10, 26, 1, 0, tzinfo=UTC)),
        ("Europe/Vienna", datetime(2026, 3, 29, 1, 0, tzinfo=UTC)),
        ("America/New_York", datetime(2025, 11, 2, 6, 0, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2025, 10, 4, 15, 30, tzinfo=UTC)),  # half an hour
    ],
)
def test_the_offset_changes_with_the_first_frame_after_the_clocks(zone_name: str, change: datetime) -> None:
    zone = ZoneInfo(zone_name)
    before = change - timedelta(seconds=60)  # saved before the change
    during = change - timedelta(seconds=5)  # begun before it and saved after it
    after = change + timedelta(seconds=60)
    old, new = before.astimezone(zone).utcoffset(), after.astimezone(zone).utcoffset()
    measured = [
        measure_utc_offset(saved_local(start, 10.0, 3.3, zone), 10.0, start)
        for start in (before, during, after)
    ]
    assert measured == [old, new, new]
    assert old != new


@given(starts, quarter_hour_offsets, exposures_s, st.floats(-115.0, 115.0))
def test_a_slow_save_does_not_change_the_offset(
    date_obs: datetime, offset: timedelta, exposure_s: float, late_s: float
) -> None:
    saved = (date_obs + offset + timedelta(seconds=exposure_s + 3.35 + late_s)).replace(tzinfo=None)
    assert measure_utc_offset(saved, exposure_s, date_obs) == offset


@given(starts, quarter_hour_offsets, exposures_s, st.floats(121.0, 779.0))
def test_a_difference_that_no_zone_explains_is_a_wrong_clock(
    date_obs: datetime, offset: timedelta, exposure_s: float, off_s: float
) -> None:
    saved = (date_obs + offset + timedelta(seconds=exposure_s + 3.35 + off_s)).replace(tzinfo=None)
    with pytest.raises(ClockWrong, match="apart"):
        measure_utc_offset(saved, exposure_s, date_obs)


@pytest.mark.parametrize("quarters", [-49, -100, 57, 96, 4 * 24 * 365])
def test_an_offset_beyond_the_worlds_zones_is_a_wrong_clock(quarters: int) -> None:
    date_obs = datetime(2025, 3, 27, 1, 20, tzinfo=UTC)
    saved = (date_obs + quarters * _QUARTER + timedelta(seconds=13.35)).replace(tzinfo=None)
    with pytest.raises(ClockWrong, match="no time zone is"):
        measure_utc_offset(saved, 10.0, date_obs)


@pytest.mark.parametrize("quarters", [-48, 56])
def test_the_farthest_zones_are_zones(quarters: int) -> None:
    date_obs = datetime(2025, 3, 27, 1, 20, tzinfo=UTC)
    saved = (date_obs + quarters * _QUARTER + timedelta(seconds=13.35)).replace(tzinfo=None)
    assert measure_utc_offset(saved, 10.0, date_obs) == quarters * _QUARTER


@pytest.mark.parametrize("date_obs", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_the_ends_of_time_are_a_wrong_clock(date_obs: datetime) -> None:
    with pytest.raises(ClockWrong, match="apart"):
        measure_utc_offset(datetime(2025, 3, 26, 21, 20, 46), 10.0, date_obs)  # noqa: DTZ001 - local


def test_a_start_without_a_zone_is_refused() -> None:
    moment = datetime(2025, 3, 26, 21, 20, 46)  # noqa: DTZ001 - that is the mistake
    with pytest.raises(TypeError, match="naive"):
        measure_utc_offset(moment, 10.0, moment)


@settings(deadline=None)
@given(starts, quarter_hour_offsets, exposures_s, lags_s)
def test_the_start_estimated_from_the_name_is_near(
    date_obs: datetime, offset: timedelta, exposure_s: float, lag_s: float
) -> None:
    saved = (date_obs + offset + timedelta(seconds=exposure_s + lag_s)).replace(tzinfo=None, microsecond=0)
    estimate = exposure_start(saved, exposure_s, offset)
    assert estimate.tzinfo is UTC
    assert abs(estimate - date_obs) < timedelta(seconds=1.3)
