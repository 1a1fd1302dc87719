"""The commands upload, download and raw-upload, as processes, against a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from sqlalchemy import select

from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.tables import Delivery
from skyrelay_simulators.crowdsky import Fault, SimulatedCrowdSky
from skyrelay_simulators.telescope import SmbBackend
from support.fits_files import write_fits
from support.telescopes import MakeTelescope, make_telescope, settings_of

__all__ = ["make_telescope"]

PASSWORD = "s3cret"
NAME = "CrowdSky_31_M 94_10.0s_IRCUT_20250327.05_HP033810.fit"
KEY = "20250327.05_HP033810"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SimulatedCrowdSky]:
    with SimulatedCrowdSky(tmp_path / "crowdsky", {"alice": PASSWORD}, server_scrubs=False) as running:
        yield running


@pytest.fixture
def config(server: SimulatedCrowdSky, tmp_path: Path) -> Path:
    return write_config(tmp_path, server)


def write_config(folder: Path, server: SimulatedCrowdSky, **more: object) -> Path:
    crowdsky = {"base_url": server.base_url, "username": "alice", "password": PASSWORD, "confirm_s": 0.1}
    path = folder / "config.yaml"
    document = {"crowdsky": crowdsky, "data_dir": str(folder / "data"), **more}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def skyrelay(config: Path, *arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    names = ("SKYRELAY_", "CROWDSKY_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    done = subprocess.run(
        [sys.executable, "-m", "skyrelay.cli", *arguments, "--config", config],
        capture_output=True,
        text=True,
        env=environment | {"COLUMNS": "400"},
        input=given,
        timeout=120,
        check=False,
    )
    assert PASSWORD not in done.stdout + done.stderr
    return done


# upload


@pytest.fixture
def stacks(tmp_path: Path) -> Path:
    folder = tmp_path / "stacks"
    folder.mkdir()
    write_fits(folder / NAME)
    return folder


def test_with_the_services_database_they_go_through_its_outbox(
    server: SimulatedCrowdSky, config: Path, stacks: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    store = Store(f"sqlite:///{tmp_path / 'data' / 'skyrelay.db'}")
    migrate(store)
    write_fits(stacks / "CrowdSky_1.fit", DATE_OBS=None)
    done = skyrelay(config, "upload", "--local-dir", stacks, "--json")

    answer = json.loads(done.stdout)
    (place,) = answer["places"].values()
    outcomes = {stack["name"]: stack["outcome"] for stack in place["stacks"]}
    assert outcomes == {NAME: "uploaded", "CrowdSky_1.fit": "failed"}
    assert (done.returncode, answer["complete"], len(server.uploads)) == (1, False, 1)
    with store.read() as session:
        assert session.scalars(select(Delivery)).one().accepted_at is not None
    store.close()


def test_stacks_of_a_folder_are_uploaded_once_and_shown(
    server: SimulatedCrowdSky, config: Path, stacks: Path
) -> None:
    preview = skyrelay(config, "upload", "--local-dir", stacks, "--dry-run")
    first = skyrelay(config, "upload", "--local-dir", stacks)
    again = skyrelay(config, "upload", "--local-dir", stacks, "--json")

    assert [done.returncode for done in (preview, first, again)] == [0, 0, 0], first.stderr
    assert NAME in preview.stdout
    assert "would be sent" in preview.stdout
    assert "uploaded" in first.stdout
    assert json.loads(again.stdout) == {
        "complete": True,
        "places": {
            str(stacks): {
                "folders_scanned": 1,
                "stacks": [
                    {
                        "name": NAME,
                        "folder": ".",
                        "size_bytes": 5760,
                        "outcome": "there already",
                        "reason": "the server has it as stack 1",
                        "chunk_key": KEY,
                    }
                ],
            }
        },
    }
    assert len(server.uploads) == 1
    assert b"33.654321" not in server.stored_bytes(server.uploads[0])


def test_a_stack_that_was_not_taken_makes_the_exit_code_1(
    server: SimulatedCrowdSky, config: Path, stacks: Path
) -> None:
    server.show(
        "upload_stack", Fault(mode="status", status=400, body={"error": "Not [bold]this[/bold] one."})
    )

    done = skyrelay(config, "upload", "--local-dir", stacks)

    assert done.returncode == 1
    assert "400 Not [bold]this[/bold] one." in done.stdout


def test_without_the_servers_list_it_says_so_and_sends_nothing(
    server: SimulatedCrowdSky, config: Path, stacks: Path
) -> None:
    server.show("my_stacks", Fault(mode="html-200"))

    done = skyrelay(config, "upload", "--local-dir", stacks)

    assert done.returncode == 1
    assert "CrowdSky's list: no JSON came" in done.stderr
    assert server.uploads == []


def test_a_folder_that_is_not_there_is_said(config: Path, tmp_path: Path) -> None:
    done = skyrelay(config, "upload", "--local-dir", tmp_path / "away")

    assert done.returncode == 2
    assert "does not exist" in done.stderr


def test_stacks_of_a_telescope_are_uploaded_by_target(
    server: SimulatedCrowdSky, make_telescope: MakeTelescope, tmp_path: Path
) -> None:
    telescope = make_telescope(smb_backend=SmbBackend.AUTO)
    for folder in ("M 94", "M 81"):
        (telescope.emmc.root / "MyWorks" / folder).mkdir(parents=True)
    write_fits(telescope.emmc.root / "MyWorks" / "M 94" / NAME)
    config = write_config(tmp_path, server, telescopes=[settings_of(telescope).model_dump(mode="json")])

    other = skyrelay(config, "upload", "--target", "M 81", "--json", "--dest", tmp_path / "kept")
    done = skyrelay(
        config, "upload", "--target", "M 81", "--target", "M 94", "--telescope", "garden", "--json",
        "--dest", tmp_path / "kept",
    )  # fmt: skip

    assert (other.returncode, done.returncode) == (0, 0), done.stderr
    assert json.loads(other.stdout)["places"]["garden"]["stacks"] == []
    assert [each["outcome"] for each in json.loads(done.stdout)["places"]["garden"]["stacks"]] == ["uploaded"]


# download


def test_downloads_are_told_one_by_one(
    server: SimulatedCrowdSky, config: Path, stacks: Path, tmp_path: Path
) -> None:
    skyrelay(config, "upload", "--local-dir", stacks)

    good = skyrelay(config, "download", KEY, "--dest", tmp_path / "down")
    mixed = skyrelay(config, "download", "20200101.00_HP000001", KEY, "--dest", tmp_path / "down", "--json")

    assert good.returncode == 0, good.stderr
    assert str(tmp_path / "down" / NAME) in good.stdout
    assert mixed.returncode == 1
    assert json.loads(mixed.stdout) == [
        {
            "chunk_key": "20200101.00_HP000001",
            "path": None,
            "reason": "download of 20200101.00_HP000001: 404 Stack not found.",
        },
        {"chunk_key": KEY, "path": str(tmp_path / "down" / NAME), "reason": ""},
    ]


# raw-upload


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Three frames of one chunk and filter, one of another filter, one of the chunk after it."""
    folder = tmp_path / "M 94_sub"
    folder.mkdir()
    for second in (0, 11, 22):
        write_fits(
            folder / f"Light_M 94_{second}.fit", TOTALEXP=None, DATE_OBS=f"2025-03-27T01:20:{second:02d}"
        )
    write_fits(folder / "Light_M 94_lp.fit", TOTALEXP=None, DATE_OBS="2025-03-27T01:21:00", FILTER="LP")
    write_fits(folder / "Light_M 94_late.fit", TOTALEXP=None, DATE_OBS="2025-03-27T01:31:00")
    return folder


