"""A stack covers the block that it was made of, and hides no other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay.crowdsky.claiming import name_stack
from skyrelay.domain.block import BlockKey, block_start
from skyrelay.domain.chunk import ChunkKey, chunk_of
from skyrelay.domain.coverage import covers, same_exposure
from skyrelay.domain.stack_name import CrowdSkyLegacyName, CrowdSkyName, parse_stack_name
from support.strategies import instants, quarter_hour_offsets

_START = datetime(2025, 3, 27, 1, 15, tzinfo=UTC)
_OFFSET = timedelta(hours=-4)
_BLOCK = BlockKey(_START, "M 94", "10.0s", "IRCUT")
_CURRENT = CrowdSkyName(32, "M 94", "10.0s", "IRCUT", ChunkKey("20250327.05", 33810))
_LEGACY = CrowdSkyLegacyName(32, "M 94", "10.0s", "IRCUT", (_START + _OFFSET).replace(tzinfo=None))


@pytest.mark.parametrize("name", [_CURRENT, _LEGACY])
def test_a_stack_covers_its_own_block(name: CrowdSkyName | CrowdSkyLegacyName) -> None:
    assert covers(name, _BLOCK, _OFFSET)


@pytest.mark.parametrize("name", [_CURRENT, _LEGACY])
@pytest.mark.parametrize(
    "other",
    [
        BlockKey(_START, "M 81", "10.0s", "IRCUT"),
        BlockKey(_START, "mosaic_M 94", "10.0s", "IRCUT"),
        BlockKey(_START, "M 94", "20.0s", "IRCUT"),
        BlockKey(_START, "M 94", "10.0s", "LP"),
        BlockKey(_START, "M 94", "10.0s", ""),
        BlockKey(_START + timedelta(minutes=15), "M 94", "10.0s", "IRCUT"),
        BlockKey(_START - timedelta(minutes=15), "M 94", "10.0s", "IRCUT"),
        BlockKey(_START + timedelta(days=1), "M 94", "10.0s", "IRCUT"),
        BlockKey(_START + timedelta(minutes=5), "M 94", "10.0s", "IRCUT", 5),
    ],
)
def test_a_stack_covers_no_other_block(name: CrowdSkyName | CrowdSkyLegacyName, other: BlockKey) -> None:
    assert not covers(name, other, _OFFSET)


def test_the_position_in_a_name_plays_no_part() -> None:
    unknown = CrowdSkyName(32, "M 94", "10.0s", "IRCUT", ChunkKey("20250327.05"))
    assert covers(unknown, _BLOCK, _OFFSET)


@pytest.mark.parametrize("minutes", [1, 2, 3, 5, 10, 20, 30, 60])
def test_a_quarter_hours_name_hides_no_block_of_another_length(minutes: int) -> None:
    assert not covers(_CURRENT, BlockKey(_START, "M 94", "10.0s", "IRCUT", minutes), _OFFSET)


@pytest.mark.parametrize("minutes", [1, 2, 3, 5, 10, 20, 30, 60])
def test_a_legacy_name_counts_as_a_quarter_hour_and_hides_no_block_of_another_length(minutes: int) -> None:
    assert not covers(_LEGACY, BlockKey(_START, "M 94", "10.0s", "IRCUT", minutes), _OFFSET)


def test_a_legacy_name_speaks_the_telescopes_clock() -> None:
    assert not covers(_LEGACY, _BLOCK, timedelta(0))


@given(instants, quarter_hour_offsets, st.booleans())
def test_at_any_time_a_stack_covers_its_own_block_alone(
    instant: datetime, offset: timedelta, legacy: bool
) -> None:
    start = block_start(instant, offset)
    name: CrowdSkyName | CrowdSkyLegacyName
    if legacy:
        name = CrowdSkyLegacyName(32, "M 94", "10.0s", "LP", (start + offset).replace(tzinfo=None))
    else:
        name = CrowdSkyName(32, "M 94", "10.0s", "LP", ChunkKey(chunk_of(start)))
    quarter = timedelta(minutes=15)
    shifts = range(-4, 5)
    assert [
        shift
        for shift in shifts
        if covers(name, BlockKey(start + shift * quarter, "M 94", "10.0s", "LP"), offset)
    ] == [0]


@given(
    zone=st.timezone_keys().map(ZoneInfo),
    moment=st.datetimes(datetime(2020, 1, 1), datetime(2035, 12, 31)),  # noqa: DTZ001 - Hypothesis adds UTC
    minutes=st.sampled_from([minutes for minutes in range(1, 61) if 60 % minutes == 0]),
    steps=st.integers(1, 60),
)
def test_in_no_zone_on_no_date_does_a_stack_hide_a_block_that_was_not_stacked(
    zone: ZoneInfo, moment: datetime, minutes: int, steps: int
) -> None:
    instant = moment.replace(tzinfo=UTC)
    later = instant + steps * timedelta(minutes=minutes)
    ours, other = (_stacked(when, zone, minutes) for when in (instant, later))
    if ours[0] != other[0]:
        assert not covers(ours[1], other[0], other[2])
        assert not covers(other[1], ours[0], ours[2])


def _stacked(
    instant: datetime, zone: ZoneInfo, minutes: int
) -> tuple[BlockKey, CrowdSkyName | CrowdSkyLegacyName, timedelta]:
    """Give the block of an instant, its stack's name and the UTC offset at that time."""
    offset = instant.astimezone(zone).utcoffset() or timedelta(0)
    offset = round(offset / timedelta(minutes=15)) * timedelta(minutes=15)
    key = BlockKey(block_start(instant, offset, minutes), "M 94", "10.0s", "LP", minutes)
    file_name = name_stack(key, offset, 5, None, ".fit").crowdsky_name
    name = parse_stack_name(file_name)
    assert isinstance(name, CrowdSkyName | CrowdSkyLegacyName)
    return key, name, offset


@pytest.mark.parametrize(("one", "other"), [("20s", "20.0s"), ("20.0S", "20s"), ("0.50s", "0.5s")])
def test_the_same_exposure_written_differently(one: str, other: str) -> None:
    assert same_exposure(one, other)
    assert covers(
        CrowdSkyName(1, "M 94", one, "LP", ChunkKey("20250327.05")),
        BlockKey(_START, "M 94", other, "LP"),
        _OFFSET,
    )


def test_different_exposures() -> None:
    assert not same_exposure("10.0s", "10.1s")
