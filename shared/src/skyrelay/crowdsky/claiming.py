"""Which file a batch stack left, and what it is to be called. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import PurePosixPath

from skyrelay.domain.block import BLOCK_MINUTES, BlockKey
from skyrelay.domain.chunk import UNKNOWN_PIXEL, ChunkKey, chunk_of, healpix_pixel
from skyrelay.domain.coverage import same_exposure
from skyrelay.domain.stack_name import CrowdSkyLegacyName, CrowdSkyName, DsoStackedName
from skyrelay.fits_header import FitsHeader


@dataclass(frozen=True, slots=True)
class Naming:
    """A stack's name on CrowdSky and the chunk key under which we keep it (null pixel: unknown)."""

    crowdsky_name: str
    chunk_key: ChunkKey


def candidates(
    names: Iterable[str], before: Collection[str], key: BlockKey, frames_given: int
) -> list[DsoStackedName]:
    """Give the stacks that may be the block's: new since its start, and made of what it was made of.

    Parameters
    ----------
    names
        File names in the stacks' folder now.
    before
        Those that lay there before the start: they are the owner's.
    frames_given
        How many sub-frames the telescope was given; it may have used fewer.
    """
    found = [DsoStackedName.parse(name) for name in sorted(set(names) - set(before))]
    return [
        name
        for name in found
        if name is not None
        and name.target == key.target
        and same_exposure(name.exposure, key.exposure)
        and name.frames <= frames_given
    ]


def has_filter(header: FitsHeader, filter_: str) -> bool:
    """Tell whether a stack's header names the block's filter (or neither has one)."""
    found = (header.text("FILTER") or "").strip()
    return not filter_ or not found or found.upper() == filter_.upper()


def position_of(header: FitsHeader) -> tuple[float, float] | None:
    """Give RA and DEC in degrees; `None` when the header has no position on the sky."""
    ra_deg, dec_deg = header.number("RA"), header.number("DEC")
    if ra_deg is None or dec_deg is None or not (-360 <= ra_deg <= 360 and -90 <= dec_deg <= 90):
        return None
    return ra_deg, dec_deg


def name_stack(
    key: BlockKey, offset: timedelta, frames_used: int, position: tuple[float, float] | None, extension: str
) -> Naming:
    """Choose a stack's CrowdSky name.

    Blocks of 15 minutes are chunks and get the current name; others the legacy one, so that two blocks
    inside one chunk never hide each other. An unknown position is written as ``HP000000``, which is the
    convention; in our own books it is null.

    Parameters
    ----------
    offset
        The telescope's local time minus UTC in the block.
    position
        RA and DEC in degrees, or `None` when they are not known.
    """
    pixel = None if position is None else healpix_pixel(*position)
    chunk_key = ChunkKey(chunk_of(key.start), pixel)
    parts = (frames_used, key.target, key.exposure, key.filter)
    if key.minutes != BLOCK_MINUTES:
        start_local = (key.start + offset).replace(tzinfo=None)
        return Naming(CrowdSkyLegacyName(*parts, start_local, extension).build(), chunk_key)
    named_key = ChunkKey(chunk_key.chunk, UNKNOWN_PIXEL if pixel is None else pixel)
    return Naming(CrowdSkyName(*parts, named_key, extension).build(), chunk_key)


def free_name(name: str, taken: Collection[str]) -> str:
    """Give a file name that is not taken (in any case of letters): with ``_2``, ``_3``, … where it is."""
    used = {other.casefold() for other in taken}
    path = PurePosixPath(name)
    numbered = (f"{path.stem}_{number}{path.suffix}" for number in count(2))
    return name if name.casefold() not in used else next(n for n in numbered if n.casefold() not in used)
