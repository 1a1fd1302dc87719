"""Learn when the exposures of listed frames began, from as few headers as will do.

An inventory reads no headers but those of the first and the last frame of each target's night, for
the UTC offset; all of them if the two differ (the night on which clocks change), and those of frames
whose estimated start lies next to a block's edge.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from skyrelay.domain.block import block_start
from skyrelay.domain.frame_facts import (
    FrameFacts,
    KnownOffset,
    Sighting,
    facts_from_header,
    facts_from_name,
    facts_of_unreadable,
)
from skyrelay.domain.light_frame import LightFrameName
from skyrelay.domain.utc_offset import OffsetSource
from skyrelay.fits_header import FitsError, NotFits
from skyrelay.seestar.errors import FileMissing
from skyrelay.seestar.telescope import Telescope

_BOUNDARY = timedelta(seconds=2)  # an estimated start that near to a block's edge is not good enough
_HALF_DAY = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class ListedFrame:
    """A listed frame of which too little is known; ``wants_header``: its name would not do."""

    sighting: Sighting
    name: LightFrameName
    wants_header: bool = False


@dataclass(frozen=True, slots=True)
class FrameReader:
    """Reads frames' headers on a telescope.

    Attributes
    ----------
    fallback
        Gives the offset to use at a naive local time where no header tells it.
    now
        Gives the aware time.
    """

    seestar: Telescope
    fallback: Callable[[datetime], KnownOffset]
    now: Callable[[], datetime]

    def read(self, frame: ListedFrame) -> FrameFacts:
        """Give the facts of a frame from its header, a few kB over HTTP.

        Raises
        ------
        Unreachable
            If the telescope's files cannot be had now.
        """
        sighting, name = frame.sighting, frame.name
        try:
            header = self.seestar.read_header(sighting.folder, sighting.file_name)
        except (FitsError, FileMissing) as error:  # missing: deleted just now, or listed but not given
            return facts_of_unreadable(sighting, name, str(error), is_no_fits=isinstance(error, NotFits))
        return facts_from_header(sighting, name, header, lambda: self.fallback(name.saved_local), self.now())


def learn_frames(
    frames: Iterable[ListedFrame], reader: FrameReader, block_minutes: int
) -> Iterator[FrameFacts]:
    """Give the facts of each frame, in no particular order.

    Parameters
    ----------
    block_minutes
        Length of the blocks whose edges count.

    Raises
    ------
    Unreachable
        If the telescope's files cannot be had now.
    """
    nights: dict[tuple[str, date], list[ListedFrame]] = defaultdict(list)
    for frame in frames:
        nights[frame.sighting.folder, (frame.name.saved_local - _HALF_DAY).date()].append(frame)
    for night in nights.values():
        night.sort(key=lambda frame: frame.name.saved_local)
        yield from _learn_night(reader, night, block_minutes)


def _learn_night(reader: FrameReader, night: list[ListedFrame], block_minutes: int) -> Iterator[FrameFacts]:
    first = reader.read(night[0])
    last = reader.read(night[-1]) if len(night) > 1 else first
    yield from (first, last) if len(night) > 1 else (first,)
    neighbour = _neighbour(first, last)
    for frame in night[1:-1]:
        facts = facts_from_name(frame.sighting, frame.name, neighbour) if neighbour else None
        is_enough = facts is not None and not frame.wants_header and not _is_near_edge(facts, block_minutes)
        yield facts if facts is not None and is_enough else reader.read(frame)


def _neighbour(first: FrameFacts, last: FrameFacts) -> KnownOffset | None:
    """Give the offset that both ends of a night measured; `None` when they differ or could not."""
    measured = {facts.offset for facts in (first, last) if facts.offset_source is OffsetSource.HEADER}
    both = OffsetSource.HEADER is first.offset_source is last.offset_source
    offset = measured.pop() if both and len(measured) == 1 else None
    return KnownOffset(offset, OffsetSource.NEIGHBOUR) if offset is not None else None


def _is_near_edge(facts: FrameFacts, block_minutes: int) -> bool:
    if facts.start_at is None or facts.offset is None:
        return True
    blocks = {
        block_start(facts.start_at + nudge, facts.offset, block_minutes) for nudge in (-_BOUNDARY, _BOUNDARY)
    }
    return len(blocks) > 1
