"""A block that is tried again takes what an earlier try made, and is not stacked twice."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from skyrelay.domain.states import BlockState, TelescopeState
from skyrelay.queue.tasks import TaskName
from skyrelay.service import utc_now
from skyrelay.store.tables import Block, Stack
from skyrelay_simulators.telescope import SimulatedTelescope
from skyrelay_simulators.telescope.batch_stack import BatchStack, StackSetting
from support.telescopes import MakeTelescope, asked, stacks_on, take_frames
from support.waiting import eventually
from support.workshop import Home

SLOW = 5.0  # seconds that a stack of five frames takes unless it is let to end, a second later


def begun(home: Home, telescope: SimulatedTelescope) -> None:
    """Have a block begun by a worker that is told to stop while the telescope works on."""
    take_frames(telescope)
    home.own(telescope).look()
    with home.in_background():
        eventually(lambda: home.telescope().state == TelescopeState.STACKING)
    home.shutting_down.clear()
    assert (telescope.stacking, home.block().state) == (True, BlockState.STACKING)


def let_it_end(telescope: SimulatedTelescope) -> Path:
    """Let the run under way come to its end; give its stack."""
    telescope.device.batch_stack.stack_seconds = 0.1
    eventually(lambda: not telescope.stacking)
    (name,) = stacks_on(telescope)
    return telescope.emmc.root / "MyWorks" / "M 81" / name


def try_again(home: Home) -> Block:
    """Let the next try come due, and do it."""
    home.let_retries_come_due()
    home.reconcile()
    return home.stack()


class EndsWhenAsked(BatchStack):
    """A batch stack that comes to its end just after it was seen working."""

    @property
    def setting(self) -> StackSetting:
        """Come to the end, then say what was stacked."""
        self.stack_seconds = 0.1
        eventually(lambda: not self.busy)
        return super().setting


def test_a_run_that_ends_just_before_it_is_stopped_is_booked(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=SLOW)
    begun(home, telescope)
    home.prefer("stacking", max_wait_sec=60.0).change(Block, started_at=utc_now() - timedelta(minutes=10))
    telescope.device.batch_stack.__class__ = EndsWhenAsked
    block = home.stack()
    assert (block.state, block.reason) == (BlockState.STACKED, "5 of 5 frames are in the stack")
    assert (asked(telescope, "start_batch_stack"), asked(telescope, "stop_batch_stack")) == (1, 0)


def test_a_stack_that_shows_up_late_is_booked_instead_of_made_again(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=SLOW)
    begun(home, telescope)
    stack = let_it_end(telescope)
    hidden = stack.rename(telescope.emmc.root / "not yet there")
    assert home.stack().state == BlockState.FAILED
    hidden.rename(stack)
    block = try_again(home)
    assert (block.state, block.next_attempt_at) == (BlockState.STACKED, None)
    assert home.only_stack().original_name == stack.name
    assert asked(telescope, "start_batch_stack") == 1
    assert home.steps() == ["ready", "stacking", "failed", "ready", "stacking", "stacked"]


def test_what_an_earlier_try_made_does_not_become_the_owners_by_a_later_one(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=SLOW)
    begun(home, telescope)
    stack = let_it_end(telescope)
    whole = stack.read_bytes()
    stack.write_bytes(b"still being written")
    assert home.stack().state == BlockState.FAILED
    telescope.device.batch_stack.stack_seconds = SLOW
    home.let_retries_come_due()
    home.reconcile()
    with home.in_background() as worker:
        eventually(lambda: telescope.stacking)
        stack.write_bytes(whole)
        telescope.device.batch_stack.cancel()
        worker.join(20)
    home.shutting_down.clear()
    assert home.block().reason == "interrupt"
    assert try_again(home).state == BlockState.STACKED
    assert home.only_stack().original_name == stack.name
    assert asked(telescope, "start_batch_stack") == 2


def test_other_frames_make_another_stack(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(stack_seconds=SLOW)
    begun(home, telescope)
    stack = let_it_end(telescope)
    hidden = stack.rename(telescope.emmc.root / "not yet there")
    assert home.stack().state == BlockState.FAILED
    hidden.rename(stack)
    assert home.block().intent is not None
    home.change(Block, intent={**(home.block().intent or {}), "files": ["one.fit"]})
    telescope.device.batch_stack.stack_seconds = 1.1  # a second later, as its name is
    assert try_again(home).state == BlockState.STACKED
    assert home.only_stack().original_name != stack.name
    assert len(home.rows(Stack)) == 1


def test_a_run_whose_telescope_leaves_the_configuration_is_left_alone_by_who_watches_it(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=SLOW)
    take_frames(telescope)
    home.own(telescope).look()
    with home.in_background() as worker:
        eventually(lambda: home.telescope().state == TelescopeState.STACKING)
        home.configure()
        telescope.device.batch_stack.stack_seconds = 0.1
        worker.join(20)
        assert not worker.is_alive()
    assert (home.block().state, home.block().needs_you) == (BlockState.FAILED, True)
    assert "no longer in the configuration" in home.block().reason
    assert home.rows(Stack) == []


@pytest.mark.parametrize("jump", [timedelta(days=200), timedelta(days=-1)])
def test_a_clock_that_is_set_while_a_stack_is_made_does_not_end_it(
    home: Home, make_telescope: MakeTelescope, jump: timedelta
) -> None:
    telescope = make_telescope(stack_seconds=SLOW)
    begun(home, telescope)
    home.change(Block, started_at=utc_now() - jump)
    with home.in_background():
        eventually(
            lambda: abs(utc_now() - (home.block().started_at or utc_now() - jump)) < timedelta(minutes=1)
        )
    home.shutting_down.clear()
    let_it_end(telescope)
    assert home.stack().state == BlockState.STACKED
    assert asked(telescope, "stop_batch_stack") == 0


def with_a_fault(home: Home) -> Home:
    """Give the same home with a stacker that has a fault: it fails on every run that it watches."""
    broken = home.settings.stacking.model_copy(update={"max_wait_sec": None})
    faulty = home.another()
    faulty.settings = home.settings.model_copy(update={"stacking": broken})
    return faulty


def is_due(home: Home) -> bool:
    """Tell whether the block is what its telescope is nudged for."""
    before = len(home.nudges())
    home.reconcile()
    return any(task == TaskName.STACK_BLOCK for task, _message in home.nudges()[before:])


def test_a_fault_of_ours_is_shown_on_its_block_and_not_met_again_at_every_tick(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=60.0)
    begun(home, telescope)
    assert is_due(home)
    waits = []
    for _ in range(3):
        with pytest.raises(TypeError):
            with_a_fault(home).stack()
        block = home.block()
        assert block.state == BlockState.STACKING
        assert "a fault in Skyrelay, see the stacker's log: TypeError" in block.reason
        assert block.next_attempt_at is not None
        waits.append(block.next_attempt_at - utc_now())
        assert not is_due(home)
    assert sorted(waits) == waits
    assert waits[-1] > 2 * waits[0] > timedelta(minutes=2)
    assert home.block().needs_you
    assert home.telescope().lease_until is None
    home.let_retries_come_due()
    assert is_due(home)
    let_it_end(telescope)
    block = home.stack()
    assert (block.state, block.needs_you, block.next_attempt_at) == (BlockState.STACKED, False, None)
