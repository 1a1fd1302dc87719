"""Scripts and the services drive the same telescope in turn, and know of each other's work."""

from __future__ import annotations

import pytest
import yaml

from skyrelay import crowdsky
from skyrelay.domain.states import BlockState
from skyrelay.store.tables import ScriptedStack, Telescope
from skyrelay_simulators.telescope import SmbBackend
from support.telescopes import MakeTelescope, asked, stacks_on, take_frames
from support.workshop import Home

NAMED = "CrowdSky_5_M 81_10.0s_IRCUT_20260228.12_HP006478.fit"


@pytest.fixture
def script(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scripts of this process use the home's database."""
    monkeypatch.setenv("SKYRELAY_DATABASE_URL", str(home.store.engine.url))


def configure(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    telescopes = [one.model_dump(mode="json") for one in home.settings.telescopes]
    monkeypatch.setenv("SKYRELAY_TELESCOPES", yaml.safe_dump(telescopes))


@pytest.mark.usefixtures("script")
def test_what_a_script_had_stacked_is_covered_whatever_it_is_called(
    home: Home, make_telescope: MakeTelescope, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = make_telescope()
    take_frames(closed)
    home.own(closed)
    configure(home, monkeypatch)
    (result,) = crowdsky.stack_blocks("M 81", min_exptime=40)["results"]
    assert result["rename_failed"]
    home.look()
    block = home.block()
    assert block.state == BlockState.COVERED
    assert block.reason.startswith("DSO_Stacked_5_M 81")
    assert asked(closed, "start_batch_stack") == 1


@pytest.mark.usefixtures("script")
def test_the_services_rename_what_a_script_could_not(
    home: Home, make_telescope: MakeTelescope, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = make_telescope()
    take_frames(closed)
    home.own(closed)
    configure(home, monkeypatch)
    crowdsky.stack_blocks("M 81", min_exptime=40)
    closed.stop()
    opened = make_telescope(smb_backend=SmbBackend.AUTO)
    home.own(opened)
    home.look()
    (row,) = home.rows(ScriptedStack)
    assert row.renamed_at is not None
    assert stacks_on(opened) == [NAMED]


@pytest.mark.usefixtures("script")
def test_a_scripts_short_blocks_hide_no_block_of_the_services(
    home: Home, make_telescope: MakeTelescope, monkeypatch: pytest.MonkeyPatch
) -> None:
    telescope = make_telescope(smb_backend=SmbBackend.AUTO, stack_seconds=1.1)
    take_frames(telescope)
    home.own(telescope)
    configure(home, monkeypatch)
    assert crowdsky.stack_blocks("M 81", 5, min_exptime=40)["blocks_stacked"] == 1
    assert home.look_and_stack().state == BlockState.STACKED
    assert len(stacks_on(telescope)) == 2


@pytest.mark.usefixtures("script")
def test_what_the_services_stacked_is_covered_for_a_script_before_it_has_its_name(
    home: Home, make_telescope: MakeTelescope, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = make_telescope()
    take_frames(closed)
    home.own(closed)
    configure(home, monkeypatch)
    assert home.look_and_stack().state == BlockState.STACKED
    assert stacks_on(closed)[0].startswith("DSO_Stacked_")
    assert crowdsky.find_unstacked_blocks("M 81") == []
    assert crowdsky.stack_blocks("M 81", min_exptime=40)["results"] == []


@pytest.mark.usefixtures("script")
def test_a_script_goes_where_the_services_found_a_telescope_that_moved(
    home: Home, make_telescope: MakeTelescope, monkeypatch: pytest.MonkeyPatch
) -> None:
    telescope = make_telescope(smb_backend=SmbBackend.AUTO)
    take_frames(telescope)
    home.own(telescope, host="127.0.0.99")
    configure(home, monkeypatch)
    home.change(Telescope, found_host=telescope.endpoint.host, serial=telescope.spec.serial)
    assert crowdsky.stack_blocks("M 81", min_exptime=40)["blocks_stacked"] == 1
