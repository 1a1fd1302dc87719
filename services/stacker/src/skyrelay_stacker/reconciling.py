"""Find what is due and say so. Events make things quick; this makes them certain."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.domain.chunk import chunk_of
from skyrelay.domain.states import IN_TOUCH, BlockState, TelescopeState
from skyrelay.queue.tasks import BlockMessage, Message, TaskName, TelescopeMessage
from skyrelay.service import utc_now
from skyrelay.settings import Settings, StackingSettings
from skyrelay.store.leases import is_held
from skyrelay.store.pauses import pause_of, pause_words, pauses_on
from skyrelay.store.runs import end_run
from skyrelay.store.tables import Block, Run, Telescope
from skyrelay_stacker.planning import retry_failed
from skyrelay_stacker.releasing import settle_released
from skyrelay_stacker.turns import next_block_of, next_blocks
from skyrelay_stacker.workshop import Workshop

_ANSWERS = IN_TOUCH | {TelescopeState.CLOCK_WRONG}
Nudge = tuple[TaskName, Message]
NudgeInWords = tuple[TaskName, Message, str]


def reconcile(workshop: Workshop) -> None:
    """Nudge each telescope's next piece of work; nothing happens before the set-up is done."""
    if workshop.settings.setup != "done":
        return
    with workshop.store.write() as session:
        settle_released(session, workshop.settings, utc_now())
        due = due_everywhere(session, workshop.settings, utc_now())
    for nudge in due:
        if not workshop.nudge(*nudge):
            return  # each further try would wait for the broker as long; the next tick says it all


def due_everywhere(session: Session, settings: Settings, now: datetime) -> list[NudgeInWords]:
    """Say what is to be done on each telescope now, and close the runs of those that have nothing left."""
    retry_failed(session, now)
    # Who has waited longest comes first in the queue: there may be more telescopes than workers.
    turns = select(Telescope).order_by(Telescope.served_at.asc().nulls_first(), Telescope.id)
    telescopes = session.scalars(turns).all()
    blocks = next_blocks(session, [each for each in telescopes if each.host is not None], settings, now)
    for run in session.scalars(select(Run).where(Run.ended_at.is_(None))).all():
        if run.telescope_id not in blocks:
            end_run(session, run, now)
    found = ((_due(each, blocks.get(each.id), settings, now), each) for each in telescopes)
    return [(*work, about(session, work, telescope)) for work, telescope in found if work is not None]


def reconcile_telescope(workshop: Workshop, telescope_id: int) -> None:
    """Nudge what is next on one telescope, so that a night's blocks follow each other at once."""
    if workshop.settings.setup != "done":  # a person may have a telescope looked at before
        return
    with workshop.store.read() as session:
        telescope = session.get(Telescope, telescope_id)
        due = due_work(session, telescope, workshop.settings, utc_now()) if telescope else None
        words = about(session, due, telescope) if due and telescope else None
    if due:
        workshop.nudge(*due, words)


def about(session: Session, work: Nudge, telescope: Telescope) -> str:
    """Say what a piece of work is about, as Flower shows it: ``M 81 20260228.12 on garden``."""
    _task, message = work
    if not isinstance(message, BlockMessage):
        return telescope.name
    block = session.get_one(Block, message.block_id)
    return f"{block.target} {chunk_of(block.start_at)} on {telescope.name}, block {block.id}"


def due_work(session: Session, telescope: Telescope, settings: Settings, now: datetime) -> Nudge | None:
    """Say what is to be done on a telescope now: look at it, stack a block, or nothing."""
    return _due(telescope, next_block_of(session, telescope, settings, now), settings, now)


def _due(telescope: Telescope, block: Block | None, settings: Settings, now: datetime) -> Nudge | None:
    if telescope.host is None or is_held(telescope, now):
        return None
    if block is not None and _may_go_on(telescope, block, settings.stacking, now):
        return TaskName.STACK_BLOCK, BlockMessage(block_id=block.id)
    if telescope.next_look_at is None or telescope.next_look_at <= now:
        return TaskName.LOOK_AT_TELESCOPE, TelescopeMessage(telescope_id=telescope.id)
    return None


def _may_go_on(telescope: Telescope, block: Block, stacking: StackingSettings, now: datetime) -> bool:
    """Tell whether a block can be worked on: begun, or taken up again where it was left."""
    if block.next_attempt_at is not None and block.next_attempt_at > now:
        return False
    if block.state == BlockState.STACKING:  # looked for once the telescope answers again
        return telescope.state in _ANSWERS
    return why_not_now(telescope, stacking, now) is None


def why_paused(session: Session, block: Block) -> str | None:
    """Say who has paused the stacking of a block; `None` when nobody has."""
    pause = pause_of(pauses_on(session, block.telescope_id), block.target)
    return None if pause is None else pause_words(pause)


def why_not_now(telescope: Telescope, stacking: StackingSettings, now: datetime) -> str | None:
    """Say why a telescope must not begin a stack now; `None` when it may."""
    if telescope.state != TelescopeState.READY:
        return f"{telescope.name} is {telescope.state}: {telescope.state_reason}"
    if telescope.clock_wrong_since is not None:
        return f"when its clock was last seen, {telescope.name} and this server disagreed about the time"
    idle_for = now - telescope.idle_since if telescope.idle_since else timedelta(0)
    if idle_for < timedelta(seconds=stacking.idle_s):
        return f"{telescope.name} has been idle for {idle_for.total_seconds():.0f} s of {stacking.idle_s:g} s"
    battery = telescope.battery_percent
    if battery is not None and battery < stacking.min_battery and not telescope.charging:
        return f"the battery of {telescope.name} is at {battery} %, below stacking.min_battery"
    return None
