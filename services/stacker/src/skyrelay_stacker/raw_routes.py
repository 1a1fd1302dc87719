"""Choose the raw route for blocks: because the user prefers it, or because their telescope cannot stack them.

Asked at each tick, of rows and the time alone. A telescope cannot stack a block when it has found too few
stars in it three times, or when it has been out of reach for ``crowdsky.raw_after_h``. Nothing is chosen
twice: a block that was handed over is ``raw``, and stays so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.orm import Session

from skyrelay.domain.block import BLOCK_MINUTES, excluded, too_short
from skyrelay.domain.states import BlockState, FrameState, TelescopeState
from skyrelay.logs import get_logger
from skyrelay.outbox.raw_route import frames_for_raw, is_at_hand, send_raw, why_not_raw
from skyrelay.settings import Settings, StackingSettings
from skyrelay.store.pauses import pause_of, pauses_on
from skyrelay.store.tables import Block, Frame, Telescope
from skyrelay_stacker.dawns import dawn_at
from skyrelay_stacker.recording import ACTOR

STAR_FAILURES = 3  # of one block: clouds do not pass over frames that are taken already
_MOST_AT_ONCE = 50  # blocks in one tick: the next one goes on
_SETTLED = timedelta(hours=1)  # without a new frame: then a copy into a watched folder is over

_log = get_logger(__name__)


def choose_raw_routes(session: Session, settings: Settings, now: datetime) -> int:
    """Hand over the blocks that are to go by the raw route now; give how many those were."""
    if settings.stacking.when == "manual" or not settings.crowdsky.enabled:
        return 0
    chosen = 0
    for block, telescope, reason in list(_candidates(session, settings, now)):
        chosen += _choose(session, block, telescope, settings, reason, now)
    return chosen


def choose_after_star_failures(
    session: Session, block: Block, telescope: Telescope, settings: Settings, now: datetime
) -> None:
    """Hand over a block that has just failed, if it failed for want of stars often enough."""
    if settings.crowdsky.falls_back_to_raw and block.too_few_stars >= STAR_FAILURES:
        _choose(session, block, telescope, settings, _too_few_stars(block), now)


def is_tried_again(block: Block, settings: Settings) -> bool:
    """Tell whether a block in which too few stars were found is stacked once more before it goes raw."""
    may_go_raw = settings.crowdsky.falls_back_to_raw and block.minutes == BLOCK_MINUTES
    return may_go_raw and 0 < block.too_few_stars < STAR_FAILURES


def _candidates(
    session: Session, settings: Settings, now: datetime
) -> Iterator[tuple[Block, Telescope, str]]:
    if settings.crowdsky.prefers_raw:
        for block, telescope in _blocks(session, _is_preferred(), now):
            yield block, telescope, "crowdsky.route: raw"
        for block, telescope in _blocks(session, _is_only_here(), now):
            if _is_settled(block, settings.stacking, now):
                yield (
                    block,
                    telescope,
                    "crowdsky.route: raw; its telescope does not have its frames (any more)",
                )
    if not settings.crowdsky.falls_back_to_raw:
        return
    for block, telescope in _blocks(session, _is_without_stars(), now):
        yield block, telescope, _too_few_stars(block)
    patience = timedelta(hours=settings.crowdsky.raw_after_h)
    for block, telescope in _blocks(session, _is_left_alone(now - patience), now):
        if _is_settled(block, settings.stacking, now):
            yield block, telescope, _away(telescope, now)


def _blocks(
    session: Session, condition: ColumnElement[bool], now: datetime
) -> Sequence[tuple[Block, Telescope]]:
    query = (
        select(Block, Telescope)
        .join_from(Block, Telescope)
        .where(
            Block.minutes == BLOCK_MINUTES,
            Block.start_at <= now - timedelta(minutes=BLOCK_MINUTES),
            Telescope.clock_wrong_since.is_(None),
            condition,
        )
        .order_by(Block.start_at, Block.id)
        .limit(_MOST_AT_ONCE)
    )
    return [(block, telescope) for block, telescope in session.execute(query)]


def _is_preferred() -> ColumnElement[bool]:
    return and_(Block.state.in_([BlockState.READY, BlockState.FAILED]), Block.requested.is_(False))


def _is_only_here() -> ColumnElement[bool]:
    """Say which blocks have frames that only a watched folder has, as far as is known."""
    of_block = (Frame.block_id == Block.id, Frame.seen_path.is_not(None), Frame.stack_id.is_(None))
    is_gone = exists().where(*of_block, Frame.state == FrameState.NOT_ON_TELESCOPE)
    return and_(
        Block.requested.is_(False),
        or_(
            and_(Block.state.in_([BlockState.SKIPPED, BlockState.COLLECTING]), is_gone),
            and_(Block.state == BlockState.COLLECTING, Telescope.host.is_(None), exists().where(*of_block)),
        ),
    )


def _is_without_stars() -> ColumnElement[bool]:
    return and_(Block.state == BlockState.FAILED, Block.too_few_stars >= STAR_FAILURES)


def _is_left_alone(since: datetime) -> ColumnElement[bool]:
    """Say which blocks' telescopes have been out of reach since then."""
    heard = or_(
        Telescope.last_seen_at <= since,
        and_(Telescope.last_seen_at.is_(None), Telescope.created_at <= since),
    )
    waiting = Block.state.in_([BlockState.COLLECTING, BlockState.READY, BlockState.FAILED])
    is_here = exists().where(Frame.block_id == Block.id, Frame.seen_path.is_not(None))
    is_away = or_(Telescope.state == TelescopeState.UNREACHABLE, Telescope.host.is_(None))
    return and_(is_away, heard, waiting, is_here, Block.requested.is_(False))


