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
from skyrelay.outbox.raw_route import frames_for_raw, is_at_hand, may_be_at_server, send_raw, why_not_raw
from skyrelay.settings import Settings, StackingSettings
from skyrelay.store.pauses import pause_of, pauses_on
from skyrelay.store.tables import Block, Frame, Pause, Telescope
from skyrelay_stacker.dawns import dawn_at
from skyrelay_stacker.recording import ACTOR

STAR_FAILURES = 3  # of one block: clouds do not pass over frames that are taken already
_MOST_AT_ONCE = 10  # blocks in one tick: it is short, and the uploader sends none faster than it comes again
_SETTLED = timedelta(hours=1)  # without a new frame: then a copy into a watched folder is over

_log = get_logger(__name__)


def choose_raw_routes(session: Session, settings: Settings, now: datetime) -> int:
    """Hand over the blocks that are to go by the raw route now; give how many those were."""
    if settings.stacking.when == "manual" or not settings.crowdsky.enabled:
        return 0
    brakes, chosen = _Brakes(session, settings, now), 0
    for block, telescope, reason in _candidates(session, settings, now):
        chosen += _choose(session, block, telescope, brakes, reason)
        if chosen >= _MOST_AT_ONCE:
            break
    return chosen


def choose_after_star_failures(
    session: Session, block: Block, telescope: Telescope, settings: Settings, now: datetime
) -> None:
    """Hand over a block that has just failed, if it failed for want of stars often enough."""
    if settings.crowdsky.falls_back_to_raw and block.too_few_stars >= STAR_FAILURES:
        _choose(session, block, telescope, _Brakes(session, settings, now), _too_few_stars(block))


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
    away = _away_since(session, now - timedelta(hours=settings.crowdsky.raw_after_h))
    for block, telescope in _blocks(session, _is_left_alone(away), now) if away else ():
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
    )
    return [(block, telescope) for block, telescope in session.execute(query)]


def _is_preferred() -> ColumnElement[bool]:
    """Say which blocks are done with collecting, and can be had from here or from their telescope."""
    answers = and_(Telescope.host.is_not(None), Telescope.state != TelescopeState.UNREACHABLE)
    waits = Block.state.in_([BlockState.READY, BlockState.FAILED])
    return and_(waits, Block.requested.is_(False), or_(answers, ~_is_in_part_elsewhere()))


def _is_in_part_elsewhere() -> ColumnElement[bool]:
    """Say which blocks have frames that no watched folder has shown."""
    goes = Frame.state.in_([FrameState.OK, FrameState.NOT_ON_TELESCOPE])
    of_block = (Frame.block_id == Block.id, Frame.stack_id.is_(None), goes)
    return exists().where(*of_block, Frame.seen_path.is_(None))


def _is_only_here() -> ColumnElement[bool]:
    """Say which blocks have frames that only a watched folder has, as far as is known."""
    of_block = (Frame.block_id == Block.id, Frame.seen_path.is_not(None), Frame.stack_id.is_(None))
    is_gone = exists().where(*of_block, Frame.state == FrameState.NOT_ON_TELESCOPE)
    return and_(
        Block.requested.is_(False),
        ~_is_in_part_elsewhere(),
        or_(
            and_(Block.state.in_([BlockState.SKIPPED, BlockState.COLLECTING]), is_gone),
            and_(Block.state == BlockState.COLLECTING, Telescope.host.is_(None), exists().where(*of_block)),
        ),
    )


def _is_without_stars() -> ColumnElement[bool]:
    return and_(Block.state == BlockState.FAILED, Block.too_few_stars >= STAR_FAILURES)


def _away_since(session: Session, since: datetime) -> Sequence[int]:
    """Give the telescopes that have been out of reach since then."""
    unheard = or_(
        Telescope.last_seen_at <= since,
        and_(Telescope.last_seen_at.is_(None), Telescope.created_at <= since),
    )
    is_away = or_(Telescope.state == TelescopeState.UNREACHABLE, Telescope.host.is_(None))
    return session.scalars(select(Telescope.id).where(is_away, unheard)).all()


def _is_left_alone(telescope_ids: Sequence[int]) -> ColumnElement[bool]:
    """Say which blocks of those telescopes wait, though a watched folder has shown all of their frames."""
    waiting = Block.state.in_([BlockState.COLLECTING, BlockState.READY, BlockState.FAILED])
    is_here = exists().where(Frame.block_id == Block.id, Frame.seen_path.is_not(None))
    is_theirs = and_(Block.telescope_id.in_(telescope_ids), Block.requested.is_(False))
    return and_(is_theirs, waiting, is_here, ~_is_in_part_elsewhere())


def _is_settled(block: Block, stacking: StackingSettings, now: datetime) -> bool:
    """Tell whether nothing more of a block is to be expected, since no inventory will say so."""
    ended = block.start_at + timedelta(minutes=block.minutes, seconds=stacking.grace_s)
    return ended <= now and (block.frames_changed_at or block.created_at) <= now - _SETTLED


class _Brakes:
    """What may hold a block back, looked up once a telescope: pauses, the dawn, what is worth it."""

    def __init__(self, session: Session, settings: Settings, now: datetime) -> None:
        self._session, self._settings, self.now = session, settings, now
        self._pauses: dict[int, Sequence[Pause]] = {}
        self._dawns: dict[int, datetime | None] = {}

    def hold(self, block: Block, telescope: Telescope) -> bool:
        """Tell whether a person's pause or the dawn holds a block back, or its target is left alone."""
        if telescope.id not in self._pauses:
            self._pauses[telescope.id] = pauses_on(self._session, telescope.id)
            self._dawns[telescope.id] = dawn_at(telescope, self._settings, self.now)
        dawn = self._dawns[telescope.id]
        if pause_of(self._pauses[telescope.id], block.target) is not None:
            return True
        if dawn is not None and block.start_at >= dawn:
            return True
        return not block.requested and bool(excluded(block.target, self._settings.stacking.exclude))

    def is_too_short(self, block: Block, frames: int) -> bool:
        """Tell whether so many frames are not worth sending."""
        short = too_short([block.exposure_s] * frames, self._settings.stacking.min_exptime)
        return not block.requested and bool(short)


def _choose(session: Session, block: Block, telescope: Telescope, brakes: _Brakes, reason: str) -> bool:
    if brakes.hold(block, telescope):
        return False
    frames = frames_for_raw(session, block)
    if brakes.is_too_short(block, len(frames)):
        return False
    if block.state in {BlockState.SKIPPED, BlockState.COLLECTING} and not all(map(is_at_hand, frames)):
        return False
    why_not = why_not_raw(session, block, telescope, frames) or _why_not_by_itself(session, block)
    if why_not is not None:
        _note(block, f"{reason}; it cannot go so far: {why_not}")
        return False
    words = f"{reason}: {_plural(len(frames))} to be sent"
    send_raw(session, block, frames, now=brakes.now, actor=ACTOR, reason=words)
    _log.info("a block goes by the raw route", block=block.id, reason=reason, frames=len(frames))
    return True


def _why_not_by_itself(session: Session, block: Block) -> str | None:
    if may_be_at_server(session, block):
        return "raw frames of it were sent without an answer: only a person can have them sent anew"
    return None


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
