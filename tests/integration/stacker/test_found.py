"""Stacks that others made and that lie on a telescope: in the books as covered, and offered."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from astropy.io import fits

from skyrelay import crowdsky
from skyrelay.domain.states import BlockState
from skyrelay.store.tables import Block, ScriptedStack, Stack, Telescope
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend
from support.gateway import GatewayClient, running_gateway
from support.telescopes import EVENING, MakeTelescope, asked, stacks_on, take_frames
from support.waiting import eventually
from support.workshop import Home

CURRENT = "CrowdSky_5_M 81_10.0s_IRCUT_20260228.12_HP006478.fit"
WITHOUT_PIXEL = "CrowdSky_5_M 81_10s_IRCUT_20260228.12.fit"
LEGACY = "CrowdSky_5_M 81_10.0s_IRCUT_20260227-220000.fit"
AGAIN = EVENING - timedelta(days=40)  # as the start of the last inventory: the next look takes another


@pytest.fixture
def gateway(home: Home) -> Iterator[GatewayClient]:
    with running_gateway(home.store, home.redis.url, home.settings) as client:
        yield client


@pytest.fixture
def telescope(home: Home, make_telescope: MakeTelescope) -> SimulatedTelescope:
    telescope = make_telescope(smb_backend=SmbBackend.AUTO)
    home.own(telescope)
    return telescope


def folder_of(telescope: SimulatedTelescope, name: str = "M 81") -> Path:
    return telescope.emmc.root / "MyWorks" / name


def stacked_by_another(telescope: SimulatedTelescope, name: str) -> None:
    """Have another tool stack five frames and give the stack a name."""
    names = take_frames(telescope)
    stacker = telescope.device.batch_stack
    full = tuple(f"MyWorks/M 81_sub/{each}" for each in names)
    assert stacker.set(replace(stacker.setting, path="MyWorks/M 81_sub", names=full))
    assert stacker.start()
    eventually(lambda: not telescope.stacking, 30.0)
    assert stacker.clear()
    (made,) = stacks_on(telescope)
    (folder_of(telescope) / made).rename(folder_of(telescope) / name)


def look_again(home: Home) -> None:
    home.change(Telescope, inventory_started_at=AGAIN)
    home.look()


@pytest.mark.parametrize("name", [CURRENT, WITHOUT_PIXEL, LEGACY])
def test_a_stack_whose_raw_frames_are_gone_is_covered_and_offered_once(
    home: Home, telescope: SimulatedTelescope, gateway: GatewayClient, name: str
) -> None:
    stacked_by_another(telescope, name)
    shutil.rmtree(folder_of(telescope, "M 81_sub"))
    home.look()
    block, stack = home.block(), home.only_stack()
    assert (block.state, block.frame_count, block.night) == (BlockState.COVERED, 0, "2026-02-27")
    assert block.reason == f"{name} lies on the telescope, and its raw frames do not"
    assert block.start_at == EVENING.replace(second=0, microsecond=0)
    assert (stack.is_offered, stack.frames_aligned, stack.frames_input) == (True, 5, 0)
    assert stack.first_start_at == EVENING, "as its header says"
    assert stack.ra_deg == pytest.approx(148.888, abs=0.1)
    assert home.deliveries == []
    look_again(home)
    assert len(home.rows(Stack)) == 1
    assert stacks_on(telescope) == [name], "it is never renamed"
    answer = gateway.post("/api/v1/offers", {"all": True}).json()
    assert answer["names"] == [name]
    assert [delivery.stack_id for delivery in home.deliveries] == [stack.id]


def test_where_no_zone_is_known_a_local_name_is_read_by_its_header(
    home: Home, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(smb_backend=SmbBackend.AUTO)
    home.own(telescope, timezone="Asia/Kathmandu")  # wrong, as where the telescope has moved since
    stacked_by_another(telescope, LEGACY)
    shutil.rmtree(folder_of(telescope, "M 81_sub"))
    home.look()
    assert home.block().start_at == EVENING.replace(second=0, microsecond=0)
    assert home.block().utc_offset_min == -300


def test_a_stack_whose_raw_frames_are_there_is_known_by_them(
    home: Home, telescope: SimulatedTelescope
) -> None:
    stacked_by_another(telescope, CURRENT)
    home.look()
    block, stack = home.block(), home.only_stack()
    assert (block.state, block.frame_count) == (BlockState.COVERED, 5)
    assert (stack.is_offered, stack.frames_input, stack.knows_frames) == (True, 5, True)
    assert stack.last_start_at > EVENING
    assert asked(telescope, "start_batch_stack") == 0


def change_header(telescope: SimulatedTelescope, **cards: object) -> None:
    path = folder_of(telescope) / CURRENT
    with fits.open(path, mode="update") as units:
        for card, value in cards.items():
            if value is None:
                del units[0].header[card]
            else:
                units[0].header[card] = value


def test_of_a_stack_of_fewer_frames_than_its_block_has_the_last_is_not_known(
    home: Home, telescope: SimulatedTelescope
) -> None:
    stacked_by_another(telescope, CURRENT)
    take_frames(telescope, start=EVENING + timedelta(minutes=2), frames=2)
    home.look()
    stack = home.only_stack()
    assert (home.block().frame_count, stack.frames_aligned) == (7, 5)
    assert (stack.frames_input, stack.knows_frames) == (0, False)
    assert stack.first_start_at == EVENING


@pytest.mark.parametrize("exptime_s", [10.0, 50.0])
def test_where_a_header_has_exptime_alone_the_last_frame_is_known_all_the_same(
    home: Home, telescope: SimulatedTelescope, exptime_s: float
) -> None:
    stacked_by_another(telescope, CURRENT)
    change_header(telescope, TOTALEXP=None, EXPTIME=exptime_s)
    home.look()
    stack = home.only_stack()
    assert stack.exposure_total_s == pytest.approx(50.0)
    assert stack.last_start_at == max(frame.start_at for frame in home.frames if frame.start_at)


def test_a_covered_block_is_stacked_once_a_person_wants_it_all_the_same(
    home: Home, telescope: SimulatedTelescope, gateway: GatewayClient
) -> None:
    stacked_by_another(telescope, CURRENT)
    home.look()
    answer = gateway.post("/api/v1/stack", {"block_id": home.block().id, "again": True})
    assert answer.json()["asked_for"] == 1

    look_again(home)
    home.work()

    assert home.block().state == BlockState.STACKED
    assert asked(telescope, "start_batch_stack") == 1
    assert len(stacks_on(telescope)) == 2, "the other tool's is left alone"


def test_the_stacks_of_the_services_and_the_owners_are_not_offered(
    home: Home, telescope: SimulatedTelescope
) -> None:
    take_frames(telescope)
    home.look_and_stack()
    (folder_of(telescope) / "DSO_Stacked_3_M 81_10.0s_20240101_120000.fit").write_bytes(b"the owner's")
    (folder_of(telescope) / CURRENT.replace(".fit", "_2.fit")).write_bytes(b"a copy")
    look_again(home)
    assert not home.only_stack().is_offered
    assert [block.state for block in home.rows(Block)] == [BlockState.STACKED]


def test_what_is_no_fits_file_is_not_offered(home: Home, telescope: SimulatedTelescope) -> None:
    folder_of(telescope).mkdir(parents=True)
    (folder_of(telescope) / CURRENT).write_bytes(b"no FITS" * 1000)
    home.look()
    assert (home.rows(Stack), home.rows(Block)) == ([], [])


@pytest.mark.parametrize("raws_are_there", [True, False])
def test_a_stack_that_a_script_made_is_offered_with_what_the_script_wrote_down(
    home: Home, telescope: SimulatedTelescope, monkeypatch: pytest.MonkeyPatch, raws_are_there: bool
) -> None:
    monkeypatch.setenv("SKYRELAY_DATABASE_URL", str(home.store.engine.url))
    telescopes = [one.model_dump(mode="json") for one in home.settings.telescopes]
    monkeypatch.setenv("SKYRELAY_TELESCOPES", yaml.safe_dump(telescopes))
    take_frames(telescope)
    assert crowdsky.stack_blocks("M 81", min_exptime=40)["blocks_stacked"] == 1
    if not raws_are_there:
        shutil.rmtree(folder_of(telescope, "M 81_sub"))
    home.look()
    stack, (script,) = home.only_stack(), home.rows(ScriptedStack)
    assert (stack.crowdsky_name, stack.original_name) == (CURRENT, script.original_name)
    assert (stack.is_offered, stack.frames_input) == (True, 5)
    assert stack.first_start_at == script.first_start_at
    assert stack.last_start_at == script.last_start_at
    assert home.block().state == BlockState.COVERED
    assert home.deliveries == []
