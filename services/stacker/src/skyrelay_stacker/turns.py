"""Which block each telescope works on next. Asked of all telescopes at once: a few queries a tick."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, aliased

from skyrelay.domain.states import BlockState
from skyrelay.domain.turns import Waiting, next_target
from skyrelay.settings import Settings
from skyrelay.store.pauses import pause_of
from skyrelay.store.tables import Block, Pause, Telescope
from skyrelay_stacker.dawns import dawn_at


@dataclass(frozen=True, slots=True)
class _Candidate:
    """The block of a target that would be next, and when one of that target was last begun."""

    block_id: int
    telescope_id: int
    waiting: Waiting
    requested: bool


def next_blocks(
    session: Session, telescopes: Iterable[Telescope], settings: Settings, now: datetime
) -> Mapping[int, Block]:
    """Give the block that each telescope should work on now, by the telescope's id; some have none.

    It is the one under way, else the next in turn. The targets take turns, so that none starves; of a
    target the oldest block is next, after those that a person asked for. What is paused is left alone.
    With ``stacking.when: dawn`` only what was taken before the last dawn is stacked, or what was asked for;
    with ``crowdsky.route: raw`` only what was asked for.
    """
    by_id = {telescope.id: telescope for telescope in telescopes}
    working = _under_way(session, by_id)
    pauses = session.scalars(select(Pause).order_by(Pause.id)).all()
    waiting: dict[int, list[_Candidate]] = defaultdict(list)
    for one in _candidates(session, by_id, settings, now):
        held = [pause for pause in pauses if pause.telescope_id in {None, one.telescope_id}]
        if one.telescope_id not in working and pause_of(held, one.waiting.target) is None:
            waiting[one.telescope_id].append(one)
    chosen = [_choose(some, by_id[id_], settings, now) for id_, some in waiting.items()]
    next_ids = [one.block_id for one in chosen if one is not None]
    blocks = session.scalars(select(Block).where(Block.id.in_(next_ids)))
    return working | {block.telescope_id: block for block in blocks}


def next_block_of(session: Session, telescope: Telescope, settings: Settings, now: datetime) -> Block | None:
    """Give the block that one telescope should work on now; see `next_blocks`."""
    return next_blocks(session, [telescope], settings, now).get(telescope.id)


def _under_way(session: Session, ids: Iterable[int]) -> dict[int, Block]:
    query = select(Block).where(Block.telescope_id.in_(list(ids)), Block.state == BlockState.STACKING)
    return {block.telescope_id: block for block in session.scalars(query)}


def _candidates(
    session: Session, ids: Iterable[int], settings: Settings, now: datetime
) -> Iterable[_Candidate]:
    """Give the first block of each telescope and target that may be begun, dawns and pauses aside."""
    order = (Block.requested.desc(), Block.start_at, Block.id)
    rank = func.row_number().over(partition_by=(Block.telescope_id, Block.target), order_by=order)
    ready = select(
        Block.id, Block.telescope_id, Block.target, Block.start_at, Block.requested, rank.label("rank")
    ).where(
        Block.telescope_id.in_(list(ids)),
        Block.state == BlockState.READY,
        or_(Block.next_attempt_at.is_(None), Block.next_attempt_at <= now),
    )
    if settings.stacking.when == "manual" or settings.crowdsky.prefers_raw:
        ready = ready.where(Block.requested.is_(True))
    first, other = ready.subquery(), aliased(Block)
    served = (
        select(func.max(other.started_at))
        .where(other.telescope_id == first.c.telescope_id, other.target == first.c.target)
        .scalar_subquery()
    )
    for row in session.execute(select(first, served.label("served_at")).where(first.c.rank == 1)):
        waiting = Waiting(row.target, row.start_at, row.served_at)
        yield _Candidate(row.id, row.telescope_id, waiting, row.requested)


def _choose(
    candidates: list[_Candidate], telescope: Telescope, settings: Settings, now: datetime
) -> _Candidate | None:
    """Give the one of the target whose turn it is."""
    dawn = dawn_at(telescope, settings, now)
    free = [one for one in candidates if dawn is None or one.requested or one.waiting.oldest_start < dawn]
    target = next_target(one.waiting for one in free)
    return next((one for one in free if one.waiting.target == target), None)
