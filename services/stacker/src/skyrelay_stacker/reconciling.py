"""Find what is due and say so. Events make things quick; this makes them certain."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from skyrelay.domain.chunk import chunk_of
from skyrelay.domain.purge_states import PurgeState
from skyrelay.domain.states import IN_TOUCH, BlockState, TelescopeState
from skyrelay.queue.tasks import (
    BlockMessage,
    Message,
    PurgeMessage,
    TaskName,
    TelescopeMessage,
    TrialMessage,
)
from skyrelay.service import utc_now
from skyrelay.settings import Settings, StackingSettings
from skyrelay.store import trials
from skyrelay.store.leases import CLOCKS_MAY_DIFFER, is_held
from skyrelay.store.pauses import pause_of, pause_words, pauses_on
from skyrelay.store.runs import end_run
from skyrelay.store.tables import Block, Purge, PurgePart, Run, Telescope
from skyrelay_stacker.planning import retry_failed
from skyrelay_stacker.raw_routes import choose_raw_routes
from skyrelay_stacker.releasing import settle_released
from skyrelay_stacker.turns import next_block_of, next_blocks
from skyrelay_stacker.workshop import Workshop

_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_ANSWERS = IN_TOUCH | {TelescopeState.CLOCK_WRONG}
MAY_BE_PURGED = frozenset({TelescopeState.READY, TelescopeState.FULL, TelescopeState.CLOCK_WRONG})
_PATIENCE_FOR_LIST = timedelta(minutes=15)
_PATIENCE_FOR_REMOVAL = timedelta(hours=24)  # a telescope may observe all night and sleep all day
Nudge = tuple[TaskName, Message]
NudgeInWords = tuple[TaskName, Message, str]


def reconcile(workshop: Workshop) -> None:
    """Nudge each telescope's next piece of work; before the set-up is done only what a person asked for."""
    with workshop.store.write() as session:
        give_up_old_purges(session, utc_now())
        due = [*_due_trials(session, utc_now()), *lists_due(session)]
        if workshop.may_act:
            settle_released(session, workshop.settings, utc_now())
            due += due_everywhere(session, workshop.settings, utc_now())
        else:
            due += _asked_inventories(session, utc_now())
            due += removals_due(session, utc_now())
    for nudge in due:
        if not workshop.nudge(*nudge):
            return  # each further try would wait for the broker as long; the next tick says it all


def _due_trials(session: Session, now: datetime) -> list[NudgeInWords]:
    waiting = trials.waiting(session, now)
    return [(TaskName.TRY_TELESCOPE, TrialMessage(trial_id=number), f"trial {number}") for number in waiting]


def _asked_inventories(session: Session, now: datetime) -> list[NudgeInWords]:
    """Give what a person wants listed before the set-up is done, in case nobody heard of it."""
    query = select(Telescope).where(
        Telescope.host.is_not(None),
        Telescope.inventory_asked_at > func.coalesce(Telescope.inventory_started_at, _LONG_AGO),
        Telescope.next_look_at <= now,
    )
    return [
        (TaskName.LOOK_AT_TELESCOPE, TelescopeMessage(telescope_id=row.id), row.name)
        for row in session.scalars(query)
        if not is_held(row, now)
    ]


def due_everywhere(session: Session, settings: Settings, now: datetime) -> list[NudgeInWords]:
    """Say what is to be done on each telescope now, and close the runs of those that have nothing left."""
    retry_failed(session, now)
    choose_raw_routes(session, settings, now)
    # Who has waited longest comes first in the queue: there may be more telescopes than workers.
    turns = select(Telescope).order_by(Telescope.served_at.asc().nulls_first(), Telescope.id)
    telescopes = session.scalars(turns).all()
    blocks = next_blocks(session, [each for each in telescopes if each.host is not None], settings, now)
    removals = _removals(session, now)
    for run in session.scalars(select(Run).where(Run.ended_at.is_(None))).all():
        if run.telescope_id not in blocks:
            end_run(session, run, now)
    found = (
        (_due(each, blocks.get(each.id), removals.get(each.id), settings, now), each) for each in telescopes
    )
    return [(*work, about(session, work, telescope)) for work, telescope in found if work is not None]


