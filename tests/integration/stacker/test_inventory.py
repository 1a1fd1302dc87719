"""The inventory of a telescope: the truth behind the events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from skyrelay.domain.states import BlockState, FrameState, TelescopeState
from skyrelay.domain.utc_offset import OffsetSource
from skyrelay.store.tables import Block, Telescope
from skyrelay_simulators.light_frame_file import LightFrameFacts, frame_bytes
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend
from support.telescopes import (
    CHANGES,
    EVENING,
    SERIAL,
    MakeTelescope,
    asked,
    frame_names,
    headers_read,
    stacks_on,
    sub_folder,
    take_frames,
)
from support.workshop import Home, half, seen

SMB = {"smb_backend": SmbBackend.AUTO}


def break_listings(telescope: SimulatedTelescope) -> None:
    """Let every listing over RPC fail."""
    telescope.device.emmc.listing = _refuse  # type: ignore[method-assign] # a fault of the eMMC
    telescope.device.emmc.albums = _refuse  # type: ignore[method-assign] # a fault of the eMMC


def _refuse(*_: object, **__: object) -> dict[str, object]:
    from skyrelay_simulators.telescope.rpc_codes import Code, RpcError

    raise RpcError(Code.FAIL_TO_OPERATE)


def state_of(home: Home) -> list[tuple[str, str]]:
    """Give what is known of the frames, in the order of their names."""
    return sorted((frame.file_name, frame.state) for frame in home.frames)


@pytest.mark.parametrize("backend", [SmbBackend.AUTO, SmbBackend.OFF])
def test_frames_that_no_event_announced_are_found(
    home: Home, make_telescope: MakeTelescope, backend: SmbBackend
) -> None:
    telescope = make_telescope(smb_backend=backend)
    names = take_frames(telescope, frames=25)
    row = home.own(telescope).look()
    assert state_of(home) == [(name, FrameState.OK) for name in names]
    assert {frame.seen_by for frame in home.frames} == {"inventory"}
    assert home.block().reason == "all of its 25 frames are on the telescope"
    assert row.inventory_error is None
    assert row.inventory_started_at is not None
    assert not CHANGES & set(telescope.journal.methods())


def test_only_the_first_and_the_last_header_of_a_night_are_read(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    names = take_frames(telescope, frames=20)
    next_night = take_frames(telescope, start=EVENING + timedelta(days=1), frames=20)[20:]
    home.own(telescope).look()
    assert headers_read(telescope) == {names[0], names[19], next_night[0], next_night[-1]}
    sources = {frame.file_name: frame.offset_source for frame in home.frames}
    assert sources[names[0]] == OffsetSource.HEADER
    assert sources[names[7]] == OffsetSource.NEIGHBOUR
    assert [block.utc_offset_min for block in home.rows(Block)] == [-300, -300]


def test_what_is_known_is_not_read_again(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    home.own(telescope).look()
    home.prefer("scheduler", inventory_s=0.2).change(Telescope, inventory_started_at=EVENING)
    read = len(telescope.journal.entries(channel="http"))
    home.look()
    assert len(telescope.journal.entries(channel="http")) == read


def test_a_frame_next_to_a_blocks_edge_has_its_header_read(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    # 21:59:58.5 is the last but one; the edge lies 0.2 s before the last start but two.
    names = take_frames(telescope, start=EVENING - timedelta(seconds=10.45 + 120), frames=20, cadence_s=20)
    home.own(telescope).look()
    near = [frame for frame in home.frames if frame.start_source == "header"]
    assert {frame.file_name for frame in near} == {names[0], names[6], names[-1]}
    first, second = home.rows(Block)
    assert (first.frame_count, second.frame_count) == (7, 13)


def test_a_night_whose_offset_changes_has_every_header_read(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    # On 8 March 2026 New York's clocks go from 2:00 to 3:00.
    names = take_frames(telescope, start=datetime(2026, 3, 8, 6, 50, tzinfo=UTC), frames=11, cadence_s=120)
    home.own(telescope).look()
    assert headers_read(telescope) == set(names)
    assert [(block.utc_offset_min, block.frame_count) for block in home.rows(Block)] == [(-300, 5), (-240, 6)]
    assert [block.start_at.minute for block in home.rows(Block)] == [45, 0]


def test_the_zone_of_this_machine_changes_nothing(
    home: Home, make_telescope: MakeTelescope, monkeypatch: pytest.MonkeyPatch
) -> None:
    telescope = make_telescope(timezone="Asia/Kathmandu")
    take_frames(telescope)
    home.own(telescope).look()
    assert home.block().utc_offset_min == 345
    assert home.block().start_at == datetime(2026, 2, 28, 3, tzinfo=UTC)


def test_a_listing_that_fails_changes_nothing(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    names = take_frames(telescope)
    home.own(telescope).look()
    before = state_of(home)
    home.change(Block, state=BlockState.COLLECTING)
    listing, albums = telescope.device.emmc.listing, telescope.device.emmc.albums
    break_listings(telescope)
    row = home.look()
    assert state_of(home) == before == [(name, FrameState.OK) for name in names]
    assert home.block().state == BlockState.COLLECTING
    assert (row.state, row.next_look_at is not None) == (TelescopeState.READY, True)
    assert "cannot be listed" in (row.inventory_error or "")
    telescope.device.emmc.listing, telescope.device.emmc.albums = listing, albums  # type: ignore[method-assign] # it is well again
    assert home.look().inventory_error is None
    assert home.block().state == BlockState.READY


def test_an_empty_telescope_is_an_empty_one(home: Home, make_telescope: MakeTelescope) -> None:
    row = home.own(make_telescope(**SMB)).look()
    assert (home.frames, row.inventory_error) == ([], None)
    assert row.inventory_finished_at is not None


def test_a_folder_hidden_from_the_albums_is_found_by_smb(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(albums_left_out=frozenset({"M 81_sub", "M 81"}), **SMB)
    take_frames(telescope)
    home.own(telescope).look()
    assert home.block().state == BlockState.READY


def test_without_smb_a_hidden_folder_is_looked_into_once_frames_of_it_are_known(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(albums_left_out=frozenset({"M 81_sub", "M 81"}))
    names = take_frames(telescope)
    home.own(telescope).look()
    assert home.frames == []
    home.take_in(seen(telescope, names[0]))
    home.look()
    assert state_of(home) == [(name, FrameState.OK) for name in names]
    assert home.block().state == BlockState.READY


def test_without_smb_a_stack_in_a_hidden_folder_still_covers_its_block(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(albums_left_out=frozenset({"M 81"}))
    take_frames(telescope)
    lay_stack(telescope, "CrowdSky_5_M 81_10.0s_IRCUT_20260228.12_HP006478.fit")
    home.own(telescope).look()
    assert home.block().state == BlockState.COVERED


def test_an_observing_telescope_is_not_listed(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    telescope.observe("M 81")
    row = home.own(telescope).look()
    assert (row.state, home.frames) == (TelescopeState.OBSERVING, [])
    assert asked(telescope, "get_albums") == 0
    home.take_in(seen(telescope, frame_names(telescope)[0]))
    home.look()
    assert home.block().state == BlockState.COLLECTING
    telescope.finish_observing()
    home.look()
    assert (home.block().state, home.block().frame_count) == (BlockState.READY, 5)


def test_a_block_that_is_not_over_waits(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    take_frames(telescope, start=datetime.now(UTC) - timedelta(seconds=45), frames=3)
    home.own(telescope).look()
    assert {block.state for block in home.rows(Block)} == {BlockState.COLLECTING}


def test_a_frame_that_only_the_watcher_has_is_not_on_the_telescope_and_not_given_to_it(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    names = take_frames(telescope, frames=6)
    home.own(telescope, serial=SERIAL).take_in(*(seen(telescope, name) for name in names))
    (sub_folder(telescope) / names[2]).unlink()
    home.look()
    missing = next(frame for frame in home.frames if frame.file_name == names[2])
    assert (missing.state, missing.state_reason) == (
        FrameState.NOT_ON_TELESCOPE,
        "seen here, but the telescope does not list it",
    )
    block = home.stack()
    assert (block.state, block.reason) == (BlockState.STACKED, "5 of 5 frames are in the stack")
    assert names[2] not in block.intent["files"] if block.intent else False


@pytest.mark.parametrize("folder", ["copies", "a:b_sub"])
@pytest.mark.parametrize("backend", [SmbBackend.AUTO, SmbBackend.OFF])
def test_copies_in_a_folder_of_another_name_are_not_on_the_telescope_and_hold_nothing_up(
    home: Home, make_telescope: MakeTelescope, backend: SmbBackend, folder: str
) -> None:
    telescope = make_telescope(smb_backend=backend)
    names = take_frames(telescope)
    home.own(telescope, serial=SERIAL)
    home.take_in(*(seen(telescope, name, path=f"{folder}/{name}") for name in names))
    home.look()
    states = {(frame.folder, frame.state) for frame in home.frames}
    assert states == {(folder, FrameState.NOT_ON_TELESCOPE), ("M 81_sub", FrameState.OK)}
    block = home.stack()
    assert (block.state, block.folder, block.frame_count) == (BlockState.STACKED, "M 81_sub", 5)


def test_an_event_of_what_the_inventory_knows_adds_nothing(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    names = take_frames(telescope)
    home.own(telescope).look()
    home.take_in(*(seen(telescope, name) for name in names))
    assert len(home.frames) == 5
    home.look()
    assert (home.block().state, home.block().frame_count) == (BlockState.READY, 5)


def test_a_frame_that_was_half_written_is_read_again_once_it_is_whole(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    names = take_frames(telescope, frames=6)
    place = sub_folder(telescope) / names[2]
    whole = place.read_bytes()
    home.own(telescope, serial=SERIAL).take_in(half(seen(telescope, names[2])))
    place.write_bytes(whole[:1000])
    home.look()
    assert dict(state_of(home))[names[2]] == FrameState.UNREADABLE
    assert (home.block().state, home.block().frame_count) == (BlockState.READY, 5)
    place.write_bytes(whole)
    home.prefer("scheduler", inventory_s=0.2).change(Telescope, inventory_started_at=EVENING)
    home.look()
    assert dict(state_of(home))[names[2]] == FrameState.OK
    assert home.block().frame_count == 6


def look_again(home: Home) -> None:
    """Take another inventory, as if time had passed."""
    home.change(Telescope, inventory_started_at=EVENING)
    home.look()


@pytest.mark.parametrize("backend", [SmbBackend.AUTO, SmbBackend.OFF])
def test_a_frame_for_which_room_was_made_is_read_again_once_it_is_filled(
    home: Home, make_telescope: MakeTelescope, backend: SmbBackend
) -> None:
    telescope = make_telescope(smb_backend=backend)
    names = take_frames(telescope, frames=6)
    place = sub_folder(telescope) / names[0]
    whole = place.read_bytes().ljust(400_000, b"\0")
    place.write_bytes(bytes(len(whole)))
    home.own(telescope).look()
    assert dict(state_of(home))[names[0]] == FrameState.UNREADABLE
    place.write_bytes(whole)
    look_again(home)
    assert dict(state_of(home))[names[0]] == FrameState.OK
    assert home.block().frame_count == 6


def test_what_is_no_fits_is_not_read_again_until_it_changes(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(**SMB)
    names = take_frames(telescope, frames=6)
    place = sub_folder(telescope) / names[3]
    whole = place.read_bytes()
    home.own(telescope, serial=SERIAL).take_in(half(seen(telescope, names[3])))
    place.write_bytes(b"no telescope wrote this" * 300)
    home.look()
    read = len(telescope.journal.entries(channel="http"))
    look_again(home)
    assert len(telescope.journal.entries(channel="http")) == read
    place.write_bytes(whole)
    look_again(home)
    assert dict(state_of(home))[names[3]] == FrameState.OK


def test_one_inventory_tries_few_unreadable_frames_again_and_all_of_them_have_their_turn(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(**SMB)
    names = take_frames(telescope, frames=30)
    wholes = {name: (sub_folder(telescope) / name).read_bytes() for name in names}
    for name, whole in wholes.items():
        (sub_folder(telescope) / name).write_bytes(bytes(len(whole)))
    home.own(telescope).look()
    assert home.frame_states() == {FrameState.UNREADABLE}
    for name, whole in wholes.items():
        (sub_folder(telescope) / name).write_bytes(whole)
    look_again(home)
    assert sum(frame.state == FrameState.OK for frame in home.frames) == 20
    look_again(home)
    assert home.frame_states() == {FrameState.OK}


def test_a_file_that_is_no_fits_hinders_none_of_the_others(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    names = take_frames(telescope, frames=6)
    (sub_folder(telescope) / names[0]).write_bytes(b"no telescope wrote this" * 300)
    home.own(telescope).look()
    assert dict(state_of(home))[names[0]] == FrameState.UNREADABLE
    assert home.block().frame_count == 5


def test_a_listed_frame_that_the_telescope_does_not_give_hinders_none_of_the_others(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    names = take_frames(telescope, frames=6)
    locate = telescope.device.emmc.locate

    def lose(path: str) -> object:
        from skyrelay_simulators.telescope.emmc import NotOnEmmcError

        if path.endswith(names[0]):
            raise NotOnEmmcError(path)
        return locate(path)

    telescope.device.emmc.locate = lose  # type: ignore[assignment,method-assign] # a fault of its web server
    row = home.own(telescope).look()
    assert (row.inventory_error, dict(state_of(home))[names[0]]) == (None, FrameState.UNREADABLE)
    assert home.block().frame_count == 5


def test_frames_from_the_future_are_held(home: Home, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope()
    take_frames(telescope, start=datetime.now(UTC) + timedelta(minutes=5), frames=3)
    home.own(telescope).look()
    assert home.frame_states() == {FrameState.CLOCK_WRONG}
    assert home.rows(Block) == []


def test_frames_that_were_held_while_this_servers_clock_was_behind_go_on_once_it_is_right(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    names = take_frames(telescope)
    events = [seen(telescope, name) for name in names]
    home.own(telescope, serial=SERIAL).take_in(*events, clock=EVENING - timedelta(days=1))
    assert home.frame_states() == {FrameState.CLOCK_WRONG}
    home.look()
    assert home.frame_states() == {FrameState.OK}
    assert (home.block().state, home.block().frame_count) == (BlockState.READY, 5)


def test_too_short_a_block_is_skipped_and_a_late_frame_opens_it_again(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    take_frames(telescope, frames=3)
    home.own(telescope).look()
    assert home.block().state == BlockState.SKIPPED
    assert home.block().reason == "3 frames give 30 s; stacking.min_exptime asks for 40 s"
    late = take_frames(telescope, start=EVENING + timedelta(minutes=5), frames=1)[-1]
    home.take_in(seen(telescope, late))
    assert home.block().state == BlockState.COLLECTING
    home.look()
    assert (home.block().state, home.block().frame_count) == (BlockState.READY, 4)


def lay_stack(telescope: SimulatedTelescope, name: str, target: str = "M 81") -> None:
    """Lay a stack of somebody else's on a telescope."""
    import numpy as np

    facts = LightFrameFacts(
        spec=telescope.spec,
        target=target,
        started=EVENING,
        exposure_s=10.0,
        filter="IRCUT",
        ra_deg=148.888,
        dec_deg=69.065,
    )
    folder = telescope.emmc.target_folder(target)
    (folder / name).write_bytes(frame_bytes(facts, np.full((8, 8), 100, dtype=np.uint16)))


