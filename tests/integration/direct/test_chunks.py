"""The documented functions on telescopes, called from a script while no service runs."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from skyrelay import crowdsky
from skyrelay.direct.telescopes import SomeTelescopesFailed, TelescopeTaken
from skyrelay.errors import ConfigurationError, TransientError
from skyrelay.seestar.errors import FileMissing, KeyMissing, Unreachable
from skyrelay.service import utc_now
from skyrelay.store.engine import Store
from skyrelay.store.tables import AuditEntry, ScriptedStack, Telescope
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend, generate_key_pair
from support.telescopes import (
    EVENING,
    SERIAL,
    MakeTelescope,
    asked,
    frame_names,
    settings_of,
    stacks_on,
    sub_folder,
    take_frames,
)
from support.waiting import eventually

Configure = Callable[..., Path]
SMB = {"smb_backend": SmbBackend.AUTO}
ENOUGH = {"min_exptime": 40}
NAMED = "CrowdSky_5_M 81_10.0s_IRCUT_20260228.12_HP006478.fit"
QUARTER = timedelta(minutes=15)
_SCRIPT = "from skyrelay import crowdsky; print(crowdsky.stack_blocks('M 81', min_exptime=40))"


def wall_clock(hour: int, minute: int) -> datetime:
    """Give a time of the evening on the telescope's clock (UTC−5), as the functions do."""
    return datetime(2026, 2, 28, hour + 5 - 24, minute, tzinfo=UTC)


def books(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path / 'data' / 'skyrelay.db'}")


# -- listing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [SmbBackend.AUTO, SmbBackend.OFF])
def test_targets_are_pairs_of_folders_with_their_counts(
    configure: Configure, make_telescope: MakeTelescope, backend: SmbBackend
) -> None:
    telescope = make_telescope(smb_backend=backend)
    take_frames(telescope, "M 81", frames=3)
    take_frames(telescope, "Orphan", frames=2)
    works = telescope.emmc.root / "MyWorks"
    shutil.rmtree(works / "Orphan")
    (works / "M 81").mkdir(exist_ok=True)
    (works / "M 81" / "DSO_Stacked_3_M 81_10.0s_20260228_000000.fit").write_bytes(b"x")
    (works / "Lunar").mkdir(exist_ok=True)
    configure(settings_of(telescope))
    assert crowdsky.list_targets() == [{"target": "M 81", "raw_files": 3, "stacked_files": 1}]


def test_unstacked_blocks_are_found_and_a_look_leaves_nothing_behind(
    configure: Configure, make_telescope: MakeTelescope, tmp_path: Path
) -> None:
    telescope = make_telescope(**SMB)
    first = take_frames(telescope, frames=3)
    second = sorted(set(take_frames(telescope, frames=2, start=EVENING + QUARTER)) - set(first))
    configure(settings_of(telescope))
    blocks = crowdsky.find_unstacked_blocks("M 81")
    assert blocks == [
        {
            "block_start": wall_clock(22, 0),
            "block_end": wall_clock(22, 15),
            "exposure": "10.0s",
            "filter": "IRCUT",
            "files": first,
            "frame_count": 3,
        },
        {
            "block_start": wall_clock(22, 15),
            "block_end": wall_clock(22, 30),
            "exposure": "10.0s",
            "filter": "IRCUT",
            "files": second,
            "frame_count": 2,
        },
    ]
    assert f"{blocks[0]['block_start']:%H:%M}" == "22:00", "the telescope's own clock is shown"
    assert not (tmp_path / "data").exists()


