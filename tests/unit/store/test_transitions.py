"""A state changes only by a step that exists, from the state that was known, with a line in the audit log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from skyrelay.domain.states import BLOCK_STEPS, DELIVERY_STEPS, BlockState, DeliveryState
from skyrelay.store.engine import Store
from skyrelay.store.tables import AuditEntry, Block, Delivery, Telescope
from skyrelay.store.transitions import StaleState, audit, move_block, move_deliveries, move_delivery
from support.recorded_night import RecordedNight

_EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock
_NOW = datetime(2025, 3, 27, 4, tzinfo=UTC)


@pytest.fixture
def night(store: Store) -> Iterator[RecordedNight]:
    with store.write() as session:
        yield RecordedNight(session)


@pytest.fixture
def telescope(store: Store) -> Telescope:
    with store.write() as session:
        return RecordedNight(session).telescope()


@pytest.fixture
def block_id(store: Store, telescope: Telescope) -> int:
    with store.write() as session:
        return RecordedNight(session).block(telescope, "M 94", _EVENING, BlockState.READY, frames=1).id


@pytest.fixture
def delivery_id(store: Store, telescope: Telescope) -> int:
    with store.write() as session:
        night = RecordedNight(session)
        stack = night.stack(night.block(telescope, "M 81", _EVENING, BlockState.STACKED, frames=1))
        delivery = Delivery(stack_id=stack.id, destination="crowdsky", created_at=_NOW, updated_at=_NOW)
        session.add(delivery)
        session.flush()
        return delivery.id


def set_state(session: Session, table: str, id_: int, state: str) -> None:
    session.execute(text(f"UPDATE {table} SET state = :state WHERE id = :id"), {"state": state, "id": id_})  # noqa: S608 - the table is named in this file


def entries(store: Store) -> list[AuditEntry]:
    with store.read() as session:
        return list(session.scalars(select(AuditEntry).order_by(AuditEntry.id)))


def test_a_step_changes_the_row_and_leaves_a_line(store: Store, block_id: int) -> None:
    with store.write() as session:
        block = session.get_one(Block, block_id)
        move_block(
            session,
            block,
            BlockState.STACKING,
            now=_NOW,
            actor="stacker",
            reason="the telescope is idle",
            detail={"fence": 3},
            attempts=1,
            started_at=_NOW,
        )
        assert block.state == BlockState.STACKING
    with store.read() as session:
        moved = session.get_one(Block, block_id)
    assert (moved.state, moved.reason, moved.attempts) == (BlockState.STACKING, "the telescope is idle", 1)
    assert (moved.started_at, moved.updated_at) == (_NOW, _NOW)
    (line,) = entries(store)
    assert (line.at, line.actor, line.subject_kind, line.subject_id, line.event) == (
        _NOW, "stacker", "block", block_id, "step",
    )  # fmt: skip
    assert (line.from_state, line.to_state, line.reason, line.detail) == (
        "ready", "stacking", "the telescope is idle", {"fence": 3},
    )  # fmt: skip


@pytest.mark.parametrize("before", BlockState)
@pytest.mark.parametrize("to", BlockState)
def test_a_block_takes_the_steps_that_exist_and_no_other(
    store: Store, block_id: int, before: BlockState, to: BlockState
) -> None:
    with store.write() as session:
        set_state(session, "blocks", block_id, before)
        block = session.get_one(Block, block_id)
        if to in BLOCK_STEPS[before]:
            move_block(session, block, to, now=_NOW, actor="stacker")
        else:
            with pytest.raises(ValueError, match=f"no step from {before} to {to}"):
                move_block(session, block, to, now=_NOW, actor="stacker")
    with store.read() as session:
        now_in = session.get_one(Block, block_id).state
    assert (now_in, len(entries(store))) == ((to, 1) if to in BLOCK_STEPS[before] else (before, 0))


@pytest.mark.parametrize("before", DeliveryState)
@pytest.mark.parametrize("to", DeliveryState)
def test_a_delivery_takes_the_steps_that_exist_and_no_other(
    store: Store, delivery_id: int, before: DeliveryState, to: DeliveryState
) -> None:
    with store.write() as session:
        set_state(session, "deliveries", delivery_id, before)
        delivery = session.get_one(Delivery, delivery_id)
        if to in DELIVERY_STEPS[before]:
            move_delivery(session, delivery, to, now=_NOW, actor="uploader")
        else:
            with pytest.raises(ValueError, match=f"no step from {before} to {to}"):
                move_delivery(session, delivery, to, now=_NOW, actor="uploader")
    with store.read() as session:
        now_in = session.get_one(Delivery, delivery_id).state
    assert (now_in, len(entries(store))) == ((to, 1) if to in DELIVERY_STEPS[before] else (before, 0))


def test_the_line_of_a_delivery_says_so(store: Store, delivery_id: int) -> None:
    with store.write() as session:
        delivery = session.get_one(Delivery, delivery_id)
        due = _NOW + timedelta(minutes=5)
        move_delivery(session, delivery, DeliveryState.SENDING, now=_NOW, actor="uploader", lease_until=due)
    (line,) = entries(store)
    assert (line.subject_kind, line.subject_id, line.from_state, line.to_state, line.detail) == (
        "delivery", delivery_id, "pending", "sending", None,
    )  # fmt: skip


def test_who_knows_an_old_state_changes_nothing(store: Store, block_id: int) -> None:
    def start() -> None:
        with store.write() as session:
            block = session.get_one(Block, block_id)
            set_state(session, "blocks", block_id, BlockState.COVERED)  # by somebody else, since it was read
            move_block(session, block, BlockState.STACKING, now=_NOW, actor="stacker")

    with pytest.raises(StaleState, match=f"block {block_id} is no longer ready"):
        start()
    with store.read() as session:
        assert session.get_one(Block, block_id).state == BlockState.READY  # all of it was rolled back
    assert entries(store) == []


def test_a_telescope_stacks_one_block_at_a_time(store: Store, telescope: Telescope) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        later = _EVENING + timedelta(minutes=15)
        blocks = [
            night.block(telescope, "M 94", start, BlockState.READY, frames=0) for start in (_EVENING, later)
        ]

    def start(block_id: int) -> None:
        with store.write() as session:
            block = session.get_one(Block, block_id)
            move_block(session, block, BlockState.STACKING, now=_NOW, actor="stacker")

    start(blocks[0].id)
    with pytest.raises(IntegrityError, match=re.compile("unique", re.IGNORECASE)):
        start(blocks[1].id)
    assert [(line.subject_id, line.to_state) for line in entries(store)] == [(blocks[0].id, "stacking")]


def test_two_telescopes_stack_side_by_side(night: RecordedNight) -> None:
    for name in ("garden", "roof"):
        night.block(night.telescope(name), "M 94", _EVENING, BlockState.STACKING, frames=0)


def test_other_events_are_written_down_too(store: Store) -> None:
    with store.write() as session:
        audit(session, now=_NOW, actor="person", subject=("telescope", None), event="paused", reason="rain")
    (line,) = entries(store)
    assert (line.actor, line.subject_kind, line.subject_id, line.event, line.reason) == (
        "person", "telescope", None, "paused", "rain",
    )  # fmt: skip
    assert (line.from_state, line.to_state, line.detail) == (None, None, None)


def test_many_deliveries_take_a_step_at_once_each_with_its_line(store: Store, delivery_id: int) -> None:
    with store.write() as session:
        move_deliveries(
            session,
            [delivery_id],
            DeliveryState.PENDING,
            DeliveryState.SENDING,
            now=_NOW,
            actor="uploader",
            reason="being sent",
            sent_at=_NOW,
        )
    with store.read() as session:
        delivery = session.get_one(Delivery, delivery_id)
    assert (delivery.state, delivery.reason, delivery.sent_at) == ("sending", "being sent", _NOW)
    (entry,) = entries(store)
    assert (entry.from_state, entry.to_state, entry.subject_id) == ("pending", "sending", delivery_id)


def test_many_deliveries_of_which_one_has_gone_on_stay_as_they_are(store: Store, delivery_id: int) -> None:
    before, to = DeliveryState.RETRYING, DeliveryState.SENDING
    with pytest.raises(StaleState, match="1 of 1"), store.write() as session:
        move_deliveries(session, [delivery_id], before, to, now=_NOW, actor="uploader")
    assert entries(store) == []


def test_many_deliveries_take_no_step_that_does_not_exist(store: Store, delivery_id: int) -> None:
    with pytest.raises(ValueError, match="no step from confirmed"), store.write() as session:
        move_deliveries(
            session,
            [delivery_id],
            DeliveryState.CONFIRMED,
            DeliveryState.SENDING,
            now=_NOW,
            actor="uploader",
        )
