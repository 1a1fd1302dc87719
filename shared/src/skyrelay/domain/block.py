"""Blocks: the frames of one telescope, target, exposure and filter in one clock-aligned span.

A frame belongs to the block in which its exposure STARTED. Spans are aligned to the telescope's
local clock (:00, :15, :30, :45 for 15 minutes).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

BLOCK_MINUTES = 15  # CrowdSky's chunk: only blocks of this length get a chunk-key name


@dataclass(frozen=True, slots=True, order=True)
class BlockKey:
    """What makes two frames belong together, on one telescope.

    Attributes
    ----------
    start
        Aware UTC start of the block.
    target, exposure, filter
        As in the frames' names.
    minutes
        Length of the block.
    """

    start: datetime
    target: str
    exposure: str
    filter: str
    minutes: int = BLOCK_MINUTES

    @property
    def end(self) -> datetime:
        """Aware UTC end of the block (exclusive)."""
        return self.start + timedelta(minutes=self.minutes)


def check_block_minutes(minutes: int) -> int:
    """Return ``minutes`` if blocks of that length tile the hour, else raise `ValueError`."""
    if not 1 <= minutes <= 60 or 60 % minutes:
        raise ValueError(f"{minutes} is no block length: take a divisor of 60 from 1 to 60 minutes")
    return minutes


def block_start(instant: datetime, offset: timedelta, minutes: int = BLOCK_MINUTES) -> datetime:
    """Give the UTC start of the block in which ``instant`` lies.

    Parameters
    ----------
    instant
        Aware start of an exposure.
    offset
        The telescope's local time minus UTC at that moment: blocks align to its clock.
    minutes
        Length of the blocks, a divisor of 60.
    """
    if instant.tzinfo is None:
        raise TypeError(f"{instant} is naive: the start of an exposure needs a time zone")
    local = instant.astimezone(UTC).replace(tzinfo=None) + offset
    return (local_block_start(local, minutes) - offset).replace(tzinfo=UTC)


def local_block_start(moment_local: datetime, minutes: int = BLOCK_MINUTES) -> datetime:
    """Give the naive local start of the block in which a naive local time lies."""
    check_block_minutes(minutes)
    return moment_local.replace(
        minute=moment_local.minute // minutes * minutes, second=0, microsecond=0, fold=0
    )


def too_short(exposures_s: Iterable[float], min_exptime_s: float) -> str | None:
    """Say why a block is not worth stacking, or give `None` when it is.

    Parameters
    ----------
    exposures_s
        Exposure time of each frame in seconds.
    min_exptime_s
        The least total exposure in seconds.
    """
    frames = list(exposures_s)
    total_s = sum(frames)
    if total_s >= min_exptime_s:
        return None
    return f"{len(frames)} frames give {total_s:g} s; stacking.min_exptime asks for {min_exptime_s:g} s"


def excluded(target: str, patterns: Iterable[str]) -> str | None:
    """Say that a target is left alone by a pattern (``Moon*``), or give `None` when none fits."""
    pattern = next((pattern for pattern in patterns if fnmatchcase(target, pattern)), None)
    return None if pattern is None else f"stacking.exclude leaves out {pattern!r}"
