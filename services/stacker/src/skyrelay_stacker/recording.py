"""Record sub-frames, each once, and keep their blocks in step.

Recording the same sighting twice is a no-op; a better one (a header where there was only a name, a
whole file where there was half of one) replaces what was known, as long as no stack was made of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import delete, exists, func, insert, or_, select, update
from sqlalchemy.orm import Session

from skyrelay.domain.block import BlockKey, block_start
from skyrelay.domain.frame_facts import FrameFacts
from skyrelay.domain.night import night_of
from skyrelay.domain.states import BlockState, FrameState
from skyrelay.settings import StackingSettings
from skyrelay.smb_path import SCHEME
from skyrelay.store.receipts import ARRIVED_DELIVERIES
from skyrelay.store.runs import forget_block
from skyrelay.store.tables import Block, Delivery, Frame, IgnoredFile, Telescope
from skyrelay.store.transitions import audit, move_block

ACTOR = "stacker"
_REOPENED = frozenset({BlockState.READY, BlockState.SKIPPED, BlockState.FAILED})
_HELD = (
    "recorded while its telescope's clock and this server's disagreed, so its time may be wrong: it stays "
    "held when they agree again, until a person lets it go on"
)
_PORTION = 400  # names in one statement: SQLite's oldest limit is 999 parameters


def record_frames(
    session: Session,
    telescope_id: int,
    facts: Iterable[FrameFacts],
    stacking: StackingSettings,
    now: datetime,
) -> int:
    """Record frames of one telescope and put each into its block.

    The facts may come in any order and more than once: the best of them is what stays. What is new while
    the telescope's clock is wrong is held, until a person lets it go on.

    Returns
    -------
    int
        How many were new, or became better known.
    """
    facts = list(facts)
    # The row is shared until the commit: no check of the clock may come between this look at it and that.
    telescope = session.get_one(Telescope, telescope_id, with_for_update={"read": True})
    known = _known_frames(session, telescope_id, {fact.file_name for fact in facts})
    blocks: dict[BlockKey, int] = {}  # each is looked up once, however many frames it gets
    touched: set[int] = set()
    changed = set()
    with session.no_autoflush:  # what is new is written in one go, not with each look for a block
        for fact in facts:
            identity = (fact.folder, fact.file_name)
            frame = known.get(identity)
            if frame is not None:
                _note_place(frame, fact)
            if frame is not None and not _is_better(fact, frame):
                continue
            if frame is None:
                frame = known[identity] = _new_frame(session, telescope, fact, now)
            touched.update(_learn(session, frame, fact, stacking, blocks, now))
            changed.add(identity)
    session.flush()
    refresh_blocks(session, touched, now)
    return len(changed)


def refresh_blocks(session: Session, block_ids: Iterable[int], now: datetime) -> None:
    """Count the blocks' frames again; a block that changed before it was stacked collects again.

    A block whose frames all turned out to belong elsewhere was never one, and goes.
    """
    for block in session.scalars(select(Block).where(Block.id.in_(sorted(block_ids)))).all():
        block.frame_count = _count_frames(session, block.id)
        block.frames_changed_at = now
        session.flush()
        if block.state in _REOPENED:
            _reopen(session, block, now)
        if block.state == BlockState.COLLECTING:
            _follow_frames(session, block, now)


def _reopen(session: Session, block: Block, now: datetime) -> None:
    move_block(
        session,
        block,
        BlockState.COLLECTING,
        now=now,
        actor=ACTOR,
        reason="its frames changed",
        needs_you=False,
    )


def _follow_frames(session: Session, block: Block, now: datetime) -> None:
    """Let a block lie where its frames do; remove it when it has none left."""
    folder = session.scalar(
        select(Frame.folder)
        .where(Frame.block_id == block.id, Frame.state == FrameState.OK)
        .group_by(Frame.folder)
        # A folder that the telescope has shown goes before one that only the watcher saw.
        .order_by(func.count(Frame.inventoried_at).desc(), func.count().desc(), Frame.folder)
        .limit(1)
    )
    if folder is not None:
        block.folder = folder
    elif not session.scalar(select(exists().where(Frame.block_id == block.id))):
        _remove(session, block, now)


def _remove(session: Session, block: Block, now: datetime) -> None:
    reason = f"all frames of {block.target} at {block.start_at:%Y-%m-%d %H:%M} UTC belong to other blocks"
    audit(session, now=now, actor=ACTOR, subject=("block", block.id), event="removed", reason=reason)
    forget_block(session, block.id)
    session.delete(block)
    session.flush()


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
    session: Session, telescope_id: int, file_names: Collection[str]
) -> dict[tuple[str, str], Frame]:
    known: dict[tuple[str, str], Frame] = {}
    for some in _portions(sorted(file_names)):
        rows = session.scalars(
            select(Frame).where(Frame.telescope_id == telescope_id, Frame.file_name.in_(some))
        )
        known.update({(row.folder, row.file_name): row for row in rows})
    return known


def _portions(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return (names[first : first + _PORTION] for first in range(0, len(names), _PORTION))


def _is_better(fact: FrameFacts, frame: Frame) -> bool:
    """Tell whether a fact says more of a frame than is known; what was stacked or sent is settled.

    That its clock cannot be trusted is no news of a frame that a person has released.
    """
    if frame.stack_id is not None or frame.is_sent_raw:
        return False
    if frame.released_at is not None and fact.state is FrameState.CLOCK_WRONG:
        return False
    is_known = FrameState.OK if _is_held(frame) else frame.state
    new, known = _worth(fact.state, fact.start_source), _worth(is_known, frame.start_source)
    if new == known and fact.state is FrameState.UNREADABLE:
        return fact.reason != frame.state_reason or fact.size_bytes not in {0, frame.size_bytes}
    return new > known


def _note_place(frame: Frame, fact: FrameFacts) -> None:
    """Write down where the watcher saw a frame; a folder of this server goes before a share far away."""
    if fact.path is None or fact.root is None or (fact.root.startswith(SCHEME) and frame.seen_path):
        return
    if (frame.seen_root, frame.seen_path) != (fact.root, fact.path):
        frame.seen_root, frame.seen_path = fact.root, fact.path


def _worth(state: str, start_source: str | None) -> int:
    """Rank what is known: half a file, then a name, then a header not to be trusted, then a header."""
    if state == FrameState.UNREADABLE:
        return 0
    if state == FrameState.CLOCK_WRONG:
        return 2
    return 3 if start_source == "header" else 1


def _is_held(frame: Frame) -> bool:
    """Tell whether a frame that can be read waits for a person, because of its telescope's clock."""
    return frame.needs_release and frame.state != FrameState.UNREADABLE


