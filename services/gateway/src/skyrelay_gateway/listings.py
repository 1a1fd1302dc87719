"""The lists of the API: newest first, each part of one with one query."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session, defer

from skyrelay.domain.states import BlockState, DeliveryState
from skyrelay.store.late_frames import count_late
from skyrelay.store.newest import is_newest_of_block
from skyrelay.store.runs import build_summary
from skyrelay.store.tables import Block, Delivery, Measurement, Run, Stack, Telescope
from skyrelay_gateway.finding import check_target, find_telescope
from skyrelay_gateway.models import (
    BlockView,
    DeliveryView,
    Page,
    RunView,
    StackView,
    TargetView,
    TelescopeView,
)
from skyrelay_gateway.paging import PageRequest, cut
from skyrelay_gateway.problems import Problem
from skyrelay_gateway.views import block_view, delivery_view, stack_view, telescope_view

AnySelect = Select[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list is confined to; `None` does not confine it."""

    telescope: str | None = None
    target: str | None = None
    night: date | None = None


def list_telescopes(session: Session, page: PageRequest, *, forgotten: bool = False) -> Page[TelescopeView]:
    """List the telescopes, the first known first; those that were forgotten only where they are wanted."""
    query = select(Telescope).order_by(Telescope.id).limit(page.limit + 1)
    if not forgotten:
        query = query.where(Telescope.forgotten_at.is_(None))
    if page.after_id is not None:
        query = query.where(Telescope.id > page.after_id)
    rows, cursor = cut(session.scalars(query).all(), page.limit, lambda row: str(row.id))
    return Page(items=tuple(telescope_view(row) for row in rows), next_cursor=cursor)


def list_blocks(
    session: Session, page: PageRequest, filters: Filters, state: BlockState | None
) -> Page[BlockView]:
    """List blocks."""
    query = _block_query()
    if state is not None:
        query = query.where(Block.state == state)
    rows, cursor = _part(session, _confined(session, query, filters), Block.id, page)
    late = count_late(session, [row.Block.id for row in rows])
    views = (block_view(row.Block, row.telescope, row.Stack, late.get(row.Block.id, 0)) for row in rows)
    return Page(items=tuple(views), next_cursor=cursor)


def one_block(session: Session, block_id: int) -> BlockView:
    """Give one block; raise a 404 `Problem` when there is none of that id."""
    row = session.execute(_block_query().where(Block.id == block_id)).one_or_none()
    if row is None:
        raise Problem(404, f"There is no block {block_id}.", "GET /api/v1/blocks lists what there is.")
    late = count_late(session, [block_id])
    return block_view(row.Block, row.telescope, row.Stack, late.get(block_id, 0))


def list_runs(session: Session, page: PageRequest, filters: Filters) -> Page[RunView]:
    """List runs; of one that goes on, what has come of it so far."""
    query = select(Run, Telescope.name.label("telescope")).join(Telescope, Telescope.id == Run.telescope_id)
    if filters.telescope is not None:
        query = query.where(Run.telescope_id == find_telescope(session, filters.telescope))
    if filters.night is not None:
        query = query.where(Run.night == filters.night.isoformat())
    if page.after_id is not None:
        query = query.where(Run.id < page.after_id)
    rows = session.execute(query.order_by(Run.id.desc()).limit(page.limit + 1)).all()
    kept, cursor = cut(rows, page.limit, lambda row: str(row.Run.id))
    views = (_run_view(session, row.Run, row.telescope) for row in kept)
    return Page(items=tuple(views), next_cursor=cursor)


def _run_view(session: Session, run: Run, telescope: str) -> RunView:
    return RunView(
        id=run.id,
        telescope=telescope,
        night=date.fromisoformat(run.night),
        began_at=run.began_at,
        ended_at=run.ended_at,
        summary=run.summary or build_summary(session, run),
    )


