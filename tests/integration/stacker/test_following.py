"""A telescope is its serial number: wherever it answers, and whoever answers in its place."""

from __future__ import annotations

from typing import Any

import pytest

from skyrelay.domain.states import BlockState, Reach, TelescopeState
from skyrelay.store.tables import Telescope
from skyrelay_simulators.telescope import SimulatedTelescope, generate_key_pair
from support.ports import free_port
from support.telescopes import CHANGES, SERIAL, MakeTelescope, settings_of, stacks_on, take_frames
from support.workshop import Home

HERE, THERE, ELSEWHERE = "127.0.0.1", "127.0.0.2", "127.0.0.3"
OTHER = "00aa11bb"


@pytest.fixture
def at(make_telescope: MakeTelescope) -> Any:
    """Give a function that has a telescope answer at an address, always on the same ports, as they do."""
    ports = {name: free_port() for name in ("rpc_port", "http_port", "udp_port")}
    return lambda host, **traits: make_telescope(host=host, **ports, **traits)


def asking(home: Home, telescope: SimulatedTelescope) -> Home:
    """Configure where to look for telescopes."""
    port = telescope.endpoint.udp_port
    return home.prefer("discovery", addresses=[f"{host}:{port}" for host in (HERE, THERE, ELSEWHERE)])


def own(home: Home, telescope: SimulatedTelescope, **changes: Any) -> Home:
    """Configure a telescope where it answers now, and where else to look for it."""
    return asking(home, telescope).own(telescope, **changes)


def test_a_telescope_that_moved_is_followed_by_its_serial_and_its_blocks_are_stacked(
    home: Home, at: Any
) -> None:
    telescope = at(HERE)
    take_frames(telescope)
    assert own(home, telescope).look().state == TelescopeState.READY
    telescope.stop()
    telescope = at(THERE)
    row = home.look()
    assert (row.state, row.reach) == (TelescopeState.READY, Reach.ANSWERS)
    assert (row.host, row.found_host, row.address) == (HERE, THERE, THERE)
    assert f"answers at {THERE}, while telescopes[garden].host says {HERE}" in row.state_reason
    home.work()
    assert home.block().state == BlockState.STACKED
    assert len(stacks_on(telescope)) == 1
    assert [row.name for row in home.rows(Telescope)] == ["garden"]


def test_the_configuration_wins_once_it_says_something_new(home: Home, at: Any) -> None:
    telescope = at(HERE)
    own(home, telescope).look()
    telescope.stop()
    moved = at(THERE)
    home.look()
    own(home, telescope)
    assert home.telescope().found_host == THERE, "the same configuration again says nothing new"
    own(home, moved)
    assert (home.telescope().host, home.telescope().found_host) == (THERE, None)
    assert home.look().state_reason == "it is idle"


def test_a_telescope_that_comes_back_is_at_its_address_again(home: Home, at: Any) -> None:
    telescope = at(HERE)
    own(home, telescope).look()
    telescope.stop()
    away = at(THERE)
    assert home.look().found_host == THERE
    away.stop()
    at(HERE)
    row = home.look()
    assert (row.state, row.found_host, row.state_reason) == (TelescopeState.READY, None, "it is idle")


def test_a_telescope_that_moves_on_is_followed_further(home: Home, at: Any) -> None:
    telescope = at(HERE)
    own(home, telescope).look()
    for host in (THERE, ELSEWHERE):
        telescope.stop()
        telescope = at(host)
        assert home.look().found_host == host


def test_one_that_answers_nowhere_is_unreachable_in_the_words_of_its_own_address(home: Home, at: Any) -> None:
    telescope = at(HERE)
    own(home, telescope).look()
    telescope.stop()
    row = home.look()
    assert (row.state, row.reach, row.found_host) == (TelescopeState.UNREACHABLE, Reach.REFUSED, None)
    assert f"{HERE} is there but refuses port" in row.state_reason


@pytest.mark.parametrize("trait", ["", "locked"])
def test_two_telescopes_that_swap_addresses_are_not_taken_for_each_other(
    home: Home, at: Any, tmp_path: Any, trait: str
) -> None:
    keys = {serial: generate_key_pair() for serial in (SERIAL, OTHER)} if trait else {}

    def one(host: str, serial: str) -> Any:
        locked = {"wants_key": True, "public_key_pem": keys[serial].public_pem} if keys else {}
        return at(host, serial=serial, **locked)

    def settings(telescope: Any, name: str) -> Any:
        serial = telescope.spec.serial
        path = tmp_path / f"{serial}.pem"
        if keys:
            path.write_bytes(keys[serial].private_pem)
        return settings_of(telescope, name, key_path=path if keys else None)

    south, north = one(HERE, SERIAL), one(THERE, OTHER)
    asking(home, south).configure(settings(south, "south"), settings(north, "north"))
    assert (home.look("south").serial, home.look("north").serial) == (SERIAL, OTHER)
    for telescope in (south, north):
        telescope.stop()
    one(THERE, SERIAL), one(HERE, OTHER)
    for name, serial, host in (("south", SERIAL, THERE), ("north", OTHER, HERE)):
        row = home.look(name)
        assert (row.state, row.serial, row.address) == (TelescopeState.READY, serial, host)
    assert sorted(row.name for row in home.rows(Telescope)) == ["north", "south"]


def test_a_telescope_whose_serial_is_configured_is_never_replaced_by_another(home: Home, at: Any) -> None:
    telescope = at(HERE)
    own(home, telescope, serial=SERIAL).look()
    telescope.stop()
    stranger = at(HERE, serial=OTHER)
    row = home.look()
    assert (row.serial, row.state, row.reach) == (SERIAL, TelescopeState.UNREACHABLE, Reach.STRANGER)
    assert row.state_reason == f"another telescope ({OTHER}) answers at its address"
    assert row.next_look_at is not None
    assert not CHANGES & set(stranger.journal.methods())


def test_a_new_telescope_in_the_old_ones_place_is_taken_up_where_no_serial_is_configured(
    home: Home, at: Any
) -> None:
    telescope = at(HERE)
    own(home, telescope).look()
    telescope.stop()
    at(HERE, serial=OTHER)
    home.look()
    assert (home.telescope().serial, home.telescope(f"garden (was {SERIAL})").host) == (OTHER, None)


def test_a_telescope_off_and_another_configured_one_at_its_address_stay_two(home: Home, at: Any) -> None:
    south, north = at(HERE), at(THERE, serial=OTHER)
    asking(home, south).configure(settings_of(south, "south"), settings_of(north, "north"))
    home.look("south"), home.look("north")
    for telescope in (south, north):
        telescope.stop()
    at(HERE, serial=OTHER)
    assert home.look("south").reach == Reach.STRANGER
    assert home.look("north").found_host == HERE
    assert home.look("south").serial == SERIAL