def _new_frame(session: Session, telescope: Telescope, fact: FrameFacts, now: datetime) -> Frame:
    frame = Frame(
        telescope_id=telescope.id,
        folder=fact.folder,
        file_name=fact.file_name,
        target=fact.name.target,
        exposure=fact.name.exposure,
        exposure_s=fact.name.exposure_s,
        filter=fact.name.filter,
        saved_local=fact.name.saved_local,
        seen_by=fact.seen_by,
        seen_at=now,
        seen_root=fact.root,
        seen_path=fact.path,
        state=fact.state,
        size_bytes=fact.size_bytes,
        needs_release=telescope.clock_wrong_since is not None,
    )
    session.add(frame)
    return frame


def _learn(
    session: Session,
    frame: Frame,
    fact: FrameFacts,
    stacking: StackingSettings,
    blocks: dict[BlockKey, int],
    now: datetime,
) -> set[int]:
    """Write the facts into the row; give the ids of the blocks whose frames changed."""
    if frame.needs_release and fact.state is not FrameState.UNREADABLE:
        fact = replace(fact, state=FrameState.CLOCK_WRONG, reason=_HELD)
    frame.size_bytes, frame.state, frame.state_reason = fact.size_bytes, fact.state, fact.reason
    frame.start_at, frame.start_source = fact.start_at, fact.start_source
    frame.utc_offset_min = None if fact.offset is None else int(fact.offset / timedelta(minutes=1))
    frame.offset_source = fact.offset_source
    frame.ra_deg, frame.dec_deg, frame.is_no_fits = fact.ra_deg, fact.dec_deg, fact.is_no_fits
    return _place(session, frame, stacking, blocks, now)


def put_into_block(session: Session, frame: Frame, stacking: StackingSettings, now: datetime) -> set[int]:
    """Put a frame into the block that its time names; give the ids of the blocks whose frames changed."""
    return _place(session, frame, stacking, {}, now)


def _place(
    session: Session,
    frame: Frame,
    stacking: StackingSettings,
    blocks: dict[BlockKey, int],
    now: datetime,
) -> set[int]:
    before = frame.block_id
    key = _key_of(frame, stacking)
    if key is not None and key not in blocks:
        blocks[key] = _find_block(session, frame.telescope_id, key) or _new_block(session, frame, key, now)
    frame.block_id = None if key is None else blocks[key]
    return {block_id for block_id in (before, frame.block_id) if block_id is not None}


def _key_of(frame: Frame, stacking: StackingSettings) -> BlockKey | None:
    if frame.state != FrameState.OK or frame.start_at is None or frame.utc_offset_min is None:
        return None
    offset = timedelta(minutes=frame.utc_offset_min)
    moment = frame.start_at
    if stacking.block_time == "name":
        moment = (frame.saved_local - offset).replace(tzinfo=frame.start_at.tzinfo)
    start = block_start(moment, offset, stacking.block_minutes)
    return BlockKey(start, frame.target, frame.exposure, frame.filter, stacking.block_minutes)


def _find_block(session: Session, telescope_id: int, key: BlockKey) -> int | None:
    return session.scalar(
        select(Block.id).where(
            Block.telescope_id == telescope_id,
            Block.target == key.target,
            Block.exposure == key.exposure,
            Block.filter == key.filter,
            Block.start_at == key.start,
            Block.minutes == key.minutes,
        )
    )


