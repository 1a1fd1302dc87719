"""A look at a telescope: who it is, what it does, and why it cannot be asked, each in its own words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skyrelay.domain.states import BlockState, TelescopeState
from skyrelay.service import utc_now
from skyrelay.settings import TelescopeSettings
from skyrelay.store.tables import Block, Telescope
from skyrelay_simulators.telescope import KeyPair, generate_key_pair
from support.telescope_wire import old_firmware, reply, scripted
from support.telescopes import CHANGES, SERIAL, MakeTelescope, asked, settings_of, take_frames
from support.workshop import Home, seen


@pytest.fixture(scope="module")
def keys() -> KeyPair:
    """Give the telescope's pair of keys."""
    return generate_key_pair()


@pytest.fixture
def locked(make_telescope: MakeTelescope, keys: KeyPair) -> Any:
    """Give a telescope that wants a key, with a block's frames on it."""
    telescope = make_telescope(wants_key=True, public_key_pem=keys.public_pem)
    take_frames(telescope)
    return telescope


def key_file(folder: Path, pair: KeyPair) -> Path:
    """Write a private key."""
    path = folder / "seestar.pem"
    path.write_bytes(pair.private_pem)
    return path


def test_a_first_look_says_who_it_is_and_what_it_does(home: Home, make_telescope: MakeTelescope) -> None:
    row = home.own(make_telescope(firmware_ver_int=2846, battery_percent=64, charging=True)).look()
    assert (row.serial, row.model, row.firmware_int) == (SERIAL, "Seestar S50", 2846)
    assert (row.state, row.battery_percent, row.charging) == (TelescopeState.READY, 64, True)
    assert row.temperature_c == 41.5
    assert row.last_seen_at is not None
    assert row.next_look_at is not None
    assert row.next_look_at > utc_now()
    assert row.lease_until is None


@pytest.mark.parametrize(
    ("seconds", "state"),
    [(30.0, TelescopeState.BUSY_ELSEWHERE), (0.0, TelescopeState.READY)],
)
def test_somebody_elses_stack_is_named_and_not_disturbed(
    home: Home, make_telescope: MakeTelescope, seconds: float, state: TelescopeState
) -> None:
    telescope = make_telescope(stack_seconds=seconds)
    names = take_frames(telescope)
    home.own(telescope)
    if state is TelescopeState.BUSY_ELSEWHERE:
        setting = type(telescope.device.batch_stack.setting)(
            "MyWorks/M 81_sub", (f"MyWorks/M 81_sub/{names[0]}",)
        )
        assert telescope.device.batch_stack.set(setting)
        assert telescope.device.batch_stack.start()
    row = home.look()
    assert row.state == state
    assert ("somebody else has it stack 1 frames in M 81_sub" in row.state_reason) is (seconds > 0)
    assert (asked(telescope, "get_albums") == 0) is (state is TelescopeState.BUSY_ELSEWHERE)


def test_a_key_that_is_missing_is_named_with_its_setting_and_asked_for_again(
    home: Home, locked: Any, keys: KeyPair, tmp_path: Path
) -> None:
    row = home.own(locked).look()
    assert (row.state, row.last_seen_at) == (TelescopeState.KEY_MISSING, None)
    assert row.state_reason == "garden wants a key: set telescopes[garden].key_path"
    assert row.next_look_at is not None, "it is asked again"
    assert home.frames == []
    home.own(locked, key_path=key_file(tmp_path, keys))
    home.change(Telescope, next_look_at=None)
    home.work()
    assert home.block().state == BlockState.STACKED


def test_a_key_file_that_is_not_there_is_named(home: Home, locked: Any, tmp_path: Path) -> None:
    row = home.own(locked, key_path=tmp_path / "gone.pem").look()
    assert row.state == TelescopeState.KEY_MISSING
    assert "gone.pem is not there" in row.state_reason


def test_a_wrong_key_is_named_with_its_setting(home: Home, locked: Any, tmp_path: Path) -> None:
    row = home.own(locked, key_path=key_file(tmp_path, generate_key_pair())).look()
    assert row.state == TelescopeState.KEY_REFUSED
    assert "telescopes[garden].key_path the right one" in row.state_reason
    assert "PRIVATE" not in row.state_reason


@pytest.mark.parametrize("state", [BlockState.READY, BlockState.STACKING])
def test_a_key_that_goes_bad_is_the_telescopes_trouble_and_not_the_blocks(
    home: Home, locked: Any, keys: KeyPair, tmp_path: Path, state: BlockState
) -> None:
    path = key_file(tmp_path, keys)
    home.own(locked, key_path=path).look()
    home.change(
        Block, state=state, started_at=utc_now(), intent={"files": ["Light.fit"], "outputs_before": []}
    )
    path.write_bytes(generate_key_pair().private_pem)
    block = home.stack()
    assert (block.state, block.attempts, block.needs_you) == (state, 0, False)
    assert home.telescope().state == TelescopeState.KEY_REFUSED
    assert home.telescope().next_look_at is not None, "it is asked again"
    assert not CHANGES & set(locked.journal.methods())


def test_a_telescope_that_is_switched_off_is_named_and_asked_again(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    home.own(telescope).look()
    seen_at = home.telescope().last_seen_at
    telescope.stop()
    row = home.look()
    assert row.state == TelescopeState.UNREACHABLE
    assert "refuses port" in row.state_reason
    assert (row.last_seen_at, row.idle_since) == (seen_at, None)
    assert row.next_look_at is not None


def test_something_that_is_no_telescope_is_not_taken_for_one(home: Home) -> None:
    with scripted(old_firmware(lambda request: reply(request, {}))) as something:
        row = home.configure(
            TelescopeSettings(name="garden", host=something.host, rpc_port=something.port)
        ).look()
    assert (row.state, row.serial) == (TelescopeState.UNREACHABLE, None)
    assert "is it a Seestar?" in row.state_reason


def test_frames_that_were_seen_before_the_first_contact_are_the_telescopes(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope()
    names = take_frames(telescope)
    home.own(telescope).take_in(*(seen(telescope, name) for name in names))
    assert sorted(row.name for row in home.rows(Telescope)) == [f"Seestar {SERIAL}", "garden"]
    home.work()
    (row,) = home.rows(Telescope)
    assert (row.name, row.serial) == ("garden", SERIAL)
    assert (home.block().state, home.block().telescope_id) == (BlockState.STACKED, row.id)


def test_two_telescopes_are_looked_at_and_stacked_each_for_itself(
    home: Home, make_telescope: MakeTelescope
) -> None:
    south, north = make_telescope(), make_telescope(serial="00aa11bb")
    for telescope in (south, north):
        take_frames(telescope)
    north.observe("M 31")
    home.configure(settings_of(south, "south"), settings_of(north, "north"))
    home.reconcile()
    assert [name for name, _ in home.nudges()] == ["stacker.look_at_telescope"] * 2
    home.work()
    assert [(block.telescope_id, block.state) for block in home.rows(Block)] == [
        (home.telescope("south").id, BlockState.STACKED)
    ]
    north.finish_observing()
    home.change(Telescope, next_look_at=None)
    home.work()
    assert [block.state for block in home.rows(Block)] == [BlockState.STACKED] * 2
    assert asked(south, "start_batch_stack") == asked(north, "start_batch_stack") == 1