@pytest.mark.parametrize(
    "name",
    [
        "CrowdSky_4_M 81_10.0s_IRCUT_20260228.12_HP006478.fit",
        "CrowdSky_4_M 81_10.0s_IRCUT_20260227-220000.fit",
    ],
)
def test_a_crowdsky_stack_of_an_earlier_life_covers_its_block(
    home: Home, make_telescope: MakeTelescope, name: str
) -> None:
    telescope = make_telescope()
    take_frames(telescope)
    lay_stack(telescope, name)
    home.own(telescope).look()
    home.work()
    assert (home.block().state, home.block().reason) == (
        BlockState.COVERED,
        f"{name} lies on the telescope already",
    )
    assert not CHANGES & set(telescope.journal.methods())


def test_somebody_elses_stacks_are_never_claimed_nor_renamed(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(**SMB)
    take_frames(telescope)
    theirs = ["DSO_Stacked_4_M 81_10.0s_20260228_010000.fit", "DSO_Stacked_5_M 81_10.0s_20260228_020000.fit"]
    for name in theirs:
        lay_stack(telescope, name)
    home.own(telescope).look()
    block = home.stack()
    assert block.state == BlockState.STACKED
    assert home.only_stack().original_name not in theirs
    assert stacks_on(telescope) == sorted([*theirs, "CrowdSky_5_M 81_10.0s_IRCUT_20260228.12_HP006478.fit"])
