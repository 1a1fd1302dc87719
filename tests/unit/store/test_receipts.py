"""The receipt of a night: every frame is in exactly one account, and what is held or missing is named."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from sqlalchemy import event

from skyrelay.domain.states import BlockState, DeliveryState, FrameState
from skyrelay.receipt_text import receipt_lines
from skyrelay.store.engine import Store
from skyrelay.store.receipts import Receipt, Stage, build_receipt, duration_text, stage_of, utc_offset_text
from support.recorded_night import RecordedNight

NIGHT = date(2025, 3, 26)
EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock
QUARTER = timedelta(minutes=15)


def receipt_of(store: Store, night: date = NIGHT) -> Receipt:
    with store.read() as session:
        receipt = build_receipt(session, night)
    totals = receipt.totals
    accounts = (
        totals.frames_in_stacks,
        totals.frames_covered,
        totals.frames_skipped,
        totals.frames_failed,
        totals.frames_waiting,
        totals.frames_held,
        totals.frames_missing,
    )
    assert sum(accounts) == totals.frames, "each frame is in exactly one account"
    assert totals.frames == sum(group.frames for group in receipt.groups)
    return receipt


def test_a_night_without_frames_is_empty_and_complete(store: Store) -> None:
    receipt = receipt_of(store)
    assert receipt.complete
    assert receipt.groups == receipt.held == receipt.missing == ()
    assert receipt.totals.frames == 0
    assert "every frame that was seen is accounted for" in "\n".join(receipt_lines(receipt))


def test_a_delivered_block_says_when_it_was_and_what_it_became(store: Store) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        block = night.block(night.telescope(), "M 94", EVENING, BlockState.STACKED, frames=32)
        night.delivery(night.stack(block), DeliveryState.ACCEPTED, server_chunk_key="20250327.05_HP033810")
    receipt = receipt_of(store)
    (group,) = receipt.groups
    (block_,) = group.blocks
    assert (group.telescope, group.target, group.exposure, group.filter) == (
        "garden", "M 94", "10.0s", "IRCUT",
    )  # fmt: skip
    assert (group.frames, group.exposure_total_s) == (32, 320.0)
    assert (block_.start_local, block_.end_local) == (EVENING, EVENING + QUARTER)
    assert block_.start_at.isoformat() == "2025-03-27T01:15:00+00:00"
    assert block_.utc_offset == "UTC−4"
    assert block_.chunk_key == "20250327.05_HP033810"
    assert block_.stack_name == "CrowdSky_32_M 94_10.0s_IRCUT_20250327.05_HP033810.fit"
    assert block_.stage is Stage.DELIVERED
    assert receipt.complete
    assert (receipt.totals.delivered, receipt.totals.confirmed) == (1, 0)
    assert receipt.totals.frames_in_stacks == 32


def test_the_servers_chunk_key_goes_before_ours(store: Store) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        stack = night.stack(night.block(night.telescope(), "M 94", EVENING, BlockState.STACKED))
        night.delivery(stack, DeliveryState.CONFIRMED, server_chunk_key="20250327.04_HP033810")
    assert receipt_of(store).groups[0].blocks[0].chunk_key == "20250327.04_HP033810"


def test_a_mixed_night_puts_each_block_into_its_account(store: Store) -> None:
    states = (
        BlockState.SKIPPED,
        BlockState.COVERED,
        BlockState.READY,
        BlockState.STACKING,
        BlockState.FAILED,
    )
    with store.write() as session:
        night = RecordedNight(session)
        telescope = night.telescope()
        for number, state in enumerate(states):
            night.block(
                telescope, "M 81", EVENING + number * QUARTER, state, frames=number + 1, reason=f"is {state}"
            )
        stacked = night.block(night.telescope("balcony"), "M 31", EVENING, BlockState.STACKED, frames=7)
        night.delivery(night.stack(stacked, aligned=6), DeliveryState.DEAD, reason="413: too large")
    totals = receipt_of(store).totals
    assert (totals.frames_skipped, totals.frames_covered, totals.frames_waiting) == (1, 2, 3 + 4)
    assert (totals.frames_failed, totals.frames_in_stacks, totals.frames_missing) == (5, 7, 0)
    assert (totals.blocks, totals.blocks_waiting, totals.blocks_skipped) == (6, 2, 1)
    assert (totals.deliveries, totals.delivered, totals.deliveries_dead) == (1, 0, 1)
    lines = "\n".join(receipt_lines(receipt_of(store)))
    assert "garden, M 81, 21:15: is skipped" in lines
    assert "crowdsky: dead: 413: too large" in lines


@pytest.mark.parametrize(
    ("state", "columns", "complete"),
    [
        (BlockState.COLLECTING, {}, False),
        (BlockState.READY, {}, False),
        (BlockState.STACKING, {}, False),
        (BlockState.FAILED, {}, False),
        (BlockState.FAILED, {"needs_you": True}, True),
        (BlockState.SKIPPED, {}, True),
        (BlockState.COVERED, {}, True),
        (BlockState.STACKED, {}, True),
    ],
)
def test_a_night_is_complete_when_none_of_its_blocks_waits(
    store: Store, state: BlockState, columns: dict[str, bool], complete: bool
) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        block = night.block(night.telescope(), "M 81", EVENING, state, **columns)
        if state is BlockState.STACKED:
            night.stack(block)
    assert receipt_of(store).complete is complete


@pytest.mark.parametrize("state", list(DeliveryState))
def test_a_night_is_complete_when_no_delivery_is_owed(store: Store, state: DeliveryState) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        block = night.block(night.telescope(), "M 81", EVENING, BlockState.STACKED)
        night.delivery(night.stack(block), state)
    owed = {DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.RETRYING}
    assert receipt_of(store).complete is (state not in owed)


def test_held_frames_are_named_even_without_a_block_or_a_start(store: Store) -> None:
    after_midnight = EVENING + timedelta(hours=5)
    with store.write() as session:
        night = RecordedNight(session)
        telescope = night.telescope()
        night.frame(
            telescope,
            "M 81",
            after_midnight,
            state=FrameState.UNREADABLE,
            state_reason="the header ends early",
            start_at=None,
            utc_offset_min=None,
        )
        early = EVENING - timedelta(minutes=1)
        night.frame(telescope, "M 81", early, state=FrameState.CLOCK_WRONG, state_reason="3 h off")
        block = night.block(telescope, "M 81", EVENING, BlockState.STACKED, frames=30)
        night.stack(block)
        night.frame(
            telescope,
            "M 81",
            EVENING + timedelta(minutes=14),
            state=FrameState.NOT_ON_TELESCOPE,
            block_id=block.id,
        )
    receipt = receipt_of(store)
    assert {(held.fate, held.reason) for held in receipt.held} == {
        ("unreadable", "the header ends early"),
        ("clock wrong", "3 h off"),
        ("not on telescope", ""),
    }
    assert (receipt.totals.frames, receipt.totals.frames_held, receipt.totals.frames_in_stacks) == (33, 3, 30)
    assert receipt.missing == ()
    assert "Light_M 81_10.0s_IRCUT_20250327-021513.fit" in "\n".join(receipt_lines(receipt))


def test_a_night_lasts_from_noon_to_noon(store: Store) -> None:
    noon = datetime(2025, 3, 26, 12)  # noqa: DTZ001 - a wall clock
    with store.write() as session:
        night = RecordedNight(session)
        telescope = night.telescope()
        for saved in (noon - timedelta(seconds=1), noon, noon + timedelta(hours=24) - timedelta(seconds=1)):
            night.frame(
                telescope, "M 81", saved, saved_local=saved, state=FrameState.UNREADABLE, start_at=None
            )
    assert receipt_of(store).totals.frames_held == 2
    assert receipt_of(store, date(2025, 3, 25)).totals.frames_held == 1


def test_a_frame_that_came_after_its_stack_is_missing_by_name(store: Store) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        block = night.block(night.telescope(), "M 81", EVENING, BlockState.STACKED, frames=30)
        night.stack(block, given=28)
    receipt = receipt_of(store)
    (missing,) = receipt.missing
    assert missing.file_names == (
        "Light_M 81_10.0s_IRCUT_20250326-212433.fit",
        "Light_M 81_10.0s_IRCUT_20250326-212453.fit",
    )
    assert "after the stack" in missing.reason
    assert receipt.totals.frames_missing == 2
    assert receipt.complete, "nothing waits for these two any more"


def test_a_good_frame_in_no_block_is_missing_and_keeps_the_night_open(store: Store) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        night.frame(night.telescope(), "M 81", EVENING)
    receipt = receipt_of(store)
    assert receipt.totals.frames_missing == 1
    assert not receipt.complete


def test_names_from_outside_are_text_and_no_markup(store: Store) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        night.block(night.telescope(), "[red]M 81[/red]", EVENING, BlockState.SKIPPED, reason="[/nothing]")
    lines = "\n".join(receipt_lines(receipt_of(store)))
    assert "[red]M 81[/red]" in lines
    assert "[/nothing]" in lines


def test_the_receipt_of_a_long_night_takes_as_many_queries_as_that_of_a_short_one(store: Store) -> None:
    def count_queries() -> int:
        statements: list[str] = []
        event.listen(store.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
        receipt_of(store)
        return len(statements)

    with store.write() as session:
        RecordedNight(session).block(RecordedNight(session).telescope(), "M 81", EVENING)
    short = count_queries()
    with store.write() as session:
        night = RecordedNight(session)
        telescope = night.telescope("balcony")
        for number in range(8):
            block = night.block(telescope, "M 31", EVENING + number * QUARTER, BlockState.STACKED, frames=3)
            night.delivery(night.stack(block, given=2), DeliveryState.PENDING)
    assert count_queries() == short <= 7


def test_a_receipt_survives_the_way_through_json(store: Store) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        block = night.block(night.telescope(), "M 81", EVENING, BlockState.STACKED)
        night.delivery(night.stack(block), DeliveryState.RETRYING)
    receipt = receipt_of(store)
    assert Receipt.model_validate_json(receipt.model_dump_json()) == receipt


@pytest.mark.parametrize(
    ("minutes", "text"),
    [(0, "UTC"), (-240, "UTC−4"), (330, "UTC+5:30"), (-210, "UTC−3:30"), (45, "UTC+0:45")],
)
def test_offsets_are_written_for_people(minutes: int, text: str) -> None:
    assert utc_offset_text(minutes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (40, "40 s"), (320, "5 min 20 s"), (600, "10 min"), (5460, "1 h 31 min")],
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("deliveries", "stage"),
    [
        ([], Stage.STACKED),
        ([DeliveryState.PENDING], Stage.STACKED),
        ([DeliveryState.SENDING], Stage.UPLOADING),
        ([DeliveryState.RETRYING, DeliveryState.CONFIRMED], Stage.UPLOADING),
        ([DeliveryState.ACCEPTED, DeliveryState.PENDING], Stage.STACKED),
        ([DeliveryState.ACCEPTED, DeliveryState.CONFIRMED], Stage.DELIVERED),
        ([DeliveryState.CONFIRMED, DeliveryState.DEAD], Stage.FAILED),
    ],
)
def test_a_stack_is_as_far_as_the_last_of_its_deliveries(
    deliveries: list[DeliveryState], stage: Stage
) -> None:
    assert stage_of(BlockState.STACKED, deliveries) is stage
    assert stage_of(BlockState.READY, deliveries) is Stage.READY
