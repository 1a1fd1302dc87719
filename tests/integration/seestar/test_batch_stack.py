"""Batch stacking on a simulated telescope: one run, ours, whatever happens to the wire."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from skyrelay.domain.states import TelescopeState
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.errors import (
    AnotherTelescope,
    DeadlinePassed,
    Observing,
    ReplyLost,
    StackingAlready,
    Unreachable,
)
from skyrelay.seestar.stack_run import StackRun, StackSetting, StackState
from skyrelay.seestar.telescope import Telescope
from skyrelay_simulators.telescope import SimulatedTelescope
from skyrelay_simulators.telescope.faults import Drop, DropReply
from support.telescope_wire import lossy
from support.waiting import eventually

FOLDER = "M 81_sub"
SOON = timedelta(seconds=20)
CHANGES = {
    "clear_batch_stack",
    "clear_app_state",
    "set_batch_stack_setting",
    "start_batch_stack",
    "stop_batch_stack",
}


def count(telescope: SimulatedTelescope, method: str) -> int:
    """Count how often the telescope was asked."""
    return telescope.journal.methods().count(method)


@pytest.mark.parametrize("firmware", [2427, 2732, 2775, 2846, 2889])
def test_a_block_is_stacked_by_every_firmware(
    simulate: Any, connect: Any, key_path: Path, frames: list[str], firmware: int
) -> None:
    wants_key = firmware >= 2718
    telescope = simulate(firmware_ver_int=firmware, wants_key=wants_key, stack_seconds=0.5, stack_rejects=1)
    client: Telescope = connect(telescope, key_path=key_path)
    seen: list[StackRun] = []
    assert not client.start_stack(FOLDER, frames).adopted
    run = client.wait_for_stack(Deadline.after(SOON), on_progress=seen.append)
    assert (run.state, run.stacked, run.total) == (StackState.COMPLETE, 3, 4)
    assert run.output_folder == "M 81"
    assert [name.startswith("DSO_Stacked_3_M 81_20.0s_") for name in run.output_files] == [True]
    assert [step.percent for step in seen] == sorted(step.percent or 0.0 for step in seen)
    client.clear_stack()
    assert client.stack_progress().state is StackState.NONE


def test_another_telescope_behind_a_new_connection_is_told_nothing(
    simulate: Any, connect: Any, frames: list[str]
) -> None:
    first = simulate()
    client: Telescope = connect(first)
    client.identify()
    first.stop()
    at = first.endpoint
    second = simulate(serial="00aa11bb", rpc_port=at.rpc_port, http_port=at.http_port)
    for _ in range(2):
        with pytest.raises(AnotherTelescope, match="00aa11bb"):
            client.start_stack(FOLDER, frames)
    assert not CHANGES & set(second.journal.methods())


def test_a_telescope_that_was_updated_is_spoken_to_in_its_new_dialect(
    simulate: Any, connect: Any, frames: list[str]
) -> None:
    old = simulate(firmware_ver_int=2732)
    client: Telescope = connect(old)
    client.identify()
    old.stop()
    at = old.endpoint
    simulate(firmware_ver_int=2846, rpc_port=at.rpc_port, http_port=at.http_port, stack_seconds=0.1)
    client.start_stack(FOLDER, frames)
    assert client.wait_for_stack(Deadline.after(SOON)).state is StackState.COMPLETE


def test_an_event_ends_the_wait_long_before_the_next_poll(
    simulate: Any, connect: Any, frames: list[str]
) -> None:
    telescope = simulate(stack_seconds=0.5)
    client: Telescope = connect(telescope)
    client.start_stack(FOLDER, frames)
    began = time.monotonic()
    assert client.wait_for_stack(Deadline.after(SOON)).ended
    assert time.monotonic() - began < 10.0  # and not the 15 s that a reply is waited for


def test_a_run_of_the_same_files_is_adopted(simulate: Any, connect: Any, frames: list[str]) -> None:
    telescope = simulate(stack_seconds=3.0)
    first: Telescope = connect(telescope)
    second: Telescope = connect(telescope)
    first.start_stack(FOLDER, frames)
    assert second.stack_files_now() == StackSetting(FOLDER, frozenset(frames))
    assert second.start_stack(FOLDER, reversed(frames)).adopted
    assert count(telescope, "start_batch_stack") == 1
    assert count(telescope, "clear_batch_stack") == 1


def test_a_run_of_other_files_is_left_alone(simulate: Any, connect: Any, frames: list[str]) -> None:
    telescope = simulate(stack_seconds=3.0)
    client: Telescope = connect(telescope)
    client.start_stack(FOLDER, frames)
    ours = StackSetting.of(FOLDER, frames[:2])
    with pytest.raises(StackingAlready):
        client.start_stack(FOLDER, frames[:2])
    with pytest.raises(StackingAlready):
        client.stop_stack(ours)
    with pytest.raises(StackingAlready):
        client.clear_stack()
    assert telescope.stacking
    assert count(telescope, "stop_batch_stack") == 0


@pytest.mark.parametrize("plan", [False, True])
def test_an_observing_telescope_is_not_touched(
    simulate: Any, connect: Any, frames: list[str], plan: bool
) -> None:
    telescope = simulate()
    if plan:
        telescope.device.observation.begin_plan({"list": []})
    else:
        telescope.observe("M 81")
    client: Telescope = connect(telescope)
    with pytest.raises(Observing):
        client.start_stack(FOLDER, frames)
    assert not CHANGES & set(telescope.journal.methods())


@pytest.mark.parametrize("loss", ["drop_at", "swallow"])
@pytest.mark.parametrize("method", ["clear_batch_stack", "set_batch_stack_setting", "start_batch_stack"])
def test_a_lost_reply_neither_fails_nor_repeats_a_start(
    simulate: Any, connect: Any, frames: list[str], method: str, loss: str
) -> None:
    telescope = simulate(stack_seconds=1.0)
    with lossy(telescope.endpoint.host, telescope.endpoint.rpc_port) as wire:
        client: Telescope = connect(telescope, rpc_port=wire.port, reply_s=1.0)
        getattr(wire, loss).append(method)
        started = client.start_stack(FOLDER, frames)
        assert started.adopted == (method == "start_batch_stack")
        assert client.wait_for_stack(Deadline.after(SOON)).state is StackState.COMPLETE
    assert count(telescope, "start_batch_stack") == 1
    assert count(telescope, method) == 1


def test_a_start_that_shows_no_trace_stays_ambiguous(simulate: Any, connect: Any, frames: list[str]) -> None:
    telescope = simulate()
    telescope.device.batch_stack.start = lambda: True  # answers well and does nothing
    with lossy(telescope.endpoint.host, telescope.endpoint.rpc_port) as wire:
        client: Telescope = connect(telescope, rpc_port=wire.port, reply_s=1.0)
        wire.drop_at.append("start_batch_stack")
        with pytest.raises(ReplyLost, match="start_batch_stack"):
            client.start_stack(FOLDER, frames, deadline=Deadline.after(timedelta(seconds=2)))


def test_drops_during_the_run_lose_nothing(
    simulate: Any, connect: Any, key_path: Path, frames: list[str]
) -> None:
    telescope = simulate(stack_seconds=1.5, wants_key=True)
    client: Telescope = connect(telescope, key_path=key_path)
    client.start_stack(FOLDER, frames)

    def drop(run: StackRun) -> None:
        if run.stacked == 2:
            telescope.drop_connections()

    run = client.wait_for_stack(Deadline.after(SOON), on_progress=drop)
    assert (run.state, run.stacked) == (StackState.COMPLETE, 4)
    assert telescope.journal.methods().count("verify_client") >= 2


def test_a_telescope_that_goes_away_is_said_to_be_away(
    simulate: Any, connect: Any, frames: list[str]
) -> None:
    telescope = simulate(stack_seconds=30.0)
    with lossy(telescope.endpoint.host, telescope.endpoint.rpc_port) as wire:
        client: Telescope = connect(telescope, rpc_port=wire.port, reply_s=1.0)
        client.start_stack(FOLDER, frames)
        wire.close()
        with pytest.raises(Unreachable):
            client.wait_for_stack(Deadline.after(timedelta(seconds=5)))
    assert telescope.stacking


def test_who_asks_to_stop_waiting_is_heard_within_a_second_even_by_a_deaf_telescope(
    simulate: Any, connect: Any, frames: list[str]
) -> None:
    telescope = simulate(stack_seconds=30.0)
    with lossy(telescope.endpoint.host, telescope.endpoint.rpc_port) as wire:
        client: Telescope = connect(telescope, rpc_port=wire.port, reply_s=10.0)
        client.start_stack(FOLDER, frames)
        stopping, stopped_at = threading.Event(), [0.0]

        def stop_when_a_poll_hangs() -> None:
            eventually(lambda: len(wire.swallow) < 10)
            stopped_at[0] = time.monotonic()
            stopping.set()

        watcher = threading.Thread(target=stop_when_a_poll_hangs)

        def deafen(_run: StackRun) -> None:
            if not watcher.ident:  # the first look was answered; from now on every poll hangs
                wire.swallow += ["iscope_get_app_state"] * 10
                watcher.start()

        run = client.wait_for_stack(Deadline.after(SOON), on_progress=deafen, should_stop=stopping.is_set)
        came_back = time.monotonic()
        watcher.join()
        assert run.state is StackState.WORKING
        assert came_back - stopped_at[0] < 1.5
    assert telescope.stacking


def test_the_deadline_ends_the_wait_and_not_the_run(simulate: Any, connect: Any, frames: list[str]) -> None:
    telescope = simulate(stack_seconds=30.0)
    client: Telescope = connect(telescope)
    client.start_stack(FOLDER, frames)
    assert client.wait_for_stack(Deadline.after(timedelta(seconds=0.5))).state is StackState.WORKING
    assert client.state().state is TelescopeState.STACKING
    assert telescope.stacking


def test_a_run_that_nobody_started_is_none(simulate: Any, connect: Any) -> None:
    client: Telescope = connect(simulate())
    began = time.monotonic()
    assert client.wait_for_stack(Deadline.after(SOON)).state is StackState.NONE
    assert time.monotonic() - began < 10.0


def test_a_run_is_stopped_and_another_can_start(simulate: Any, connect: Any, frames: list[str]) -> None:
    telescope = simulate(stack_seconds=30.0)
    client: Telescope = connect(telescope)
    client.start_stack(FOLDER, frames)
    stopped = client.stop_stack(StackSetting.of(FOLDER, frames))
    assert stopped.state is StackState.CANCEL
    telescope.device.batch_stack.stack_seconds = 0.2
    client.start_stack(FOLDER, frames[:2])
    assert client.wait_for_stack(Deadline.after(SOON)).total == 2
    assert client.stop_stack().state is StackState.COMPLETE
    assert count(telescope, "stop_batch_stack") == 1


def test_a_stop_without_an_answer_is_looked_at(simulate: Any, connect: Any, frames: list[str]) -> None:
    telescope = simulate(stack_seconds=30.0)
    with lossy(telescope.endpoint.host, telescope.endpoint.rpc_port) as wire:
        client: Telescope = connect(telescope, rpc_port=wire.port, reply_s=1.0)
        client.start_stack(FOLDER, frames)
        wire.drop_at.append("stop_batch_stack")
        assert client.stop_stack().state is StackState.CANCEL
    assert count(telescope, "stop_batch_stack") == 1


def test_frames_that_are_not_there_end_in_a_failure_with_its_reason(simulate: Any, connect: Any) -> None:
    client: Telescope = connect(simulate(stack_seconds=0.1))
    client.start_stack(FOLDER, ["Light_M 81_20.0s_LP_20200101-000000.fit"])
    run = client.wait_for_stack(Deadline.after(SOON))
    assert (run.state, run.code, run.error) == (StackState.FAIL, 267, "no image")
    assert run.is_lasting_failure


def test_nothing_is_changed_after_the_deadline(simulate: Any, connect: Any, frames: list[str]) -> None:
    telescope = simulate()
    client: Telescope = connect(telescope)
    client.identify()
    with pytest.raises(DeadlinePassed):
        client.start_stack(FOLDER, frames, deadline=Deadline.after(timedelta(0)))
    assert not CHANGES & set(telescope.journal.methods())


@pytest.mark.parametrize("lost", [True, False])
def test_a_telescope_that_is_away_after_the_start_may_have_started(
    simulate: Any, connect: Any, frames: list[str], lost: bool
) -> None:
    telescope = simulate(stack_seconds=0.0)
    if lost:
        telescope.switch_on(DropReply(methods=frozenset({"start_batch_stack"}), times=1))
    after = 2  # the looks before the start; then nothing is answered any more
    telescope.switch_on(Drop(methods=frozenset({"iscope_get_app_state"}), after=after))
    with pytest.raises(ReplyLost):
        connect(telescope).start_stack(FOLDER, frames)
    assert count(telescope, "start_batch_stack") == 1
