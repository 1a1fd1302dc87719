"""A look at the archive: what was delivered, and how much of each target that makes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated

from fastapi import Depends, Query
from sqlalchemy.orm import Session

from skyrelay.store.archive import (
    ArchivedStack,
    ArchiveFilters,
    ArchiveTotal,
    archive_totals,
    archived_stacks,
)
from skyrelay_gateway.finding import check_target, find_telescope
from skyrelay_gateway.models import View
from skyrelay_gateway.paging import PageRequest, cut


class ArchiveView(View):
    """A part of the delivered stacks, the latest first, and what all that were asked for add up to."""

    totals: tuple[ArchiveTotal, ...]
    items: tuple[ArchivedStack, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller wants to see; empty and `None` do not confine it."""

    telescope: str | None = None
    target: str | None = None
    filter: str | None = None
    since: date | None = None
    until: date | None = None


_Name = Annotated[str | None, Query(max_length=200)]
_Night = Annotated[
    date | None, Query(ge=date(2000, 1, 1), le=date(2999, 12, 31), description="local date of its evening")
]


async def _wish(
    telescope: _Name = None,
    target: _Name = None,
    filter: _Name = None,  # noqa: A002 - as the API calls it
    since: _Night = None,
    until: _Night = None,
) -> Wish:
    return Wish(telescope or None, target or None, filter or None, since, until)


WishDep = Annotated[Wish, Depends(_wish)]


def build_archive(session: Session, wish: Wish, page: PageRequest) -> ArchiveView:
    """Give a part of the archive; raise a 404 `Problem` for a telescope or target that is not there."""
    filters = filters_of(session, wish)
    rows = list(archived_stacks(session, filters, before_id=page.after_id, most=page.limit + 1))
    items, cursor = cut(rows, page.limit, lambda row: str(row.id))
    totals = tuple(archive_totals(session, filters))
    return ArchiveView(totals=totals, items=tuple(items), next_cursor=cursor)


def filters_of(session: Session, wish: Wish) -> ArchiveFilters:
    """Find what a wish names; raises as `build_archive` does."""
    if wish.target is not None:
        check_target(session, wish.target)
    telescope_id = None if wish.telescope is None else find_telescope(session, wish.telescope)
    return ArchiveFilters(telescope_id, wish.target, wish.filter, wish.since, wish.until)