def list_stacks(session: Session, page: PageRequest, filters: Filters) -> Page[StackView]:
    """List stacks."""
    rows, cursor = _part(session, _confined(session, _stack_query(), filters), Stack.id, page)
    views = (stack_view(row.Stack, row.Block, row.telescope) for row in rows)
    return Page(items=tuple(views), next_cursor=cursor)


def one_stack(session: Session, stack_id: int) -> StackView:
    """Give one stack; raise a 404 `Problem` when there is none of that id."""
    row = session.execute(_stack_query().where(Stack.id == stack_id)).one_or_none()
    if row is None:
        raise Problem(404, f"There is no stack {stack_id}.", "GET /api/v1/stacks lists what there is.")
    return stack_view(row.Stack, row.Block, row.telescope)


def block_stacks(session: Session, block_id: int) -> tuple[StackView, ...]:
    """Give the stacks of a block, the first first."""
    rows = session.execute(_stack_query().where(Stack.block_id == block_id).order_by(Stack.id))
    return tuple(stack_view(row.Stack, row.Block, row.telescope) for row in rows)


def block_deliveries(session: Session, block_id: int) -> tuple[DeliveryView, ...]:
    """Give the deliveries of a block's stacks, and of its raw frames, the first first."""
    is_of_block = or_(Stack.block_id == block_id, Delivery.block_id == block_id)
    rows = session.execute(_delivery_query().where(is_of_block).order_by(Delivery.id))
    return tuple(
        delivery_view(row.Delivery, row.Stack, row.Block, row.telescope, row.Measurement) for row in rows
    )


def list_deliveries(
    session: Session, page: PageRequest, filters: Filters, state: DeliveryState | None
) -> Page[DeliveryView]:
    """List deliveries."""
    query = _delivery_query()
    if state is not None:
        query = query.where(Delivery.state == state)
    if (
        filters.telescope is not None
    ):  # by its stacks: the blocks of one would be looked for from the latest on
        telescope_id = find_telescope(session, filters.telescope)
        stacks = select(Stack.id).where(Stack.telescope_id == telescope_id)
        sent_raw = select(Block.id).where(
            Block.telescope_id == telescope_id, Block.state == BlockState.RAW.value
        )
        query = query.where(or_(Delivery.stack_id.in_(stacks), Delivery.block_id.in_(sent_raw)))
        filters = replace(filters, telescope=None)
    rows, cursor = _part(session, _confined(session, query, filters), Delivery.id, page)
    views = (
        delivery_view(row.Delivery, row.Stack, row.Block, row.telescope, row.Measurement) for row in rows
    )
    return Page(items=tuple(views), next_cursor=cursor)


def one_run(session: Session, run_id: int) -> RunView:
    """Give one run; raise a 404 `Problem` when there is none of that id."""
    query = select(Run, Telescope.name.label("telescope")).join(Telescope, Telescope.id == Run.telescope_id)
    row = session.execute(query.where(Run.id == run_id)).one_or_none()
    if row is None:
        raise Problem(404, f"There is no run {run_id}.", "GET /api/v1/runs lists what there is.")
    return _run_view(session, row.Run, row.telescope)


def find_delivery(session: Session, delivery_id: int) -> DeliveryView | None:
    """Give one delivery; `None` when there is none of that id."""
    row = session.execute(_delivery_query().where(Delivery.id == delivery_id)).one_or_none()
    return (
        None
        if row is None
        else delivery_view(row.Delivery, row.Stack, row.Block, row.telescope, row.Measurement)
    )


