"""When a person is told: seldom, and of a telescope only while it is missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay.domain.dawn import Place
from skyrelay.domain.dusk import sun_down_since
from skyrelay.domain.telling import (
    GONE_FOR,
    QUIET,
    Silence,
    is_gone_in_the_night,
    key_of_need,
    may_tell,
    retry_after,
)

NOW = datetime(2025, 3, 27, 1, 0, tzinfo=UTC)
DUSK = NOW - timedelta(hours=7)
VIENNA, TROMSO = Place(48.2, 16.4), Place(69.65, 18.96)


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


@pytest.mark.parametrize(
    ("since", "seen", "down", "missed"),
    [
        (NOW - minutes(11), NOW - minutes(12), DUSK, True),
        (NOW - minutes(9), NOW - minutes(9), DUSK, False),
        (NOW - minutes(11), NOW - minutes(12), None, False),
        (DUSK - minutes(60), DUSK - minutes(60), DUSK, False),
        (NOW - minutes(11), None, DUSK, False),
    ],
    ids=["fell silent", "just now", "the sun is up", "was off all night", "never seen"],
)
def test_a_telescope_is_missed_while_the_sun_is_down(
    since: datetime, seen: datetime | None, down: datetime | None, missed: bool
) -> None:
    silence = Silence(since, seen, None)
    assert is_gone_in_the_night(silence, knows_place=True, sun_down_since=down, now=NOW) is missed


@pytest.mark.parametrize(
    ("frame_before", "missed"), [(minutes(5), True), (minutes(61), False), (None, False)]
)
def test_where_nobody_knows_the_place_frames_tell_that_a_night_runs(
    frame_before: timedelta | None, missed: bool
) -> None:
    since = NOW - GONE_FOR
    silence = Silence(since, since, since - frame_before if frame_before else None)
    assert is_gone_in_the_night(silence, knows_place=False, sun_down_since=None, now=NOW) is missed
    later = NOW + timedelta(hours=13)
    assert not is_gone_in_the_night(silence, knows_place=False, sun_down_since=None, now=later)


def test_the_sun_went_down_in_vienna_and_stays_up_or_down_in_the_north() -> None:
    since = sun_down_since(VIENNA, NOW)
    assert since is not None
    assert abs(since - datetime(2025, 3, 26, 17, 15, tzinfo=UTC)) < minutes(5)  # the almanac's
    assert sun_down_since(VIENNA, datetime(2025, 3, 27, 11, tzinfo=UTC)) is None
    assert sun_down_since(TROMSO, datetime(2025, 6, 21, 23, tzinfo=UTC)) is None
    noon = datetime(2025, 12, 21, 11, tzinfo=UTC)
    assert sun_down_since(TROMSO, noon) == noon - timedelta(hours=24)


def test_a_subject_is_quiet_for_an_hour() -> None:
    assert may_tell(None, NOW)
    assert not may_tell(NOW - QUIET + timedelta(seconds=1), NOW)
    assert may_tell(NOW - QUIET, NOW)


@given(st.integers(min_value=0, max_value=10**6))
def test_retries_come_later_and_later_up_to_an_hour(attempts: int) -> None:
    assert minutes(1) <= retry_after(attempts) <= retry_after(attempts + 1) <= timedelta(hours=1)


def test_more_frames_are_no_new_need() -> None:
    assert key_of_need("1 frame of garden: clock wrong") == key_of_need("12 frames of garden: clock wrong")
    assert key_of_need("M 81 on garden, 21:00") != key_of_need("M 81 on garden, 21:15")
