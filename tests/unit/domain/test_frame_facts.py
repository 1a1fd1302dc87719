"""What is known of a sub-frame from its name and header alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NoReturn

import pytest

from skyrelay.domain.frame_facts import (
    FrameFacts,
    KnownOffset,
    Sighting,
    facts_from_header,
    facts_from_name,
    facts_of_unreadable,
    is_trustworthy,
    serial_of,
)
from skyrelay.domain.light_frame import LightFrameName
from skyrelay.domain.states import FrameState
from skyrelay.domain.utc_offset import OffsetSource
from skyrelay.fits_header import FitsHeader

NAME = "Light_M 94_10.0s_IRCUT_20250326-212046.fit"
STARTED = datetime(2025, 3, 27, 1, 20, 32, 955368, tzinfo=UTC)
NEXT_DAY = STARTED + timedelta(days=1)
SIGHTING = Sighting("M 94_sub", NAME, 4_152_960, "inventory")


def name(text: str = NAME) -> LightFrameName:
    """Read a name."""
    parsed = LightFrameName.parse(text)
    assert parsed is not None
    return parsed


def no_fallback() -> NoReturn:
    """Fail: the header says it all."""
    raise AssertionError("the fallback was asked for")


def header(**cards: str | float) -> FitsHeader:
    """Make a header."""
    return FitsHeader({card.replace("_", "-"): value for card, value in cards.items()}, 0)


def read(now: datetime = NEXT_DAY, **cards: str | float) -> FrameFacts:
    """Read the frame, whose header has these cards."""
    usual: dict[str, str | float] = {"DATE_OBS": "2025-03-27T01:20:32.955368", "RA": 193.04, "DEC": 40.97}
    return facts_from_header(SIGHTING, name(), header(**{**usual, **cards}), no_fallback, now)


@pytest.mark.parametrize(
    ("telescop", "serial"),
    [
        ("S50_1d3fe189", "1d3fe189"),
        (" S50_1d3fe189 ", "1d3fe189"),
        ("S30_ab12cd34", "ab12cd34"),
        ("S30Pro_ab12cd34", "ab12cd34"),
        ("Dwarf 3", None),
        ("S50_", None),
        ("S50_../../etc", None),
        ("", None),
    ],
)
def test_telescop_names_the_serial_number_or_nobody(telescop: str, serial: str | None) -> None:
    assert serial_of(header(TELESCOP=telescop)) == serial


def test_a_header_without_telescop_names_nobody() -> None:
    assert serial_of(header()) is None


def test_start_and_offset_come_from_the_frame_itself() -> None:
    facts = read()
    assert (facts.state, facts.start_at, facts.start_source) == (FrameState.OK, STARTED, "header")
    assert (facts.offset, facts.offset_source) == (timedelta(hours=-4), OffsetSource.HEADER)
    assert (facts.ra_deg, facts.dec_deg) == (193.04, 40.97)


def test_without_a_header_the_start_is_the_names_time_less_exposure_and_lag() -> None:
    facts = facts_from_name(SIGHTING, name(), KnownOffset(timedelta(hours=-4), OffsetSource.NEIGHBOUR))
    assert facts.start_at is not None
    assert abs(facts.start_at - STARTED) < timedelta(seconds=0.5)
    assert (facts.start_source, facts.offset_source) == ("name", OffsetSource.NEIGHBOUR)


def test_a_header_without_date_obs_falls_back_to_the_name() -> None:
    known = KnownOffset(timedelta(hours=-4), OffsetSource.TELESCOPE_ZONE)
    facts = facts_from_header(SIGHTING, name(), header(RA=1.0), lambda: known, NEXT_DAY)
    assert (facts.start_source, facts.offset_source) == ("name", OffsetSource.TELESCOPE_ZONE)


@pytest.mark.parametrize(
    ("ahead", "state"),
    [(timedelta(seconds=59), FrameState.OK), (timedelta(seconds=61), FrameState.CLOCK_WRONG)],
)
def test_a_frame_from_the_future_is_held(ahead: timedelta, state: FrameState) -> None:
    facts = read(now=STARTED - ahead)
    assert facts.state is state
    assert ("in the future" in (facts.reason or "")) == (state is FrameState.CLOCK_WRONG)


@pytest.mark.parametrize("date_obs", ["2025-03-27T01:27:32", "2025-03-25T01:20:32", "1970-01-01T00:00:00"])
def test_a_name_and_a_date_obs_that_no_zone_explains_are_held(date_obs: str) -> None:
    facts = read(DATE_OBS=date_obs)
    assert facts.state is FrameState.CLOCK_WRONG
    assert facts.offset is None
    assert "apart" in (facts.reason or "")


def test_an_unreadable_frame_keeps_the_reason_and_has_no_time() -> None:
    facts = facts_of_unreadable(SIGHTING, name(), "it ends early")
    assert (facts.state, facts.reason, facts.start_at) == (FrameState.UNREADABLE, "it ends early", None)


def test_a_held_frame_may_go_on_once_the_clocks_agree_but_not_with_an_impossible_offset() -> None:
    saved = name().saved_local
    assert is_trustworthy(saved, 10.0, STARTED, NEXT_DAY)
    assert not is_trustworthy(saved, 10.0, STARTED, STARTED - timedelta(hours=1))
    assert not is_trustworthy(saved, 10.0, STARTED + timedelta(minutes=7), NEXT_DAY)
