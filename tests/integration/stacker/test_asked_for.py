"""What a person asked for through the gateway is done: looks, inventories, releases, discoveries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from skyrelay.domain.states import BlockState, FrameState, TelescopeState
from skyrelay.queue.tasks import TaskName
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.tables import Block, Discovery, Frame, Telescope
from skyrelay_simulators.telescope import SimulatedTelescope
from skyrelay_stacker.discovering import discover_telescopes
from support.recorded_night import RecordedNight
from support.telescopes import EVENING, SERIAL, MakeTelescope, asked, stacks_on, take_frames
from support.workshop import Home

LATE = timedelta(minutes=40)


def held(home: Home, telescope: SimulatedTelescope) -> None:
    """Have a telescope take frames while its clock is behind, and set it right again."""
    telescope.wall_clock.shift(-LATE)
    shown = utc_now() - timedelta(hours=1) - LATE
    take_frames(telescope, start=shown.replace(minute=shown.minute // 15 * 15, second=5, microsecond=0))
    home.own(telescope).look()
    assert home.frame_states() == {FrameState.CLOCK_WRONG}
    telescope.wall_clock.shift(timedelta(0))


def look_again(home: Home) -> Telescope:
    """Look, and take an inventory, as if time had passed."""
    home.change(Telescope, inventory_started_at=EVENING, next_look_at=None)
    return home.look()


def test_a_look_leaves_a_mark_whether_the_telescope_answers_or_not(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    before = utc_now()
    first = home.own(telescope).look().looked_at
    assert first is not None
    assert first >= before
    telescope.stop()
    row = home.look()
    assert row.state == TelescopeState.UNREACHABLE
    assert row.looked_at is not None
    assert row.looked_at > first


def test_an_inventory_that_is_asked_for_does_not_wait_for_its_time(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    first = home.own(telescope).look().inventory_started_at
    assert home.look().inventory_started_at == first
    home.change(Telescope, inventory_asked_at=utc_now())
    second = home.look().inventory_started_at
    assert first is not None
    assert second is not None
    assert second > first
    assert home.look().inventory_started_at == second


def test_a_look_before_the_set_up_is_done_stacks_nothing(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    home.settings = Settings.model_validate({**home.settings.model_dump(), "setup": "ask"})
    home.own(telescope).look()
    assert home.block().state in {BlockState.COLLECTING, BlockState.READY}
    assert home.nudges() == []


def test_released_frames_are_stacked_and_not_held_again(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    held(home, telescope)
    assert look_again(home).state == TelescopeState.READY
    home.change(Frame, released_at=utc_now(), needs_release=False)
    home.reconcile()
    assert home.frame_states() == {FrameState.OK}
    assert home.block().state == BlockState.COLLECTING
    look_again(home)
    assert home.frame_states() == {FrameState.OK}
    home.work()
    assert home.block().state == BlockState.STACKED
    assert len(stacks_on(telescope)) == 1


def test_a_clock_that_goes_wrong_again_holds_no_released_frame(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    held(home, telescope)
    home.change(Frame, released_at=utc_now(), needs_release=False)
    home.reconcile()
    telescope.wall_clock.shift(-LATE)
    home.change(Telescope, clock_wrong_since=None, clock_checked_at=None)
    look_again(home)
    assert home.telescope().clock_wrong_since is not None
    assert home.frame_states() == {FrameState.OK}


def test_a_released_frame_whose_header_cannot_be_believed_goes_by_its_name(home: Home) -> None:
    with home.store.write() as session:
        night = RecordedNight(session)
        garden = night.telescope(timezone="America/New_York", host=None)
        at = datetime(2025, 3, 26, 21, 20)  # noqa: DTZ001 - a telescope's wall clock
        future = datetime(2031, 1, 1, tzinfo=UTC)
        night.frame(
            garden,
            "M 81",
            at,
            state=FrameState.CLOCK_WRONG,
            start_at=future,
            utc_offset_min=None,
            offset_source=None,
            released_at=utc_now(),
        )
    home.reconcile()
    (frame,) = home.rows(Frame)
    assert (frame.state, frame.start_source, frame.utc_offset_min) == (FrameState.OK, "name", -240)
    assert abs(frame.start_at - datetime(2025, 3, 27, 1, 20, tzinfo=UTC)) < timedelta(seconds=5)
    (block,) = home.rows(Block)
    assert block.start_at == datetime(2025, 3, 27, 1, 15, tzinfo=UTC)
    assert block.night == "2025-03-26"


def test_the_network_is_asked_and_the_answer_is_written_down(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    address = f"127.0.0.1:{telescope.endpoint.udp_port}"
    with home.store.write() as session:
        session.add(Discovery(addresses=[address], asked_at=utc_now()))
        session.add(Discovery(addresses=[address], asked_at=utc_now() - timedelta(hours=1)))
    assert discover_telescopes(home.workshop) == 1
    new, old = home.rows(Discovery)
    assert [found["serial"] for found in new.found] == [SERIAL]
    assert new.found[0]["host"] == "127.0.0.1"
    assert (new.problem, old.finished_at) == ("", None)
    assert discover_telescopes(home.workshop) == 0
    assert asked(telescope, "get_device_state") == 0, "nobody connects to port 4700 for this"


def test_a_telescope_whose_next_look_was_set_by_a_clock_an_hour_ahead_is_looked_at_now(
    home: Home, make_telescope: MakeTelescope
) -> None:
    home.own(make_telescope()).look()
    home.change(Telescope, next_look_at=utc_now() + timedelta(hours=1))
    home.reconcile()
    assert [task for task, _message in home.nudges()] == [TaskName.LOOK_AT_TELESCOPE]


def test_a_telescope_that_was_looked_at_just_now_is_left_alone(
    home: Home, make_telescope: MakeTelescope
) -> None:
    home.own(make_telescope()).look()
    home.change(Telescope, next_look_at=utc_now() + timedelta(seconds=20))
    home.reconcile()
    assert home.nudges() == []
