"""One block on its way to a stack: told, watched, booked, renamed; begun once, whatever happens."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from skyrelay.domain.stack_name import DsoStackedName
from skyrelay.domain.states import BlockState, DeliveryState, TelescopeState
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.live import listen
from skyrelay.queue.tasks import Queue
from skyrelay.service import utc_now
from skyrelay.store.tables import Block, Stack, Telescope
from skyrelay_simulators.telescope import KeyPair, SmbBackend, generate_key_pair
from skyrelay_uploader.due import due_fetches
from support.fits_files import write_fits
from support.gateway import running_gateway
from support.telescopes import (
    CHANGES,
    EVENING,
    SERIAL,
    MakeTelescope,
    asked,
    stacks_on,
    take_frames,
)
from support.waiting import eventually
from support.workshop import Home, seen

SMB = {"smb_backend": SmbBackend.AUTO}
NAMED = "CrowdSky_5_M 81_10.0s_IRCUT_20260228.12_HP006478.fit"


@pytest.fixture(scope="module")
def keys() -> KeyPair:
    """Give a pair of keys."""
    return generate_key_pair()


# -- the whole way ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("firmware", "wants_key"), [(2427, False), (2732, True), (2732, False), (2846, True), (2846, False)]
)
def test_a_block_is_stacked_and_named_by_every_firmware(
    home: Home, make_telescope: MakeTelescope, keys: KeyPair, tmp_path: Path, firmware: int, wants_key: bool
) -> None:
    key_path = tmp_path / "key.pem"
    key_path.write_bytes(keys.private_pem)
    telescope = make_telescope(
        firmware_ver_int=firmware, wants_key=wants_key, public_key_pem=keys.public_pem, stack_rejects=1, **SMB
    )
    names = take_frames(telescope, frames=6)
    home.own(telescope, key_path=key_path if wants_key else None)
    block = home.look_and_stack()
    assert (block.state, block.reason) == (BlockState.STACKED, "5 of 6 frames are in the stack")
    assert (block.percent, block.attempts) == (100.0, 1)
    assert home.steps() == ["ready", "stacking", "stacked"]
    stack = home.only_stack()
    assert (stack.crowdsky_name, stack.chunk_key) == (NAMED, "20260228.12_HP006478")
    assert (stack.frames_input, stack.frames_aligned, stack.exposure_total_s) == (6, 5, 50.0)
    assert stack.original_name.startswith("DSO_Stacked_5_M 81_10.0s_")
    assert (stack.renamed_at is not None, stack.rename_error) == (True, None)
    assert stack.size_bytes == (telescope.emmc.root / "MyWorks" / "M 81" / NAMED).stat().st_size
    assert abs(stack.first_start_at - EVENING) < timedelta(seconds=1)
    assert abs(stack.last_end_at - (EVENING + timedelta(seconds=5 * 11.3 + 10))) < timedelta(seconds=1)
    assert {frame.stack_id for frame in home.frames} == {stack.id}
    assert block.intent is not None
    assert block.intent["files"] == names
    assert stacks_on(telescope) == [NAMED]
    assert asked(telescope, "start_batch_stack") == 1
    assert telescope.device.batch_stack.status is None, "the result was cleared"


def test_what_leaves_the_house_is_owed_in_the_same_transaction(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    home.own(telescope).look_and_stack()
    (delivery,) = home.deliveries
    assert (delivery.stack_id, delivery.state) == (home.only_stack().id, DeliveryState.PENDING)
    assert home.nudges(Queue.UPLOADER) == [("uploader.fetch_stack", {"version": 1, "stack_id": 1})]


def test_nothing_is_owed_where_crowdsky_is_turned_off(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    home.prefer("crowdsky", enabled=False).own(telescope).look_and_stack()
    assert home.deliveries == []
    assert len(home.rows(Stack)) == 1


def test_blocks_of_another_length_get_the_legacy_name_hide_none_and_are_not_owed(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=1.1, **SMB)  # a second apart, as their names are
    take_frames(telescope, frames=10, cadence_s=60)
    home.prefer("stacking", block_minutes=5).own(telescope).look()
    home.work()
    assert stacks_on(telescope) == [
        "CrowdSky_5_M 81_10.0s_IRCUT_20260227-220000.fit",
        "CrowdSky_5_M 81_10.0s_IRCUT_20260227-220500.fit",
    ]
    assert home.deliveries == []


def test_a_stack_whose_position_is_not_known_says_so_in_its_name_and_is_kept_without_a_pixel(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(**SMB)
    take_frames(telescope, ra_deg=148.888, dec_deg=95.0)
    home.own(telescope).look_and_stack()
    stack = home.only_stack()
    assert stack.crowdsky_name == "CrowdSky_5_M 81_10.0s_IRCUT_20260228.12_HP000000.fit"
    assert (stack.chunk_key, stack.ra_deg, stack.dec_deg) == ("20260228.12", None, None)


def test_a_night_of_two_targets_is_stacked_oldest_first_without_waiting_between(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    take_frames(telescope, "M 31", EVENING + timedelta(minutes=30))
    take_frames(telescope, "M 81")
    home.own(telescope)
    home.work()
    assert {block.state for block in home.rows(Block)} == {BlockState.STACKED}
    folders = [entry.params["path"] for entry in telescope.journal.entries(method="set_batch_stack_setting")]
    assert folders == ["MyWorks/M 81_sub", "MyWorks/M 31_sub"]


def test_after_one_block_the_next_is_nudged_at_once(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    take_frames(telescope, "M 31")
    home.own(telescope).look()
    first, second = home.rows(Block)
    home.stack(first)
    assert home.nudges()[-1] == ("stacker.stack_block", {"version": 1, "block_id": second.id})
    assert home.telescope().state == TelescopeState.READY


def test_a_late_frame_after_the_stack_changes_nothing_and_is_shown(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    home.own(telescope).look_and_stack()
    late = take_frames(telescope, start=EVENING + timedelta(minutes=5), frames=1)[-1]
    home.take_in(seen(telescope, late))
    home.change(Telescope, next_look_at=None)
    home.work()
    assert (home.block().state, home.block().frame_count) == (BlockState.STACKED, 6)
    assert [frame.file_name for frame in home.frames if frame.stack_id is None] == [late]
    assert asked(telescope, "start_batch_stack") == 1


def test_if_a_person_wants_it_a_block_is_stacked_again_with_its_late_frames_and_both_stacks_are_kept(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=1.1, **SMB)  # a second apart, as their names are
    take_frames(telescope)
    home.own(telescope).look_and_stack()
    take_frames(telescope, start=EVENING + timedelta(minutes=5), frames=2)
    home.change(Telescope, next_look_at=None, inventory_started_at=None)
    home.work()
    assert len(home.rows(Stack)) == 1, "never by itself"
    with running_gateway(home.store, home.redis.url, home.settings) as gateway:
        answer = gateway.post("/api/v1/stack", {"block_id": home.block().id, "again": True}).json()
    assert answer["blocks"][0]["reason"].startswith("2 frames came too late")
    assert home.block().state == BlockState.COLLECTING
    home.change(Telescope, next_look_at=None)
    home.work()
    assert (home.block().state, home.block().reason) == (
        BlockState.STACKED,
        "7 of 7 frames are in the stack",
    )
    second_name = "CrowdSky_7_M 81_10.0s_IRCUT_20260228.12_HP006478_2.fit"
    assert sorted(stacks_on(telescope)) == [NAMED, second_name]
    first, second = home.rows(Stack)
    assert (first.crowdsky_name, second.crowdsky_name) == (NAMED, second_name)
    assert [delivery.stack_id for delivery in home.deliveries] == [first.id, second.id]
    assert {frame.stack_id for frame in home.frames} == {second.id}
    assert asked(telescope, "start_batch_stack") == 2
    with running_gateway(home.store, home.redis.url, home.settings) as gateway:
        (block,) = gateway.read("/api/v1/blocks")["items"]
        night = gateway.read("/api/v1/nights/2026-02-27/receipt")
    assert (block["stack_name"], block["late_frames"]) == (second_name, 0)
    assert (night["totals"]["frames_missing"], night["totals"]["deliveries"]) == (0, 2)


@pytest.mark.parametrize("scope", [{"all": True}, {"telescope": "garden"}, {"target": "M 81"}])
def test_while_stacking_is_paused_none_is_begun_and_the_one_under_way_ends(
    home: Home, make_telescope: MakeTelescope, scope: dict[str, Any]
) -> None:
    telescope = make_telescope(stack_seconds=1.5)
    take_frames(telescope)
    take_frames(telescope, start=EVENING + timedelta(minutes=30))
    home.own(telescope).look()
    first, second = home.rows(Block)
    with running_gateway(home.store, home.redis.url, home.settings) as gateway:
        with home.in_background(first) as worker:
            eventually(lambda: telescope.stacking)
            gateway.post("/api/v1/pause", {**scope, "reason": "guests"})
            worker.join(20)
        home.shutting_down.clear()
        home.work()
        home.stack(second)  # a message from before the pause
        assert [block.state for block in home.rows(Block)] == [BlockState.STACKED, BlockState.READY]
        assert asked(telescope, "start_batch_stack") == 1
        gateway.post("/api/v1/resume", {"all": True})
        home.work()
    assert {block.state for block in home.rows(Block)} == {BlockState.STACKED}


def test_a_frame_that_comes_between_ready_and_start_is_looked_at_first(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    home.own(telescope).look()
    late = take_frames(telescope, start=EVENING + timedelta(minutes=5), frames=1)[-1]
    home.take_in(seen(telescope, late))
    home.change(Block, state=BlockState.READY)  # a person asked for it, without waiting
    assert home.stack().state == BlockState.COLLECTING
    assert asked(telescope, "start_batch_stack") == 0
    home.change(Telescope, next_look_at=None)
    home.work()
    assert (home.block().state, home.block().reason) == (BlockState.STACKED, "6 of 6 frames are in the stack")


@pytest.mark.parametrize(
    "name", [NAMED, "CrowdSky_5_M 81_10s_IRCUT_20260227-220000.fit", NAMED.replace("_HP006478", "")]
)
def test_a_stack_that_another_tool_made_covers_its_block_and_is_sent_only_if_a_person_wants_it(
    home: Home, make_telescope: MakeTelescope, name: str
) -> None:
    telescope = make_telescope(**SMB)
    take_frames(telescope)
    folder = telescope.emmc.root / "MyWorks" / "M 81"
    folder.mkdir(exist_ok=True)
    write_fits(folder / name, DATE_OBS=EVENING.replace(tzinfo=None).isoformat(), OBJECT="M 81")
    home.own(telescope).work()
    assert (home.block().state, asked(telescope, "start_batch_stack")) == (BlockState.COVERED, 0)
    stack = home.only_stack()
    assert (stack.crowdsky_name, stack.original_name, stack.frames_aligned) == (name, name, 5)
    assert stack.chunk_key.startswith("20260228.12")
    assert abs(stack.first_start_at - EVENING) < timedelta(seconds=1)
    assert home.deliveries == []
    with home.store.read() as session:
        assert due_fetches(session, utc_now(), 10) == [], "it stays where it is"
    with running_gateway(home.store, home.redis.url, home.settings) as gateway:
        assert gateway.read("/api/v1/status")["stacks"]["offered"] == 1
        asked_first = gateway.post("/api/v1/offers", {"all": True, "dry_run": True}).json()
        assert (asked_first["names"], home.deliveries) == ([name], [])
        assert gateway.post("/api/v1/offers", {"stack_id": stack.id}).json()["stacks"] == 1
        assert gateway.post("/api/v1/offers", {"stack_id": stack.id}).status_code == 409
        assert gateway.post("/api/v1/offers", {"stack_id": 99}).status_code == 404
    (delivery,) = home.deliveries
    assert (delivery.stack_id, delivery.state) == (stack.id, DeliveryState.PENDING)
    with home.store.read() as session:
        assert due_fetches(session, utc_now(), 10) == [stack.id]
    assert stacks_on(telescope) == [name], "it is never renamed"


# -- when ------------------------------------------------------------------------------------------


def test_before_the_set_up_is_done_nothing_happens(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    home.own(telescope)
    home.settings = home.settings.model_copy(update={"setup": "ask"})
    home.reconcile()
    assert home.nudges() == []
    assert telescope.journal.entries() == []


def test_once_it_is_done_each_telescope_is_looked_at(home: Home, make_telescope: MakeTelescope) -> None:
    home.own(make_telescope()).reconcile()
    assert home.nudges() == [("stacker.look_at_telescope", {"version": 1, "telescope_id": 1})]


@pytest.mark.parametrize(
    ("stacking", "traits"),
    [
        ({"idle_s": 3600.0}, {}),
        ({"min_battery": 90}, {"battery_percent": 85}),
    ],
)
def test_a_telescope_that_may_not_begin_yet_is_not_begun(
    home: Home, make_telescope: MakeTelescope, stacking: dict[str, Any], traits: dict[str, Any]
) -> None:
    telescope = make_telescope(**traits)
    take_frames(telescope)
    home.prefer("stacking", **stacking).own(telescope)
    home.work()
    assert home.block().state == BlockState.READY
    home.stack()  # a message from before it was so
    assert (home.block().state, home.block().attempts) == (BlockState.READY, 0)
    assert not CHANGES & set(telescope.journal.methods())


@pytest.mark.parametrize("traits", [{"battery_percent": 5, "charging": True}, {"battery_percent": None}])
def test_a_charging_telescope_and_one_that_does_not_tell_may_begin(
    home: Home, make_telescope: MakeTelescope, traits: dict[str, Any]
) -> None:
    telescope = make_telescope(**traits)
    take_frames(telescope)
    assert home.own(telescope).look_and_stack().state == BlockState.STACKED


def test_by_hand_nothing_is_stacked_that_was_not_asked_for(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    home.prefer("stacking", when="manual").own(telescope)
    home.work()
    assert home.block().state == BlockState.READY
    home.change(Block, requested=True)
    home.work()
    assert home.block().state == BlockState.STACKED


def test_an_observation_that_began_since_the_last_look_is_not_disturbed(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    home.own(telescope).look()
    telescope.observe("M 31")
    assert home.stack().state == BlockState.READY
    assert home.telescope().state == TelescopeState.OBSERVING
    assert not CHANGES & set(telescope.journal.methods())


def test_what_the_telescope_does_is_shown_while_it_stacks(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(stack_seconds=30.0)
    take_frames(telescope)
    home.own(telescope).look()
    with home.in_background():
        eventually(lambda: home.telescope().state == TelescopeState.STACKING)
        eventually(lambda: (home.block().percent or 0) > 0)
        assert home.telescope().lease_until is not None
    assert telescope.stacking, "the run goes on without the worker"
    assert home.block().state == BlockState.STACKING


def test_who_listens_hears_how_far_a_block_is_and_how_it_ends(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=1.5)
    take_frames(telescope)
    home.own(telescope).look()
    with connect_redis(home.redis.url) as redis:
        heard = listen(redis, 0.05)
        assert next(heard) is None
        home.stack()
        events = list(takewhile(lambda event: event is not None, heard))
    block = home.block()
    assert {(event.block_id, event.telescope_id) for event in events if event} == {(block.id, 1)}
    assert [event.state for event in events if event][-1] == BlockState.STACKED
    assert any(event.state == BlockState.STACKING for event in events if event)
    percents = [event.percent or 0.0 for event in events if event]
    assert percents == sorted(percents)


def test_without_anybody_to_tell_a_block_is_stacked_all_the_same(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    home.own(telescope).look()
    home.redis.stop()
    assert home.stack().state == BlockState.STACKED


def test_a_task_says_what_it_is_about_as_flower_shows_it(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    home.own(telescope).reconcile()
    home.look()
    assert home.words() == ["garden", "M 81 20260228.12 on garden, block 1"]
    home.stack()
    assert home.words(Queue.UPLOADER) == [NAMED]


# -- one at a time ---------------------------------------------------------------------------------


def test_two_workers_at_once_begin_one_stack(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(stack_seconds=1.0)
    take_frames(telescope)
    home.own(telescope).look()
    with home.in_background() as worker:
        eventually(lambda: telescope.stacking)
        assert home.another().stack().state == BlockState.STACKING
        worker.join(20)
    assert home.block().state == BlockState.STACKED
    assert asked(telescope, "start_batch_stack") == 1
    assert len(home.rows(Stack)) == 1


def test_a_stack_whose_name_is_booked_already_is_not_taken_for_anothers(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(**SMB)
    take_frames(telescope)
    home.own(telescope).look_and_stack()
    take_frames(telescope, start=EVENING + timedelta(minutes=30))
    # The telescope's clock is set back, so that the second stack gets the first one's name.
    booked = home.only_stack().original_name
    telescope.device.batch_stack._wall_clock = _Stopped(booked)  # type: ignore[assignment] # a clock set back
    home.change(Telescope, next_look_at=None, inventory_started_at=None)
    home.work()
    second = home.rows(Block)[1]
    assert (second.state, second.needs_you) == (BlockState.FAILED, False)
    assert "its stack is not there" in second.reason
    assert len(home.rows(Stack)) == 1


class _Stopped:
    """A wall clock that shows the time in a stack's name."""

    def __init__(self, stack_name: str) -> None:
        parsed = DsoStackedName.parse(stack_name)
        assert parsed is not None
        self._shown_local = parsed.saved_local

    def now_local(self) -> datetime:
        return self._shown_local


def test_a_message_that_comes_late_or_twice_changes_nothing(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    home.own(telescope).look_and_stack()
    asked_before = len(telescope.journal.entries())
    home.stack()
    assert len(telescope.journal.entries()) == asked_before
    assert home.steps() == ["ready", "stacking", "stacked"]


def test_who_lost_the_lease_touches_nothing_more(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(stack_seconds=1.5)
    take_frames(telescope)
    home.own(telescope).look()
    with home.in_background() as worker:
        eventually(lambda: telescope.stacking)
        home.change(Telescope, lease_holder="another", lease_fence=99)
        before = home.block().state, home.steps()
        worker.join(20)
        assert not worker.is_alive()
    eventually(lambda: not telescope.stacking)
    assert (home.block().state, home.steps()) == before
    assert home.rows(Stack) == []
    assert asked(telescope, "clear_batch_stack") == 1, "before the start, and not after it"
    assert all(name.startswith("DSO_Stacked_") for name in stacks_on(telescope))


def test_a_telescope_that_is_held_by_another_is_left_to_it(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    home.own(telescope, serial=SERIAL)
    home.change(Telescope, lease_holder="another", lease_until=utc_now() + timedelta(seconds=30))
    home.look()
    assert telescope.journal.entries() == []
