"""Cursor pagination: a list is read in parts that stay right while rows come and go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Query

MOST = 500
RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """How many items, and after which id; an id is its own cursor."""

    limit: int
    after_id: int | None


async def page_request(
    limit: Annotated[int, Query(ge=1, le=MOST, description="most items in the answer")] = 50,
    cursor: Annotated[
        str | None, Query(pattern="^[0-9]{1,18}$", description="next_cursor of the answer before")
    ] = None,
) -> PageRequest:
    """Read what part of a list is asked for."""
    return PageRequest(limit, None if cursor is None else int(cursor))


PageDep = Annotated[PageRequest, Depends(page_request)]


def cut(
    rows: Sequence[RowT], limit: int, cursor_of: Callable[[RowT], str]
) -> tuple[Sequence[RowT], str | None]:
    """Cut ``rows``, of which one more than ``limit`` was read, and give the cursor of the next part."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], cursor_of(rows[limit - 1])
