"""Which frames a stack on a telescope was made of, as far as its folder of raw frames tells. Pure.

A stack's header has the start of its first frame, but not of its last one, and its name has the quarter
hour, but not the rule by which frames were put into it (the start of their exposure, or the later time in
their name). The folder of raw frames decides, when only one rule fits; else it is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from skyrelay.domain.chunk import CHUNK, chunk_start
from skyrelay.domain.light_frame import LightFrameName
from skyrelay.domain.stack_name import CrowdSkyName
from skyrelay.domain.utc_offset import ClockWrong, exposure_start, measure_utc_offset

_NEAR = timedelta(hours=14)  # the farthest that a wall clock is from UTC
_ESTIMATE = timedelta(seconds=5)  # an estimated start is good to 1.3 s, a slow save is a few seconds later
_EDGE = timedelta(seconds=2)  # so near to an edge the header is read
_SAME = timedelta(milliseconds=10)  # DATE-OBS of a stack is that of its first frame, to the microsecond

ReadStart = Callable[[str], datetime | None]


@dataclass(frozen=True, slots=True)
class StackSpan:
    """The frames of a stack.

    Attributes
    ----------
    last_start_at
        DATE-OBS of the last one, aware UTC.
    frames_input
        How many there were.
    """

    last_start_at: datetime
    frames_input: int


@dataclass(frozen=True, slots=True)
class _Frame:
    file_name: str
    saved_at: datetime
    started_at: datetime


def find_span(
    stack: CrowdSkyName, first_start_at: datetime, frame_names: Iterable[str], read_start: ReadStart
) -> StackSpan | None:
    """Find the frames of a stack.

    Parameters
    ----------
    stack
        Its name.
    first_start_at
        DATE-OBS of its header, aware UTC.
    frame_names
        The files in the folder of raw frames.
    read_start
        Reads the DATE-OBS of one of them; `None` if it cannot be read.

    Returns
    -------
    StackSpan or None
        `None` when the frames that are there fit to no rule, or two rules end with different frames.
    """
    lights = [(name, light) for name in frame_names if (light := _of_stack(stack, name, first_start_at))]
    frames = _timed(lights, first_start_at, read_start)
    first = min(frames, key=lambda frame: abs(frame.started_at - first_start_at), default=None)
    if first is None or not _is_first(first, first_start_at, read_start):
        return None
    fitting = [
        block
        for block in _blocks(frames, chunk_start(stack.key.chunk), read_start)
        if block and block[0] is first and len(block) >= stack.frames
    ]
    return _span(fitting, read_start)


def _of_stack(stack: CrowdSkyName, name: str, near: datetime) -> LightFrameName | None:
    light = LightFrameName.parse(name)
    if light is None or abs(light.saved_local.replace(tzinfo=UTC) - near) > _NEAR + CHUNK:
        return None
    is_of_kind = light.filter.casefold() == stack.filter.casefold()
    return light if is_of_kind and light.exposure_s == float(stack.exposure[:-1]) else None


def _timed(
    lights: Sequence[tuple[str, LightFrameName]], near: datetime, read_start: ReadStart
) -> list[_Frame]:
    """Tell the times of frames by the UTC offset of one of them: of the likeliest to be the first."""
    if not lights:
        return []
    name, light = min(lights, key=lambda each: (each[1].saved_local.replace(tzinfo=UTC) - near) % CHUNK)
    started_at = read_start(name)
    if started_at is None:
        return []
    try:
        offset = measure_utc_offset(light.saved_local, light.exposure_s, started_at)
    except ClockWrong:
        return []
    return sorted((_frame(name, light, offset) for name, light in lights), key=lambda frame: frame.saved_at)


def _frame(name: str, light: LightFrameName, offset: timedelta) -> _Frame:
    started_at = exposure_start(light.saved_local, light.exposure_s, offset)
    return _Frame(name, (light.saved_local - offset).replace(tzinfo=UTC), started_at)


def _is_first(frame: _Frame, first_start_at: datetime, read_start: ReadStart) -> bool:
    if abs(frame.started_at - first_start_at) > _ESTIMATE:
        return False
    started_at = read_start(frame.file_name)
    return started_at is not None and abs(started_at - first_start_at) <= _SAME


def _blocks(
    frames: Sequence[_Frame], begin: datetime, read_start: ReadStart
) -> tuple[list[_Frame], list[_Frame]]:
    """Give the frames of a quarter hour by the time in their names, and by the start of their exposures."""
    by_name = [frame for frame in frames if begin <= frame.saved_at < begin + CHUNK]
    by_start = [frame for frame in frames if begin <= _start(frame, begin, read_start) < begin + CHUNK]
    return by_name, by_start


def _start(frame: _Frame, begin: datetime, read_start: ReadStart) -> datetime:
    is_at_edge = any(abs(frame.started_at - edge) <= _EDGE for edge in (begin, begin + CHUNK))
    return (read_start(frame.file_name) if is_at_edge else None) or frame.started_at


def _span(fitting: Sequence[Sequence[_Frame]], read_start: ReadStart) -> StackSpan | None:
    ends = {(block[-1].file_name, len(block)) for block in fitting}
    if len(ends) != 1:
        return None
    ((last, count),) = ends
    last_start_at = read_start(last)
    return None if last_start_at is None else StackSpan(last_start_at, count)