def reconcile_telescope(workshop: Workshop, telescope_id: int) -> None:
    """Nudge what is next on one telescope, so that a night's blocks follow each other at once."""
    if not workshop.may_act:  # a person may have a telescope looked at before
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
    """Say what is to be done on a telescope now: look at it, stack a block, purge it, or nothing."""
    block = next_block_of(session, telescope, settings, now)
    return _due(telescope, block, _removals(session, now).get(telescope.id), settings, now)


def lists_due(session: Session) -> Iterable[NudgeInWords]:
    """Say which lists a person waits for; nothing needs to be held for them."""
    query = (
        select(PurgePart.id, Telescope.name)
        .join(Telescope, Telescope.id == PurgePart.telescope_id)
        .where(PurgePart.state == PurgeState.LISTING)
        .order_by(PurgePart.id)
    )
    for part_id, name in session.execute(query):
        yield TaskName.PURGE, PurgeMessage(part_id=part_id), name


def removals_due(session: Session, now: datetime) -> Iterable[NudgeInWords]:
    """Say which confirmed purges can go on, where nothing else is done yet."""
    for telescope_id, part_id in _removals(session, now).items():
        telescope = session.get_one(Telescope, telescope_id)
        if telescope.host is not None and not is_held(telescope, now):
            yield TaskName.PURGE, PurgeMessage(part_id=part_id), telescope.name


def give_up_old_purges(session: Session, now: datetime) -> None:
    """End what nobody waits for any more: a person asks again."""
    query = select(PurgePart, Purge).join(Purge, Purge.id == PurgePart.purge_id)
    query = query.where(PurgePart.state.in_([PurgeState.LISTING, PurgeState.REMOVING]))
    for part, purge in session.execute(query):
        since, patience = (
            (purge.asked_at, _PATIENCE_FOR_LIST)
            if part.state == PurgeState.LISTING
            else (purge.confirmed_at, _PATIENCE_FOR_REMOVAL)
        )
        if since is not None and now - since > patience:
            part.state, part.updated_at = PurgeState.FAILED, now
            part.reason = f"given up after {patience}; ask again" + (
                f" ({part.reason})" if part.reason else ""
            )


def _removals(session: Session, now: datetime) -> dict[int, int]:
    """Give the oldest confirmed purge of each telescope that can be gone on with."""
    query = select(PurgePart.telescope_id, func.min(PurgePart.id)).where(
        PurgePart.state == PurgeState.REMOVING,
        or_(PurgePart.next_attempt_at.is_(None), PurgePart.next_attempt_at <= now),
    )
    return {row[0]: row[1] for row in session.execute(query.group_by(PurgePart.telescope_id))}


def _due(
    telescope: Telescope, block: Block | None, removal: int | None, settings: Settings, now: datetime
) -> Nudge | None:
    if telescope.host is None or is_held(telescope, now):
        return None
    is_under_way = block is not None and block.state == BlockState.STACKING
    if removal is not None and not is_under_way and telescope.state in MAY_BE_PURGED:
        return TaskName.PURGE, PurgeMessage(part_id=removal)
    if block is not None and _may_go_on(telescope, block, settings.stacking, now):
        return TaskName.STACK_BLOCK, BlockMessage(block_id=block.id)
    if _is_to_be_looked_at(telescope, settings, now):
        return TaskName.LOOK_AT_TELESCOPE, TelescopeMessage(telescope_id=telescope.id)
    return None


def _is_to_be_looked_at(telescope: Telescope, settings: Settings, now: datetime) -> bool:
    """Tell whether its time has come, or was set by a clock that has been set back since."""
    latest = now + timedelta(seconds=settings.scheduler.reconcile_s) + CLOCKS_MAY_DIFFER
    return telescope.next_look_at is None or not now < telescope.next_look_at <= latest


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
