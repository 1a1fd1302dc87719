"""Which blocks go by the raw route, when, and that none goes by both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from skyrelay.domain.states import BlockState, DeliveryKind, DeliveryState, FrameState, TelescopeState
from skyrelay.queue.tasks import TaskName
from skyrelay.service import utc_now
from skyrelay.store.late_frames import count_late
from skyrelay.store.pauses import order_pause
from skyrelay.store.tables import Block, Delivery, Frame, Telescope
from skyrelay_simulators.telescope import SimulatedTelescope
from skyrelay_simulators.telescope.rpc_codes import Code, RpcError
from skyrelay_stacker.raw_routes import choose_raw_routes
from support.recorded_night import RecordedNight
from support.telescopes import EVENING, MakeTelescope, asked, frame_names, take_frames
from support.workshop import Home, seen

AN_HOUR, A_DAY = timedelta(hours=1), timedelta(days=1)


def ready(home: Home, telescope: SimulatedTelescope) -> None:
    """Have a block of five frames ready to be stacked."""
    take_frames(telescope)
    home.own(telescope).look()
    assert home.block().state == BlockState.READY


def choose(home: Home, now: datetime | None = None) -> Block:
    """Choose once; give the only block."""
    with home.store.write() as session:
        choose_raw_routes(session, home.settings, now or utc_now())
    return home.block()


def test_a_block_goes_raw_where_the_user_prefers_it_and_is_never_stacked(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    home.prefer("crowdsky", route="raw")
    ready(home, telescope)

    home.work()
    home.reconcile()
    home.stack()

    block, (delivery,) = home.block(), home.deliveries
    assert (block.state, block.reason) == (BlockState.RAW, "crowdsky.route: raw: 5 raw frames to be sent")
    assert (delivery.kind, delivery.block_id, delivery.state) == (DeliveryKind.RAW, block.id, "pending")
    assert home.steps() == [BlockState.READY, BlockState.RAW]
    assert {frame.is_sent_raw for frame in home.frames} == {True}
    assert asked(telescope, "start_batch_stack") == 0


def test_by_default_it_is_stacked(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    ready(home, telescope)
    home.work()
    assert home.block().state == BlockState.STACKED
    assert [delivery.kind for delivery in home.deliveries] == [DeliveryKind.STACK]


def test_what_a_person_asks_for_is_stacked_though_raw_is_preferred(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    home.prefer("crowdsky", route="raw")
    ready(home, telescope)
    home.change(Block, requested=True)

    home.work()

    assert home.block().state == BlockState.STACKED


@pytest.mark.parametrize(
    ("section", "changes"),
    [
        ("stacking", {"when": "manual"}),
        ("stacking", {"exclude": ["M*"]}),
        ("stacking", {"min_exptime": 1000.0}),
        ("crowdsky", {"enabled": False}),
        ("crowdsky", {"route": "stack"}),
    ],
)
def test_what_holds_a_stack_back_holds_raw_frames_back(
    home: Home, make_telescope: MakeTelescope, section: str, changes: dict[str, Any]
) -> None:
    home.prefer("crowdsky", route="raw")
    ready(home, make_telescope())
    home.prefer(section, **changes)
    assert choose(home).state == BlockState.READY


def test_a_pause_holds_raw_frames_back(home: Home, make_telescope: MakeTelescope) -> None:
    home.prefer("crowdsky", route="raw")
    ready(home, make_telescope())
    with home.store.write() as session:
        order_pause(session, None, "M 81", by="person", reason="", now=utc_now())
    assert choose(home).state == BlockState.READY


def test_a_block_is_not_sent_before_the_dawn(home: Home, make_telescope: MakeTelescope) -> None:
    home.prefer("crowdsky", route="raw").prefer(
        "stacking", when="dawn", dawn={"event": "time", "at": "07:00"}
    )
    ready(home, make_telescope())
    assert choose(home, EVENING + AN_HOUR).state == BlockState.READY
    assert choose(home, EVENING + A_DAY).state == BlockState.RAW


def test_frames_that_come_later_are_late_and_nothing_is_sent_twice(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    home.prefer("crowdsky", route="raw")
    ready(home, telescope)
    choose(home)

    take_frames(telescope, start=EVENING + timedelta(minutes=2), frames=2)
    home.change(Telescope, inventory_started_at=EVENING, next_look_at=None)
    home.look()
    choose(home)

    block = home.block()
    assert (block.state, block.frame_count, len(home.deliveries)) == (BlockState.RAW, 7, 1)
    with home.store.read() as session:
        assert count_late(session, [block.id]) == {block.id: 2}


# When the telescope cannot stack


@contextmanager
def without_stars(telescope: SimulatedTelescope) -> Iterator[None]:
    """Let the telescope find too few stars in whatever it is to stack."""

    def refuse() -> bool:
        raise RpcError(Code.TOO_FEW_STARS)

    start = telescope.device.batch_stack.start
    telescope.device.batch_stack.start = refuse  # type: ignore[method-assign] # a fault of the sky
    yield
    telescope.device.batch_stack.start = start  # type: ignore[method-assign] # it is clear again


def test_too_few_stars_three_times_send_the_raw_frames(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    ready(home, telescope)
    with without_stars(telescope):
        first = home.stack()
        assert (first.state, first.needs_you, first.too_few_stars) == (BlockState.FAILED, False, 1)
        for _ in range(2):
            home.let_retries_come_due()
            home.reconcile()
            home.stack()

    block = home.block()
    assert (block.state, block.needs_you) == (BlockState.RAW, False)
    assert "too few stars in it 3 times (error 263)" in block.reason
    assert [delivery.kind for delivery in home.deliveries] == [DeliveryKind.RAW]
    home.let_retries_come_due()
    home.work()
    assert asked(telescope, "start_batch_stack") == 3


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"state": DeliveryState.CONFIRMED}, "at the server already"),
        ({"state": DeliveryState.DEAD, "ask_first": True, "sent_at": EVENING}, "only a person"),
    ],
)
def test_what_the_server_may_have_raw_is_not_sent_again_by_itself(
    home: Home, make_telescope: MakeTelescope, columns: dict[str, Any], words: str
) -> None:
    ready(home, make_telescope())
    home.prefer("crowdsky", route="raw")
    choose(home)
    home.change(Block, state=BlockState.READY)
    home.change(Delivery, **columns)
    home.change(Frame, is_sent_raw=False)

    block = choose(home)

    assert block.state == BlockState.READY
    assert words in block.reason
    assert {frame.is_sent_raw for frame in home.frames} == {False}


@pytest.mark.parametrize(
    ("section", "changes"),
    [
        ("crowdsky", {"raw_after_h": 0.0}),
        ("crowdsky", {"enabled": False}),
        ("stacking", {"block_minutes": 5}),
    ],
)
def test_where_nothing_goes_raw_by_itself_a_person_is_asked_at_once(
    home: Home, make_telescope: MakeTelescope, section: str, changes: dict[str, Any]
) -> None:
    home.prefer(section, **changes)
    telescope = make_telescope()
    ready(home, telescope)
    with without_stars(telescope):
        block = home.stack()
    assert (block.state, block.needs_you, block.next_attempt_at) == (BlockState.FAILED, True, None)
    assert choose(home).state == BlockState.FAILED


def watched(home: Home, telescope: SimulatedTelescope, *, look: bool = False) -> None:
    """Have the frames of a block seen in a watched folder; the telescope then goes, and stays away."""
    take_frames(telescope)
    home.own(telescope)
    if look:
        home.look()
    home.change(Telescope, serial=telescope.spec.serial)
    home.take_in(*(seen(telescope, name) for name in frame_names(telescope)))
    telescope.stop()
    home.look()
    assert home.telescope().state == TelescopeState.UNREACHABLE


@pytest.mark.parametrize("look", [False, True])
def test_a_telescope_that_is_away_for_good_has_its_frames_sent_from_the_watched_folder(
    home: Home, make_telescope: MakeTelescope, *, look: bool
) -> None:
    watched(home, make_telescope(), look=look)
    now = utc_now()
    assert choose(home, now + timedelta(hours=167)).state == BlockState.COLLECTING

    block = choose(home, now + timedelta(hours=169))

    assert block.state == BlockState.RAW
    assert "has been out of reach for 7.0 days (crowdsky.raw_after_h)" in block.reason


def test_frames_that_only_the_telescope_has_wait_for_it(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    ready(home, telescope)
    telescope.stop()
    home.look()
    assert choose(home, utc_now() + 30 * A_DAY).state == BlockState.READY


def test_frames_that_left_their_telescope_are_sent_where_raw_is_preferred(
    home: Home, make_telescope: MakeTelescope
) -> None:
    home.prefer("crowdsky", route="raw")
    telescope = make_telescope()
    take_frames(telescope)
    home.own(telescope).change(Telescope, serial=telescope.spec.serial)
    home.take_in(*(seen(telescope, name) for name in frame_names(telescope)))
    for path in telescope.emmc.root.rglob("Light_*.fit"):
        path.unlink()
    home.change(Frame, seen_at=EVENING)
    home.look()
    assert home.frame_states() == {FrameState.NOT_ON_TELESCOPE}

    block = choose(home, utc_now() + 2 * AN_HOUR)

    assert (block.state, home.deliveries[0].state) == (BlockState.RAW, DeliveryState.PENDING)
    assert "does not have its frames" in block.reason


def test_what_waits_or_is_held_back_does_not_hold_the_others_up(home: Home) -> None:
    home.prefer("crowdsky", route="raw")
    evening = datetime(2026, 2, 27, 20, 0)  # noqa: DTZ001 - a telescope's wall clock
    with home.store.write() as session:
        night = RecordedNight(session)
        awake = night.telescope("awake", state=TelescopeState.READY)
        asleep = night.telescope("asleep", state=TelescopeState.UNREACHABLE)
        for number in range(30):
            start = evening + timedelta(minutes=15 * number)
            night.block(asleep, "M 81", start, BlockState.READY, frames=5)
            night.block(awake, "M 31", start, BlockState.READY, frames=5)
        last = night.block(awake, "M 81", evening + timedelta(hours=9), BlockState.READY, frames=5).id
        order_pause(session, None, "M 31", by="person", reason="", now=utc_now())
    home.change(Frame, inventoried_at=utc_now())

    with home.store.write() as session:
        assert choose_raw_routes(session, home.settings, utc_now()) == 1

    assert [block.id for block in home.rows(Block) if block.state == BlockState.RAW] == [last]


def test_a_block_of_two_quarter_hours_is_not_sent_and_says_why(
    home: Home, make_telescope: MakeTelescope
) -> None:
    home.prefer("crowdsky", route="raw")
    ready(home, make_telescope())
    with home.store.write() as session:
        frame = session.get_one(Frame, home.frames[0].id)
        frame.start_at = home.block().start_at - timedelta(seconds=3)

    block = choose(home)

    assert block.state == BlockState.READY
    assert "began in another quarter hour of UTC" in block.reason


def test_a_raw_block_is_no_work_for_its_telescope(home: Home, make_telescope: MakeTelescope) -> None:
    home.prefer("crowdsky", route="raw")
    ready(home, make_telescope())
    home.reconcile()
    assert TaskName.STACK_BLOCK not in [task for task, _ in home.nudges()]