def list_targets(session: Session, limit: int, cursor: str | None, telescope: str | None) -> Page[TargetView]:
    """List what each telescope has of each target, by the target's name."""
    query = _target_query()
    if telescope is not None:
        query = query.where(Block.telescope_id == find_telescope(session, telescope))
    if cursor is not None:
        query = query.where(_behind(*_read_target_cursor(cursor)))
    # Blocks alone are added up, as their index has them; names come to the few that are shown.
    part = query.limit(limit + 1).subquery()
    named = select(part, Telescope.name.label("telescope")).join(
        Telescope, Telescope.id == part.c.telescope_id
    )
    rows, next_cursor = cut(
        session.execute(named.order_by(part.c.target, part.c.telescope_id)).all(), limit, _target_cursor
    )
    views = (TargetView.model_validate(row, from_attributes=True) for row in rows)
    return Page(items=tuple(views), next_cursor=next_cursor)


def _part(
    session: Session, query: AnySelect, id_: InstrumentedAttribute[int], page: PageRequest
) -> tuple[Sequence[Any], str | None]:
    if page.after_id is not None:
        query = query.where(id_ < page.after_id)
    # A block's intent names all of its files: long, and not for show.
    query = query.options(defer(Block.intent)).order_by(id_.desc()).limit(page.limit + 1)
    return cut(session.execute(query).all(), page.limit, lambda row: str(row[0].id))


def _confined(session: Session, query: AnySelect, filters: Filters) -> AnySelect:
    if filters.telescope is not None:
        query = query.where(Block.telescope_id == find_telescope(session, filters.telescope))
    if filters.target is not None:
        check_target(session, filters.target)
        query = query.where(Block.target == filters.target)
    if filters.night is not None:
        query = query.where(Block.night == filters.night.isoformat())
    return query


def _block_query() -> AnySelect:
    return (
        select(Block, Telescope.name.label("telescope"), Stack)
        .join(Telescope, Telescope.id == Block.telescope_id)
        .outerjoin(Stack, is_newest_of_block())
        .options(defer(Block.intent))
    )


def _stack_query() -> AnySelect:
    return (
        select(Stack, Block, Telescope.name.label("telescope"))
        .join(Block, Block.id == Stack.block_id)
        .join(Telescope, Telescope.id == Block.telescope_id)
        .options(defer(Block.intent))
    )


def _delivery_query() -> AnySelect:
    return (
        select(Delivery, Stack, Block, Telescope.name.label("telescope"), Measurement)
        .outerjoin(Stack, Stack.id == Delivery.stack_id)
        .outerjoin(Block, Block.id == func.coalesce(Stack.block_id, Delivery.block_id))
        .outerjoin(Telescope, Telescope.id == Block.telescope_id)
        .outerjoin(Measurement, Measurement.id == Delivery.measurement_id)
    )


def _target_query() -> AnySelect:
    stacked = case((Block.state == BlockState.STACKED, 1), else_=0)
    return (
        select(
            Block.target.label("target"),
            Block.telescope_id.label("telescope_id"),
            func.sum(Block.frame_count).label("frames"),
            func.sum(Block.frame_count * Block.exposure_s).label("exposure_total_s"),
            func.count().label("blocks"),
            func.sum(stacked).label("blocks_stacked"),
            func.min(Block.night).label("first_night"),
            func.max(Block.night).label("last_night"),
        )
        .group_by(Block.target, Block.telescope_id)
        .order_by(Block.target, Block.telescope_id)
    )


def _behind(target: str, telescope_id: int) -> ColumnElement[bool]:
    same_target = and_(Block.target == target, Block.telescope_id > telescope_id)
    return or_(Block.target > target, same_target)


def _target_cursor(row: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps([row.target, row.telescope_id]).encode()).decode()


def _read_target_cursor(cursor: str) -> tuple[str, int]:
    try:
        target, telescope_id = json.loads(base64.urlsafe_b64decode(cursor))
        if isinstance(target, str) and isinstance(telescope_id, int) and 0 <= telescope_id < 2**53:
            return target, telescope_id
    except (binascii.Error, ValueError, TypeError, RecursionError):
        pass  # refused below, like a cursor of the wrong kind
    raise Problem(
        422, "cursor: is not one of ours.", "Take next_cursor of the answer before, or leave it out."
    )
