"""Scripts and the services drive the same telescope in turn, and know of each other's work."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import yaml

from skyrelay import crowdsky
from skyrelay.domain.states import BlockState, FrameState
from skyrelay.store.tables import Frame, ScriptedStack, Telescope
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend
from support.telescopes import EVENING, MakeTelescope, asked, stacks_on, take_frames
from support.waiting import eventually
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


def owner_stacks(telescope: SimulatedTelescope, names: list[str]) -> str:
    """Have the owner stack frames from the phone; give the stack's name."""
    before = set(stacks_on(telescope))
    stacker = telescope.device.batch_stack
    full = [f"MyWorks/M 81_sub/{name}" for name in names]
    assert stacker.set(replace(stacker.setting, path="MyWorks/M 81_sub", names=tuple(full)))
    assert stacker.start()
    eventually(lambda: not telescope.stacking, 30.0)
    assert stacker.clear()
    (new,) = set(stacks_on(telescope)) - before
    return new


@pytest.mark.usefixtures("script")
@pytest.mark.parametrize("by_script", [False, True])
def test_the_owners_stack_of_other_frames_is_never_taken_for_what_was_to_be_stacked(
    home: Home, make_telescope: MakeTelescope, monkeypatch: pytest.MonkeyPatch, by_script: bool
) -> None:
    telescope = make_telescope(smb_backend=SmbBackend.AUTO, stack_seconds=1.1)
    first_night = take_frames(telescope)
    home.own(telescope)
    configure(home, monkeypatch)
    home.look()
    telescope.observe("M 42")
    if by_script:  # refused, when what it was about to do is recorded already
        assert crowdsky.stack_blocks("M 81", min_exptime=40)["blocks_failed"] == 1
    else:
        home.stack()
    telescope.finish_observing()
    second_night = set(take_frames(telescope, frames=4, start=EVENING + timedelta(days=3))) - set(first_night)
    owners = owner_stacks(telescope, sorted(second_night))
    if by_script:
        assert crowdsky.stack_blocks("M 81", min_exptime=45)["blocks_stacked"] == 1
    else:
        home.look()
        home.work()
    assert NAMED in stacks_on(telescope)
    assert owners in stacks_on(telescope), "it is the owner's"


@pytest.mark.usefixtures("script")
def test_a_block_that_a_script_had_stacked_while_it_waited_is_covered_and_not_stacked_again(
    home: Home, make_telescope: MakeTelescope, monkeypatch: pytest.MonkeyPatch
) -> None:
    telescope = make_telescope(smb_backend=SmbBackend.AUTO)
    take_frames(telescope)
    home.own(telescope)
    configure(home, monkeypatch)
    home.look()
    assert home.block().state == BlockState.READY
    assert crowdsky.stack_blocks("M 81", min_exptime=40)["blocks_stacked"] == 1
    assert home.stack().state == BlockState.COVERED
    assert (asked(telescope, "start_batch_stack"), home.deliveries) == (1, [])


@pytest.mark.usefixtures("script")
def test_a_run_of_the_services_that_a_script_took_over_is_covered_when_they_are_back(
    home: Home, make_telescope: MakeTelescope, monkeypatch: pytest.MonkeyPatch
) -> None:
    telescope = make_telescope(smb_backend=SmbBackend.AUTO, stack_seconds=25.0)
    take_frames(telescope)
    home.own(telescope)
    configure(home, monkeypatch)
    home.look()
    with home.in_background():
        eventually(lambda: telescope.stacking, 30.0)
    home.shutting_down.clear()
    telescope.device.batch_stack.stack_seconds = 0.0
    assert crowdsky.stack_blocks("M 81", min_exptime=40)["blocks_stacked"] == 1
    assert home.stack().state == BlockState.COVERED
    assert asked(telescope, "start_batch_stack") == 1
    assert stacks_on(telescope) == [NAMED]


@pytest.mark.usefixtures("script")
def test_the_stack_of_a_script_that_was_interrupted_is_booked_by_the_services(
    home: Home, make_telescope: MakeTelescope, monkeypatch: pytest.MonkeyPatch
) -> None:
    telescope = make_telescope(smb_backend=SmbBackend.AUTO, stack_seconds=25.0)
    take_frames(telescope)
    home.own(telescope)
    configure(home, monkeypatch)
    home.look()
    with monkeypatch.context() as interrupting:

        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        interrupting.setattr("skyrelay.direct.stacking.Glances", interrupt)  # as Ctrl-C does in mid-stack
        with pytest.raises(KeyboardInterrupt):
            crowdsky.stack_blocks("M 81", min_exptime=40)
    telescope.device.batch_stack.stack_seconds = 0.0
    eventually(lambda: not telescope.stacking, 30.0)
    assert home.stack().state == BlockState.STACKED
    assert home.only_stack().crowdsky_name == NAMED
    assert stacks_on(telescope) == [NAMED]
    assert asked(telescope, "start_batch_stack") == 1
    assert home.rows(ScriptedStack) == []


@pytest.mark.usefixtures("script")
def test_frames_that_are_held_for_a_wrong_clock_are_not_stacked_by_a_script_either(
    home: Home, make_telescope: MakeTelescope, monkeypatch: pytest.MonkeyPatch
) -> None:
    telescope = make_telescope(smb_backend=SmbBackend.AUTO)
    take_frames(telescope)
    home.own(telescope)
    configure(home, monkeypatch)
    home.look()
    home.change(Frame, needs_release=True, state=FrameState.CLOCK_WRONG)
    assert crowdsky.stack_blocks("M 81", min_exptime=40)["results"] == []
    assert asked(telescope, "start_batch_stack") == 0
