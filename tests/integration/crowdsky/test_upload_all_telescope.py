"""upload_all_stacks from telescopes: listed over SMB, fetched over HTTP, sent once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from skyrelay.crowdsky import server
from skyrelay.errors import ConfigurationError, SkyrelayError
from skyrelay.fits_header import date_obs, read_header
from skyrelay.store.engine import Store
from skyrelay_simulators.crowdsky import SimulatedCrowdSky
from skyrelay_simulators.telescope import SimulatedTelescope, SmbBackend
from support.fits_files import write_fits
from support.recorded_night import RecordedNight
from support.telescopes import SERIAL, MakeTelescope, make_telescope, settings_of, sub_folder, take_frames

__all__ = ["make_telescope"]

NAME = "CrowdSky_31_M 94_10.0s_IRCUT_20250327.05_HP033810.fit"
LP = "CrowdSky_31_M 94_10.0s_LP_20250327.05_HP033810.fit"
OTHER_SERIAL = "2e4fe189"
AWAY = "127.0.0.99"  # where nobody answers
Configure = Callable[..., None]

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def telescope(make_telescope: MakeTelescope) -> SimulatedTelescope:
    """A telescope with two stacks of one chunk, and what is not to be sent beside them."""
    running = make_telescope(smb_backend=SmbBackend.AUTO)
    put_stacks(running)
    return running


def put_stacks(telescope: SimulatedTelescope, serial: str = SERIAL) -> None:
    works = telescope.emmc.root / "MyWorks"
    for folder in ("M 94", "M 94_sub", "NGC 1"):
        (works / folder).mkdir(parents=True)
    write_fits(works / "M 94" / NAME, TELESCOP=f"S50_{serial}")
    write_fits(works / "NGC 1" / LP, FILTER="LP", TELESCOP=f"S50_{serial}")
    write_fits(works / "M 94" / "DSO_Stacked_31_M 94_10.0s_20250327_212710.fit")
    (works / "M 94" / NAME.replace(".fit", ".jpg")).write_bytes(b"\xff\xd8\xff")


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    def write(changes: dict[str, object] | None = None, /, **telescopes: SimulatedTelescope) -> None:
        entries = [
            settings_of(running, name).model_dump(mode="json")
            | {"serial": running.spec.serial, **(changes or {})}
            for name, running in telescopes.items()
        ]
        config = tmp_path / "config.yaml"
        config.write_text(yaml.safe_dump({"telescopes": entries}), encoding="utf-8")
        monkeypatch.setenv("SKYRELAY_CONFIG", str(config))

    return write


def test_all_stacks_of_a_telescope_are_fetched_and_sent_once(
    server_: SimulatedCrowdSky, telescope: SimulatedTelescope, configure: Configure, tmp_path: Path
) -> None:
    configure(garden=telescope)
    dest = tmp_path / "kept"

    runs = [server.upload_all_stacks(dest=dest) for _ in range(2)]

    assert runs[0] == {
        "folders_scanned": 2,
        "files_uploaded": 2,
        "files_skipped": 0,
        "files_failed": 0,
        "uploaded": [NAME, LP],
        "skipped": [],
        "failed": [],
    }
    assert (runs[1]["uploaded"], runs[1]["skipped"]) == ([], [NAME, LP])
    assert len(server_.uploads) == 2
    assert sorted(path.relative_to(dest).as_posix() for path in dest.rglob("*") if path.is_file()) == [
        f"M 94/{NAME}",
        f"NGC 1/{LP}",
    ]


@pytest.mark.parametrize("target", ["M 94", ["M 94"]])
@pytest.mark.parametrize("ips", [None, "garden", SERIAL, [SERIAL], "all"])
def test_one_target_of_one_telescope(
    server_: SimulatedCrowdSky,
    telescope: SimulatedTelescope,
    configure: Configure,
    tmp_path: Path,
    target: str | list[str],
    ips: str | list[str] | None,
) -> None:
    configure(garden=telescope)

    summary = server.upload_all_stacks(target, dest=tmp_path / "kept", ips=ips)

    assert (summary["folders_scanned"], summary["uploaded"]) == (1, [NAME])


def test_a_dry_run_fetches_nothing(
    server_: SimulatedCrowdSky,
    telescope: SimulatedTelescope,
    configure: Configure,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure(garden=telescope)

    summary = server.upload_all_stacks("all", dest=tmp_path / "kept", dry_run=True)

    assert summary["files_uploaded"] == 0
    assert capsys.readouterr().out.splitlines() == [f"would upload {NAME}", f"would upload {LP}"]
    assert not (tmp_path / "kept").exists()
    assert server_.uploads == []


def test_a_folder_that_is_not_there_does_not_stop_the_others(
    telescope: SimulatedTelescope, configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(garden=telescope)

    summary = server.upload_all_stacks(["M 1", "../M 94", "M 94"], dest=tmp_path / "kept")

    assert (summary["failed"], summary["uploaded"]) == (["M 1", "../M 94"], [NAME])
    assert "the folder cannot be listed" in capsys.readouterr().err


def test_a_file_that_is_here_already_is_neither_fetched_nor_replaced(
    telescope: SimulatedTelescope, configure: Configure, tmp_path: Path
) -> None:
    configure(garden=telescope)
    kept = tmp_path / "kept" / "M 94"
    kept.mkdir(parents=True)
    (kept / NAME).write_bytes(b"a note of mine")

    server.upload_all_stacks("M 94", dest=tmp_path / "kept")
    server.upload_all_stacks("M 94", dest=tmp_path / "kept", skip_existing=False)

    assert (kept / NAME).read_bytes() == b"a note of mine"
    assert sorted(path.name for path in kept.iterdir()) == sorted([NAME, NAME.replace(".fit", "_2.fit")])


def test_a_telescope_that_is_away_is_no_empty_one(
    telescope: SimulatedTelescope, configure: Configure, tmp_path: Path
) -> None:
    configure(garden=telescope)
    telescope.stop()

    with pytest.raises(SkyrelayError, match="garden"):
        server.upload_all_stacks(dest=tmp_path / "kept")


def test_several_telescopes_give_a_dict_by_serial_and_one_that_is_away_stops_no_other(
    server_: SimulatedCrowdSky,
    telescope: SimulatedTelescope,
    make_telescope: MakeTelescope,
    configure: Configure,
    tmp_path: Path,
) -> None:
    other = make_telescope(serial=OTHER_SERIAL, smb_backend=SmbBackend.AUTO)
    put_stacks(other, OTHER_SERIAL)
    configure(garden=telescope, roof=other)

    both = server.upload_all_stacks("M 94", dest=tmp_path / "kept", ips="all")
    other.stop()
    again = server.upload_all_stacks("M 94", dest=tmp_path / "kept", ips=["garden", "roof"])

    assert {serial: summary["uploaded"] for serial, summary in both.items()} == {
        SERIAL: [NAME],
        OTHER_SERIAL: [NAME],
    }
    assert sorted(stack.telescope_id or "" for stack in server_.uploads) == [
        f"S50_{SERIAL}",
        f"S50_{OTHER_SERIAL}",
    ]
    assert again[SERIAL]["skipped"] == [NAME]
    assert again[OTHER_SERIAL]["files_failed"] == 1


def test_several_telescopes_without_a_configured_serial_are_told_by_their_own(
    telescope: SimulatedTelescope, make_telescope: MakeTelescope, configure: Configure, tmp_path: Path
) -> None:
    other = make_telescope(serial=OTHER_SERIAL, smb_backend=SmbBackend.AUTO)
    put_stacks(other, OTHER_SERIAL)
    configure({"serial": None}, garden=telescope, roof=other)

    both = server.upload_all_stacks("M 94", dest=tmp_path / "kept", ips="all")
    other.stop()
    again = server.upload_all_stacks("M 94", dest=tmp_path / "kept", ips="all")

    assert {serial: summary["uploaded"] for serial, summary in both.items()} == {
        SERIAL: [NAME],
        OTHER_SERIAL: [NAME],
    }
    assert (again[SERIAL]["skipped"], again["roof"]["files_failed"]) == ([NAME], 1)


def test_a_telescope_that_moved_is_looked_for_where_the_services_found_it(
    telescope: SimulatedTelescope,
    configure: Configure,
    tmp_path: Path,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SKYRELAY_DATABASE_URL", f"sqlite:///{tmp_path / 'skyrelay.db'}")
    with store.write() as session:
        row = RecordedNight(session).telescope(name="garden", serial=SERIAL)
        row.host, row.found_host = AWAY, telescope.endpoint.host
    configure({"host": AWAY}, garden=telescope)

    assert server.upload_all_stacks("M 94", dest=tmp_path / "kept")["uploaded"] == [NAME]


def test_it_is_said_which_telescopes_there_are(
    telescope: SimulatedTelescope, make_telescope: MakeTelescope, configure: Configure
) -> None:
    with pytest.raises(ConfigurationError, match="no telescope is configured"):
        server.upload_all_stacks()
    configure(garden=telescope, roof=make_telescope(serial=OTHER_SERIAL))
    with pytest.raises(ConfigurationError, match=r"several telescopes are configured \(garden, roof\)"):
        server.upload_all_stacks()
    with pytest.raises(SkyrelayError, match=r"cellar\.invalid is no address that this network"):
        server.upload_all_stacks(ips="cellar.invalid")


def test_the_end_of_a_stack_is_told_by_the_raw_frames_that_are_still_there(
    server_: SimulatedCrowdSky, make_telescope: MakeTelescope, configure: Configure, tmp_path: Path
) -> None:
    telescope = make_telescope(smb_backend=SmbBackend.AUTO)
    starts = [start_of(sub_folder(telescope) / name) for name in take_frames(telescope, frames=170)]
    edges = [datetime(2026, 2, 28, 3, minute, tzinfo=UTC) for minute in (15, 30)]
    block = [start for start in starts if edges[0] <= start < edges[1]]
    name = f"CrowdSky_{len(block) - 1}_M 81_10.0s_IRCUT_20260228.13_HP033810.fit"
    (telescope.emmc.root / "MyWorks" / "M 81").mkdir(exist_ok=True)
    stack = telescope.emmc.root / "MyWorks" / "M 81" / name
    write_fits(stack, DATE_OBS=block[0].replace(tzinfo=None).isoformat())
    configure(garden=telescope)

    assert server.upload_all_stacks("M 81", dest=tmp_path / "kept")["uploaded"] == [name]

    fields = server_.requests("upload_stack")[0].fields
    assert datetime.fromisoformat(fields["date_obs_start"] + "Z") == block[0]
    assert datetime.fromisoformat(fields["date_obs_end"] + "Z") == block[-1]
    assert (fields["n_frames_input"], fields["n_frames_aligned"]) == (str(len(block)), str(len(block) - 1))


def start_of(path: Path) -> datetime:
    with path.open("rb") as file:
        start = date_obs(read_header(file.read))
    assert start is not None
    return start
