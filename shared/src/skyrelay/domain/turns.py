"""Whose turn it is, so that nobody starves. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A target of which blocks wait on one telescope.

    Attributes
    ----------
    oldest_start
        Aware start of its oldest block.
    served_at
        When a block of it was last begun; `None`: never.
    """

    target: str
    oldest_start: datetime
    served_at: datetime | None


def next_target(waiting: Iterable[Waiting]) -> str | None:
    """Name the target that was served longest ago, of several such the one that waits with the oldest block.

    A long backlog of one target thus never holds up another's: of ``n`` targets each gets
    every ``n``-th turn.
    """
    turns = sorted(waiting, key=lambda one: (one.served_at or _NEVER, one.oldest_start, one.target))
    return turns[0].target if turns else None
