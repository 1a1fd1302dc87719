"""One's own delivered stacks, and how much of each target that makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, defer

from skyrelay.domain.states import DeliveryKind, DeliveryState
from skyrelay.store.engine import Store
from skyrelay.store.receipts import ARRIVED_DELIVERIES
from skyrelay.store.tables import Block, Delivery, Stack, Telescope

_AT_A_TIME = 500
_LONG = (Block.intent, Delivery.raw_frames, Delivery.raw_session)


class ArchivedStack(BaseModel):
    """A stack that its server took.

    ``exposure_s`` is that of one sub-frame; ``chunk_key`` the server's where it is known, else ours;
    ``is_confirmed``: the server lists it.
    """

    model_config = ConfigDict(frozen=True)

    id: int
    name: str
    telescope: str
    target: str
    filter: str
    exposure_s: float
    night: date
    frames: int | None
    exposure_total_s: float
    first_start_at: AwareDatetime
    last_end_at: AwareDatetime | None
    ra_deg: float | None
    dec_deg: float | None
    chunk_key: str
    delivered_at: AwareDatetime | None
    is_confirmed: bool


class ArchiveTotal(BaseModel):
    """What there is of one target through one filter."""

    model_config = ConfigDict(frozen=True)

    target: str
    filter: str
    stacks: int
    frames: int
    exposure_total_s: float
    first_night: date
    last_night: date


@dataclass(frozen=True, slots=True)
class ArchiveFilters:
    """What is asked for; `None` does not confine it. The nights are both included."""

    telescope_id: int | None = None
    target: str | None = None
    filter: str | None = None
    since: date | None = None
    until: date | None = None


def archived_stacks(
    session: Session, filters: ArchiveFilters, *, before_id: int | None = None, most: int | None = None
) -> Iterator[ArchivedStack]:
    """Give the delivered stacks, the latest first: those before an id, and at most so many."""
    query = _delivered(select(Stack, Block, Telescope.name, Delivery), filters).order_by(Stack.id.desc())
    # Without what is long and not shown: the files of a block, the frames of a raw session.
    query = query.join(Telescope, Telescope.id == Block.telescope_id).options(*map(defer, _LONG))
    if before_id is not None:
        query = query.where(Stack.id < before_id)
    if most is not None:
        query = query.limit(most)
    for stack, block, telescope, delivery in session.execute(query):
        yield _archived(stack, block, telescope, delivery)


def whole_archive(store: Store, filters: ArchiveFilters) -> Iterator[ArchivedStack]:
    """Give all delivered stacks, the latest first: some at a time, so that a slow reader holds nothing up."""
    before_id: int | None = None
    is_more = True
    while is_more:
        with store.read() as session:
            part = list(archived_stacks(session, filters, before_id=before_id, most=_AT_A_TIME))
        yield from part
        is_more = len(part) == _AT_A_TIME
        before_id = part[-1].id if part else None


def archive_totals(session: Session, filters: ArchiveFilters) -> Iterator[ArchiveTotal]:
    """Add the delivered stacks up by target and filter, by name."""
    sums = select(
        Block.target.label("target"),
        Block.filter.label("filter"),
        func.count().label("stacks"),
        func.sum(func.coalesce(Stack.frames_aligned, 0)).label("frames"),
        func.sum(Stack.exposure_total_s).label("exposure_total_s"),
        func.min(Block.night).label("first_night"),
        func.max(Block.night).label("last_night"),
    )
    query = _delivered(sums, filters).group_by(Block.target, Block.filter)
    for row in session.execute(query.order_by(Block.target, Block.filter)):
        yield ArchiveTotal.model_validate(row, from_attributes=True)


def archive_filters(session: Session) -> tuple[str, ...]:
    """Name the filters through which something was delivered."""
    query = _delivered(select(Block.filter), ArchiveFilters())
    return tuple(session.scalars(query.distinct().order_by(Block.filter)))


def _delivered(query: Select[*tuple[Any, ...]], filters: ArchiveFilters) -> Select[*tuple[Any, ...]]:
    is_delivered = (Delivery.kind == DeliveryKind.STACK, Delivery.state.in_(ARRIVED_DELIVERIES))
    query = (
        query.select_from(Stack)
        .join(Block, Block.id == Stack.block_id)
        .join(Delivery, Delivery.stack_id == Stack.id)
        .where(*is_delivered)
    )
    if filters.telescope_id is not None:
        query = query.where(Block.telescope_id == filters.telescope_id)
    if filters.target is not None:
        query = query.where(Block.target == filters.target)
    if filters.filter is not None:
        query = query.where(Block.filter == filters.filter)
    if filters.since is not None:
        query = query.where(Block.night >= filters.since.isoformat())
    if filters.until is not None:
        query = query.where(Block.night <= filters.until.isoformat())
    return query


def _archived(stack: Stack, block: Block, telescope: str, delivery: Delivery) -> ArchivedStack:
    return ArchivedStack(
        id=stack.id,
        name=stack.crowdsky_name,
        telescope=telescope,
        target=block.target,
        filter=block.filter,
        exposure_s=block.exposure_s,
        night=date.fromisoformat(block.night),
        frames=stack.frames_aligned,
        exposure_total_s=stack.exposure_total_s,
        first_start_at=stack.first_start_at,
        last_end_at=stack.last_end_at,
        ra_deg=stack.ra_deg,
        dec_deg=stack.dec_deg,
        chunk_key=delivery.server_chunk_key or stack.chunk_key,
        delivered_at=delivery.accepted_at or delivery.confirmed_at,
        is_confirmed=delivery.state == DeliveryState.CONFIRMED,
    )
