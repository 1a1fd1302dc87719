"""Whether the server lists one of our stacks. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from skyrelay.crowdsky.matching import is_ours
from skyrelay.crowdsky.stacks import ServerStack


@dataclass(frozen=True, slots=True)
class StackIdentity:
    """What tells one of our stacks from all others.

    Attributes
    ----------
    telescope_serial, filter_name
        Empty if not known.
    first_start_at, last_end_at
        The true UTC span of its frames, as it was told to the server.
    chunk_keys
        The keys that it is known under: ours, and the server's if it gave one.
    """

    telescope_serial: str
    filter_name: str
    first_start_at: datetime
    last_end_at: datetime
    chunk_keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class Finding:
    """What the server's list says of a stack.

    Attributes
    ----------
    row
        Its row; `None` when no row is surely it.
    may_be_there
        Whether a row says too little to tell that it is another's.
    """

    row: ServerStack | None = None
    may_be_there: bool = False


def find_ours(rows: Iterable[ServerStack], identity: StackIdentity) -> Finding:
    """Look for a stack in the server's list."""
    may_be_there = False
    for row in rows:
        verdict = is_ours(
            row,
            telescope_serial=identity.telescope_serial,
            filter_name=identity.filter_name,
            date_obs_start=identity.first_start_at,
            date_obs_end=identity.last_end_at,
        )
        if verdict:
            return Finding(row)
        is_near = row.chunk_key is None or row.chunk_key in identity.chunk_keys
        may_be_there = may_be_there or (verdict is None and is_near)
    return Finding(None, may_be_there)
