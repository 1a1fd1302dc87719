"""A night lasts from noon to noon of the telescope's clock and bears the evening's date."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings

from skyrelay.domain.night import night_of
from support.strategies import instants, quarter_hour_offsets


@pytest.mark.parametrize(
    ("hour", "minute", "offset_h", "night"),
    [
        (1, 15, -4.0, date(2025, 3, 26)),  # 21:15 the evening before
        (15, 59, -4.0, date(2025, 3, 26)),  # 11:59
        (16, 0, -4.0, date(2025, 3, 27)),  # noon
        (1, 15, 0.0, date(2025, 3, 26)),
        (12, 0, 0.0, date(2025, 3, 27)),
        (6, 14, 5.75, date(2025, 3, 26)),  # 11:59 in Nepal
        (6, 15, 5.75, date(2025, 3, 27)),
        (23, 0, 14.0, date(2025, 3, 28)),  # 13:00 on the 28th
    ],
)
def test_nights_of_the_27th_of_march(hour: int, minute: int, offset_h: float, night: date) -> None:
    instant = datetime(2025, 3, 27, hour, minute, tzinfo=UTC)
    assert night_of(instant, timedelta(hours=offset_h)) == night


@settings(deadline=None)
@given(instants, quarter_hour_offsets)
def test_from_dusk_to_dawn_is_one_night(instant: datetime, offset: timedelta) -> None:
    night = night_of(instant, offset)
    noon = datetime(night.year, night.month, night.day, 12, tzinfo=UTC) - offset
    assert noon <= instant < noon + timedelta(days=1)


def test_the_zone_in_which_an_instant_is_told_changes_nothing() -> None:
    instant = datetime(2025, 3, 27, 15, 0, tzinfo=UTC)
    in_tokyo = instant.astimezone(timezone(timedelta(hours=9)))
    assert night_of(in_tokyo, timedelta(hours=-4)) == night_of(instant, timedelta(hours=-4))
