"""A person asks for stacks: decide what that means for each block, and write it down.

What is asked for is a mark on the block (``requested``); the stacker acts on it. A block named by its
id is stacked even if it is short or its target excluded; a telescope, a target or "all" do not override
those settings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from skyrelay.domain.block import excluded, too_short
from skyrelay.domain.states import OPEN_BLOCKS, BlockState, DeliveryState, TelescopeState
from skyrelay.outbox.raw_route import raw_delivery_of, withdraw_raw
from skyrelay.settings import StackingSettings
from skyrelay.store.late_frames import count_late, late_words
from skyrelay.store.pauses import pause_of, pause_words, pauses_on
from skyrelay.store.tables import Block, Telescope
from skyrelay.store.transitions import StaleState, audit, move_block
from skyrelay_gateway.finding import check_target, find_telescope
from skyrelay_gateway.models import StackAnswer, StackDecision, StackRequest
from skyrelay_gateway.problems import Problem
from skyrelay_gateway.visits import actor
from skyrelay_gateway.words import telescope_words

_MOST_LISTED = 500
# A block that waits for a person takes a step when one asks; the others are on their way already.
_STEPS = {
    BlockState.FAILED: BlockState.READY,
    BlockState.SKIPPED: BlockState.COLLECTING,
    BlockState.STACKED: BlockState.COLLECTING,
    BlockState.RAW: BlockState.COLLECTING,
    BlockState.COVERED: BlockState.COLLECTING,
}
_Would = Literal["stack", "wait", "skip", "nothing"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a block, and whether it is to be marked as asked for."""

    block: Block
    telescope: str
    would: _Would
    reason: str
    is_asked_for: bool


def decide(
    session: Session, request: StackRequest, stacking: StackingSettings, now: datetime
) -> list[Decision]:
    """Say what the request means for each block that it speaks of.

    Raises
    ------
    Problem
        404 for a telescope, target or block that is not there.
    """
    return [
        _decide(session, block, telescope, stacking, now, request)
        for block, telescope in _blocks(session, request)
    ]


def ask_for(session: Session, decisions: Iterable[Decision], now: datetime) -> int:
    """Mark the blocks that are asked for; give how many that were."""
    asked_for = [decision.block for decision in decisions if decision.is_asked_for]
    return sum(_mark(session, block, now) for block in asked_for)


def answer(decisions: list[Decision], *, dry_run: bool, asked_for: int, note: str | None) -> StackAnswer:
    """Put the decisions into words for the caller."""
    return StackAnswer(
        dry_run=dry_run,
        asked_for=asked_for,
        counts=dict(Counter(decision.would for decision in decisions)),
        blocks=tuple(_view(decision) for decision in decisions[:_MOST_LISTED]),
        left_off=max(0, len(decisions) - _MOST_LISTED),
        note=note,
    )


def _blocks(session: Session, request: StackRequest) -> Iterator[tuple[Block, Telescope]]:
    query = select(Block, Telescope).join_from(Block, Telescope).options(defer(Block.intent))
    if request.block_id is not None:
        query = query.where(Block.id == request.block_id)
    else:
        query = query.where(Block.state.in_({*OPEN_BLOCKS, BlockState.STACKING}))
    if request.telescope is not None:
        query = query.where(Block.telescope_id == find_telescope(session, request.telescope))
    if request.target is not None:
        check_target(session, request.target)
        query = query.where(Block.target == request.target)
    rows = session.execute(query.order_by(Block.start_at, Block.id)).all()
    if request.block_id is not None and not rows:
        raise Problem(
            404, f"There is no block {request.block_id}.", "GET /api/v1/blocks lists what there is."
        )
    return ((block, telescope) for block, telescope in rows)


def _decide(
    session: Session,
    block: Block,
    telescope: Telescope,
    stacking: StackingSettings,
    now: datetime,
    request: StackRequest,
) -> Decision:
    if block.state == BlockState.STACKED:
        would, reason, is_asked_for = _judge_again(session, block, is_wanted=request.again)
    elif block.state == BlockState.RAW:
        would, reason, is_asked_for = _judge_instead(session, block, now, is_wanted=request.again)
    elif block.state == BlockState.COVERED:
        would, reason, is_asked_for = _judge_beside(block, is_wanted=request.again)
    else:
        is_named = request.block_id is not None
        would, reason, is_asked_for = _judge(block, telescope, stacking, now, is_named=is_named)
    pause = pause_of(pauses_on(session, telescope.id), block.target) if would == "stack" else None
    if pause is not None:
        would, reason = "wait", pause_words(pause)
    return Decision(block, telescope.name, would, reason, is_asked_for)


def _judge_again(session: Session, block: Block, *, is_wanted: bool) -> tuple[_Would, str, bool]:
    """Judge a block that has its stack: only frames that came later are a reason for another one."""
    late = count_late(session, [block.id]).get(block.id, 0)
    if late == 0:
        return "nothing", f"is stacked already: {block.reason}", False
    if not is_wanted:
        return (
            "nothing",
            f"is stacked already; {late_words(late)}: `again: true` has it stacked once more",
            False,
        )
    return "wait", f"{late_words(late)}; the telescope is to show all of its frames first", True


