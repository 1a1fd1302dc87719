"""The commands that drive telescopes, as a person types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend
from support.telescopes import EVENING, MakeTelescope, asked, settings_of, stacks_on, take_frames

Configure = Callable[..., Path]
NAMED = "CrowdSky_5_M 81_10.0s_IRCUT_20260228.12_HP006478.fit"
BRIEF = {"min_exptime": 40.0}


def skyrelay(*arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    """Run the program with the configuration that the environment names."""
    command = [sys.executable, "-m", "skyrelay.cli", *arguments]
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, input=said, timeout=120, check=False
    )


@pytest.fixture
def telescope(configure: Configure, make_telescope: MakeTelescope) -> SimulatedTelescope:
    """Give a configured telescope with one block worth stacking and one that is too short."""
    telescope = make_telescope(smb_backend=SmbBackend.AUTO)
    take_frames(telescope)
    take_frames(telescope, frames=1, start=EVENING.replace(minute=20))
    configure(settings_of(telescope), stacking=BRIEF)
    return telescope


@pytest.mark.usefixtures("telescope")
def test_targets_lists_them() -> None:
    done = skyrelay("targets", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"garden": [{"target": "M 81", "raw_files": 6, "stacked_files": 0}]}
    assert "M 81" in skyrelay("targets").stdout


@pytest.mark.usefixtures("telescope")
def test_blocks_lists_those_without_a_stack_and_says_which_are_too_short() -> None:
    done = skyrelay("blocks", "M 81", "--json")
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)["garden"]
    assert (first["block_start"], first["frame_count"], first["why_not"]) == (
        "2026-02-27T22:00:00-05:00",
        5,
        None,
    )
    assert "1 frames give 10 s" in second["why_not"]
    assert "22:00–22:15" in skyrelay("blocks", "M 81").stdout


def test_a_dry_run_shows_a_table_and_does_nothing(telescope: SimulatedTelescope) -> None:
    done = skyrelay("stack", "M 81", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "1 blocks would be stacked, 1 are too short" in done.stdout
    assert asked(telescope, "start_batch_stack") == 0


def test_stack_stacks_and_says_so(telescope: SimulatedTelescope) -> None:
    done = skyrelay("stack", "--all", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)["garden"]
    assert (summary["total_blocks_stacked"], summary["total_blocks_skipped"]) == (1, 1)
    assert summary["per_target"][0]["results"][0]["output_file"] == NAMED
    assert stacks_on(telescope) == [NAMED]
    again = skyrelay("stack", "M 81")
    assert again.returncode == 0, again.stderr
    assert "0 blocks stacked, 0 failed, 1 too short" in again.stdout


def test_stack_fails_when_a_block_was_not_stacked(telescope: SimulatedTelescope) -> None:
    telescope.observe("M 42")
    done = skyrelay("stack", "M 81")
    assert done.returncode == 1
    assert "it can stack when it is done" in done.stdout
    assert asked(telescope, "start_batch_stack") == 0


@pytest.mark.parametrize("arguments", [[], ["M 81", "--all"]])
@pytest.mark.parametrize("command", ["stack", "purge"])
@pytest.mark.usefixtures("telescope")
def test_what_is_meant_must_be_said(command: str, arguments: list[str]) -> None:
    done = skyrelay(command, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"skyrelay: {command}: name one target, or say --all\n"


@pytest.mark.usefixtures("telescope")
def test_a_target_that_is_not_there_fails_with_its_name() -> None:
    done = skyrelay("stack", "M 82")
    assert done.returncode == 1
    assert "M 82_sub" in done.stderr


def test_a_telescope_that_is_away_hides_none_of_the_others(
    configure: Configure, make_telescope: MakeTelescope
) -> None:
    here = make_telescope(smb_backend=SmbBackend.AUTO)
    take_frames(here)
    gone = make_telescope(serial="a3497936")
    configure(settings_of(here), settings_of(gone, "roof"))
    gone.stop()
    done = skyrelay("targets", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout).keys() == {"garden"}
    assert done.stderr.startswith("skyrelay: roof: ")


def test_purge_asks_first(telescope: SimulatedTelescope) -> None:
    assert skyrelay("stack", "--all").returncode == 0
    refused = skyrelay("purge", "--all", said="n\n")
    assert refused.returncode == 1
    assert "for good?" in refused.stderr
    assert stacks_on(telescope) == [NAMED]
    preview = skyrelay("purge", "M 81", "--dry-run", "--json")
    assert NAMED in json.loads(preview.stdout)["garden"]["M 81"]
    assert stacks_on(telescope) == [NAMED]
    done = skyrelay("purge", "M 81", said="y\n")
    assert done.returncode == 0, done.stderr
    assert stacks_on(telescope) == []


def test_purge_does_as_it_is_told_without_asking(telescope: SimulatedTelescope) -> None:
    assert skyrelay("stack", "--all").returncode == 0
    done = skyrelay("purge", "--all", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    assert f"MyWorks/M 81/{NAMED}" in json.loads(done.stdout)["garden"]["deleted"]
    assert stacks_on(telescope) == []
