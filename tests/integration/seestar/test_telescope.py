"""Who a simulated telescope is and what it does, told apart in types and words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from skyrelay.domain.states import TelescopeState
from skyrelay.seestar.device import clock_error
from skyrelay.seestar.errors import KeyMissing, KeyRefused, NotATelescope
from skyrelay.seestar.telescope import Telescope, TelescopeAddress
from skyrelay_simulators.telescope import generate_key_pair
from support.waiting import eventually


@pytest.mark.parametrize(("firmware", "text"), [(2427, "4.27"), (2775, "7.75"), (2846, "8.46")])
def test_a_telescope_says_who_it_is(
    simulate: Any, connect: Any, key_path: Path, firmware: int, text: str
) -> None:
    telescope = simulate(firmware_ver_int=firmware, wants_key=firmware >= 2718, timezone="America/New_York")
    client: Telescope = connect(telescope, key_path=key_path)
    device = client.identify()
    assert (device.serial, device.model) == ("1d3fe189", "Seestar S50")
    assert (device.firmware_int, device.firmware_text) == (firmware, text)
    assert device.zone == "America/New_York"
    error = clock_error(device, datetime.now(UTC))
    assert error is not None
    assert abs(error) < timedelta(seconds=10)


def test_its_place_is_known_and_not_shown(simulate: Any, connect: Any) -> None:
    client: Telescope = connect(simulate(longitude_deg=16.3725, latitude_deg=48.2082))
    device = client.identify()
    assert (device.longitude_deg, device.latitude_deg) == (16.3725, 48.2082)
    assert "48.2" not in repr(device)


def test_an_idle_telescope_is_ready(simulate: Any, connect: Any) -> None:
    client: Telescope = connect(simulate(battery_percent=42, charging=True))
    status = client.state()
    assert status.state is TelescopeState.READY
    assert (status.battery_percent, status.charging, status.temperature_c) == (42, True, 41.5)
    assert status.free_mb is not None


def test_an_unknown_battery_is_unknown(simulate: Any, connect: Any) -> None:
    client: Telescope = connect(simulate(battery_percent=None))
    assert client.state().battery_percent is None


def test_an_observing_telescope_says_what_it_looks_at(simulate: Any, connect: Any) -> None:
    telescope = simulate()
    client: Telescope = connect(telescope)
    telescope.observe("M 81")
    status = client.state()
    assert (status.state, status.target, status.stage) == (TelescopeState.OBSERVING, "M 81", "Stack")
    telescope.finish_observing()
    assert client.state().state is TelescopeState.READY


def test_a_missing_key_a_wrong_key_and_an_absent_telescope_are_different_things(
    simulate: Any, connect: Any, tmp_path: Path
) -> None:
    telescope = simulate(wants_key=True)
    wrong = tmp_path / "wrong.pem"
    wrong.write_bytes(generate_key_pair().private_pem)
    told = {
        TelescopeState.KEY_MISSING: connect(telescope),
        TelescopeState.KEY_REFUSED: connect(telescope, key_path=wrong),
        TelescopeState.UNREACHABLE: connect(telescope, rpc_port=1),
    }
    words = [told[state].state().reason for state in told]
    assert [client.state().state for client in told.values()] == list(told)
    assert "wants a key: set telescopes[garden].key_path" in words[0]
    assert "does not accept the key" in words[1]
    assert "refuses port 1" in words[2]
    with pytest.raises(KeyMissing):
        told[TelescopeState.KEY_MISSING].identify()
    with pytest.raises(KeyRefused):
        told[TelescopeState.KEY_REFUSED].identify()


def test_a_key_file_that_is_not_there_is_named(simulate: Any, connect: Any, tmp_path: Path) -> None:
    client: Telescope = connect(simulate(wants_key=True), key_path=tmp_path / "gone.pem")
    status = client.state()
    assert status.state is TelescopeState.KEY_MISSING
    assert "gone.pem" in status.reason


def test_a_key_is_only_read_by_firmware_that_wants_one(simulate: Any, connect: Any, tmp_path: Path) -> None:
    client: Telescope = connect(simulate(firmware_ver_int=2427), key_path=tmp_path / "gone.pem")
    assert client.state().state is TelescopeState.READY


def test_a_telescope_that_comes_back_is_spoken_to_again(simulate: Any, connect: Any, key_path: Path) -> None:
    telescope = simulate(wants_key=True, idle_close_s=2.0)
    client: Telescope = connect(telescope, key_path=key_path)
    client.identify()
    eventually(lambda: telescope.journal.entries(method="idle close"))
    assert client.state().state is TelescopeState.READY
    assert telescope.journal.methods().count("connect") == 2
    assert telescope.journal.methods().count("verify_client") == 2


def test_an_address_without_rpc_needs_none(simulate: Any, connect: Any, frames: list[str]) -> None:
    telescope = simulate()
    client: Telescope = connect(telescope)
    client.read_header("M 81_sub", frames[0])
    assert telescope.journal.methods() == []


def test_something_without_a_serial_number_is_no_telescope(simulate: Any, connect: Any) -> None:
    client: Telescope = connect(simulate(serial=""))
    with pytest.raises(NotATelescope):
        client.identify()


def test_an_address_does_not_show_where_the_key_is() -> None:
    address = TelescopeAddress("10.0.0.5", key_path=Path("/config/seestar.pem"), name="garden")
    assert "seestar.pem" not in repr(address)
    assert address.label == "garden"
