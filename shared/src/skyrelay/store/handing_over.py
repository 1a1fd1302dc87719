"""Give what was recorded under a placeholder to the row of the telescope that it turned out to be."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session, aliased

from skyrelay.domain.states import BLOCK_STEPS, BlockState, FrameState
from skyrelay.store.tables import Block, Delivery, Frame, Pause, Telescope
from skyrelay.store.transitions import move_block

_REOPENED = frozenset({BlockState.READY, BlockState.SKIPPED})


def hand_over(session: Session, placeholder: Telescope, heir: Telescope, now: datetime) -> None:
    """Let ``heir`` have the frames and blocks of a placeholder; what both recorded is kept once.

    A placeholder was never in touch with its telescope, so nothing was stacked of its blocks; raw frames of
    them may have been sent from a watched folder.
    """
    _forget_twins(session, placeholder, heir)
    for block in session.scalars(select(Block).where(Block.telescope_id == placeholder.id)).all():
        _hand_over_block(session, block, heir, now)
    for table in (Frame, Pause):
        session.execute(
            update(table).where(table.telescope_id == placeholder.id).values(telescope_id=heir.id)
        )


def _forget_twins(session: Session, placeholder: Telescope, heir: Telescope) -> None:
    twin = aliased(Frame)
    is_known = select(twin.id).where(
        twin.telescope_id == heir.id, twin.folder == Frame.folder, twin.file_name == Frame.file_name
    )
    is_sent = select(twin.id).where(
        twin.telescope_id == placeholder.id,
        twin.folder == Frame.folder,
        twin.file_name == Frame.file_name,
        twin.is_sent_raw,
    )
    session.execute(
        update(Frame).where(Frame.telescope_id == heir.id, is_sent.exists()).values(is_sent_raw=True),
        execution_options={"synchronize_session": "fetch"},
    )
    session.execute(
        delete(Frame).where(Frame.telescope_id == placeholder.id, is_known.exists()),
        execution_options={"synchronize_session": "fetch"},
    )


def _hand_over_block(session: Session, block: Block, heir: Telescope, now: datetime) -> None:
    twin = _twin_of(session, block, heir)
    kept = twin or block
    if twin is not None:
        session.execute(update(Frame).where(Frame.block_id == block.id).values(block_id=twin.id))
        _hand_over_route(session, block, twin, now)
        session.delete(block)
    kept.telescope_id, kept.frames_changed_at = heir.id, now
    good = select(func.count()).where(Frame.block_id == kept.id, Frame.state == FrameState.OK)
    kept.frame_count = session.scalar(good) or 0
    session.flush()
    if kept.state in _REOPENED:
        move_block(
            session, kept, BlockState.COLLECTING, now=now, actor="stacker", reason="its frames changed"
        )


def _hand_over_route(session: Session, block: Block, twin: Block, now: datetime) -> None:
    """Let the twin owe the raw frames that the block owes, and go by the raw route with it."""
    moved = update(Delivery).where(Delivery.block_id == block.id).values(block_id=twin.id)
    session.execute(moved)
    if block.state == BlockState.RAW and BlockState.RAW in BLOCK_STEPS[BlockState(twin.state)]:
        move_block(session, twin, BlockState.RAW, now=now, actor="stacker", reason=block.reason)


def _twin_of(session: Session, block: Block, heir: Telescope) -> Block | None:
    return session.scalar(
        select(Block).where(
            Block.telescope_id == heir.id,
            Block.target == block.target,
            Block.exposure == block.exposure,
            Block.filter == block.filter,
            Block.start_at == block.start_at,
            Block.minutes == block.minutes,
        )
    )
