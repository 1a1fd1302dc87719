"""A stack covers the block that it was made of, and hides no other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyrelay.domain.block import BlockKey, block_start
from skyrelay.domain.chunk import ChunkKey, chunk_of
from skyrelay.domain.coverage import covers, same_exposure
from skyrelay.domain.stack_name import CrowdSkyLegacyName, CrowdSkyName
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


def test_two_short_blocks_of_one_chunk_do_not_hide_each_other() -> None:
    first, second = (
        BlockKey(_START + timedelta(minutes=late), "M 94", "10.0s", "IRCUT", 5) for late in (0, 5)
    )
    assert covers(_LEGACY, first, _OFFSET)
    assert not covers(_LEGACY, second, _OFFSET)


def test_a_legacy_name_speaks_the_telescopes_clock() -> None:
    assert not covers(_LEGACY, _BLOCK, timedelta(0))


@settings(deadline=None)
@given(instants, quarter_hour_offsets, st.sampled_from([1, 5, 15, 30, 60]))
def test_at_any_time_a_stack_covers_its_own_block_alone(
    instant: datetime, offset: timedelta, minutes: int
) -> None:
    start = block_start(instant, offset, minutes)
    name: CrowdSkyName | CrowdSkyLegacyName
    if minutes == 15:
        name = CrowdSkyName(32, "M 94", "10.0s", "LP", ChunkKey(chunk_of(start)))
    else:
        name = CrowdSkyLegacyName(32, "M 94", "10.0s", "LP", (start + offset).replace(tzinfo=None))
    covered = [
        shift
        for shift in range(-4, 5)
        if covers(
            name, BlockKey(start + shift * timedelta(minutes=minutes), "M 94", "10.0s", "LP", minutes), offset
        )
    ]
    assert covered == [0]


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
