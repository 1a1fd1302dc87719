"""What is taken while a telescope's clock is wrong is never stacked under a wrong time."""

from __future__ import annotations

from datetime import datetime, timedelta

from skyrelay.domain.states import BlockState, FrameState, TelescopeState
from skyrelay.service import utc_now
from skyrelay.store.tables import AuditEntry, Block, Frame, Stack, Telescope
from skyrelay_simulators.telescope import SimulatedTelescope
from support.telescopes import EVENING, SERIAL, MakeTelescope, asked, take_frames
from support.waiting import eventually
from support.workshop import Home, half, seen

LATE = timedelta(minutes=40)


def shown_an_hour_ago(telescope: SimulatedTelescope) -> datetime:
    """Give what the telescope's clock made of a moment an hour ago, at the beginning of a block."""
    shown = utc_now() - timedelta(hours=1) - LATE
    return shown.replace(minute=shown.minute // 15 * 15, second=5, microsecond=0)


def look_again(home: Home) -> Telescope:
    """Look, and take an inventory, as if time had passed."""
    home.change(Telescope, inventory_started_at=EVENING, next_look_at=None)
    return home.look()


def set_right(telescope: SimulatedTelescope) -> None:
    """Let the phone's app set the clock."""
    telescope.wall_clock.shift(timedelta(0))


def test_a_check_says_when_the_clock_was_right_and_since_when_it_is_wrong(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    row = home.own(telescope).look()
    assert row.clock_wrong_since is None
    assert row.clock_checked_at is not None
    telescope.wall_clock.shift(-LATE)
    first, second = home.look(), home.look()
    assert (first.state, first.clock_checked_at) == (TelescopeState.CLOCK_WRONG, row.clock_checked_at)
    assert first.clock_wrong_since is not None
    assert second.clock_wrong_since == first.clock_wrong_since
    (line,) = [entry for entry in home.rows(AuditEntry) if entry.event == "clock wrong"]
    assert "2400 s behind" in line.reason or "2401 s behind" in line.reason
    set_right(telescope)
    assert home.look().clock_wrong_since is None


def test_frames_of_a_clock_that_is_behind_stay_held_when_it_is_right_again(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    telescope.wall_clock.shift(-LATE)
    take_frames(telescope, start=shown_an_hour_ago(telescope))
    home.own(telescope).look()
    assert home.frame_states() == {FrameState.CLOCK_WRONG}
    assert "until a person lets it go on" in (home.frames[0].state_reason or "")
    set_right(telescope)
    assert look_again(home).state == TelescopeState.READY
    home.work()
    assert (home.frame_states(), home.rows(Block)) == ({FrameState.CLOCK_WRONG}, [])
    assert asked(telescope, "start_batch_stack") == 0


def test_frames_that_a_watcher_sees_while_the_clock_is_wrong_are_held_however_often_they_are_seen(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    home.own(telescope, serial=SERIAL)
    telescope.wall_clock.shift(-LATE)
    home.look()
    names = take_frames(telescope, start=shown_an_hour_ago(telescope))
    home.take_in(half(seen(telescope, names[0])), *(seen(telescope, name) for name in names[1:]))
    set_right(telescope)
    look_again(home)
    assert home.take_in(*(seen(telescope, name) for name in names)) == 0
    assert home.frame_states() == {FrameState.CLOCK_WRONG}
    assert home.rows(Block) == []


def test_frames_that_were_recorded_since_the_last_right_check_are_held_too(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    home.own(telescope, serial=SERIAL).look()
    assert home.block().state == BlockState.READY
    home.look()  # the last that finds the clock right
    names = take_frames(telescope, "M 31", start=shown_an_hour_ago(telescope))
    home.take_in(*(seen(telescope, name, "M 31") for name in names))
    telescope.wall_clock.shift(-LATE)
    home.look()
    states = {target: {f.state for f in home.frames if f.target == target} for target in ("M 81", "M 31")}
    assert states == {"M 81": {FrameState.OK}, "M 31": {FrameState.CLOCK_WRONG}}
    assert [block.target for block in home.rows(Block)] == ["M 81"], "an old night is as good as it was"
    set_right(telescope)
    home.change(Telescope, next_look_at=None)
    home.work()
    assert [block.state for block in home.rows(Block)] == [BlockState.STACKED]
    assert {f.state for f in home.frames if f.target == "M 31"} == {FrameState.CLOCK_WRONG}


def test_no_block_is_made_ready_nor_begun_while_the_clock_is_wrong(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    names = take_frames(telescope)
    home.own(telescope, serial=SERIAL).look()
    home.change(Block, state=BlockState.COLLECTING)
    telescope.wall_clock.shift(-LATE)
    home.look()
    assert (home.block().state, home.block().frame_count) == (BlockState.COLLECTING, len(names))
    home.change(Block, state=BlockState.READY)
    home.change(Telescope, state=TelescopeState.READY, idle_since=EVENING)
    home.work()
    assert asked(telescope, "start_batch_stack") == 0


def test_a_stack_under_way_of_frames_that_turn_out_to_be_held_is_left_to_a_person(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=3.0)
    take_frames(telescope)
    home.own(telescope).look()
    with home.in_background():
        eventually(lambda: home.telescope().state == TelescopeState.STACKING)
        home.shutting_down.set()
    home.shutting_down.clear()
    home.change(Telescope, clock_checked_at=None)
    telescope.wall_clock.shift(-LATE)
    block = home.stack()
    assert (block.state, block.needs_you) == (BlockState.FAILED, True)
    assert "clock was wrong" in block.reason
    assert (home.rows(Stack), home.deliveries) == ([], [])
    assert {frame.needs_release for frame in home.rows(Frame)} == {True}
