"""Whether a stack that lies there already covers a block. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from skyrelay.domain.block import BLOCK_MINUTES, BlockKey
from skyrelay.domain.chunk import chunk_of
from skyrelay.domain.stack_name import CrowdSkyLegacyName, CrowdSkyName


def covers(name: CrowdSkyName | CrowdSkyLegacyName, key: BlockKey, offset: timedelta) -> bool:
    """Tell whether the stack of that name was made of the block's span, exposure and filter.

    A current name speaks of a quarter hour, so it covers 15-minute blocks only: two shorter blocks in
    one chunk never hide each other. A legacy name does not say how long its block was: it counts as a
    quarter hour too, the one that begins when it says. Stacks of other lengths are known from our books.

    Parameters
    ----------
    name
        Of a stack in the target's folder.
    key
        The block.
    offset
        The telescope's local time minus UTC in that block.
    """
    if key.minutes != BLOCK_MINUTES or (name.target, name.filter) != (key.target, key.filter):
        return False
    if not same_exposure(name.exposure, key.exposure):
        return False
    if isinstance(name, CrowdSkyName):
        return name.key.chunk == chunk_of(key.start)
    return name.block_start_local == _local(key.start, offset)


def same_exposure(one: str, other: str) -> bool:
    """Tell whether two exposure texts (``20s``, ``20.0s``) mean the same time."""
    return float(one[:-1]) == float(other[:-1])


def _local(instant: datetime, offset: timedelta) -> datetime:
    return (instant + offset).replace(tzinfo=None)
