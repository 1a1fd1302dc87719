"""Frames that came after their block was stacked or sent: shown, and stacked only if a person asks."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from skyrelay.domain.states import BlockState, FrameState
from skyrelay.store.tables import Block, Frame


def is_late() -> ColumnElement[bool]:
    """Say which frames, joined with their blocks, came too late.

    Nearly all blocks are stacked: the index of their states is hidden, since SQLite would begin with it.
    """
    has_gone = func.coalesce(Block.state, "").in_([BlockState.STACKED.value, BlockState.RAW.value])
    is_left = and_(Frame.stack_id.is_(None), Frame.is_sent_raw.is_(False))
    return and_(has_gone, is_left, Frame.state == FrameState.OK)


def count_late(session: Session, block_ids: Collection[int]) -> Mapping[int, int]:
    """Count the late frames of each block; blocks without any are left out."""
    query = select(Frame.block_id, func.count()).join(Block, Block.id == Frame.block_id)
    rows = session.execute(query.where(Block.id.in_(block_ids), is_late()).group_by(Frame.block_id))
    return {block_id: number for block_id, number in rows if block_id is not None}


def late_words(number: int) -> str:
    """Say how many came too late."""
    return f"{number} frame{'' if number == 1 else 's'} came too late"