def outcomes(done: subprocess.CompletedProcess[str]) -> list[tuple[str, int, str]]:
    sessions = json.loads(done.stdout)["sessions"]
    return [(each["title"], len(each["frames"]), each["outcome"]) for each in sessions]


def test_frames_go_into_a_session_for_each_chunk_filter_and_exposure(
    server: SimulatedCrowdSky, config: Path, frames: Path
) -> None:
    preview = skyrelay(config, "raw-upload", frames, "--dry-run", "--json")
    assert server.requests("raw_start") == []
    done = skyrelay(config, "raw-upload", frames, "--json")

    assert (preview.returncode, done.returncode) == (1, 1), done.stderr
    assert outcomes(preview) == [
        ("M 94 IRCUT 10 s 20250327.05", 3, "to send"),
        ("M 94 LP 10 s 20250327.05", 1, "failed"),
        ("M 94 IRCUT 10 s 20250327.06", 1, "to send"),
    ]
    assert [outcome for _, _, outcome in outcomes(done)] == ["uploaded", "failed", "uploaded"]
    assert json.loads(done.stdout)["sessions"][1]["skipped"] == [KEY]
    assert [stack.n_frames_input for stack in server.uploads] == [3, 1]
    assert "its chunk goes to M 94 IRCUT 10 s 20250327.05" in json.loads(done.stdout)["sessions"][1]["reason"]
    assert len(server.requests("raw_start")) == 2
    assert {entry.fields.get("overwrite") for entry in server.requests("raw_finalize")} == {None}
    assert not any(b"33.654321" in server.stored_bytes(stack) for stack in server.uploads)


