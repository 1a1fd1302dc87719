"""Record sub-frames, each once, and keep their blocks in step.

Recording the same sighting twice is a no-op; a better one (a header where there was only a name, a
whole file where there was half of one) replaces what was known, as long as no stack was made of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from skyrelay.domain.block import BlockKey, block_start
from skyrelay.domain.night import night_of
from skyrelay.domain.states import BlockState, FrameState
from skyrelay.settings import StackingSettings
from skyrelay.store.tables import Block, Frame, IgnoredFile
from skyrelay.store.transitions import move_block
from skyrelay_stacker.facts import FrameFacts

ACTOR = "stacker"
_REOPENED = frozenset({BlockState.READY, BlockState.SKIPPED})


def record_frames(
    session: Session,
    telescope_id: int,
    facts: Iterable[FrameFacts],
    stacking: StackingSettings,
    now: datetime,
) -> int:
    """Record frames of one telescope and put each into its block.

    Returns
    -------
    int
        How many were new, or became better known.
    """
    newest = {(fact.folder, fact.file_name): fact for fact in facts}
    known = _known_frames(session, telescope_id, newest)
    touched: set[int] = set()
    changed = 0
    for identity, fact in newest.items():
        frame = known.get(identity)
        if frame is not None and not _is_better(fact, frame):
            continue
        frame = frame or _new_frame(session, telescope_id, fact, now)
        touched.update(_learn(session, frame, fact, stacking, now))
        changed += 1
    session.flush()
    refresh_blocks(session, touched, now)
    return changed


def refresh_blocks(session: Session, block_ids: Iterable[int], now: datetime) -> None:
    """Count the blocks' frames again; a block that changed before it was stacked collects again."""
    for block in session.scalars(select(Block).where(Block.id.in_(sorted(block_ids)))):
        block.frame_count = _count_frames(session, block.id)
        block.frames_changed_at = now
        session.flush()
        if block.state in _REOPENED:
            move_block(
                session, block, BlockState.COLLECTING, now=now, actor=ACTOR, reason="its frames changed"
            )


def record_ignored(session: Session, root: str, path: str, reason: str, now: datetime) -> None:
    """Write down a FITS file that is left alone."""
    row = session.scalar(select(IgnoredFile).where(IgnoredFile.root == root, IgnoredFile.path == path))
    if row is None:
        session.add(IgnoredFile(root=root, path=path, reason=reason, seen_at=now))
    else:
        row.reason = reason


def forget_ignored(session: Session, root: str, path: str) -> None:
    """Take a file off the list of those left alone, because its owner is known by now."""
    session.execute(delete(IgnoredFile).where(IgnoredFile.root == root, IgnoredFile.path == path))


def _known_frames(
    session: Session, telescope_id: int, identities: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Frame]:
    names = sorted({file_name for _folder, file_name in identities})
    known: dict[tuple[str, str], Frame] = {}
    for some in _portions(names, 400):  # SQLite's oldest limit is 999 parameters a statement
        rows = session.scalars(
            select(Frame).where(Frame.telescope_id == telescope_id, Frame.file_name.in_(some))
        )
        known.update({(row.folder, row.file_name): row for row in rows})
    return known