def _judge_beside(block: Block, *, is_wanted: bool) -> tuple[_Would, str, bool]:
    """Judge a block of which there is a stack that we did not make: a second one only if a person says so."""
    why = f"is covered already: {block.reason}"
    if block.frame_count == 0:
        return "nothing", f"{why}; none of its frames is on the telescope", False
    if not is_wanted:
        return "nothing", f"{why}. {_MAY_BE_TWO}: `again: true` has it stacked all the same", False
    return "wait", f"{_MAY_BE_TWO}; the telescope is to show all of its frames first", True


_MAY_BE_TWO = "The server may have that stack already, and then has two of the block"


def _judge_instead(
    session: Session, block: Block, now: datetime, *, is_wanted: bool
) -> tuple[_Would, str, bool]:
    """Judge a block whose raw frames are sent: both a session and a stack of it only if a person says so."""
    delivery = raw_delivery_of(session, block.id)
    state = None if delivery is None else DeliveryState(delivery.state)
    if delivery is not None and delivery.lease_until is not None and delivery.lease_until > now:
        return "nothing", "its raw frames are being sent right now", False
    is_nowhere = state in {None, DeliveryState.DEAD, DeliveryState.PENDING} or (
        delivery is not None and state is DeliveryState.RETRYING and not delivery.ask_first
    )
    if is_nowhere or is_wanted:
        return "wait", "instead of its raw frames; the telescope is to show all of its frames first", True
    words = f"its raw frames are {state} at the server"
    return "nothing", f"{words}: `again: true` has it stacked on the telescope as well", False


def _judge(
    block: Block, telescope: Telescope, stacking: StackingSettings, now: datetime, *, is_named: bool
) -> tuple[_Would, str, bool]:
    state = BlockState(block.state)
    if state is BlockState.STACKING:
        return "nothing", f"is being stacked now{_percent(block)}", False
    if state not in OPEN_BLOCKS:
        return "nothing", f"is {state} already" + (f": {block.reason}" if block.reason else ""), False
    if block.frame_count == 0:
        return "skip", "none of its frames is on the telescope", False
    why_not = None if is_named else _why_not(block, state, stacking)
    if why_not is not None:
        return "skip", f"{why_not}; ask for it by its block_id to have it stacked all the same", False
    return *_when(block, telescope, state, stacking, now), True


def _why_not(block: Block, state: BlockState, stacking: StackingSettings) -> str | None:
    if state is BlockState.SKIPPED:
        return block.reason or "was skipped"
    if state is BlockState.READY or block.requested:
        return None
    return excluded(block.target, stacking.exclude) or too_short(
        [block.exposure_s] * block.frame_count, stacking.min_exptime
    )


def _when(
    block: Block, telescope: Telescope, state: BlockState, stacking: StackingSettings, now: datetime
) -> tuple[_Would, str]:
    settled = block.start_at + timedelta(minutes=block.minutes, seconds=stacking.grace_s)
    if state in {BlockState.COLLECTING, BlockState.SKIPPED}:
        if now < settled:
            return "wait", f"may still get frames until {settled:%H:%M:%S} UTC"
        return "wait", "until the telescope has shown that these are all of its frames"
    if telescope.state != TelescopeState.READY:
        words = telescope_words(telescope).lower()
        return "wait", f"{telescope.name}: {words}" + (
            f" ({telescope.state_reason})" if telescope.state_reason else ""
        )
    return "stack", f"{block.frame_count} frames, {block.frame_count * block.exposure_s:g} s"


def _percent(block: Block) -> str:
    return "" if block.percent is None else f" ({block.percent:.0f} %)"


def _mark(session: Session, block: Block, now: datetime) -> bool:
    to = _STEPS.get(BlockState(block.state))
    try:
        if to is None:
            _ask(session, block, now)
        else:
            _move(session, block, to, now)
    except StaleState:
        return False  # it went on meanwhile, by itself
    return True


def _move(session: Session, block: Block, to: BlockState, now: datetime) -> None:
    is_second = block.state == BlockState.COVERED
    reason = f"asked for, though there is a stack of it: {block.reason}" if is_second else "asked for"
    if block.state == BlockState.RAW:
        withdraw_raw(session, block, now=now, actor=actor())
    if is_second:
        block.is_wanted_again = True
    if block.state in {BlockState.STACKED, BlockState.RAW, BlockState.COVERED}:
        block.attempts, block.intent, block.percent, block.too_few_stars = 0, None, None, 0
        session.flush()
    move_block(
        session,
        block,
        to,
        now=now,
        actor=actor(),
        reason=reason,
        requested=True,
        next_attempt_at=None,
        needs_you=False,
    )


def _ask(session: Session, block: Block, now: datetime) -> None:
    block.requested = True
    block.next_attempt_at = None
    block.needs_you = False
    audit(session, now=now, actor=actor(), subject=("block", block.id), event="asked for")


def _view(decision: Decision) -> StackDecision:
    return StackDecision(
        id=decision.block.id,
        telescope=decision.telescope,
        target=decision.block.target,
        start_at=decision.block.start_at,
        frames=decision.block.frame_count,
        would=decision.would,
        reason=decision.reason,
    )
