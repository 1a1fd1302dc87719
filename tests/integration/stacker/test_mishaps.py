"""What goes wrong on the way to a stack: nothing is begun twice, lost, or left unsaid."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from skyrelay.domain.states import BlockState, TelescopeState
from skyrelay.service import utc_now
from skyrelay.store.tables import Block, Stack, Telescope
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend
from skyrelay_simulators.telescope.faults import CloseShare
from skyrelay_simulators.telescope.rpc_codes import Code, RpcError
from support.telescope_wire import lossy
from support.telescopes import EVENING, MakeTelescope, asked, stacks_on, take_frames
from support.waiting import eventually
from support.workshop import Home

SMB = {"smb_backend": SmbBackend.AUTO}
NAMED = "CrowdSky_5_M 81_10.0s_IRCUT_20260228.12_HP006478.fit"
LONG = 30.0  # seconds that a stack takes which is not to end by itself
SLOW = 8.0  # seconds that a stack takes which is to end when its test lets it: within a fifth of that


def ready(home: Home, telescope: SimulatedTelescope, **changes: Any) -> Home:
    """Take five frames and an inventory, so that a block is ready."""
    take_frames(telescope)
    home.own(telescope, **changes).look()
    assert home.block().state == BlockState.READY
    return home


def left_stacking(home: Home, telescope: SimulatedTelescope) -> None:
    """Have the block begun by a worker that is told to stop while the telescope works on."""
    with home.in_background():
        eventually(lambda: home.telescope().state == TelescopeState.STACKING)
    home.shutting_down.clear()
    assert (telescope.stacking, home.block().state) == (True, BlockState.STACKING)


def let_it_end(telescope: SimulatedTelescope) -> None:
    """Let a run under way come to its end."""
    telescope.device.batch_stack.stack_seconds = 0.0


def later(home: Home) -> None:
    """Let enough time pass for the next look, and do what is due."""
    home.change(Telescope, next_look_at=None)
    home.work()


def switched_on_again(
    make_telescope: MakeTelescope, telescope: SimulatedTelescope, **traits: Any
) -> SimulatedTelescope:
    """Start a telescope that was switched off, at the same address, with what lies on it."""
    at = telescope.endpoint
    ports = {"rpc_port": at.rpc_port, "http_port": at.http_port}
    return make_telescope(root=telescope.spec.root, serial=telescope.spec.serial, **{**ports, **traits})


# -- a worker goes ---------------------------------------------------------------------------------


def test_a_run_that_goes_on_without_its_worker_is_adopted_by_the_next(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=SLOW, **SMB)
    ready(home, telescope)
    left_stacking(home, telescope)
    let_it_end(telescope)
    assert home.stack().state == BlockState.STACKED
    assert asked(telescope, "start_batch_stack") == 1
    assert stacks_on(telescope) == [NAMED]


def test_a_stack_that_was_finished_while_nobody_looked_is_booked(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=SLOW, **SMB)
    ready(home, telescope)
    left_stacking(home, telescope)
    let_it_end(telescope)
    eventually(lambda: not telescope.stacking)
    later(home)
    assert (home.block().state, home.block().reason) == (
        BlockState.STACKED,
        "5 of 5 frames are in the stack",
    )
    assert asked(telescope, "start_batch_stack") == 1


def test_a_dead_workers_telescope_is_taken_over_when_its_lease_has_run_out(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    ready(home, telescope)
    home.change(Telescope, lease_holder="dead", lease_until=utc_now() + timedelta(seconds=30))
    assert home.stack().state == BlockState.READY
    home.let_leases_expire()
    assert home.stack().state == BlockState.STACKED


def test_a_worker_that_died_before_it_told_the_telescope_leaves_nothing_behind(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    ready(home, telescope)
    intent = {"files": [frame.file_name for frame in home.frames], "outputs_before": [], "fence": 1}
    home.change(Block, state=BlockState.STACKING, intent=intent, started_at=utc_now(), attempts=1)
    block = home.stack()
    assert (block.state, block.reason) == (
        BlockState.READY,
        "the telescope no longer knows of this run; it is to be started again",
    )
    assert block.next_attempt_at is not None
    home.let_retries_come_due()
    home.work()
    assert home.block().state == BlockState.STACKED
    assert asked(telescope, "start_batch_stack") == 1


# -- the wire --------------------------------------------------------------------------------------


def test_a_start_whose_reply_is_lost_is_not_repeated(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(stack_seconds=1.0)
    with lossy(telescope.endpoint.host, telescope.endpoint.rpc_port) as wire:
        ready(home, telescope, rpc_port=wire.port)
        wire.drop_at.append("start_batch_stack")
        assert home.stack().state == BlockState.STACKED
    assert asked(telescope, "start_batch_stack") == 1
    assert len(home.rows(Stack)) == 1


def test_a_telescope_out_of_the_wi_fi_in_mid_stack_is_waited_for(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=SLOW)
    with lossy(telescope.endpoint.host, telescope.endpoint.rpc_port) as wire:
        ready(home, telescope, rpc_port=wire.port)
        with home.in_background() as worker:
            eventually(lambda: (home.block().percent or 0) > 0)
            wire.drop_at += ["iscope_get_app_state"] * 2
            wire.drop()
            let_it_end(telescope)
            eventually(lambda: not telescope.stacking)
            worker.join(20)
        assert home.block().state == BlockState.STACKED
    assert asked(telescope, "start_batch_stack") == 1


def test_a_telescope_that_was_switched_off_in_mid_stack_is_told_again(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=LONG)
    ready(home, telescope)
    left_stacking(home, telescope)
    telescope.stop()
    assert home.stack().state == BlockState.STACKING, "nothing is known of the run"
    row = home.telescope()
    assert row.state == TelescopeState.UNREACHABLE
    assert "is it the telescope, fully started" in row.state_reason
    home.work()
    again = switched_on_again(make_telescope, telescope)
    later(home)
    assert home.block().state == BlockState.READY
    home.let_retries_come_due()
    home.work()
    assert home.block().state == BlockState.STACKED
    assert asked(telescope, "start_batch_stack") == asked(again, "start_batch_stack") == 1
    assert len(stacks_on(again)) == 1


def test_a_telescope_that_restarts_while_we_watch_is_noticed(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=LONG)
    ready(home, telescope)
    with home.in_background() as worker:
        eventually(lambda: (home.block().percent or 0) > 0)
        telescope.stop()
        eventually(lambda: home.telescope().state == TelescopeState.UNREACHABLE)
        switched_on_again(make_telescope, telescope)
        worker.join(30)
        assert not worker.is_alive()
    assert home.block().state == BlockState.READY
    assert home.steps() == ["ready", "stacking", "ready"]


def test_a_stack_that_was_saved_before_the_telescope_restarted_is_booked(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=SLOW)
    ready(home, telescope)
    left_stacking(home, telescope)
    let_it_end(telescope)
    eventually(lambda: stacks_on(telescope))
    eventually(lambda: not telescope.stacking)
    telescope.stop()
    again = switched_on_again(make_telescope, telescope)
    later(home)
    assert home.block().state == BlockState.STACKED
    assert asked(again, "start_batch_stack") == 0


def test_an_output_that_cannot_be_read_is_not_booked(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(stack_seconds=SLOW)
    ready(home, telescope)
    left_stacking(home, telescope)
    let_it_end(telescope)
    eventually(lambda: not telescope.stacking)
    (name,) = stacks_on(telescope)
    (telescope.emmc.root / "MyWorks" / "M 81" / name).write_bytes(b"cut short")
    block = home.stack()
    assert (block.state, block.needs_you) == (BlockState.FAILED, False)
    assert "its stack is not there" in block.reason


# -- somebody else ---------------------------------------------------------------------------------


def test_a_stack_makes_way_for_an_observation_and_is_made_after_it(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=LONG)
    ready(home, telescope)
    with home.in_background() as worker:
        eventually(lambda: telescope.stacking)
        telescope.observe("M 31")
        worker.join(20)
        assert not worker.is_alive()
    assert not telescope.stacking
    assert asked(telescope, "stop_batch_stack") == 1
    block = home.block()
    assert (block.state, block.reason) == (BlockState.READY, "stopped, because an observation began")
    assert (block.attempts, block.needs_you) == (0, False), "that was no failure of its own"
    later(home)
    assert (home.block().state, home.telescope().state) == (BlockState.READY, TelescopeState.OBSERVING)
    telescope.finish_observing()
    telescope.device.batch_stack.stack_seconds = 0.1
    home.shutting_down.clear()
    later(home)
    assert home.block().state == BlockState.STACKED
    assert telescope.journal.methods().count("iscope_stop_view") == 0


def test_somebody_elses_run_is_neither_stopped_nor_claimed(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(stack_seconds=1.0)
    ready(home, telescope)
    setting = telescope.device.batch_stack.setting
    others = replace(
        setting, path="MyWorks/M 81_sub", names=("MyWorks/M 81_sub/" + home.frames[0].file_name,)
    )
    assert telescope.device.batch_stack.set(others)
    assert telescope.device.batch_stack.start()
    assert home.stack().state == BlockState.READY
    assert home.telescope().state == TelescopeState.BUSY_ELSEWHERE
    eventually(lambda: not telescope.stacking)
    later(home)
    assert home.block().state == BlockState.STACKED
    assert home.only_stack().frames_aligned == 5
    assert asked(telescope, "stop_batch_stack") == 0


def test_a_stack_that_is_stopped_on_the_phone_is_tried_again_a_minute_later(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=LONG)
    ready(home, telescope)
    with home.in_background() as worker:
        eventually(lambda: telescope.stacking)
        telescope.device.batch_stack.cancel()
        worker.join(20)
    home.shutting_down.clear()
    block = home.block()
    assert (block.state, block.reason, block.needs_you) == (BlockState.FAILED, "interrupt", False)
    assert block.next_attempt_at is not None
    assert timedelta(0) < block.next_attempt_at - utc_now() <= timedelta(minutes=1)
    home.reconcile()
    assert home.block().state == BlockState.FAILED, "its time has not come"
    telescope.device.batch_stack.stack_seconds = 0.1
    home.let_retries_come_due()
    home.reconcile()
    assert home.block().state == BlockState.READY
    home.work()
    assert (home.block().state, home.block().attempts) == (BlockState.STACKED, 2)


def test_another_telescope_at_the_address_is_told_nothing(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(stack_seconds=LONG)
    ready(home, telescope)
    left_stacking(home, telescope)
    telescope.stop()
    at = telescope.endpoint
    stranger = make_telescope(serial="00aa11bb", rpc_port=at.rpc_port, http_port=at.http_port)
    assert home.stack().state == BlockState.STACKING
    assert "another telescope (00aa11bb)" in home.telescope().state_reason
    home.work()
    assert home.telescope().serial == "00aa11bb"
    first = home.telescope("garden (was 1d3fe189)")
    assert (first.host, home.block().telescope_id) == (None, first.id)
    assert not {"start_batch_stack", "stop_batch_stack"} & set(stranger.journal.methods())


# -- what will not do ------------------------------------------------------------------------------


def test_a_stack_that_takes_too_long_is_stopped_and_cleared(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=LONG)
    home.prefer("stacking", max_wait_sec=1.0)
    ready(home, telescope)
    home.work()
    block = home.block()
    assert (block.state, block.reason) == (BlockState.FAILED, "it took longer than stacking.max_wait_sec")
    assert block.next_attempt_at is not None
    assert (asked(telescope, "stop_batch_stack"), telescope.stacking) == (1, False)
    assert telescope.device.batch_stack.status is None
    assert home.telescope().state == TelescopeState.READY


def test_frames_that_cannot_be_stacked_wait_for_a_person(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(stack_rejects=99)
    ready(home, telescope)
    home.work()
    block = home.block()
    assert (block.state, block.reason) == (BlockState.FAILED, "no image")
    assert (block.needs_you, block.next_attempt_at) == (True, None)
    home.reconcile()
    assert home.block().state == BlockState.FAILED
    assert asked(telescope, "start_batch_stack") == 1


@contextmanager
def refusing_starts(telescope: SimulatedTelescope, code: Code) -> Iterator[None]:
    """Let the telescope refuse every start."""

    def refuse() -> bool:
        raise RpcError(code)

    start = telescope.device.batch_stack.start
    telescope.device.batch_stack.start = refuse  # type: ignore[method-assign] # a fault of the telescope
    yield
    telescope.device.batch_stack.start = start  # type: ignore[method-assign] # it is well again


@pytest.mark.parametrize(("code", "is_lasting"), [(Code.NO_STAR, True), (Code.FAIL_TO_OPERATE, False)])
def test_a_refused_start_is_tried_again_only_if_that_can_help(
    home: Home, make_telescope: MakeTelescope, code: Code, is_lasting: bool
) -> None:
    telescope = make_telescope()
    ready(home, telescope)
    with refusing_starts(telescope, code):
        block = home.stack()
    assert (block.state, block.needs_you) == (BlockState.FAILED, is_lasting)
    assert (block.next_attempt_at is None) is is_lasting
    assert code.text in block.reason


def test_after_five_passing_failures_a_person_is_asked(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    ready(home, telescope)
    with refusing_starts(telescope, Code.FAIL_TO_OPERATE):
        for _ in range(6):
            home.let_retries_come_due()
            home.reconcile()
            home.stack()
    block = home.block()
    assert (block.state, block.attempts, block.needs_you) == (BlockState.FAILED, 6, True)
    assert asked(telescope, "start_batch_stack") == 6


# -- names -----------------------------------------------------------------------------------------


def test_without_smb_a_stack_keeps_its_name_until_the_share_is_back(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(**SMB)
    share_port = telescope.endpoint.smb_port
    telescope.switch_on(CloseShare())
    ready(home, telescope)
    assert home.stack().state == BlockState.STACKED
    stack = home.only_stack()
    assert (stack.crowdsky_name, stack.renamed_at) == (NAMED, None)
    assert f"refuses port {share_port}" in (stack.rename_error or "")
    assert len(home.deliveries) == 1
    assert stacks_on(telescope) == [stack.original_name]
    telescope.switch_off(CloseShare)
    home.change(Telescope, inventory_started_at=EVENING)
    later(home)
    stack = home.only_stack()
    assert (stack.renamed_at is not None, stack.rename_error) == (True, None)
    assert stacks_on(telescope) == [NAMED]
    assert home.block().state == BlockState.STACKED


def test_a_rename_that_nobody_wrote_down_is_seen(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(**SMB)
    ready(home, telescope)
    home.stack()
    home.change(Stack, renamed_at=None)
    home.change(Telescope, inventory_started_at=EVENING)
    later(home)
    assert home.only_stack().renamed_at is not None
    assert home.only_stack().rename_error is None


def test_a_stack_that_its_owner_took_away_is_said_to_be_missing(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(**SMB)
    ready(home, telescope)
    home.stack()
    (telescope.emmc.root / "MyWorks" / "M 81" / NAMED).unlink()
    home.change(Stack, renamed_at=None)
    home.change(Telescope, inventory_started_at=EVENING)
    later(home)
    assert "holds no file" in (home.only_stack().rename_error or "")


def test_a_late_nudge_leaves_a_block_alone_while_another_of_its_telescope_is_not_seen_to_its_end(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=SLOW, **SMB)
    take_frames(telescope)
    take_frames(telescope, "M 31", EVENING + timedelta(minutes=30))
    home.own(telescope).look()
    first, second = home.rows(Block)
    with home.in_background(first):
        eventually(lambda: home.telescope().state == TelescopeState.STACKING)
    home.shutting_down.clear()
    let_it_end(telescope)
    eventually(lambda: not telescope.stacking)

    untouched = home.stack(second)

    assert (untouched.state, untouched.attempts) == (BlockState.READY, 0)
    assert home.stack(first).state == BlockState.STACKED
    assert home.stack(second).state == BlockState.STACKED
