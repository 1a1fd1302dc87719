"""Decide what becomes of each block once an inventory has shown all of its frames."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from skyrelay.domain.block import BlockKey, excluded, too_short
from skyrelay.domain.coverage import covers
from skyrelay.domain.light_frame import target_of_folder
from skyrelay.domain.stack_name import CrowdSkyLegacyName, CrowdSkyName, parse_stack_name
from skyrelay.domain.states import BlockState, FrameState
from skyrelay.settings import StackingSettings
from skyrelay.store.tables import Block, Frame, ScriptedStack, Stack, Telescope
from skyrelay.store.transitions import move_block
from skyrelay_stacker.recording import ACTOR

StacksByFolder = dict[str, frozenset[str]]


def settle_blocks(
    session: Session,
    telescope: Telescope,
    stacks_by_folder: StacksByFolder,
    stacking: StackingSettings,
    now: datetime,
) -> None:
    """Take each collecting block of which nothing more can come one step on.

    Parameters
    ----------
    session
        A writing session, the one in which the inventory was recorded.
    telescope
        Not observing; ``inventory_started_at`` is when that inventory began. Nothing is settled while
        its clock is wrong.
    stacks_by_folder
        File names in the folders of stacks, as the inventory saw them.
    """
    begun = telescope.inventory_started_at
    if begun is None or telescope.clock_wrong_since is not None:
        return
    latest_start = begun - timedelta(seconds=stacking.grace_s)
    due = select(Block).where(
        Block.telescope_id == telescope.id,
        Block.state == BlockState.COLLECTING,
        Block.start_at <= latest_start,
    )
    for block in session.scalars(due).all():
        if key_of(block).end <= latest_start and not has_unseen_frames(session, block, begun):
            _settle(session, block, stacks_by_folder, stacking, now)


def has_unseen_frames(session: Session, block: Block, since: datetime | None = None) -> bool:
    """Tell whether a block has frames that no inventory found on the telescope.

    Parameters
    ----------
    since
        Aware start of the oldest inventory that counts.
    """
    never = Frame.inventoried_at.is_(None)
    unseen = never if since is None else or_(never, Frame.inventoried_at < since)
    return bool(
        session.scalar(
            select(exists().where(Frame.block_id == block.id, Frame.state == FrameState.OK, unseen))
        )
    )


def key_of(block: Block | ScriptedStack) -> BlockKey:
    """Give the key of a block's row."""
    return BlockKey(block.start_at, block.target, block.exposure, block.filter, block.minutes)


def retry_failed(session: Session, now: datetime) -> None:
    """Make failed blocks ready again whose next try is due."""
    due = select(Block).where(
        Block.state == BlockState.FAILED, Block.needs_you.is_(False), Block.next_attempt_at <= now
    )
    for block in session.scalars(due).all():
        move_block(session, block, BlockState.READY, now=now, actor=ACTOR, reason="to be tried again")


def _settle(
    session: Session,
    block: Block,
    stacks_by_folder: StacksByFolder,
    stacking: StackingSettings,
    now: datetime,
) -> None:
    covering = _covering_stack(session, block, stacks_by_folder)
    why_not = _why_not(block, stacking)
    if covering is not None:
        to, reason = BlockState.COVERED, f"{covering} lies on the telescope already"
    elif why_not is not None:
        to, reason = BlockState.SKIPPED, why_not
    else:
        to, reason = BlockState.READY, f"all of its {block.frame_count} frames are on the telescope"
    move_block(session, block, to, now=now, actor=ACTOR, reason=reason)


def _why_not(block: Block, stacking: StackingSettings) -> str | None:
    if block.frame_count == 0:
        return "none of its frames is on the telescope"
    if block.requested:
        return None
    return excluded(block.target, stacking.exclude) or too_short(
        [block.exposure_s] * block.frame_count, stacking.min_exptime
    )


def _covering_stack(session: Session, block: Block, stacks_by_folder: StacksByFolder) -> str | None:
    """Name the stack of the block that lies there: one that a script made, or one whose name says so.

    None counts where a person knows of it, and wants another.
    """
    if block.is_wanted_again:
        return None
    key, offset = key_of(block), timedelta(minutes=block.utc_offset_min)
    names = stacks_by_folder.get(target_of_folder(block.folder), frozenset())
    scripted = _scripted_stacks(session, block, names)
    own = next((file for row, file in scripted if key_of(row) == key), None)
    if own is not None:
        return own
    # What is booked is known for certain: its name says nothing about blocks of other lengths.
    booked = set(session.scalars(select(Stack.crowdsky_name).where(Stack.telescope_id == block.telescope_id)))
    booked |= {file for _, file in scripted}
    return next(iter(sorted(name for name in names - booked if _covers(name, key, offset))), None)


def covering_stack(session: Session, block: Block, names: frozenset[str]) -> str | None:
    """Name the stack of the block among the files in its folder of stacks; `None` when there is none."""
    return _covering_stack(session, block, {target_of_folder(block.folder): names})


def inherit_script(session: Session, block: Block, files: list[str]) -> None:
    """Take what a script was about to do with the same frames for an earlier try of our own.

    Its run is adopted then, or what the run left is booked, instead of stacking the frames twice.
    """
    row = session.scalar(
        select(ScriptedStack).where(
            ScriptedStack.telescope_id == block.telescope_id,
            ScriptedStack.target == block.target,
            ScriptedStack.exposure == block.exposure,
            ScriptedStack.filter == block.filter,
            ScriptedStack.start_at == block.start_at,
            ScriptedStack.minutes == block.minutes,
            ScriptedStack.stacked_at.is_(None),
        )
    )
    if row is not None and set(row.files) == set(files):
        block.intent = {"files": files, "outputs_before": list(row.outputs_before)}
        session.delete(row)


def _scripted_stacks(
    session: Session, block: Block, names: frozenset[str]
) -> list[tuple[ScriptedStack, str]]:
    """Give what scripts had stacked in the block's folder and is still there, each with its file's name."""
    rows = session.scalars(
        select(ScriptedStack).where(
            ScriptedStack.telescope_id == block.telescope_id,
            ScriptedStack.folder == target_of_folder(block.folder),
            ScriptedStack.stacked_at.is_not(None),
        )
    ).all()
    files = [(row, file) for row in rows for file in (row.crowdsky_name, row.original_name) if file]
    return [(row, file) for row, file in files if file in names]


def _covers(file_name: str, key: BlockKey, offset: timedelta) -> bool:
    name = parse_stack_name(file_name)
    return isinstance(name, CrowdSkyName | CrowdSkyLegacyName) and covers(name, key, offset)