def _portions(names: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (names[first : first + size] for first in range(0, len(names), size))


def _is_better(fact: FrameFacts, frame: Frame) -> bool:
    if frame.stack_id is not None:
        return False
    if fact.state is FrameState.UNREADABLE:
        return frame.state == FrameState.UNREADABLE and frame.state_reason != fact.reason
    if frame.state in {FrameState.UNREADABLE, FrameState.CLOCK_WRONG}:
        return fact.start_source == "header" or fact.state is FrameState.CLOCK_WRONG != frame.state
    return frame.start_source != "header" and fact.start_source == "header"


def _new_frame(session: Session, telescope_id: int, fact: FrameFacts, now: datetime) -> Frame:
    frame = Frame(
        telescope_id=telescope_id,
        folder=fact.folder,
        file_name=fact.file_name,
        target=fact.name.target,
        exposure=fact.name.exposure,
        exposure_s=fact.name.exposure_s,
        filter=fact.name.filter,
        saved_local=fact.name.saved_local,
        seen_by=fact.seen_by,
        seen_at=now,
        state=fact.state,
        size_bytes=fact.size_bytes,
    )
    session.add(frame)
    return frame


def _learn(
    session: Session, frame: Frame, fact: FrameFacts, stacking: StackingSettings, now: datetime
) -> set[int]:
    """Write the facts into the row; give the ids of the blocks whose frames changed."""
    before = frame.block_id
    frame.size_bytes, frame.state, frame.state_reason = fact.size_bytes, fact.state, fact.reason
    frame.start_at, frame.start_source = fact.start_at, fact.start_source
    frame.utc_offset_min = None if fact.offset is None else int(fact.offset / timedelta(minutes=1))
    frame.offset_source = fact.offset_source
    frame.ra_deg, frame.dec_deg = fact.ra_deg, fact.dec_deg
    frame.block_id = _block_of(session, frame, stacking, now)
    return {block_id for block_id in (before, frame.block_id) if block_id is not None}


def _block_of(session: Session, frame: Frame, stacking: StackingSettings, now: datetime) -> int | None:
    if frame.state != FrameState.OK or frame.start_at is None or frame.utc_offset_min is None:
        return None
    offset = timedelta(minutes=frame.utc_offset_min)
    moment = frame.start_at
    if stacking.block_time == "name":
        moment = (frame.saved_local - offset).replace(tzinfo=frame.start_at.tzinfo)
    start = block_start(moment, offset, stacking.block_minutes)
    key = BlockKey(start, frame.target, frame.exposure, frame.filter, stacking.block_minutes)
    block = _find_block(session, frame.telescope_id, key)
    return block.id if block else _new_block(session, frame, key, now).id


def _find_block(session: Session, telescope_id: int, key: BlockKey) -> Block | None:
    return session.scalar(
        select(Block).where(
            Block.telescope_id == telescope_id,
            Block.target == key.target,
            Block.exposure == key.exposure,
            Block.filter == key.filter,
            Block.start_at == key.start,
            Block.minutes == key.minutes,
        )
    )


def _new_block(session: Session, frame: Frame, key: BlockKey, now: datetime) -> Block:
    offset_min = frame.utc_offset_min or 0
    block = Block(
        telescope_id=frame.telescope_id,
        target=key.target,
        folder=frame.folder,
        exposure=key.exposure,
        exposure_s=frame.exposure_s,
        filter=key.filter,
        start_at=key.start,
        minutes=key.minutes,
        utc_offset_min=offset_min,
        night=night_of(key.start, timedelta(minutes=offset_min)).isoformat(),
        state=BlockState.COLLECTING,
        reason="collecting frames",
        created_at=now,
        updated_at=now,
    )
    session.add(block)
    session.flush()
    return block


def _count_frames(session: Session, block_id: int) -> int:
    counted = select(func.count()).where(Frame.block_id == block_id, Frame.state == FrameState.OK)
    return session.scalar(counted) or 0


def mark_presence(
    session: Session, telescope_id: int, found: set[tuple[str, str]], started_at: datetime, now: datetime
) -> None:
    """Say of each frame that is not stacked yet whether an inventory found it on its telescope.

    Parameters
    ----------
    found
        (folder, file name) of every light frame that the inventory saw.
    started_at
        Aware start of the inventory.
    """
    touched: set[int] = set()
    waiting = select(Frame).where(
        Frame.telescope_id == telescope_id,
        Frame.stack_id.is_(None),
        Frame.state.in_([FrameState.OK, FrameState.NOT_ON_TELESCOPE]),
    )
    for frame in session.scalars(waiting):
        is_there = (frame.folder, frame.file_name) in found
        state = FrameState.OK if is_there else FrameState.NOT_ON_TELESCOPE
        if is_there:
            frame.inventoried_at = started_at
        if frame.state != state:
            frame.state = state
            frame.state_reason = None if is_there else "seen here, but the telescope does not list it"
            touched.update(block_id for block_id in (frame.block_id,) if block_id is not None)
    session.flush()
    refresh_blocks(session, touched, now)


def link_frames_to_stack(session: Session, block_id: int, file_names: Sequence[str], stack_id: int) -> None:
    """Write down which frames a stack was made of; the block's others came too late."""
    session.execute(
        update(Frame)
        .where(Frame.block_id == block_id, Frame.file_name.in_(file_names))
        .values(stack_id=stack_id)
    )