def _new_block(session: Session, frame: Frame, key: BlockKey, now: datetime) -> int:
    offset_min = frame.utc_offset_min or 0
    row = insert(Block).values(
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
    return session.execute(row.returning(Block.id)).scalar_one()


def _count_frames(session: Session, block_id: int) -> int:
    counted = select(func.count()).where(Frame.block_id == block_id, Frame.state == FrameState.OK)
    return session.scalar(counted) or 0


def mark_presence(
    session: Session,
    telescope_id: int,
    found: set[tuple[str, str]],
    started_at: datetime,
    now: datetime,
    *,
    folders: Collection[str] | None = None,
) -> None:
    """Say of each frame that is still to be stacked whether an inventory found it on its telescope.

    Nothing is said of a frame that was seen first while the inventory was under way, nor of one in a
    folder that was not looked at.

    Parameters
    ----------
    found
        (folder, file name) of every light frame that the inventory saw.
    started_at
        Aware start of the inventory.
    folders
        The folders that were looked at; `None` when that is all that there are.
    """
    touched: set[int] = set()
    to_be_stacked_again = select(Block.id).where(
        Block.telescope_id == telescope_id, Block.state == BlockState.COLLECTING
    )
    waiting = select(Frame).where(
        Frame.telescope_id == telescope_id,
        or_(Frame.stack_id.is_(None), Frame.block_id.in_(to_be_stacked_again)),
        Frame.state.in_([FrameState.OK, FrameState.NOT_ON_TELESCOPE]),
    )
    for frame in session.scalars(waiting):
        is_there = (frame.folder, frame.file_name) in found
        if is_there:
            frame.inventoried_at = started_at
        elif frame.seen_at > started_at or (folders is not None and frame.folder not in folders):
            continue
        if _note_presence(frame, is_there=is_there) and frame.block_id is not None:
            touched.add(frame.block_id)
    session.flush()
    refresh_blocks(session, touched, now)


def hold_frames(
    session: Session, telescope_id: int, since: datetime | None, taken_after: datetime | None, now: datetime
) -> None:
    """Hold what may have been taken with a wrong clock; what is in a stack, or has arrived raw, is settled.

    Parameters
    ----------
    since
        Aware time from which on frames were recorded that are not trusted; `None`: all of them.
    taken_after
        Aware start from which on an exposure counts as taken since then; `None`: whenever.
    """
    arrived = select(Delivery.block_id).where(
        Delivery.block_id.is_not(None), Delivery.state.in_(ARRIVED_DELIVERIES)
    )
    doubtful = select(Frame).where(
        Frame.telescope_id == telescope_id,
        Frame.stack_id.is_(None),
        or_(Frame.is_sent_raw.is_(False), Frame.block_id.not_in(arrived)),
        Frame.needs_release.is_(False),
        Frame.released_at.is_(None),
    )
    if since is not None:
        doubtful = doubtful.where(Frame.seen_at >= since)
    if taken_after is not None:
        doubtful = doubtful.where(or_(Frame.start_at.is_(None), Frame.start_at >= taken_after))
    touched = {_hold(frame) for frame in session.scalars(doubtful)}
    session.flush()
    refresh_blocks(session, {block_id for block_id in touched if block_id is not None}, now)


def _hold(frame: Frame) -> int | None:
    """Hold a frame; give the block that it leaves."""
    left, frame.block_id, frame.needs_release = frame.block_id, None, True
    frame.is_sent_raw = False  # its block's raw frames go without it; once released it counts as late
    if frame.state != FrameState.UNREADABLE:
        frame.state, frame.state_reason = FrameState.CLOCK_WRONG, _HELD
    return left


def _note_presence(frame: Frame, *, is_there: bool) -> bool:
    """Write down whether a frame is on its telescope; tell whether that is news."""
    state = FrameState.OK if is_there else FrameState.NOT_ON_TELESCOPE
    if frame.state == state:
        return False
    frame.state = state
    frame.state_reason = None if is_there else "seen here, but the telescope does not list it"
    return True


def link_frames_to_stack(
    session: Session, block: Block, file_names: Sequence[str], stack_id: int, now: datetime
) -> None:
    """Write down which frames a stack was made of; the block's others came too late.

    A frame that turned out to belong to another block while it was being stacked belongs to this one.
    """
    elsewhere: set[int] = set()
    for some in _portions(file_names):
        used = (
            Frame.telescope_id == block.telescope_id,
            Frame.folder == block.folder,
            Frame.file_name.in_(some),
        )
        moved = session.scalars(select(Frame.block_id).where(*used, Frame.block_id != block.id))
        elsewhere.update(block_id for block_id in moved if block_id is not None)
        session.execute(update(Frame).where(*used).values(stack_id=stack_id, block_id=block.id))
    refresh_blocks(session, elsewhere, now)
