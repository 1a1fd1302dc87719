"""A stack's frames, as the folder of raw frames tells: by the one rule that fits, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from skyrelay.crowdsky.stack_span import StackSpan, find_span
from skyrelay.domain.chunk import ChunkKey, chunk_start
from skyrelay.domain.light_frame import LightFrameName
from skyrelay.domain.stack_name import CrowdSkyName

EXPOSURE = timedelta(seconds=20)
STEP, LAG = timedelta(seconds=21.3), timedelta(seconds=3.4)
OFFSET = timedelta(hours=-5)
QUARTER = timedelta(minutes=15)
CHUNK = "20260228.12"  # 03:00 UTC
BEGIN = chunk_start(CHUNK)


def night(first: datetime, count: int = 200, filter_name: str = "LP") -> dict[str, datetime]:
    """Give the frames of a night: their names and the starts of their exposures."""
    frames = {}
    for start in (first + number * STEP for number in range(count)):
        saved = (start + EXPOSURE + LAG + OFFSET).replace(tzinfo=None, microsecond=0)
        frames[LightFrameName("M 81", "20.0s", filter_name, saved).build()] = start
    return frames


def saved_at(start: datetime) -> datetime:
    return (start + EXPOSURE + LAG).replace(microsecond=0)


def span(frames: dict[str, datetime], first: datetime, used: int = 30) -> StackSpan | None:
    name = CrowdSkyName(used, "M 81", "20.0s", "LP", ChunkKey(CHUNK, 33810))
    return find_span(name, first, frames, frames.get)


NIGHT = night(BEGIN - timedelta(minutes=10, seconds=3))  # a frame is being exposed at each edge


def test_a_block_by_the_start_of_exposures_is_recognised() -> None:
    block = [start for start in NIGHT.values() if BEGIN <= start < BEGIN + QUARTER]

    assert span(NIGHT, block[0]) == StackSpan(block[-1], len(block))


def test_a_block_by_the_time_in_names_is_recognised() -> None:
    block = [start for start in NIGHT.values() if BEGIN <= saved_at(start) < BEGIN + QUARTER]

    assert block[0] < BEGIN
    assert span(NIGHT, block[0]) == StackSpan(block[-1], len(block))


def test_two_rules_that_begin_alike_and_end_differently_tell_nothing() -> None:
    frames = night(BEGIN + timedelta(seconds=1))

    assert span(frames, min(frames.values())) is None


def test_two_rules_that_agree_tell_the_end() -> None:
    frames = night(BEGIN + timedelta(seconds=1), count=35)

    assert span(frames, min(frames.values())) == StackSpan(max(frames.values()), 35)


@pytest.mark.parametrize("shift", [timedelta(seconds=0.1), timedelta(seconds=-40), timedelta(days=1)])
def test_a_start_that_no_frame_has_tells_nothing(shift: timedelta) -> None:
    first = min(start for start in NIGHT.values() if start >= BEGIN)

    assert span(NIGHT, first + shift) is None


def test_fewer_frames_than_were_used_tell_nothing() -> None:
    first = min(start for start in NIGHT.values() if start >= BEGIN)

    assert span(NIGHT, first, used=60) is None


def test_frames_of_another_filter_night_or_none_tell_nothing() -> None:
    first = min(start for start in NIGHT.values() if start >= BEGIN)

    assert span({}, first) is None
    assert span(night(BEGIN, filter_name="IRCUT"), first) is None
    assert span(night(BEGIN + timedelta(days=3)), first) is None


def test_headers_that_cannot_be_read_tell_nothing() -> None:
    first = min(start for start in NIGHT.values() if start >= BEGIN)
    name = CrowdSkyName(30, "M 81", "20.0s", "LP", ChunkKey(CHUNK, 33810))

    assert find_span(name, first, NIGHT, lambda _: None) is None


def test_few_headers_are_read() -> None:
    first = min(start for start in NIGHT.values() if start >= BEGIN)
    read: list[str] = []

    def read_start(frame: str) -> datetime | None:
        read.append(frame)
        return NIGHT[frame]

    name = CrowdSkyName(30, "M 81", "20.0s", "LP", ChunkKey(CHUNK, 33810))
    assert find_span(name, first, NIGHT, read_start) is not None
    assert len(read) <= 5


def test_a_clock_that_fits_to_no_zone_tells_nothing() -> None:
    frames = {name: start + timedelta(minutes=5) for name, start in NIGHT.items()}
    first = min(start for start in NIGHT.values() if start >= BEGIN)

    assert span(frames, first) is None


def test_times_are_utc() -> None:
    block = [start for start in NIGHT.values() if BEGIN <= start < BEGIN + QUARTER]
    found = span(NIGHT, block[0])

    assert found is not None
    assert found.last_start_at.tzinfo is UTC
