"""Hours without uploads, by the observatory's wall clock."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay.domain.quiet_hours import QuietHours, quiet_until

VIENNA = ZoneInfo("Europe/Vienna")
NIGHT = QuietHours.parse("22:00-06:30")
times = st.times().map(lambda moment: moment.replace(second=0, microsecond=0))


def vienna(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=VIENNA, fold=fold).astimezone(UTC)


def ends(now: datetime, *spans: str) -> str | None:
    until = quiet_until([QuietHours.parse(span) for span in spans], now, VIENNA)
    return None if until is None else until.astimezone(VIENNA).strftime("%d. %H:%M")


@given(times, times)
def test_a_span_is_read_as_it_is_written(begin: time, end: time) -> None:
    if begin != end:
        assert QuietHours.parse(str(QuietHours(begin, end))) == QuietHours(begin, end)


@pytest.mark.parametrize("text", ["", "22-6", "22:00", "25:00-06:00", "22:60-06:00", "22:00-22:00", "a-b"])
def test_what_is_no_span_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"22:00-06:30|must be in"):
        QuietHours.parse(text)


def test_a_span_begins_with_its_first_minute_and_ends_before_its_last() -> None:
    assert [NIGHT.holds(time(21, 59)), NIGHT.holds(time(22)), NIGHT.holds(time(6, 29, 59))] == [
        False,
        True,
        True,
    ]
    assert not NIGHT.holds(time(6, 30))
    noon = QuietHours.parse("12:00-13:00")
    assert [noon.holds(time(hour)) for hour in (11, 12, 13, 23)] == [False, True, False, False]


def test_a_quiet_night_ends_in_the_morning() -> None:
    assert ends(vienna("2025-03-26T21:30"), "22:00-06:30") is None
    assert ends(vienna("2025-03-26T22:00"), "22:00-06:30") == "27. 06:30"
    assert ends(vienna("2025-03-27T06:29"), "22:00-06:30") == "27. 06:30"
    assert ends(vienna("2025-03-27T06:30"), "22:00-06:30") is None


def test_spans_that_follow_each_other_are_one() -> None:
    assert ends(vienna("2025-03-26T19:00"), "18:00-22:00", "22:00-06:00") == "27. 06:00"


def test_an_hour_that_comes_twice_is_quiet_twice() -> None:
    first, second = vienna("2025-10-26T02:30"), vienna("2025-10-26T02:30", fold=1)
    assert second - first == timedelta(hours=1)
    assert ends(first, "02:00-03:00") == ends(second, "02:00-03:00") == "26. 03:00"


def test_an_hour_that_does_not_come_is_not_quiet() -> None:
    before, after = vienna("2025-03-30T01:59"), vienna("2025-03-30T03:00")
    assert after - before == timedelta(minutes=1)
    assert [ends(before, "02:00-03:00"), ends(after, "02:00-03:00")] == [None, None]


def test_an_end_that_does_not_come_is_where_the_clock_jumps_over_it() -> None:
    assert ends(vienna("2025-03-30T01:30"), "22:00-02:30") == "30. 03:00"


def test_a_day_without_a_free_minute_is_looked_at_again_a_day_later() -> None:
    now = vienna("2025-03-26T12:00")
    until = quiet_until([QuietHours.parse("00:00-12:00"), QuietHours.parse("12:00-00:00")], now, VIENNA)
    assert until is not None
    assert until - now > timedelta(days=1)


@given(st.integers(0, 366 * 86_400), times, times)
def test_it_is_quiet_until_the_end_and_not_then(second: int, begin: time, end: time) -> None:
    if begin == end:
        return
    now = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    spans = [QuietHours(begin, end)]
    until = quiet_until(spans, now, VIENNA)
    if until is None:
        return
    assert now < until <= now + timedelta(hours=26)
    assert quiet_until(spans, until, VIENNA) is None
    assert quiet_until(spans, until - timedelta(seconds=1), VIENNA) == until
