"""Which of the server's stacks are ours.

Equal chunk keys prove nothing (two filters, two telescopes, neighbours at an edge share one), and
a field that is null means that it cannot be known, not that it differs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from skyrelay.crowdsky.stacks import ServerStack

TOLERANCE = timedelta(seconds=2)  # the server keeps whole seconds, cut or rounded
# What a Seestar's serial looks like (1d3fe189); "Seestar S50" says nothing about which one it is.
_SERIAL = re.compile(r"[0-9a-f]{6,}")
_SAME_EXPTIME_S = 0.5  # half of the shortest exposure there is: one frame more is another stack


@dataclass(frozen=True, slots=True)
class StackIdentity:
    """What tells one of our stacks from all others.

    Attributes
    ----------
    telescope_serial, filter_name
        Empty if not known.
    first_start_at, last_start_at
        True UTC times of the first and the last frame's DATE-OBS, as they were told to the server; `None`
        if not known (a stack's own header has only the first).
    chunk_keys
        The keys that it is known under: ours, and the server's if it gave one.
    total_exptime_s
        Seconds, as its header says; `None` if not known.
    """

    telescope_serial: str
    filter_name: str
    first_start_at: datetime | None
    last_start_at: datetime | None
    chunk_keys: frozenset[str]
    total_exptime_s: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What the server's list says of a stack.

    Attributes
    ----------
    row
        Its row; `None` when no row is surely it.
    may_be
        A row that says too little to tell that it is another's, the one that agrees best; `None` when
        there is none.
    """

    row: ServerStack | None = None
    may_be: ServerStack | None = None

    @property
    def may_be_there(self) -> bool:
        """Whether a row says too little to tell that it is another's."""
        return self.may_be is not None


def find_ours(rows: Iterable[ServerStack], identity: StackIdentity) -> Finding:
    """Look for a stack in the server's list; of one whose end is not known, all else decides."""
    may_be = None
    for row in rows:
        verdict = is_ours(
            row,
            telescope_serial=identity.telescope_serial,
            filter_name=identity.filter_name,
            date_obs_start=identity.first_start_at,
            date_obs_end=identity.last_start_at,
        )
        if verdict or (identity.last_start_at is None and agrees_but_for_end(row, identity)):
            return Finding(row)
        if (
            verdict is None
            and _may_be(row, identity)
            and (may_be is None or agrees_but_for_end(row, identity))
        ):
            may_be = row
    return Finding(None, may_be)


def find_all_ours(
    rows: Sequence[ServerStack], identities: Iterable[StackIdentity]
) -> list[ServerStack] | None:
    """Give the rows of several stacks that belong together; `None` unless each of them is surely listed."""
    found = [find_ours(rows, identity).row for identity in identities]
    known = [row for row in found if row is not None]
    return known if known and len(known) == len(found) else None


def listed_row(finding: Finding, identity: StackIdentity) -> ServerStack | None:
    """Give the row that is a stack's, or agrees with it in all but an end that one of them does not say."""
    may_be = finding.may_be
    if finding.row is None and may_be is not None and agrees_but_for_end(may_be, identity):
        return may_be
    return finding.row


def is_likely(row: ServerStack, identity: StackIdentity) -> bool:
    """Tell whether a row that may be ours says so itself: by our start, or by one of our chunk keys.

    A row of nothing but nulls speaks against no stack at all, and must not hold all of them up.
    """
    return bool(_same_time(row.date_obs_start, identity.first_start_at)) or (
        row.chunk_key in identity.chunk_keys
    )


def agrees_but_for_end(row: ServerStack, identity: StackIdentity) -> bool:
    """Tell whether telescope, filter, start and total exposure all agree, whatever is known of the end.

    A telescope exposes one frame at a time: of one telescope and filter no two stacks begin with the same
    frame unless the one is a part of the other, and then their total exposures differ.
    """
    ours, theirs = identity.total_exptime_s, row.total_exptime_s
    return (
        _same_telescope(row.telescope_id, identity.telescope_serial) is True
        and _same_filter(row.filter_name, identity.filter_name) is True
        and _same_time(row.date_obs_start, identity.first_start_at) is True
        and ours is not None
        and theirs is not None
        and abs(ours - theirs) <= _SAME_EXPTIME_S
    )


def _may_be(row: ServerStack, identity: StackIdentity) -> bool:
    """Tell whether a row of which nothing disagrees is near enough to be asked about."""
    ours, theirs = identity.total_exptime_s, row.total_exptime_s
    if ours is not None and theirs is not None and abs(ours - theirs) > _SAME_EXPTIME_S:
        return False
    is_same_start = bool(_same_time(row.date_obs_start, identity.first_start_at))
    return is_same_start or row.chunk_key is None or row.chunk_key in identity.chunk_keys


def is_ours(
    row: ServerStack,
    *,
    telescope_serial: str,
    filter_name: str,
    date_obs_start: datetime | None,
    date_obs_end: datetime | None,
) -> bool | None:
    """Tell whether a stack on the server is the one made of our frames.

    Parameters
    ----------
    row
        A stack as the server lists it.
    telescope_serial
        Of the telescope that took the frames, with or without its ``S50_``; empty if not known.
    filter_name
        Of the frames; empty if not known.
    date_obs_start, date_obs_end
        Aware times of the first and the last frame's DATE-OBS; `None` if not known.

    Returns
    -------
    bool or None
        `True` when telescope, filter, start and end all agree, `False` when any of them
        disagrees, `None` when none disagrees but one cannot be known.
    """
    verdicts = (
        _same_telescope(row.telescope_id, telescope_serial),
        _same_filter(row.filter_name, filter_name),
        _same_time(row.date_obs_start, date_obs_start),
        _same_time(row.date_obs_end, date_obs_end),
    )
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _same_telescope(telescope_id: str | None, serial: str) -> bool | None:
    theirs, ours = _serial(telescope_id or ""), _serial(serial)
    if not theirs or not ours:
        return None
    if theirs == ours:
        return True
    return False if _SERIAL.fullmatch(theirs) else None


def _serial(telescope_id: str) -> str:
    """Give ``1d3fe189`` for ``S50_1d3fe189`` and for itself."""
    return telescope_id.strip().casefold().rpartition("_")[2]


def _same_filter(theirs: str | None, ours: str) -> bool | None:
    if not theirs or not ours:
        return None
    return theirs.strip().casefold() == ours.strip().casefold()


def _same_time(theirs: datetime | None, ours: datetime | None) -> bool | None:
    return None if theirs is None or ours is None else abs(theirs - ours) <= TOLERANCE