def _is_settled(block: Block, stacking: StackingSettings, now: datetime) -> bool:
    """Tell whether nothing more of a block is to be expected, since no inventory will say so."""
    ended = block.start_at + timedelta(minutes=block.minutes, seconds=stacking.grace_s)
    return ended <= now and (block.frames_changed_at or block.created_at) <= now - _SETTLED


def _choose(
    session: Session, block: Block, telescope: Telescope, settings: Settings, reason: str, now: datetime
) -> bool:
    frames = frames_for_raw(session, block)
    if _is_held_back(session, block, telescope, settings, len(frames), now):
        return False
    if block.state in {BlockState.SKIPPED, BlockState.COLLECTING}:
        why_not = None if all(map(is_at_hand, frames)) and frames else "not all of its frames are at hand"
    else:
        why_not = why_not_raw(block, telescope, frames)
    if why_not is not None:
        _note(block, f"{reason}; it cannot go so far: {why_not}")
        return False
    send_raw(
        session, block, frames, now=now, actor=ACTOR, reason=f"{reason}: {_plural(len(frames))} to be sent"
    )
    _log.info("a block goes by the raw route", block=block.id, reason=reason, frames=len(frames))
    return True


def _is_held_back(
    session: Session, block: Block, telescope: Telescope, settings: Settings, frames: int, now: datetime
) -> bool:
    """Tell whether a person's pause, the dawn or a rule about what is worth it stands in the way."""
    if pause_of(pauses_on(session, telescope.id), block.target) is not None:
        return True
    dawn = dawn_at(telescope, settings, now)
    if dawn is not None and block.start_at >= dawn:
        return True
    short = too_short([block.exposure_s] * frames, settings.stacking.min_exptime)
    return not block.requested and bool(excluded(block.target, settings.stacking.exclude) or short)


def _note(block: Block, reason: str) -> None:
    """Say on the block why it waits; one that a person was told about keeps those words."""
    if block.state == BlockState.READY:
        block.reason = reason


def _too_few_stars(block: Block) -> str:
    return f"its telescope found too few stars in it {block.too_few_stars} times (error 263)"


def _away(telescope: Telescope, now: datetime) -> str:
    since = telescope.last_seen_at or telescope.created_at
    days = (now - since) / timedelta(days=1)
    return f"{telescope.name} has been out of reach for {days:.1f} days (crowdsky.raw_after_h)"


def _plural(frames: int) -> str:
    return f"{frames} raw frame{'' if frames == 1 else 's'}"