def test_by_name_a_frame_belongs_to_the_quarter_hour_in_which_it_was_saved(
    configure: Configure, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(**SMB)
    take_frames(telescope, frames=1, start=EVENING.replace(minute=14, second=55))
    configure(settings_of(telescope))
    (by_name,) = crowdsky.find_unstacked_blocks("M 81")
    (by_start,) = crowdsky.find_unstacked_blocks("M 81", block_time="start")
    assert (by_name["block_start"], by_start["block_start"]) == (wall_clock(22, 15), wall_clock(22, 0))


def test_a_block_that_has_not_ended_is_left_out(configure: Configure, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(**SMB)
    take_frames(telescope, frames=2, start=utc_now().replace(microsecond=0))
    configure(settings_of(telescope))
    assert crowdsky.find_unstacked_blocks("M 81", 60) == []


def test_a_listing_that_fails_is_neither_all_nor_nothing(
    configure: Configure, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(**SMB)
    take_frames(telescope)
    configure(settings_of(telescope))
    telescope.stop()
    with pytest.raises(Unreachable):
        crowdsky.find_unstacked_blocks("M 81")
    with pytest.raises(Unreachable):
        crowdsky.list_targets()


def test_a_target_that_is_not_there_is_named(configure: Configure, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(**SMB)
    take_frames(telescope)
    configure(settings_of(telescope))
    with pytest.raises(FileMissing, match="M 82_sub"):
        crowdsky.find_unstacked_blocks("M 82")


# -- stacking -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("firmware", [2427, 2775, 2889])
def test_blocks_are_stacked_named_and_found_covered_from_then_on(
    configure: Configure, make_telescope: MakeTelescope, firmware: int
) -> None:
    telescope = make_telescope(firmware_ver_int=firmware, stack_rejects=1, **SMB)
    take_frames(telescope, frames=6)
    configure(settings_of(telescope))
    summary = crowdsky.stack_blocks("M 81", **ENOUGH)
    assert summary == {
        "target": "M 81",
        "blocks_stacked": 1,
        "blocks_failed": 0,
        "blocks_skipped": 0,
        "results": [
            {
                "block_start": wall_clock(22, 0),
                "block_end": wall_clock(22, 15),
                "exposure": "10.0s",
                "filter": "IRCUT",
                "status": "complete",
                "frames": 5,
                "output_file": NAMED,
                "rename_failed": False,
            }
        ],
    }
    assert stacks_on(telescope) == [NAMED]
    assert telescope.device.batch_stack.status is None, "the result was cleared"
    assert crowdsky.find_unstacked_blocks("M 81") == []
    again = crowdsky.stack_blocks("M 81", **ENOUGH)
    assert (again["blocks_stacked"], again["results"]) == (0, [])
    assert asked(telescope, "start_batch_stack") == 1


def test_a_dry_run_says_what_would_happen_and_does_nothing(
    configure: Configure, make_telescope: MakeTelescope, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    telescope = make_telescope(**SMB)
    take_frames(telescope)
    take_frames(telescope, frames=1, start=EVENING + QUARTER)
    configure(settings_of(telescope))
    summary = crowdsky.stack_blocks("M 81", dry_run=True, **ENOUGH)
    assert (summary["blocks_stacked"], summary["blocks_skipped"]) == (0, 1)
    assert summary["results"] == crowdsky.find_unstacked_blocks("M 81")[:1]
    assert "22:00–22:15" in capsys.readouterr().out
    assert asked(telescope, "start_batch_stack") == 0
    assert not (tmp_path / "data").exists()


def test_short_blocks_are_skipped(configure: Configure, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(**SMB)
    take_frames(telescope)
    configure(settings_of(telescope))
    summary = crowdsky.stack_blocks("M 81")
    assert (summary["blocks_stacked"], summary["blocks_failed"], summary["blocks_skipped"]) == (0, 0, 1)


def test_all_targets_are_stacked_even_those_of_which_nothing_was_stacked_yet(
    configure: Configure, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(**SMB)
    for target in ("M 81", "NGC 7000", "Lunar"):
        take_frames(telescope, target, frames=1 if target == "Lunar" else 5)
    configure(settings_of(telescope))
    summary = crowdsky.stack_all(**ENOUGH)
    assert {key: value for key, value in summary.items() if key != "per_target"} == {
        "targets_processed": 3,
        "targets_with_work": 3,
        "total_blocks_stacked": 2,
        "total_blocks_failed": 0,
        "total_blocks_skipped": 1,
    }
    assert [one["target"] for one in summary["per_target"]] == ["Lunar", "M 81", "NGC 7000"]
    assert len(stacks_on(telescope, "NGC 7000")) == 1


@pytest.mark.parametrize(("minutes", "blocks"), [(5, 3), (10, 2), (15, 1), (30, 1)])
def test_blocks_of_any_length_are_all_stacked_and_never_hide_each_other(
    configure: Configure, make_telescope: MakeTelescope, minutes: int, blocks: int
) -> None:
    telescope = make_telescope(stack_seconds=1.1, **SMB)  # its names tell seconds
    for late in (0, 5, 10):
        take_frames(telescope, frames=5, start=EVENING + timedelta(minutes=late))
    configure(settings_of(telescope))
    first = crowdsky.stack_blocks("M 81", 15, **ENOUGH)
    assert first["blocks_stacked"] == 1
    summary = crowdsky.stack_blocks("M 81", minutes, **ENOUGH)
    assert summary["blocks_stacked"] == (0 if minutes == 15 else blocks)
    assert crowdsky.stack_blocks("M 81", minutes, **ENOUGH)["blocks_stacked"] == 0, "each once"
    assert crowdsky.stack_blocks("M 81", 15, **ENOUGH)["blocks_stacked"] == 0


def test_two_exposures_and_filters_of_one_quarter_hour_are_two_stacks(
    configure: Configure, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_seconds=1.1, **SMB)
    take_frames(telescope, frames=5)
    take_frames(telescope, frames=5, start=EVENING + timedelta(minutes=5), filter="LP")
    configure(settings_of(telescope))
    assert crowdsky.stack_blocks("M 81", **ENOUGH)["blocks_stacked"] == 2
    assert {name.split("_")[4] for name in stacks_on(telescope)} == {"IRCUT", "LP"}


# -- mishaps --------------------------------------------------------------------------------------------


def test_a_stack_that_cannot_be_renamed_counts_as_stacked_and_is_renamed_by_the_next_run(
    configure: Configure, make_telescope: MakeTelescope, tmp_path: Path
) -> None:
    closed = make_telescope(smb_backend=SmbBackend.OFF)
    take_frames(closed)
    configure(settings_of(closed))
    (result,) = crowdsky.stack_blocks("M 81", **ENOUGH)["results"]
    assert (result["status"], result["output_file"], result["rename_failed"]) == ("complete", None, True)
    (own_name,) = stacks_on(closed)
    assert own_name.startswith("DSO_Stacked_5_M 81")
    assert crowdsky.find_unstacked_blocks("M 81") == [], "our own books know it"
    closed.stop()
    opened = make_telescope(**SMB)
    configure(settings_of(opened))
    assert crowdsky.stack_blocks("M 81", **ENOUGH)["blocks_stacked"] == 0
    assert stacks_on(opened) == [NAMED]


@pytest.fixture
def interrupted(configure: Configure, make_telescope: MakeTelescope, tmp_path: Path) -> SimulatedTelescope:
    """Give a telescope that stacks for a script that was killed."""
    telescope = make_telescope(stack_seconds=25.0, **SMB)  # five seconds a frame
    take_frames(telescope)
    configure(settings_of(telescope))
    script = subprocess.Popen([sys.executable, "-c", _SCRIPT], cwd=tmp_path)
    eventually(lambda: telescope.stacking, 30.0)
    script.send_signal(signal.SIGKILL)
    script.wait(20)
    with books(tmp_path).write() as session:  # as if the time of its lease had passed
        session.scalars(select(Telescope)).one().lease_until = utc_now() - timedelta(seconds=1)
    return telescope


def test_the_run_of_a_script_that_was_killed_is_adopted(interrupted: SimulatedTelescope) -> None:
    interrupted.device.batch_stack.stack_seconds = 0.0
    (result,) = crowdsky.stack_blocks("M 81", **ENOUGH)["results"]
    assert result["output_file"] == NAMED
    assert stacks_on(interrupted) == [NAMED]
    assert asked(interrupted, "start_batch_stack") == 1


def test_what_the_run_of_a_killed_script_left_is_booked_and_not_stacked_again(
    interrupted: SimulatedTelescope,
) -> None:
    interrupted.device.batch_stack.stack_seconds = 0.0
    eventually(lambda: not interrupted.stacking, 30.0)
    assert len(stacks_on(interrupted)) == 1
    (result,) = crowdsky.stack_blocks("M 81", **ENOUGH)["results"]
    assert result["output_file"] == NAMED
    assert asked(interrupted, "start_batch_stack") == 1


def test_a_telescope_that_observes_is_left_alone(configure: Configure, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(**SMB)
    take_frames(telescope)
    take_frames(telescope, start=EVENING + QUARTER)
    configure(settings_of(telescope))
    telescope.observe("M 42")
    summary = crowdsky.stack_blocks("M 81", **ENOUGH)
    assert (summary["blocks_stacked"], summary["blocks_failed"]) == (0, 2)
    assert "observing" in summary["results"][0]["error"]
    assert summary["results"][1]["error"].startswith("not tried: ")
    assert asked(telescope, "start_batch_stack") == 0


def test_our_stack_makes_way_for_an_observation(configure: Configure, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(stack_seconds=600.0, **SMB)
    take_frames(telescope)
    configure(settings_of(telescope))
    began = threading.Thread(
        target=lambda: (eventually(lambda: telescope.stacking, 30.0), telescope.observe("M 42"))
    )
    began.start()
    summary = crowdsky.stack_blocks("M 81", **ENOUGH)
    began.join()
    assert summary["blocks_failed"] == 1
    assert "began to observe" in summary["results"][0]["error"]
    assert not telescope.stacking
    telescope.finish_observing()
    telescope.device.batch_stack.stack_seconds = 0.1
    assert crowdsky.stack_blocks("M 81", **ENOUGH)["blocks_stacked"] == 1


def test_a_stack_that_takes_too_long_is_stopped(configure: Configure, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(stack_seconds=600.0, **SMB)
    take_frames(telescope)
    configure(settings_of(telescope))
    (result,) = crowdsky.stack_blocks("M 81", max_wait_sec=0.5, **ENOUGH)["results"]
    assert result["status"] == "timeout"
    assert not telescope.stacking


def test_frames_that_cannot_be_stacked_are_reported_and_the_next_block_goes_on(
    configure: Configure, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(stack_rejects=5, **SMB)
    take_frames(telescope, frames=5)
    take_frames(telescope, frames=7, start=EVENING + QUARTER)
    configure(settings_of(telescope))
    first, second = crowdsky.stack_blocks("M 81", **ENOUGH)["results"]
    assert (first["status"], second["status"]) == ("fail", "complete")
    assert first["error"]


def test_a_wrong_clock_stops_everything(configure: Configure, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(**SMB)
    take_frames(telescope)
    telescope.wall_clock.shift(timedelta(hours=1))
    configure(settings_of(telescope))
    summary = crowdsky.stack_all(**ENOUGH)
    assert summary["total_blocks_stacked"] == 0
    assert "one of them is wrong" in summary["per_target"][0]["error"]
    assert asked(telescope, "start_batch_stack") == 0


def test_a_clock_is_asked_anew_for_each_target(
    configure: Configure, make_telescope: MakeTelescope, monkeypatch: pytest.MonkeyPatch
) -> None:
    telescope = make_telescope(stack_seconds=4.0, **SMB)
    for target in ("M 81", "NGC 7000"):
        take_frames(telescope, target)
    configure(settings_of(telescope))
    monkeypatch.setattr("skyrelay.direct.stacking.CLOCK_TOLERANCE", timedelta(seconds=2))
    assert crowdsky.stack_all(**ENOUGH)["total_blocks_stacked"] == 2


def test_a_telescope_that_goes_away_ends_the_other_targets_with_the_reason(
    configure: Configure, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(**SMB)
    for target in ("M 81", "NGC 7000"):
        take_frames(telescope, target)
    configure(settings_of(telescope))
    telescope.wall_clock.shift(timedelta(hours=1))
    first, second = crowdsky.stack_all(**ENOUGH)["per_target"]
    assert second["error"] == f"not tried: {first['error']}"


# -- who may drive --------------------------------------------------------------------------------------


def test_a_telescope_that_the_services_drive_is_not_touched(
    configure: Configure, make_telescope: MakeTelescope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    telescope = make_telescope(**SMB)
    take_frames(telescope)
    configure(settings_of(telescope))
    crowdsky.stack_blocks("M 81", min_exptime=1000)  # makes the books
    with books(tmp_path).write() as session:
        row = session.scalars(select(Telescope)).one()
        assert (row.serial, row.lease_holder) == (SERIAL, None), "given free after the last run"
        row.lease_holder, row.lease_until = "homeserver:17", utc_now() + timedelta(seconds=60)
    monkeypatch.setattr("skyrelay.direct.telescopes.LEASE_PATIENCE", timedelta(0))
    with pytest.raises(TelescopeTaken, match=r"garden is being driven by homeserver:17"):
        crowdsky.stack_blocks("M 81", **ENOUGH)
    assert asked(telescope, "start_batch_stack") == 0


def test_a_database_that_is_out_of_reach_is_said(configure: Configure, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(**SMB)
    take_frames(telescope)
    configure(settings_of(telescope), database_url="postgresql+psycopg://127.0.0.1:1/none")
    with pytest.raises(TransientError, match=r"(?s)who drives garden does not answer.*database_url"):
        crowdsky.stack_blocks("M 81", **ENOUGH)


def test_the_books_say_what_a_script_did(
    configure: Configure, make_telescope: MakeTelescope, tmp_path: Path
) -> None:
    telescope = make_telescope(**SMB)
    take_frames(telescope)
    configure(settings_of(telescope))
    crowdsky.stack_blocks("M 81", **ENOUGH)
    with books(tmp_path).read() as session:
        row = session.scalars(select(ScriptedStack)).one()
        entry = session.scalars(select(AuditEntry).where(AuditEntry.event == "stacked")).one()
    assert (row.crowdsky_name, row.frames_aligned, row.rename_error) == (NAMED, 5, None)
    assert row.first_start_at == EVENING
    assert row.renamed_at is not None
    assert entry.reason == f"5 of 5 frames are in the stack {NAMED}"


# -- which telescopes -----------------------------------------------------------------------------------


@pytest.fixture
def two(configure: Configure, make_telescope: MakeTelescope) -> dict[str, SimulatedTelescope]:
    """Give two telescopes with frames on them, one of which is configured without its serial number."""
    telescopes = {name: make_telescope(serial=name, host=host, **SMB) for name, host in _TWO.items()}
    for telescope in telescopes.values():
        take_frames(telescope)
    configure(
        settings_of(telescopes["1d3fe189"], "garden"),
        settings_of(telescopes["a3497936"], "roof", serial="a3497936"),
    )
    return telescopes


_TWO = {"1d3fe189": "127.0.0.1", "a3497936": "127.0.0.2"}


def test_several_telescopes_work_at_once_and_are_told_apart_by_serial_number(
    two: dict[str, SimulatedTelescope],
) -> None:
    for telescope in two.values():
        telescope.device.batch_stack.stack_seconds = 1.0
    summary: Any = crowdsky.stack_blocks("M 81", ips="all", **ENOUGH)
    assert {serial: one["blocks_stacked"] for serial, one in summary.items()} == dict.fromkeys(two, 1)
    spans = [_stacking_span(telescope) for telescope in two.values()]
    assert max(start for start, _ in spans) < min(end for _, end in spans), "neither waited for the other"


def _stacking_span(telescope: SimulatedTelescope) -> tuple[datetime, datetime]:
    times = [entry.at for entry in telescope.journal.entries(channel="rpc", method="start_batch_stack")]
    ends = [entry.at for entry in telescope.journal.entries(channel="rpc", method="clear_batch_stack")]
    return times[0], ends[-1]


@pytest.mark.parametrize("ips", ["garden", "1d3fe189", "127.0.0.1", ["garden"], ["garden", "1d3fe189"]])
def test_one_telescope_is_picked_by_name_serial_number_or_address(
    two: dict[str, SimulatedTelescope], ips: str | list[str]
) -> None:
    assert len(crowdsky.find_unstacked_blocks("M 81", ips=ips)) == 1
    assert headers_asked(two["a3497936"]) == 0


def headers_asked(telescope: SimulatedTelescope) -> int:
    return len(telescope.journal.entries(channel="http"))


@pytest.mark.usefixtures("two")
def test_with_several_telescopes_one_must_be_named() -> None:
    with pytest.raises(ConfigurationError, match=r"\(garden, roof\).*'all'"):
        crowdsky.list_targets()


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("ips", ["deadbeef", "no such/telescope", []])
def test_a_telescope_that_nobody_knows_is_named(ips: Any) -> None:
    with pytest.raises(ConfigurationError):
        crowdsky.list_targets(ips=ips)


def test_when_one_of_several_fails_the_others_results_are_kept(two: dict[str, SimulatedTelescope]) -> None:
    two["a3497936"].stop()
    with pytest.raises(SomeTelescopesFailed, match="roof: ") as failure:
        crowdsky.stack_blocks("M 81", ips="all", **ENOUGH)
    assert set(failure.value.results) == {"1d3fe189"}
    assert set(failure.value.errors) == {"roof"}


def test_without_a_telescope_the_setting_is_named(configure: Configure) -> None:
    configure()
    with pytest.raises(ConfigurationError, match="no telescope is configured"):
        crowdsky.list_targets()


def test_a_missing_key_is_said_as_such(configure: Configure, make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(wants_key=True, public_key_pem=generate_key_pair().public_pem, **SMB)
    take_frames(telescope)
    configure(settings_of(telescope))
    with pytest.raises(KeyMissing, match="key_path"):
        crowdsky.stack_blocks("M 81", **ENOUGH)


def test_another_telescope_at_the_address_is_not_driven(
    configure: Configure, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(**SMB)
    take_frames(telescope)
    configure(settings_of(telescope, serial="ffffffff"))
    with pytest.raises(ConfigurationError, match="1d3fe189 answers at"):
        crowdsky.stack_blocks("M 81", **ENOUGH)


# -- purging --------------------------------------------------------------------------------------------


@pytest.fixture
def stacked(configure: Configure, make_telescope: MakeTelescope) -> SimulatedTelescope:
    """Give a telescope with a stack of each of two targets."""
    telescope = make_telescope(**SMB)
    for target in ("M 81", "NGC 7000"):
        take_frames(telescope, target)
    configure(settings_of(telescope))
    assert crowdsky.stack_all(**ENOUGH)["total_blocks_stacked"] == 2
    return telescope


@pytest.mark.parametrize("folder", [None, "all"])
def test_a_purge_deletes_all_of_crowdskys_files_and_nothing_else(
    stacked: SimulatedTelescope, tmp_path: Path, folder: str | None
) -> None:
    own = stacked.emmc.root / "MyWorks" / "M 81" / "DSO_Stacked_9_M 81_10.0s_20200101_000000.fit"
    own.write_bytes(b"the owner's")
    frames = frame_names(stacked)
    summary = crowdsky.purge_crowdsky_stacks(folder)
    assert (summary["folders_scanned"], summary["files_deleted"]) == (2, len(summary["deleted"]))
    assert f"MyWorks/M 81/{NAMED}" in summary["deleted"]
    assert "failed" not in summary
    assert (stacks_on(stacked), stacks_on(stacked, "NGC 7000")) == ([own.name], [])
    assert frame_names(stacked) == frames
    with books(tmp_path).read() as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.event == "purged")).one()
    assert entry.detail == {"files": summary["deleted"]}
    assert len(crowdsky.find_unstacked_blocks("M 81")) == 1, "what is gone can be stacked again"


def test_a_purge_of_one_folder_leaves_the_others(stacked: SimulatedTelescope) -> None:
    summary = crowdsky.purge_crowdsky_stacks("M 81")
    assert summary["folders_scanned"] == 1
    assert stacks_on(stacked) == []
    assert len(stacks_on(stacked, "NGC 7000")) == 1


def test_a_purge_of_a_folder_that_is_not_there_deletes_nothing(stacked: SimulatedTelescope) -> None:
    with pytest.raises(FileMissing, match="M 82"):
        crowdsky.purge_crowdsky_stacks("M 82")
    assert stacks_on(stacked) == [NAMED]


def test_frames_that_vanish_from_the_folder_are_not_stacked(
    configure: Configure, make_telescope: MakeTelescope
) -> None:
    telescope = make_telescope(**SMB)
    first, *_ = take_frames(telescope, frames=6)
    configure(settings_of(telescope))
    (sub_folder(telescope) / first).unlink()
    (result,) = crowdsky.stack_blocks("M 81", **ENOUGH)["results"]
    assert result["frames"] == 5
