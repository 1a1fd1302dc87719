"""upload_all_stacks from a folder: each stack once, whatever its name, its neighbours and the server do."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from skyrelay.crowdsky import server
from skyrelay.crowdsky.bulk_upload import BulkUpload, Outcome
from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.crowdsky.errors import CrowdSkyError, ServerBroken, ServerBusy, UploadRefused
from skyrelay.crowdsky.patience import Patience
from skyrelay.crowdsky.sent_ledger import SentLedger, UploadRunning
from skyrelay.crowdsky.session import CrowdSkySession
from skyrelay.crowdsky.stack_sources import LocalStacks
from skyrelay.crowdsky.stacks import StackUpload
from skyrelay.service import utc_now
from skyrelay_simulators.crowdsky import Fault, SimulatedCrowdSky
from support.fits_files import write_fits

NAME = "CrowdSky_31_M 94_10.0s_IRCUT_20250327.05_HP033810.fit"
LP = "CrowdSky_31_M 94_10.0s_LP_20250327.05_HP033810.fit"
LEGACY = "CrowdSky_31_M 94_10.0s_IRCUT_20250326-211500.fit"
KEY = "20250327.05_HP033810"
NO_DELAY = timedelta()

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "stacks"
    folder.mkdir()
    return folder


def upload_all(folder: Path, **options: Any) -> dict[str, Any]:
    return server.upload_all_stacks(local_dir=folder, **options)


def sent(server_: SimulatedCrowdSky) -> list[str]:
    return [stack.file_name for stack in server_.uploads]


def test_the_summary_has_the_documented_shape(server_: SimulatedCrowdSky, folder: Path) -> None:
    write_fits(folder / NAME)
    (folder / "M 81").mkdir()
    write_fits(folder / "M 81" / LP, FILTER="LP")
    write_fits(folder / "DSO_Stacked_31_M 94_10.0s_20250327_212710.fit")

    assert upload_all(folder) == {
        "folders_scanned": 1,
        "files_uploaded": 2,
        "files_skipped": 0,
        "files_failed": 0,
        "uploaded": [NAME, LP],
        "skipped": [],
        "failed": [],
    }
    assert sent(server_) == [NAME, LP]


def test_an_empty_folder_asks_nobody(server_: SimulatedCrowdSky, folder: Path) -> None:
    assert upload_all(folder)["files_uploaded"] == 0
    assert server_.requests() == []


def test_a_folder_that_is_not_there_is_no_empty_folder(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        upload_all(folder / "away")


def test_a_dry_run_names_what_would_go_and_sends_nothing(
    server_: SimulatedCrowdSky,
    client: CrowdSkyClient,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client.upload_stack(StackUpload(write_fits(folder / NAME), NAME))
    write_fits(folder / LP, FILTER="LP")

    summary = upload_all(folder, dry_run=True)

    assert capsys.readouterr().out == f"would upload {LP}\n"
    assert (summary["uploaded"], summary["skipped"]) == ([], [NAME])
    assert sent(server_) == [NAME]
    assert not (tmp_path / "data").exists()


# Each once


def test_what_upload_stack_sent_is_not_sent_again_while_the_list_is_late(
    session: CrowdSkySession, folder: Path, tmp_path: Path
) -> None:
    write_fits(folder / NAME)
    with SimulatedCrowdSky(tmp_path / "slow", {"alice": "pw"}, processing_delay_s=1e6) as slow:
        session.set_base_url(slow.base_url)
        session.set_credentials("alice", "pw")
        server.upload_stack(folder / NAME)

        summary = upload_all(folder)

        assert (summary["skipped"], summary["uploaded"], server.list_stacks()) == ([NAME], [], [])
        assert sent(slow) == [NAME]


@pytest.mark.parametrize(
    "fault",
    [Fault(mode="reset", after_bytes=-1, times=1), Fault(mode="status", status=502, times=1)],
    ids=["lost", "502"],
)
def test_what_upload_stack_got_no_answer_for_is_left_open(
    server_: SimulatedCrowdSky, folder: Path, fault: Fault, capsys: pytest.CaptureFixture[str]
) -> None:
    write_fits(folder / NAME)
    server_.show("upload_stack", fault)
    with pytest.raises(CrowdSkyError):
        server.upload_stack(folder / NAME)

    assert upload_all(folder)["skipped"] == [NAME]
    assert "it is sent again if it is not listed within 24 h" in capsys.readouterr().err


def test_what_upload_stack_was_refused_is_sent_by_the_next_run(
    server_: SimulatedCrowdSky, folder: Path
) -> None:
    write_fits(folder / NAME)
    server_.show("upload_stack", Fault(mode="error-200", times=1))
    with pytest.raises(UploadRefused):
        server.upload_stack(folder / NAME)

    assert upload_all(folder)["uploaded"] == [NAME]


def test_a_refusal_of_what_was_taken_before_does_not_make_it_unsent(
    session: CrowdSkySession, folder: Path, tmp_path: Path
) -> None:
    write_fits(folder / NAME)
    with SimulatedCrowdSky(tmp_path / "slow", {"alice": "pw"}, processing_delay_s=1e6) as slow:
        session.set_base_url(slow.base_url)
        session.set_credentials("alice", "pw")
        server.upload_stack(folder / NAME)
        slow.show("upload_stack", Fault(mode="error-200", times=1))
        with pytest.raises(UploadRefused):
            server.upload_stack(folder / NAME)

        assert upload_all(folder)["skipped"] == [NAME]
        assert sent(slow) == [NAME]


@pytest.mark.parametrize(
    ("name", "cards"),
    [
        (LP, {"FILTER": "LP"}),
        (NAME, {"TELESCOP": "S50_99999999"}),
        (NAME.replace("10.0s", "20.0s"), {"EXPTIME": 20.0, "DATE_OBS": "2025-03-27T01:25:02.1"}),
        (NAME, {"TOTALEXP": 150.0}),
    ],
    ids=["filter", "telescope", "exposure", "another length"],
)
def test_another_stack_of_the_same_chunk_key_is_sent(
    server_: SimulatedCrowdSky, folder: Path, name: str, cards: dict[str, object]
) -> None:
    write_fits(folder / NAME)
    server.upload_stack(folder / NAME)
    (folder / "two").mkdir()
    write_fits(folder / "two" / name, **cards)

    summary = upload_all(folder)

    assert (summary["uploaded"], summary["skipped"]) == ([name], [NAME])
    assert [stack.chunk_key for stack in server_.uploads] == [KEY, KEY]


@pytest.mark.parametrize(
    "name",
    [
        LEGACY,
        NAME.replace("20250327.05", "20250327.06"),
        NAME.replace("_HP033810", ""),
        "CrowdSky_31_M 94_10.0s_20250327.05_HP033810.FITS",
        "CROWDSKY_whatever.FIT",
    ],
    ids=["legacy", "another key", "no pixel", "no filter", "no grammar"],
)
def test_no_name_is_sent_again_on_every_run(server_: SimulatedCrowdSky, folder: Path, name: str) -> None:
    write_fits(folder / name)

    runs = [upload_all(folder) for _ in range(3)]

    assert [run["uploaded"] for run in runs] == [[name], [], []]
    assert [run["skipped"] for run in runs] == [[], [name], [name]]
    assert len(server_.uploads) == 1


def test_a_stack_that_somebody_else_sent_with_its_times_is_not_sent_again(
    server_: SimulatedCrowdSky, folder: Path
) -> None:
    write_fits(folder / NAME)
    server.upload_stack(
        folder / NAME, date_obs_start="2025-03-27T01:20:33.9", date_obs_end="2025-03-27T01:26:57"
    )

    assert upload_all(folder)["skipped"] == [NAME]
    assert len(server_.uploads) == 1


def test_what_the_server_has_not_listed_yet_is_not_sent_again(
    tmp_path: Path, session: CrowdSkySession, folder: Path
) -> None:
    with SimulatedCrowdSky(tmp_path / "slow", {"alice": "s3cret-päss"}, processing_delay_s=3600.0) as slow:
        session.set_base_url(slow.base_url)
        write_fits(folder / NAME)

        runs = [upload_all(folder) for _ in range(2)]

        assert [run["uploaded"] for run in runs] == [[NAME], []]
        assert runs[1]["skipped"] == [NAME]
        assert len(slow.uploads) == 1


def test_what_may_be_there_is_not_sent_and_said(
    server_: SimulatedCrowdSky, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_fits(folder / NAME)
    body = f'[{{"id": 7, "chunk_key": "{KEY}", "telescope_id": null, "filter_name": null}}]'
    server_.show("my_stacks", Fault(mode="status", status=200, body=body))

    assert upload_all(folder)["skipped"] == [NAME]
    assert "the server says too little about stack 7" in capsys.readouterr().err
    assert server_.uploads == []


def test_everything_is_sent_again_on_demand(server_: SimulatedCrowdSky, folder: Path) -> None:
    write_fits(folder / NAME)
    upload_all(folder)

    assert upload_all(folder, skip_existing=False)["uploaded"] == [NAME]
    assert len(server_.uploads) == 2


@pytest.mark.parametrize(
    "fault",
    [Fault(mode="status", status=502), Fault(mode="html-200"), Fault(mode="error-200"), Fault(mode="reset")],
    ids=lambda fault: fault.mode,
)
def test_without_the_servers_list_nothing_is_sent(
    server_: SimulatedCrowdSky, folder: Path, fault: Fault
) -> None:
    write_fits(folder / NAME)
    server_.show("my_stacks", fault)

    with pytest.raises(RuntimeError):
        upload_all(folder)
    assert server_.uploads == []


def test_a_list_that_is_busy_is_waited_for(server_: SimulatedCrowdSky, folder: Path) -> None:
    write_fits(folder / NAME)
    server_.show("my_stacks", Fault(mode="status", status=503, retry_after=0, times=2))

    assert upload_all(folder)["uploaded"] == [NAME]


def test_a_wait_too_long_for_a_person_is_said_instead(server_: SimulatedCrowdSky, folder: Path) -> None:
    write_fits(folder / NAME)
    server_.show("my_stacks", Fault(mode="status", status=429, retry_after=3600))

    with pytest.raises(ServerBusy) as caught:
        upload_all(folder)
    assert caught.value.retry_after == timedelta(hours=1)


# One that fails


def test_one_that_fails_does_not_stop_the_others(
    server_: SimulatedCrowdSky, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"CrowdSky_{n}_M 94_10.0s_IRCUT_20250327.05_HP033810.fit" for n in range(4)]
    for n, name in enumerate(names):
        write_fits(folder / name, DATE_OBS=f"2025-03-27T01:2{n}:00")
    server_.show(
        "upload_stack",
        Fault(mode="status", status=400, body={"error": "Invalid FITS file."}, times=1),
        Fault(mode="status", status=413, body="<h1>Too Large</h1>", times=1),
        Fault(mode="status", status=503, retry_after=3600, times=1),
    )

    summary = upload_all(folder)

    assert (summary["uploaded"], summary["failed"]) == (names[3:], names[:3])
    said = capsys.readouterr().err
    assert f"not uploaded: {names[0]}: upload of {names[0]}: 400 Invalid FITS file." in said
    assert "413" in said
    assert "503" in said
    assert upload_all(folder)["uploaded"] == names[:3]


def test_a_server_that_is_busy_gets_it_later(server_: SimulatedCrowdSky, folder: Path) -> None:
    write_fits(folder / NAME)
    server_.show("upload_stack", Fault(mode="status", status=429, retry_after=0, times=2))

    assert upload_all(folder)["uploaded"] == [NAME]
    assert len(server_.uploads) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(mode="status", status=401),
        Fault(mode="status", status=400, body={"error": "Storage quota exceeded."}),
    ],
    ids=["login", "quota"],
)
def test_what_is_wrong_with_the_account_burns_no_other_stacks(
    server_: SimulatedCrowdSky, folder: Path, fault: Fault, capsys: pytest.CaptureFixture[str]
) -> None:
    write_fits(folder / NAME)
    write_fits(folder / LP, FILTER="LP")
    server_.show("upload_stack", fault)

    assert upload_all(folder)["failed"] == [NAME, LP]
    assert len(server_.requests("upload_stack")) == 1
    assert f"not uploaded: {LP}: not sent: upload of {NAME}" in capsys.readouterr().err


def test_a_server_that_has_gone_is_not_tried_each_time(server_: SimulatedCrowdSky, folder: Path) -> None:
    for n in range(6):
        write_fits(folder / f"CrowdSky_{n}_M 94.fit", DATE_OBS=f"2025-03-27T01:2{n}:00")
    server_.show("upload_stack", Fault(mode="status", status=502))

    assert upload_all(folder)["files_failed"] == 6
    assert len(server_.requests("upload_stack")) == 3


# An answer that was lost


def test_an_answer_that_was_lost_is_looked_for_in_the_list(server_: SimulatedCrowdSky, folder: Path) -> None:
    write_fits(folder / NAME)
    server_.show("upload_stack", Fault(mode="drop-after-store", times=1))

    assert upload_all(folder)["uploaded"] == [NAME]
    assert [entry.endpoint for entry in server_.requests()] == ["my_stacks", "upload_stack", "my_stacks"]
    assert upload_all(folder)["skipped"] == [NAME]
    assert len(server_.uploads) == 1


def test_it_is_looked_for_twice_then_called_failed_and_not_sent_again_at_once(
    server_: SimulatedCrowdSky, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_fits(folder / NAME)
    server_.show("upload_stack", Fault(mode="reset", after_bytes=-1, times=1))

    assert upload_all(folder)["failed"] == [NAME]
    asked = [entry.endpoint for entry in server_.requests()]
    assert asked == ["my_stacks", "upload_stack", "my_stacks", "my_stacks"]
    assert "it is not listed so far, and may be there all the same" in capsys.readouterr().err
    assert upload_all(folder)["skipped"] == [NAME]
    assert "it is sent again if it is not listed within 24 h" in capsys.readouterr().err
    assert server_.uploads == []


def test_a_list_that_fails_after_it_leaves_it_open(
    server_: SimulatedCrowdSky, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_fits(folder / NAME)
    server_.show("upload_stack", Fault(mode="drop-after-store", times=1))
    server_.show("my_stacks", Fault(mode="headers", times=1), Fault(mode="html-200", times=1))

    assert upload_all(folder)["failed"] == [NAME]
    assert "may be there all the same" in capsys.readouterr().err
    assert upload_all(folder)["skipped"] == [NAME]
    assert len(server_.uploads) == 1


def test_it_is_sent_again_once_the_server_has_had_a_day_to_list_it(
    server_: SimulatedCrowdSky, client: CrowdSkyClient, folder: Path, tmp_path: Path
) -> None:
    write_fits(folder / NAME)
    now = utc_now()
    ledger = SentLedger(tmp_path / "memory", server_.base_url, "alice")
    source = LocalStacks(folder)

    def run(later: timedelta) -> list[Outcome]:
        upload = BulkUpload(
            client=client,
            ledger=ledger,
            scrub_location=True,
            look_again=NO_DELAY,
            listed_by=timedelta(hours=24),
            clock=lambda: now + later,
        )
        return [entry.outcome for entry in upload.carry_out(source, upload.plan(source)).entries]

    server_.show("upload_stack", Fault(mode="reset", after_bytes=-1, times=1))
    assert run(timedelta()) == [Outcome.FAILED]
    assert run(timedelta(hours=23)) == [Outcome.UNSURE]
    assert run(timedelta(hours=25)) == [Outcome.UPLOADED]
    assert len(server_.uploads) == 1


def test_what_was_taken_and_is_never_listed_needs_a_person(
    tmp_path: Path, folder: Path, waited: list[float]
) -> None:
    write_fits(folder / NAME)
    with SimulatedCrowdSky(tmp_path / "slow", {"alice": "pw"}, processing_delay_s=1e6) as slow:
        client = CrowdSkyClient(slow.base_url, "alice", "pw")
        source = LocalStacks(folder)
        now = utc_now()
        for later, outcome in ((0, Outcome.UPLOADED), (23, Outcome.ACCEPTED), (25, Outcome.FAILED)):
            upload = BulkUpload(
                client=client,
                ledger=SentLedger(tmp_path / "memory", slow.base_url, "alice"),
                scrub_location=False,
                look_again=NO_DELAY,
                listed_by=timedelta(hours=24),
                clock=lambda later=later: now + timedelta(hours=later),
            )
            (entry,) = upload.carry_out(source, upload.plan(source)).entries
            assert entry.outcome is outcome
        assert "look for it on its web page" in entry.reason
        assert len(slow.uploads) == 1


def test_what_was_taken_and_may_be_a_row_that_says_little_is_there(
    server_: SimulatedCrowdSky, folder: Path
) -> None:
    write_fits(folder / NAME)
    upload_all(folder)
    body = f'[{{"id": 1, "chunk_key": "{KEY}", "telescope_id": null, "total_exptime": null}}]'
    server_.show("my_stacks", Fault(mode="status", status=200, body=body))

    source = LocalStacks(folder)
    assert upload_all(folder)["skipped"] == [NAME]
    (entry,) = a_run(server_, timedelta(days=2)).plan(source).entries
    assert entry.outcome is Outcome.THERE


def a_run(server_: SimulatedCrowdSky, later: timedelta, **options: Any) -> BulkUpload:
    """Wire an upload with the memory of the public function, at a later time."""
    return BulkUpload(
        client=CrowdSkyClient(server_.base_url, "alice", "s3cret-päss"),
        ledger=SentLedger(Path(os.environ["SKYRELAY_DATA_DIR"]), server_.base_url, "alice"),
        scrub_location=True,
        look_again=NO_DELAY,
        listed_by=timedelta(hours=24),
        clock=lambda: utc_now() + later,
        **options,
    )


def test_what_a_person_broke_off_half_way_is_sent_by_the_next_run(
    server_: SimulatedCrowdSky, folder: Path
) -> None:
    write_fits(folder / NAME, bytes(400_000), NAXIS1=500, NAXIS2=400)
    source = LocalStacks(folder)

    def break_off(_done: int, _whole: int | None) -> None:
        raise KeyboardInterrupt

    upload = a_run(server_, timedelta(), bar=lambda _: break_off)
    with pytest.raises(KeyboardInterrupt):
        upload.carry_out(source, upload.plan(source))

    assert upload_all(folder)["uploaded"] == [NAME]


@pytest.fixture
def waited() -> list[float]:
    return []


def test_the_server_is_given_the_time_that_it_asks_for(
    server_: SimulatedCrowdSky, client: CrowdSkyClient, waited: list[float]
) -> None:
    server_.show("my_stacks", Fault(mode="status", status=503, retry_after=17, times=1))
    patience = Patience(pause=waited.append)

    assert patience.call(client.list_stacks) == []
    assert waited == [17.0]


def test_patience_ends(server_: SimulatedCrowdSky, client: CrowdSkyClient, waited: list[float]) -> None:
    server_.show("my_stacks", Fault(mode="status", status=503))

    with pytest.raises(ServerBusy):
        Patience(pause=waited.append).call(client.list_stacks)
    assert waited == [5.0, 5.0]


def test_a_502_is_looked_for_once_and_may_be_sent_by_the_next_run(
    server_: SimulatedCrowdSky, folder: Path
) -> None:
    write_fits(folder / NAME)
    server_.show("upload_stack", Fault(mode="status", status=502, times=1))

    assert upload_all(folder)["failed"] == [NAME]
    assert upload_all(folder)["uploaded"] == [NAME]


def test_two_runs_at_once_do_not_send_the_same_twice(folder: Path, tmp_path: Path) -> None:
    write_fits(folder / NAME)

    with SentLedger(tmp_path / "data", "", "").alone(), pytest.raises(UploadRunning, match="another upload"):
        upload_all(folder)


# Hostile folders


def spoil_link_out(folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    write_fits(outside / "secret.fit")
    (folder / "CrowdSky_link.fit").symlink_to(outside / "secret.fit")


def spoil_truncated(folder: Path) -> None:
    write_fits(folder / "CrowdSky_cut.fit", bytes(100_000), NAXIS1=500, NAXIS2=100)
    os.truncate(folder / "CrowdSky_cut.fit", 50_000)


def spoil_header(folder: Path) -> None:
    write_fits(folder / "CrowdSky_cut.fit")
    os.truncate(folder / "CrowdSky_cut.fit", 1000)


def spoil_no_fits(folder: Path) -> None:
    (folder / "CrowdSky_page.fit").write_text("<html>")


def spoil_empty(folder: Path) -> None:
    (folder / "CrowdSky_empty.fit").touch()


def spoil_folder(folder: Path) -> None:
    (folder / "CrowdSky_folder.fit").mkdir()


def spoil_pipe(folder: Path) -> None:
    os.mkfifo(folder / "CrowdSky_pipe.fit")


def spoil_broken_link(folder: Path) -> None:
    (folder / "CrowdSky_broken.fit").symlink_to(folder / "nothing.fit")


def spoil_loop(folder: Path) -> None:
    (folder / "CrowdSky_loop.fit").symlink_to(folder / "CrowdSky_loop.fit")


def spoil_folder_link_out(folder: Path) -> None:
    outside = folder.parent / "elsewhere"
    outside.mkdir()
    write_fits(outside / NAME)
    (folder / "linked").symlink_to(outside)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_link_out, "it is a link that leads out of"),
        (spoil_truncated, "it is cut short: it has 50000 bytes, its header promises"),
        (spoil_header, "before the end of its header"),
        (spoil_no_fits, "no FITS header"),
        (spoil_empty, "the file ends after 0 bytes"),
        (spoil_folder, "it is no file"),
        (spoil_pipe, "it is no file"),
        (spoil_broken_link, "it cannot be read: No such file"),
        (spoil_loop, "cannot be"),
        (spoil_folder_link_out, "it is a link that leads out of"),
    ],
)
def test_what_cannot_be_sent_is_failed_with_a_reason_and_the_rest_goes(
    server_: SimulatedCrowdSky,
    folder: Path,
    spoil: Callable[[Path], None],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_fits(folder / NAME)
    spoil(folder)

    summary = upload_all(folder)

    assert summary["uploaded"] == [NAME]
    assert summary["files_failed"] == 1
    assert reason in capsys.readouterr().err
    assert sent(server_) == [NAME]


def test_one_file_under_two_names_goes_once(server_: SimulatedCrowdSky, folder: Path) -> None:
    write_fits(folder / NAME)
    (folder / "CrowdSky_z_hard.fit").hardlink_to(folder / NAME)
    (folder / "CrowdSky_z_soft.fit").symlink_to(folder / NAME)

    summary = upload_all(folder)

    assert (summary["uploaded"], summary["files_skipped"]) == ([NAME], 2)


def test_a_copy_of_a_file_goes_once(server_: SimulatedCrowdSky, folder: Path) -> None:
    write_fits(folder / NAME)
    write_fits(folder / LEGACY)

    summary = upload_all(folder)

    assert (summary["files_uploaded"], summary["files_skipped"]) == (1, 1)


def test_odd_names_arrive_as_they_are(server_: SimulatedCrowdSky, folder: Path) -> None:
    names = sorted(
        [
            "CrowdSky_3_mosaic_Ørion+IC 5070 (v.2)_20.0s_LP_20250327.05_HP033810.fits",
            "CrowdSky_3_it's_10s_20250326-211500.FIT",
            "CrowdSky_3_" + "x" * 200 + "_10.0s_LP_20250327.05_HP033810.fit",
        ]
    )
    for n, name in enumerate(names):
        write_fits(folder / name, DATE_OBS=f"2025-03-27T01:2{n}:00")

    assert upload_all(folder)["uploaded"] == names
    assert sent(server_) == names


def test_a_scrubbed_upload_leaves_the_site_at_home(server_: SimulatedCrowdSky, folder: Path) -> None:
    write_fits(folder / NAME)

    upload_all(folder, scrub_location=1)

    assert b"33.654321" not in server_.stored_bytes(server_.uploads[0])


def test_a_broken_list_is_a_typed_error(server_: SimulatedCrowdSky, folder: Path) -> None:
    write_fits(folder / NAME)
    server_.show("my_stacks", Fault(mode="status", status=502))

    with pytest.raises(ServerBroken):
        upload_all(folder, dry_run=True)