def test_a_second_run_sends_nothing_and_says_which_chunk_is_taken(
    server: SimulatedCrowdSky, config: Path, frames: Path
) -> None:
    skyrelay(config, "raw-upload", frames)
    asked = len(server.requests("raw_file"))

    again = skyrelay(config, "raw-upload", frames)

    assert again.returncode == 1
    assert "there already" in again.stdout
    assert "its chunk goes to M 94 IRCUT 10 s" in again.stdout
    assert len(server.requests("raw_file")) == asked


def test_a_chunk_that_holds_another_stack_is_left_to_a_person(config: Path, frames: Path) -> None:
    skyrelay(config, "raw-upload", frames / "Light_M 94_0.fit")

    done = skyrelay(config, "raw-upload", frames / "Light_M 94_lp.fit")

    assert done.returncode == 1
    assert "the chunk holds stack 1 (M 94, IRCUT): --overwrite would delete that" in done.stdout


def test_one_run_never_overwrites_its_own_stacks(
    server: SimulatedCrowdSky, config: Path, frames: Path
) -> None:
    done = skyrelay(config, "raw-upload", frames, "--overwrite")

    assert done.returncode == 1
    assert [(stack.filter_name, stack.n_frames_input) for stack in server.uploads] == [
        ("IRCUT", 3),
        ("IRCUT", 1),
    ]


def test_overwriting_is_asked_for_and_said(server: SimulatedCrowdSky, config: Path, frames: Path) -> None:
    skyrelay(config, "raw-upload", frames / "Light_M 94_0.fit")

    preview = skyrelay(config, "raw-upload", frames / "Light_M 94_lp.fit", "--overwrite", "--dry-run")
    done = skyrelay(config, "raw-upload", frames / "Light_M 94_lp.fit", "--overwrite")

    assert "deletes stack 1 (M 94, IRCUT)" in preview.stdout
    assert done.returncode == 0, done.stderr
    assert [stack.filter_name for stack in server.uploads] == ["LP"]


def test_what_is_left_out_is_said_and_makes_the_exit_code_1(
    server: SimulatedCrowdSky, config: Path, frames: Path
) -> None:
    write_fits(frames / "Light_undated.fit", DATE_OBS=None)

    done = skyrelay(config, "raw-upload", frames / "Light_M 94_late.fit", frames / "Light_undated.fit")

    assert done.returncode == 1
    assert "no DATE-OBS" in done.stdout
    assert len(server.uploads) == 1


def test_a_second_copy_is_said_and_does_no_harm_but_a_name_that_is_taken_does(
    server: SimulatedCrowdSky, config: Path, frames: Path
) -> None:
    first = frames / "Light_M 94_0.fit"
    (frames / "copy").mkdir()
    (frames / "copy" / "again.fit").write_bytes(first.read_bytes())
    write_fits(frames / "copy" / first.name, TOTALEXP=None, DATE_OBS="2025-03-27T01:20:44")

    copied = skyrelay(config, "raw-upload", first, frames / "copy" / "again.fit", "--dry-run", "--json")
    clashing = skyrelay(config, "raw-upload", first, frames / "copy" / first.name, "--dry-run", "--json")

    assert (copied.returncode, clashing.returncode) == (0, 1)
    assert "it is the same frame as" in json.loads(copied.stdout)["left_out"][0]["reason"]
    assert "has the same name: rename one" in json.loads(clashing.stdout)["left_out"][0]["reason"]


def test_an_empty_folder_is_nothing_that_was_sent(config: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert skyrelay(config, "raw-upload", tmp_path / "empty").returncode == 1


# The login


def test_a_login_that_is_kept_as_secrets_is_the_one_that_counts(
    server: SimulatedCrowdSky, tmp_path: Path, stacks: Path
) -> None:
    config = write_config(tmp_path, server, crowdsky={"base_url": server.base_url, "confirm_s": 0.1})
    frames = tmp_path / "M 94_sub"
    frames.mkdir()
    write_fits(frames / "Light_0.fit", TOTALEXP=None, DATE_OBS="2025-03-28T03:20:00")
    without = skyrelay(config, "download", KEY, "--dest", tmp_path / "down")
    assert not (tmp_path / "data").exists()

    prepared = [
        skyrelay(config, "migrate"),
        skyrelay(config, "secrets", "set", "crowdsky.username", given="alice\n"),
        skyrelay(config, "secrets", "set", "crowdsky.password", given=f"{PASSWORD}\n"),
    ]
    done = [
        skyrelay(config, "upload", "--local-dir", stacks),
        skyrelay(config, "download", KEY, "--dest", tmp_path / "down"),
        skyrelay(config, "raw-upload", frames),
    ]

    assert without.returncode == 1
    assert "user name and password are not set" in without.stdout
    assert [each.returncode for each in prepared + done] == [0] * 6, [each.stderr for each in done]
    assert len(server.uploads) == 2
