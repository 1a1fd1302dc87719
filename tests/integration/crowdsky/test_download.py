"""Downloads over a real line: whole or not at all, resumed, and never where the server would have them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from skyrelay.arrivals import AlreadyArriving, arriving_in
from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.crowdsky.errors import (
    CredentialsRefused,
    CrowdSkyError,
    DownloadIncomplete,
    NotAStack,
    ServerBroken,
    ServerBusy,
    StackMissing,
    Unreachable,
)
from skyrelay.crowdsky.stacks import StackUpload
from skyrelay.errors import SkyrelayError, TransientError
from skyrelay_simulators.crowdsky import Fault, SimulatedCrowdSky
from support.fits_files import write_fits

PASSWORD = "s3cret-päss"
KEY = "20250327.05_HP033810"
SIZE = 400_000


@pytest.fixture
def stack(client: CrowdSkyClient, upload: StackUpload) -> bytes:
    """A stack that the server has, large enough to be cut in several places."""
    write_fits(upload.path, os.urandom(SIZE), NAXIS1=500, NAXIS2=400)
    client.upload_stack(replace(upload, scrub_location=False))
    return upload.path.read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "down" / "here"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def called(name: str) -> Fault:
    return Fault(mode="headers", headers={"Content-Disposition": name})


def test_a_stack_comes_back_as_the_server_has_it(
    client: CrowdSkyClient, upload: StackUpload, stack: bytes, folder: Path
) -> None:
    path = client.download_stack(KEY, folder)

    assert path == folder / upload.file_name
    assert path.read_bytes() == stack
    assert names_in(folder) == [upload.file_name]


def test_its_progress_is_told(client: CrowdSkyClient, stack: bytes, folder: Path) -> None:
    told: list[tuple[int, int | None]] = []

    client.download_stack(KEY, folder, lambda done, whole: told.append((done, whole)))

    assert told[-1] == (len(stack), len(stack))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.parametrize("cut", [1, 8, 2880, 100_000, SIZE])
def test_what_breaks_off_is_resumed_where_it_broke(
    server: SimulatedCrowdSky, client: CrowdSkyClient, stack: bytes, folder: Path, cut: int
) -> None:
    server.show("download_stack", Fault(mode="cut-answer", after_bytes=cut, times=1))

    path = client.download_stack(KEY, folder)

    assert path.read_bytes() == stack
    assert [entry.status for entry in server.requests("download_stack")][-1] in {200, 206}
    if cut > 2880:
        assert [entry.status for entry in server.requests("download_stack")] == [200, 206]


def test_what_arrived_before_is_not_asked_for_again_by_a_later_call(
    server: SimulatedCrowdSky, client: CrowdSkyClient, stack: bytes, folder: Path
) -> None:
    server.show(
        "download_stack",
        Fault(mode="cut-answer", after_bytes=100_000, times=1),
        Fault(mode="cut-answer", after_bytes=0, times=3),
    )
    with pytest.raises(DownloadIncomplete, match="broke off after 100000 bytes; call again"):
        client.download_stack(KEY, folder)
    assert not list(folder.glob("*.fit*"))

    told: list[int] = []
    path = client.download_stack(KEY, folder, lambda done, _: told.append(done))

    assert path.read_bytes() == stack
    assert min(told) > 100_000
    assert names_in(folder) == [path.name]


def test_a_server_without_ranges_sends_it_all_again(
    server: SimulatedCrowdSky, client: CrowdSkyClient, stack: bytes, folder: Path
) -> None:
    server.show(
        "download_stack", Fault(mode="cut-answer", after_bytes=100_000, times=1), Fault(mode="no-ranges")
    )

    assert client.download_stack(KEY, folder).read_bytes() == stack


def test_another_file_in_its_place_is_not_mixed_with_what_arrived(
    server: SimulatedCrowdSky, client: CrowdSkyClient, upload: StackUpload, stack: bytes, folder: Path
) -> None:
    server.show(
        "download_stack",
        Fault(mode="cut-answer", after_bytes=100_000, times=1),
        Fault(mode="cut-answer", after_bytes=0, times=3),
    )
    with pytest.raises(DownloadIncomplete):
        client.download_stack(KEY, folder)
    write_fits(upload.path, os.urandom(SIZE), NAXIS1=500, NAXIS2=400)
    client.upload_stack(replace(upload, scrub_location=False))

    assert client.download_stack(KEY, folder).read_bytes() == upload.path.read_bytes()


def test_a_download_that_never_ends_well_is_no_success(
    server: SimulatedCrowdSky, client: CrowdSkyClient, stack: bytes, folder: Path
) -> None:
    server.show("download_stack", Fault(mode="cut-answer", after_bytes=0))

    with pytest.raises((DownloadIncomplete, Unreachable)):
        client.download_stack(KEY, folder)
    assert names_in(folder) == []


def test_a_length_that_is_not_true_is_no_success(
    server: SimulatedCrowdSky, client: CrowdSkyClient, stack: bytes, folder: Path
) -> None:
    """The server cuts the file to a length that it believes in: only the header knows better."""
    (kept,) = server.uploads
    os.truncate(next((folder.parents[1] / "crowdsky").rglob(kept.stored_as)), 300_000)

    with pytest.raises(NotAStack, match=r"it has 300000 bytes, its header promises 40\d+"):
        client.download_stack(KEY, folder)
    assert names_in(folder) == []


# What the server says instead


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(mode="error-200"), ServerBroken),
        (Fault(mode="html-200"), ServerBroken),
        (Fault(mode="status", status=200, body={"ok": True}), ServerBroken),
        (Fault(mode="status", status=200, body="SIMPLE  = T, but no FITS"), NotAStack),
        (Fault(mode="status", status=200, body=""), ServerBroken),
        (Fault(mode="status", status=401), CredentialsRefused),
        (Fault(mode="status", status=404), StackMissing),
        (Fault(mode="status", status=404, body="<h1>Not Found</h1>"), ServerBroken),
        (Fault(mode="status", status=502, body="<h1>Bad Gateway</h1>"), ServerBroken),
        (Fault(mode="status", status=429, retry_after=7), ServerBusy),
        (Fault(mode="status", status=503, retry_after=7), ServerBusy),
        (Fault(mode="reset"), Unreachable),
    ],
    ids=lambda value: f"{value.mode}-{value.status}" if isinstance(value, Fault) else value.__name__,
)
def test_an_answer_that_is_no_file_leaves_nothing_behind(
    server: SimulatedCrowdSky, client: CrowdSkyClient, folder: Path, fault: Fault, kind: type[SkyrelayError]
) -> None:
    server.show("download_stack", fault)

    with pytest.raises(CrowdSkyError) as caught:
        client.download_stack(KEY, folder)

    assert type(caught.value) is kind
    assert isinstance(caught.value, RuntimeError)
    assert names_in(folder) == []


def test_a_key_that_the_server_does_not_know_is_named(client: CrowdSkyClient, folder: Path) -> None:
    with pytest.raises(StackMissing, match=r"download of 20250327\.06_HP000001: 404 Stack not found"):
        client.download_stack("20250327.06_HP000001", folder)


# What the server would call it


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="../../../evil.fit"', "evil.fit"),
        ('attachment; filename="/etc/cron.d/evil"', "evil.fits"),
        ('attachment; filename="C:\\\\windows\\\\evil.fit"', "evil.fit"),
        ('attachment; filename=".."', "_.fits"),
        ('attachment; filename=""', f"{KEY}.fits"),
        ('attachment; filename="/"', f"{KEY}.fits"),
        ("attachment", f"{KEY}.fits"),
        ('attachment; filename="con.fit"', "_con.fit"),
        ('attachment; filename=".bashrc"', "_.bashrc.fits"),
        ('attachment; filename="run.sh"', "run.sh.fits"),
        ("attachment; filename*=UTF-8''..%2F..%2F%C3%98rion.fit", "Ørion.fit"),
        ("attachment; filename*=nonsense''%FF%FE.fit", None),
        ('attachment; filename="' + "x" * 300 + '.fit"', None),
        ('attachment; filename="a\tb.fit"', "a_b.fit"),
    ],
)
def test_its_name_is_a_wish_and_no_path(
    server: SimulatedCrowdSky,
    client: CrowdSkyClient,
    stack: bytes,
    folder: Path,
    disposition: str,
    name: str | None,
) -> None:
    server.show("download_stack", called(disposition))

    path = client.download_stack(KEY, folder)

    assert path.parent == folder
    assert path.read_bytes() == stack
    assert names_in(folder) == [path.name]
    assert name in {None, path.name}
    assert len(path.name.encode()) <= 255


# What lies there already


def test_the_same_file_again_is_the_same_file(
    client: CrowdSkyClient, upload: StackUpload, stack: bytes, folder: Path
) -> None:
    assert client.download_stack(KEY, folder) == client.download_stack(KEY, folder)
    assert names_in(folder) == [upload.file_name]


def test_a_longer_file_of_that_name_stays(
    client: CrowdSkyClient, upload: StackUpload, stack: bytes, folder: Path
) -> None:
    folder.mkdir(parents=True)
    longer = folder / upload.file_name
    longer.write_bytes(stack + b"and more")

    path = client.download_stack(KEY, folder)

    assert longer.read_bytes() == stack + b"and more"
    assert path.name == f"{longer.stem}_2.fit"
    assert path.read_bytes() == stack


def test_a_broken_beginning_of_it_is_replaced(
    client: CrowdSkyClient, upload: StackUpload, stack: bytes, folder: Path
) -> None:
    folder.mkdir(parents=True)
    (folder / upload.file_name).write_bytes(stack[:100_000])

    assert client.download_stack(KEY, folder).read_bytes() == stack
    assert names_in(folder) == [upload.file_name]


def test_a_folder_of_that_name_is_no_hindrance(
    client: CrowdSkyClient, upload: StackUpload, stack: bytes, folder: Path
) -> None:
    (folder / upload.file_name).mkdir(parents=True)

    assert client.download_stack(KEY, folder).read_bytes() == stack


def test_two_at_once_do_not_mix(client: CrowdSkyClient, stack: bytes, folder: Path) -> None:
    with arriving_in(folder / f".{KEY}.part"), pytest.raises(AlreadyArriving):
        client.download_stack(KEY, folder)


def test_a_folder_that_cannot_be_one_is_said(client: CrowdSkyClient, stack: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(TransientError, match="cannot be written: Not a directory"):
        client.download_stack(KEY, tmp_path / "file" / "folder")


def test_fifty_megabytes_come_through_a_few(
    server: SimulatedCrowdSky, client: CrowdSkyClient, upload: StackUpload, folder: Path
) -> None:
    size = 50 * 1024 * 1024
    write_fits(upload.path, bytes(size), NAXIS1=5120, NAXIS2=5120)
    client.upload_stack(upload)
    program = Path(__file__).parent / "transfer_and_measure.py"

    measured = subprocess.run(
        [sys.executable, program, "download", server.base_url, KEY, folder],
        env=os.environ | {"CROWDSKY_PASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    assert next(folder.glob("*.fit")).stat().st_size == upload.path.stat().st_size
    assert int(measured.stdout) < size // 20
