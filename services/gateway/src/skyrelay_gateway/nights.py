"""The list of nights, each in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta

from sqlalchemy import String, cast, func, select
from sqlalchemy.orm import Session

from skyrelay.domain.states import BlockState
from skyrelay.store.receipts import ARRIVED_DELIVERIES, WAITING_BLOCKS
from skyrelay.store.tables import Block, Delivery, Frame, Stack
from skyrelay_gateway.models import NightView, Page
from skyrelay_gateway.paging import cut

_BlockCounts = Mapping[tuple[str, str], int]  # by night and state


def list_nights(session: Session, limit: int, before: date | None) -> Page[NightView]:
    """List the nights of which there is a frame, the latest first; the cursor is the night."""
    loose = _loose_frames(session)
    nights = known_nights(session, loose)
    if before is not None:
        nights = [night for night in nights if night < before]
    kept, cursor = cut(nights[: limit + 1], limit, date.isoformat)
    names = [night.isoformat() for night in kept]
    blocks, frames = _count_blocks(session, names), _count_frames(session, names)
    sent = count_deliveries(session, names)
    views = (
        _view(night, blocks, frames.get(name, 0), loose[night], _delivered(sent.get(name, {})))
        for night, name in zip(kept, names, strict=True)
    )
    return Page(items=tuple(views), next_cursor=cursor)


def known_nights(session: Session, loose: Collection[date] | None = None) -> list[date]:
    """Give all nights of which there is a frame, the latest first."""
    loose = _loose_frames(session) if loose is None else loose
    of_blocks = session.scalars(select(Block.night).distinct())
    return sorted({*(date.fromisoformat(night) for night in of_blocks), *loose}, reverse=True)


def _loose_frames(session: Session) -> Counter[date]:
    """Count the frames that are in no block, by night."""
    hour = func.substr(cast(Frame.saved_local, String), 1, 13)  # "2025-03-26 21", in either database
    query = select(hour, func.count()).where(Frame.block_id.is_(None)).group_by(hour)
    counts: Counter[date] = Counter()
    for text, number in session.execute(query):
        local = datetime.strptime(text, "%Y-%m-%d %H")  # noqa: DTZ007 - the wall clock of the frame's name
        counts[(local - timedelta(hours=12)).date()] += number
    return counts


def _count_blocks(session: Session, nights: Collection[str]) -> _BlockCounts:
    query = select(Block.night, Block.state, func.count()).where(Block.night.in_(nights))
    rows = session.execute(query.group_by(Block.night, Block.state))
    return {(night, state): number for night, state, number in rows}


def _count_frames(session: Session, nights: Collection[str]) -> Mapping[str, int]:
    query = select(Block.night, func.count()).join_from(Frame, Block).where(Block.night.in_(nights))
    return {night: number for night, number in session.execute(query.group_by(Block.night))}  # noqa: C416 - rows are no pairs to mypy


def count_deliveries(session: Session, nights: Collection[str]) -> Mapping[str, Mapping[str, int]]:
    """Count the deliveries of nights, of stacks and of raw frames, by night and state.

    From the nights to the deliveries, in two queries: in one, SQLite would read all deliveries there are.
    """
    counted = select(Block.night, Delivery.state, func.count())
    of_stacks = counted.join_from(Block, Stack, Stack.block_id == Block.id).join(
        Delivery, Delivery.stack_id == Stack.id
    )
    of_raw_frames = counted.join_from(Block, Delivery, Delivery.block_id == Block.id)
    found: dict[str, dict[str, int]] = {}
    for query in (of_stacks, of_raw_frames):
        confined = query.where(Block.night.in_(nights)).group_by(Block.night, Delivery.state)
        for night, state, number in session.execute(confined):
            of_night = found.setdefault(night, {})
            of_night[state] = of_night.get(state, 0) + number
    return found


def _delivered(of_night: Mapping[str, int]) -> int:
    return sum(of_night.get(state, 0) for state in ARRIVED_DELIVERIES)


def _view(night: date, blocks: _BlockCounts, frames: int, loose: int, delivered: int) -> NightView:
    of_night = {state: blocks.get((night.isoformat(), state), 0) for state in BlockState}
    return NightView(
        night=night,
        frames=frames + loose,
        blocks=sum(of_night.values()),
        blocks_stacked=of_night[BlockState.STACKED],
        blocks_raw=of_night[BlockState.RAW],
        blocks_skipped=of_night[BlockState.SKIPPED],
        blocks_covered=of_night[BlockState.COVERED],
        blocks_failed=of_night[BlockState.FAILED],
        blocks_waiting=sum(of_night[state] for state in WAITING_BLOCKS),
        delivered=delivered,
        frames_without_block=loose,
    )


def latest_offset(session: Session) -> timedelta | None:
    """Give the UTC offset of the block that began last; `None` when there is no block."""
    minutes = session.scalar(select(Block.utc_offset_min).order_by(Block.id.desc()).limit(1))
    return None if minutes is None else timedelta(minutes=minutes)
