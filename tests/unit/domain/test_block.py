"""Blocks tile time: each instant lies in exactly one, aligned to the telescope's own clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyrelay.domain.block import BlockKey, block_start, check_block_minutes, too_short
from skyrelay.domain.chunk import CHUNK, chunk_of, chunk_start
from support.strategies import instants, quarter_hour_offsets

_LENGTHS = [minutes for minutes in range(1, 61) if 60 % minutes == 0]
_TICK = timedelta(microseconds=1)

lengths = st.sampled_from(_LENGTHS)


@settings(deadline=None, max_examples=300)
@given(instants, quarter_hour_offsets, lengths)
def test_each_instant_lies_in_exactly_one_block(instant: datetime, offset: timedelta, minutes: int) -> None:
    start = block_start(instant, offset, minutes)
    end = start + timedelta(minutes=minutes)
    assert start <= instant < end
    assert block_start(start, offset, minutes) == block_start(end - _TICK, offset, minutes) == start
    assert block_start(start - _TICK, offset, minutes) == start - timedelta(minutes=minutes)
    assert block_start(end, offset, minutes) == end


@settings(deadline=None)
@given(instants, quarter_hour_offsets, lengths)
def test_blocks_begin_on_the_telescopes_own_clock(instant: datetime, offset: timedelta, minutes: int) -> None:
    start = block_start(instant, offset, minutes)
    local = start + offset
    assert start.tzinfo is UTC
    assert (local.minute % minutes, local.second, local.microsecond) == (0, 0, 0)


@settings(deadline=None)
@given(instants, quarter_hour_offsets)
def test_a_quarter_hour_block_is_a_chunk(instant: datetime, offset: timedelta) -> None:
    start = block_start(instant, offset)
    assert start == chunk_start(chunk_of(instant))
    assert BlockKey(start, "M 94", "10.0s", "LP").end == start + CHUNK


@pytest.mark.parametrize("minutes", _LENGTHS)
@pytest.mark.parametrize("offset_min", [-720, -240, 0, 330, 345, 525, 765, 840])
def test_an_hour_is_tiled_without_gap_or_overlap(minutes: int, offset_min: int) -> None:
    midnight, offset = datetime(2025, 3, 27, tzinfo=UTC), timedelta(minutes=offset_min)
    starts = [block_start(midnight + timedelta(minutes=minute), offset, minutes) for minute in range(24 * 60)]
    distinct = sorted(set(starts))
    assert starts == sorted(starts)
    assert {later - earlier for earlier, later in pairwise(distinct)} == {timedelta(minutes=minutes)}


@pytest.mark.parametrize(
    ("instant", "offset_min", "minutes", "expected"),
    [
        (datetime(2025, 3, 27, 1, 20, 32, tzinfo=UTC), -240, 15, datetime(2025, 3, 27, 1, 15, tzinfo=UTC)),
        (datetime(2025, 3, 27, 1, 15, tzinfo=UTC), -240, 15, datetime(2025, 3, 27, 1, 15, tzinfo=UTC)),
        # Nepal, +5:45: the hour of its clock begins at a quarter past in UTC.
        (datetime(2025, 3, 27, 1, 20, tzinfo=UTC), 345, 60, datetime(2025, 3, 27, 1, 15, tzinfo=UTC)),
        (datetime(2025, 3, 27, 1, 10, tzinfo=UTC), 345, 60, datetime(2025, 3, 27, 0, 15, tzinfo=UTC)),
        # Across midnight in UTC, and across the year.
        (datetime(2025, 1, 1, 0, 10, tzinfo=UTC), 330, 60, datetime(2024, 12, 31, 23, 30, tzinfo=UTC)),
    ],
)
def test_known_blocks(instant: datetime, offset_min: int, minutes: int, expected: datetime) -> None:
    assert block_start(instant, timedelta(minutes=offset_min), minutes) == expected


def test_the_zone_in_which_an_instant_is_told_changes_nothing() -> None:
    instant = datetime(2025, 3, 27, 1, 50, tzinfo=UTC)
    told_in_delhi = instant.astimezone(timezone(timedelta(hours=5, minutes=30)))
    offset = timedelta(hours=-4)
    assert block_start(told_in_delhi, offset, 60) == block_start(instant, offset, 60)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(TypeError, match="naive"):
        block_start(datetime(2025, 3, 27), timedelta(0))  # noqa: DTZ001 - that is the mistake


@pytest.mark.parametrize("minutes", [-15, 0, 7, 45, 61, 90, 120])
def test_a_length_that_does_not_tile_the_hour_is_refused(minutes: int) -> None:
    with pytest.raises(ValueError, match="no block length"):
        check_block_minutes(minutes)
    with pytest.raises(ValueError, match="no block length"):
        block_start(datetime(2025, 3, 27, tzinfo=UTC), timedelta(0), minutes)


@pytest.mark.parametrize("minutes", _LENGTHS)
def test_every_divisor_of_the_hour_is_a_length(minutes: int) -> None:
    assert check_block_minutes(minutes) == minutes


def test_a_block_that_is_too_short_says_by_how_much() -> None:
    assert too_short([10.0] * 24, 240.0) is None
    assert too_short([10.0] * 23, 240.0) == "23 frames give 230 s; stacking.min_exptime asks for 240 s"
    assert too_short([], 0.0) is None
    assert too_short([], 1.0) == "0 frames give 0 s; stacking.min_exptime asks for 1 s"
