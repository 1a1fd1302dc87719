"""What becomes of a block once an inventory has shown all of its frames, and which one is next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from skyrelay.domain.states import BlockState, TelescopeState
from skyrelay.queue.tasks import BlockMessage, TaskName, TelescopeMessage
from skyrelay.seestar.device import DeviceInfo
from skyrelay.settings import DawnSettings, ObservatorySettings, Settings, StackingSettings
from skyrelay.store.engine import Store
from skyrelay.store.pauses import lift_pauses, order_pause
from skyrelay.store.tables import Block, Frame, Telescope
from skyrelay_stacker.dawns import dawn_at, record_place
from skyrelay_stacker.planning import retry_failed, settle_blocks
from skyrelay_stacker.reconciling import due_everywhere, due_work
from skyrelay_stacker.turns import next_block_of, next_blocks
from support.recorded_night import RecordedNight

START_LOCAL = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock
END = datetime(2025, 3, 27, 1, 30, tzinfo=UTC)
LATER = END + timedelta(hours=1)


@dataclass
class Plan:
    """One telescope whose last inventory began at ``begun`` and saw every frame."""

    session: Session
    night: RecordedNight
    telescope: Telescope
    begun: datetime = LATER

    def settle(self, *names: str, **stacking: Any) -> None:
        """Settle the blocks; ``names`` lie in the folder of stacks."""
        self.telescope.inventory_started_at = self.begun
        settings = StackingSettings.model_validate(stacking)
        settle_blocks(self.session, self.telescope, {"M 94": frozenset(names)}, settings, self.begun)

    def block(self, start_local: datetime = START_LOCAL, **columns: Any) -> Block:
        """Add a block whose frames the inventory saw."""
        block = self.night.block(self.telescope, "M 94", start_local, **columns)
        self.session.execute(update(Frame).values(inventoried_at=self.begun))
        return block

    def next(self, **stacking: Any) -> Block | None:
        """Give the next block."""
        settings = Settings(stacking=StackingSettings.model_validate(stacking))
        return next_block_of(self.session, self.telescope, settings, LATER)


@pytest.fixture
def plan(store: Store) -> Iterator[Plan]:
    """Give a telescope without blocks."""
    with store.write() as session:
        night = RecordedNight(session)
        yield Plan(session, night, night.telescope())


def test_a_block_that_an_inventory_has_shown_whole_is_ready(plan: Plan) -> None:
    block = plan.block()
    plan.settle()
    assert (block.state, block.reason) == ("ready", "all of its 30 frames are on the telescope")


@pytest.mark.parametrize(("after_s", "state"), [(59, "collecting"), (60, "ready")])
def test_the_inventory_must_have_begun_after_the_blocks_end_and_a_grace(
    plan: Plan, after_s: int, state: str
) -> None:
    plan.begun = END + timedelta(seconds=after_s)
    block = plan.block()
    plan.settle()
    assert block.state == state


@pytest.mark.parametrize("inventoried_at", [None, LATER - timedelta(minutes=5)])
def test_a_frame_that_this_inventory_did_not_see_keeps_the_block_open(
    plan: Plan, inventoried_at: datetime | None
) -> None:
    block = plan.block()
    plan.night.frame(
        plan.telescope,
        "M 94",
        START_LOCAL + timedelta(minutes=14),
        block_id=block.id,
        inventoried_at=inventoried_at,
    )
    plan.settle()
    assert block.state == "collecting"


def test_too_short_a_block_is_skipped_in_words(plan: Plan) -> None:
    block = plan.block(frames=23)
    plan.settle()
    assert block.state == "skipped"
    assert block.reason == "23 frames give 230 s; stacking.min_exptime asks for 240 s"


def test_a_person_may_ask_for_a_short_one_or_an_excluded_one_all_the_same(plan: Plan) -> None:
    block = plan.block(frames=3, requested=True)
    plan.settle(exclude=("M *",))
    assert block.state == "ready"


def test_an_excluded_target_is_skipped_with_the_pattern(plan: Plan) -> None:
    block = plan.block()
    plan.settle(exclude=("Moon*", "M *"))
    assert (block.state, block.reason) == ("skipped", "stacking.exclude leaves out 'M *'")


def test_a_block_of_which_nothing_is_on_the_telescope_is_skipped(plan: Plan) -> None:
    block = plan.block(frames=0, requested=True)
    plan.settle()
    assert (block.state, block.reason) == ("skipped", "none of its frames is on the telescope")


@pytest.mark.parametrize(
    "name",
    [
        "CrowdSky_30_M 94_10.0s_IRCUT_20250327.05_HP033810.fit",
        "CrowdSky_12_M 94_10s_IRCUT_20250327.05.fit",
        "CrowdSky_30_M 94_10.0s_IRCUT_20250326-211500.fit",
    ],
)
def test_a_crowdsky_stack_that_lies_there_covers_its_block(plan: Plan, name: str) -> None:
    block = plan.block()
    plan.settle(name)
    assert (block.state, block.reason) == ("covered", f"{name} lies on the telescope already")


@pytest.mark.parametrize(
    "name",
    [
        "DSO_Stacked_30_M 94_10.0s_20250326_213000.fit",
        "CrowdSky_30_M 94_10.0s_IRCUT_20250327.06_HP033810.fit",
        "CrowdSky_30_M 94_20.0s_IRCUT_20250327.05_HP033810.fit",
        "CrowdSky_30_M 94_10.0s_LP_20250327.05_HP033810.fit",
        "CrowdSky_30_M 81_10.0s_IRCUT_20250327.05_HP033810.fit",
        "CrowdSky_30_M 94_10.0s_IRCUT_20250327.05_HP033810.jpg",
    ],
)
def test_nothing_else_does(plan: Plan, name: str) -> None:
    block = plan.block()
    plan.settle(name)
    assert block.state == "ready"


def test_a_current_name_hides_none_of_the_shorter_blocks_in_its_chunk(plan: Plan) -> None:
    block = plan.block(minutes=5)
    plan.settle("CrowdSky_30_M 94_10.0s_IRCUT_20250327.05_HP033810.fit")
    assert block.state == "ready"


def test_the_oldest_ready_block_is_next_and_one_under_way_goes_before_all(plan: Plan) -> None:
    newer = plan.block(START_LOCAL + timedelta(hours=1), state=BlockState.READY)
    older = plan.block(state=BlockState.READY)
    assert plan.next() is older
    newer.state = BlockState.STACKING
    assert plan.next() is newer


def test_a_block_whose_next_try_is_not_due_lets_others_go_first(plan: Plan) -> None:
    waiting = plan.block(state=BlockState.READY, next_attempt_at=LATER + timedelta(seconds=1))
    other = plan.block(START_LOCAL + timedelta(hours=1), state=BlockState.READY)
    assert plan.next() is other
    waiting.next_attempt_at = LATER
    assert plan.next() is waiting


def test_with_when_manual_only_what_was_asked_for_is_next(plan: Plan) -> None:
    block = plan.block(state=BlockState.READY)
    assert plan.next(when="manual") is None
    block.requested = True
    assert plan.next(when="manual") is block


def test_a_failed_block_is_ready_again_when_its_next_try_is_due(plan: Plan) -> None:
    due = plan.block(state=BlockState.FAILED, next_attempt_at=LATER)
    early = plan.block(
        START_LOCAL + timedelta(hours=1),
        state=BlockState.FAILED,
        next_attempt_at=LATER + timedelta(seconds=1),
    )
    lasting = plan.block(START_LOCAL + timedelta(hours=2), state=BlockState.FAILED, needs_you=True)
    retry_failed(plan.session, LATER)
    assert [block.state for block in (due, early, lasting)] == ["ready", "failed", "failed"]


class TestTurns:
    """Which block is next where several targets wait, and where some are paused."""

    def test_targets_take_turns_and_within_one_the_oldest_is_next(self, plan: Plan) -> None:
        served = LATER - timedelta(minutes=9)
        plan.block(START_LOCAL - timedelta(days=1), state=BlockState.STACKED, started_at=served)
        old = plan.block(START_LOCAL - timedelta(hours=2), state=BlockState.READY)
        plan.block(START_LOCAL - timedelta(hours=1), state=BlockState.READY)
        other = plan.night.block(plan.telescope, "M 31", START_LOCAL, BlockState.READY)
        assert plan.next() is other
        other.started_at = LATER
        assert plan.next() is old

    def test_of_a_target_what_a_person_asked_for_goes_first(self, plan: Plan) -> None:
        plan.block(START_LOCAL, state=BlockState.READY)
        asked = plan.block(START_LOCAL + timedelta(hours=1), state=BlockState.READY, requested=True)
        assert plan.next() is asked

    @pytest.mark.parametrize(
        ("on_telescope", "target", "left"),
        [(False, None, None), (True, None, None), (False, "M 94", "M 31"), (True, "M 94", "M 31")],
    )
    def test_what_is_paused_is_not_next_even_if_it_was_asked_for(
        self, plan: Plan, on_telescope: bool, target: str | None, left: str | None
    ) -> None:
        plan.block(START_LOCAL - timedelta(hours=1), state=BlockState.READY, requested=True)
        plan.night.block(plan.telescope, "M 31", START_LOCAL, BlockState.READY)
        telescope_id = plan.telescope.id if on_telescope else None
        order_pause(plan.session, telescope_id, target, by="person", reason="guests", now=LATER)
        found = plan.next()
        assert (found.target if found else None) == left
        assert lift_pauses(plan.session, telescope_id, target, by="person", now=LATER) == 1
        found = plan.next()
        assert found is not None
        assert found.target == "M 94"

    def test_another_telescopes_pause_holds_nothing_here(self, plan: Plan) -> None:
        block = plan.block(state=BlockState.READY)
        roof = plan.night.telescope("roof")
        order_pause(plan.session, roof.id, None, by="person", reason="", now=LATER)
        order_pause(plan.session, roof.id, "M 94", by="person", reason="", now=LATER)
        assert plan.next() is block

    def test_a_run_under_way_is_taken_to_its_end_all_the_same(self, plan: Plan) -> None:
        under_way = plan.block(state=BlockState.STACKING)
        order_pause(plan.session, None, None, by="person", reason="", now=LATER)
        assert plan.next() is under_way


class TestManyTelescopes:
    """Asked at once they get the same blocks as one by one, and who has waited longest comes first."""

    def test_all_at_once_is_as_one_by_one(self, plan: Plan) -> None:
        others = [plan.night.telescope(name) for name in ("roof", "shed", "idle")]
        for number, telescope in enumerate([plan.telescope, *others[:2]]):
            for target in ("M 94", "M 31", "M 42")[number:]:
                for hours in range(2):
                    start = START_LOCAL - timedelta(hours=3 * number + hours)
                    plan.night.block(telescope, target, start, BlockState.READY, frames=1)
        plan.night.block(others[1], "M 42", START_LOCAL, BlockState.STACKING, frames=1)
        order_pause(plan.session, others[0].id, "M 42", by="person", reason="", now=LATER)
        everybody = [plan.telescope, *others]
        together = next_blocks(plan.session, everybody, Settings(), LATER)
        alone = {each.id: next_block_of(plan.session, each, Settings(), LATER) for each in everybody}
        assert together == {id_: block for id_, block in alone.items() if block is not None}
        assert len(together) == 3

    def test_who_had_no_turn_for_longest_comes_first(self, plan: Plan) -> None:
        settings = Settings(stacking=StackingSettings(idle_s=0))
        served = {"roof": LATER, "shed": None, "hill": LATER - timedelta(hours=1)}
        ids = {name: plan.night.telescope(name, served_at=at).id for name, at in served.items()}
        plan.telescope.host = None
        due = due_everywhere(plan.session, settings, LATER)
        assert [message for _task, message, _words in due] == [
            TelescopeMessage(telescope_id=ids[name]) for name in ("shed", "hill", "roof")
        ]


class TestDawn:
    """With ``when: dawn`` only what was taken before the last dawn is next."""

    @pytest.mark.parametrize(("at_utc", "is_next"), [("01:15", False), ("01:16", True), ("12:00", True)])
    def test_a_block_waits_for_the_dawn_after_it(self, plan: Plan, at_utc: str, is_next: bool) -> None:
        plan.telescope.timezone = "UTC"
        block = plan.block(state=BlockState.READY)  # it began at 01:15 UTC
        stacking = {"when": "dawn", "dawn": DawnSettings.model_validate({"event": "time", "at": at_utc})}
        noon = datetime(2025, 3, 27, 12, tzinfo=UTC)
        settings = Settings(stacking=StackingSettings.model_validate(stacking))
        found = next_block_of(plan.session, plan.telescope, settings, noon)
        assert (found is block) is is_next
        block.requested = True
        found = next_block_of(plan.session, plan.telescope, settings, noon)
        assert found is block, "a person asked for it"

    def settings(self, **observatory: Any) -> Settings:
        """Wait for sunrise, no minute longer."""
        stacking = StackingSettings(when="dawn", dawn=DawnSettings(offset_min=0))
        return Settings(stacking=stacking, observatory=ObservatorySettings(**observatory))

    def test_the_configured_site_goes_before_what_the_telescope_told(self, plan: Plan) -> None:
        plan.telescope.latitude_deg, plan.telescope.longitude_deg = -36.8, 174.8
        vienna = self.settings(latitude=48.2, longitude=16.4, timezone="Europe/Vienna")
        dawn = dawn_at(plan.telescope, vienna, LATER)
        assert dawn is not None
        assert abs(dawn - datetime(2025, 3, 26, 4, 48, tzinfo=UTC)) < timedelta(minutes=5)

    def test_without_a_configured_site_the_telescopes_own_counts(self, plan: Plan) -> None:
        told = DeviceInfo("x", zone="Pacific/Auckland", latitude_deg=-36.8, longitude_deg=174.8)
        record_place(plan.telescope, told)
        record_place(plan.telescope, DeviceInfo("x"))  # a telescope that says nothing takes nothing back
        dawn = dawn_at(plan.telescope, self.settings(), LATER)
        assert dawn is not None
        assert abs(dawn - datetime(2025, 3, 26, 18, 30, tzinfo=UTC)) < timedelta(minutes=5)

    def test_a_telescope_without_a_fix_stands_nowhere(self, plan: Plan) -> None:
        plan.telescope.timezone = "America/New_York"
        record_place(plan.telescope, DeviceInfo("x", latitude_deg=0.0, longitude_deg=0.0))
        assert dawn_at(plan.telescope, self.settings(), LATER) == datetime(2025, 3, 26, 11, 30, tzinfo=UTC)

    def test_elsewhere_nothing_waits_for_it(self, plan: Plan) -> None:
        assert dawn_at(plan.telescope, Settings(), LATER) is None

    def test_a_dawn_that_was_missed_while_switched_off_counts_at_once(self, plan: Plan) -> None:
        """Nothing has to be awake at dawn: what it released stays released."""
        block = plan.block(state=BlockState.READY)
        settings = self.settings(latitude=48.2, longitude=16.4)
        evening_after = block.start_at + timedelta(hours=20)
        plan.telescope.idle_since = evening_after - timedelta(hours=1)
        due = due_work(plan.session, plan.telescope, settings, evening_after)
        assert due == (TaskName.STACK_BLOCK, BlockMessage(block_id=block.id))


class TestWhatIsDue:
    """The one piece of work that a telescope is nudged for."""

    SETTINGS = Settings(stacking=StackingSettings(idle_s=0))

    def due(self, plan: Plan) -> object:
        """Ask what is due."""
        return due_work(plan.session, plan.telescope, self.SETTINGS, LATER)

    def test_a_ready_block_of_an_idle_telescope(self, plan: Plan) -> None:
        block = plan.block(state=BlockState.READY)
        assert self.due(plan) == (TaskName.STACK_BLOCK, BlockMessage(block_id=block.id))

    @pytest.mark.parametrize(
        "state", [TelescopeState.OBSERVING, TelescopeState.FULL, TelescopeState.CLOCK_WRONG]
    )
    def test_a_look_while_it_may_not_begin(self, plan: Plan, state: TelescopeState) -> None:
        plan.block(state=BlockState.READY)
        plan.telescope.state = state
        assert self.due(plan) == (
            TaskName.LOOK_AT_TELESCOPE,
            TelescopeMessage(telescope_id=plan.telescope.id),
        )

    def test_nothing_until_the_next_look_is_due(self, plan: Plan) -> None:
        plan.telescope.next_look_at = LATER + timedelta(seconds=1)
        assert self.due(plan) is None

    def test_nothing_while_another_worker_holds_it(self, plan: Plan) -> None:
        plan.block(state=BlockState.READY)
        plan.telescope.lease_until = LATER + timedelta(seconds=1)
        assert self.due(plan) is None

    def test_nothing_without_an_address(self, plan: Plan) -> None:
        plan.telescope.host = None
        assert self.due(plan) is None

    @pytest.mark.parametrize(
        ("state", "task"),
        [
            (TelescopeState.STACKING, TaskName.STACK_BLOCK),
            (TelescopeState.OBSERVING, TaskName.STACK_BLOCK),
            (TelescopeState.UNREACHABLE, TaskName.LOOK_AT_TELESCOPE),
            (TelescopeState.KEY_REFUSED, TaskName.LOOK_AT_TELESCOPE),
        ],
    )
    def test_a_block_under_way_is_taken_up_again_as_soon_as_its_telescope_answers(
        self, plan: Plan, state: TelescopeState, task: TaskName
    ) -> None:
        plan.block(state=BlockState.STACKING)
        plan.telescope.state = state
        due = self.due(plan)
        assert isinstance(due, tuple)
        assert due[0] is task
