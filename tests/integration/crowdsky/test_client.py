"""The client against a server: what is sent, and what each failure becomes."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.crowdsky.errors import (
    AnswerLost,
    CredentialsRefused,
    FileTooLarge,
    QuotaExceeded,
    ServerBroken,
    ServerBusy,
    StackUnreadable,
    Unreachable,
    UploadInterrupted,
    UploadRefused,
)
from skyrelay.crowdsky.matching import is_ours
from skyrelay.crowdsky.stacks import StackUpload, UploadReceipt
from skyrelay.errors import ConfigurationError, SkyrelayError
from skyrelay.fits_header import NotFits
from skyrelay_simulators.crowdsky import Fault, SimulatedCrowdSky
from support.fits_files import fits_bytes, header, write_fits

PASSWORD = "s3cret-päss"
KEY = "20250327.05_HP033810"


def sent_to(server: SimulatedCrowdSky) -> bytes:
    """Give the bytes of the only stack that the server has."""
    (stack,) = server.uploads
    return server.stored_bytes(stack)


def test_a_stack_is_delivered_and_found_again(
    server: SimulatedCrowdSky, client: CrowdSkyClient, upload: StackUpload
) -> None:
    receipt = client.upload_stack(upload)
    (row,) = client.list_stacks()

    assert receipt == UploadReceipt(job_id=1, chunk_key=KEY, status="queued")
    assert (row.id, row.chunk_key, row.object_name) == (1, KEY, "M 94")
    assert (row.n_frames_input, row.n_frames_aligned, row.total_exptime_s) == (32, 31, 320.0)
    assert upload.date_obs_start is not None
    assert upload.date_obs_end is not None
    assert is_ours(
        row,
        telescope_serial="1d3fe189",
        filter_name="IRCUT",
        date_obs_start=upload.date_obs_start,
        date_obs_end=upload.date_obs_end,
    )


def test_the_form_says_what_the_api_asks_for(
    server: SimulatedCrowdSky, client: CrowdSkyClient, upload: StackUpload
) -> None:
    client.upload_stack(upload)

    (entry,) = server.requests("upload_stack")
    assert entry.fields == {
        "n_frames_input": "32",
        "n_frames_aligned": "31",
        "date_obs_start": "2025-03-27T01:20:32.955368",
        "date_obs_end": "2025-03-27T01:26:57",
        "scrub_location": "1",
    }
    assert [(file.field, file.file_name) for file in entry.files] == [("file", upload.file_name)]


def test_only_one_object_is_listed_when_one_is_named(
    client: CrowdSkyClient, upload: StackUpload, tmp_path: Path
) -> None:
    client.upload_stack(upload)
    client.upload_stack(replace(upload, path=write_fits(tmp_path / "m81.fit", OBJECT="M 81")))

    assert [row.object_name for row in client.list_stacks("M 81")] == ["M 81"]
    assert len(client.list_stacks()) == 2


def test_a_thumbnail_goes_with_it(
    server: SimulatedCrowdSky, client: CrowdSkyClient, upload: StackUpload, tmp_path: Path
) -> None:
    thumbnail = tmp_path / "stack.png"
    thumbnail.write_bytes(b"\x89PNG made up")

    client.upload_stack(replace(upload, thumbnail=thumbnail))

    files = server.requests("upload_stack")[0].files
    assert [file.field for file in files] == ["file", "thumbnail"]
    assert files[1].sha256 == hashlib.sha256(thumbnail.read_bytes()).hexdigest()


# What leaves the house


def test_the_site_never_leaves(
    server: SimulatedCrowdSky, client: CrowdSkyClient, upload: StackUpload
) -> None:
    """The server of this test does not scrub: what it holds is what was sent."""
    original = upload.path.read_bytes()
    assert b"SITELAT" in original

    client.upload_stack(upload)

    sent = sent_to(server)
    assert not any(word in sent for word in (b"SITELAT", b"SITELONG", b"33.654321", b"80.123456"))
    assert len(sent) == len(original)
    assert sent[2880:] == original[2880:]
    assert upload.path.read_bytes() == original


def test_the_site_of_an_extension_stays_here_too(
    server: SimulatedCrowdSky, client: CrowdSkyClient, upload: StackUpload
) -> None:
    extension = header(
        {"XTENSION": "IMAGE", "BITPIX": 8, "NAXIS": 0, "PCOUNT": 0, "GCOUNT": 1, "SITELAT": 33.654321}
    )
    upload.path.write_bytes(fits_bytes() + extension)

    client.upload_stack(upload)

    assert b"33.654321" not in sent_to(server)
    assert len(sent_to(server)) == upload.path.stat().st_size


def test_a_file_is_sent_as_it_is_when_its_place_may_be_known(
    server: SimulatedCrowdSky, client: CrowdSkyClient, upload: StackUpload
) -> None:
    client.upload_stack(replace(upload, scrub_location=False))

    assert sent_to(server) == upload.path.read_bytes()
    assert "scrub_location" not in server.requests("upload_stack")[0].fields


def test_what_cannot_be_read_cannot_be_called_clean(
    server: SimulatedCrowdSky, client: CrowdSkyClient, upload: StackUpload
) -> None:
    upload.path.write_bytes(b"SITELAT = 33.654321, and no FITS")

    with pytest.raises(NotFits):
        client.upload_stack(upload)
    assert server.requests() == []


def test_fifty_megabytes_pass_through_a_few(server: SimulatedCrowdSky, tmp_path: Path) -> None:
    size = 50 * 1024 * 1024
    stack = write_fits(tmp_path / "big.fit", bytes(size), NAXIS1=5120, NAXIS2=5120)
    program = Path(__file__).parent / "transfer_and_measure.py"

    measured = subprocess.run(
        [sys.executable, program, "upload", server.base_url, stack],
        env=os.environ | {"CROWDSKY_PASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    assert server.uploads[0].file_size_bytes == stack.stat().st_size
    assert int(measured.stdout) < size // 20


# What the server says


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(mode="error-200"), UploadRefused),
        (Fault(mode="status", status=400), UploadRefused),
        (Fault(mode="status", status=422), UploadRefused),
        (Fault(mode="status", status=401), CredentialsRefused),
        (Fault(mode="status", status=403, body="<h1>Forbidden</h1>"), CredentialsRefused),
        (Fault(mode="status", status=413, body="<h1>Request Entity Too Large</h1>"), FileTooLarge),
        (Fault(mode="error-200", body={"error": "Storage quota exceeded."}), QuotaExceeded),
        (Fault(mode="status", status=500), ServerBroken),
        (Fault(mode="status", status=502, body="<title>Bad Gateway</title>"), ServerBroken),
        (Fault(mode="html-200"), ServerBroken),
        (Fault(mode="status", status=200, body="{'ok': 1"), ServerBroken),
        (Fault(mode="status", status=429, retry_after=7), ServerBusy),
        (Fault(mode="status", status=503, retry_after=7), ServerBusy),
        (Fault(mode="status", status=504), AnswerLost),
    ],
    ids=lambda value: f"{value.mode}-{value.status}" if isinstance(value, Fault) else value.__name__,
)
def test_an_answer_to_an_upload_says_what_to_do(
    server: SimulatedCrowdSky,
    client: CrowdSkyClient,
    upload: StackUpload,
    fault: Fault,
    kind: type[SkyrelayError],
) -> None:
    server.show("upload_stack", fault)

    with pytest.raises(SkyrelayError) as caught:
        client.upload_stack(upload)

    assert type(caught.value) is kind
    if isinstance(caught.value, ServerBusy):
        assert caught.value.retry_after == timedelta(seconds=7)
    assert server.uploads == []


def test_a_server_that_recovers_takes_it(
    server: SimulatedCrowdSky, client: CrowdSkyClient, upload: StackUpload
) -> None:
    server.show("upload_stack", Fault(mode="status", status=503, times=2))

    for _ in range(2):
        with pytest.raises(ServerBusy):
            client.upload_stack(upload)
    assert client.upload_stack(upload).chunk_key == KEY


def test_a_wrong_password_is_a_matter_of_the_account(server: SimulatedCrowdSky, upload: StackUpload) -> None:
    client = CrowdSkyClient(server.base_url, "alice", "wrong")

    with pytest.raises(CredentialsRefused, match="401 Invalid username or password"):
        client.list_stacks()
    with pytest.raises(CredentialsRefused):
        client.upload_stack(upload)


@pytest.mark.parametrize(("username", "password"), [("", PASSWORD), ("alice", "")])
def test_without_a_login_nothing_is_sent(
    server: SimulatedCrowdSky, upload: StackUpload, username: str, password: str
) -> None:
    client = CrowdSkyClient(server.base_url, username, password)

    with pytest.raises(CredentialsRefused, match="not set"):
        client.list_stacks()
    with pytest.raises(CredentialsRefused, match="not set"):
        client.upload_stack(upload)
    assert server.requests() == []


@pytest.mark.parametrize(
    "fault",
    [Fault(mode="html-200"), Fault(mode="error-200"), Fault(mode="status", status=200, body="[1, 2]")],
)
def test_a_broken_list_is_not_an_empty_list(
    server: SimulatedCrowdSky, client: CrowdSkyClient, fault: Fault
) -> None:
    server.show("my_stacks", fault)

    with pytest.raises(ServerBroken):
        client.list_stacks()


def test_a_full_account_says_so_in_the_servers_words(tmp_path: Path, upload: StackUpload) -> None:
    with SimulatedCrowdSky(tmp_path / "small", {"alice": PASSWORD}, quota_bytes=8000) as server:
        client = CrowdSkyClient(server.base_url, "alice", PASSWORD)
        client.upload_stack(upload)

        with pytest.raises(QuotaExceeded, match="Storage quota exceeded: 5760 of 8000 bytes used"):
            client.upload_stack(upload)
        assert len(server.uploads) == 1


def test_the_login_does_not_follow_a_redirection(
    server: SimulatedCrowdSky, client: CrowdSkyClient, tmp_path: Path
) -> None:
    with SimulatedCrowdSky(tmp_path / "other", {"alice": PASSWORD}) as other:
        server.show(
            "*", Fault(mode="status", status=302, headers={"Location": other.base_url + "/api/my_stacks.php"})
        )

        with pytest.raises(
            ServerBroken, match=r"sends us on to http://127\.0\.0\.1; the login is not taken there"
        ):
            client.list_stacks()
        assert other.requests() == []


# What the line does


def test_an_answer_that_was_lost_is_ambiguous(
    server: SimulatedCrowdSky, client: CrowdSkyClient, upload: StackUpload
) -> None:
    server.show("upload_stack", Fault(mode="drop-after-store", times=1))

    with pytest.raises(AnswerLost, match="its answer never came"):
        client.upload_stack(upload)
    assert [row.chunk_key for row in client.list_stacks()] == [KEY]


def test_a_reset_after_the_whole_body_is_ambiguous(
    server: SimulatedCrowdSky, client: CrowdSkyClient, upload: StackUpload
) -> None:
    server.show("upload_stack", Fault(mode="reset", after_bytes=-1))

    with pytest.raises(AnswerLost):
        client.upload_stack(upload)
    assert server.uploads == []


def test_an_answer_that_comes_too_late_is_ambiguous(server: SimulatedCrowdSky, upload: StackUpload) -> None:
    server.show("upload_stack", Fault(mode="delay", seconds=30.0))
    client = CrowdSkyClient(server.base_url, "alice", PASSWORD, read_timeout_s=0.5)

    with pytest.raises(AnswerLost, match="it took too long"):
        client.upload_stack(upload)
    assert len(server.uploads) == 1


def test_a_list_that_comes_too_late_is_just_late(server: SimulatedCrowdSky) -> None:
    server.show("my_stacks", Fault(mode="delay", seconds=30.0))
    client = CrowdSkyClient(server.base_url, "alice", PASSWORD, read_timeout_s=0.5)

    with pytest.raises(Unreachable, match="it took too long"):
        client.list_stacks()


def test_a_reset_before_the_body_was_sent_is_plain(
    server: SimulatedCrowdSky, client: CrowdSkyClient, large_upload: StackUpload
) -> None:
    server.show("upload_stack", Fault(mode="reset", after_bytes=100_000))

    with pytest.raises(UploadInterrupted, match=r"broke after \d+ of \d+ bytes"):
        client.upload_stack(large_upload)
    assert server.uploads == []
    assert server.requests("upload_stack")[0].bytes_received < large_upload.path.stat().st_size


def test_nobody_there_is_plain(upload: StackUpload) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    client = CrowdSkyClient(address, "alice", PASSWORD)

    with pytest.raises(Unreachable, match="Connection refused"):
        client.upload_stack(upload)
    with pytest.raises(Unreachable, match="Connection refused"):
        client.list_stacks()


def test_an_unknown_name_is_plain(upload: StackUpload) -> None:
    client = CrowdSkyClient("http://crowdsky.invalid", "alice", PASSWORD, connect_timeout_s=5.0)

    with pytest.raises(Unreachable, match=r"crowdsky\.invalid is out of reach"):
        client.upload_stack(upload)


@contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """Answer one request with bytes of our own, and hang up."""

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n[",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense",
    ],
    ids=["not-http", "cut", "not-gzip", "not-chunked"],
)
def test_what_is_no_http_is_no_list(reply: bytes) -> None:
    with answering(reply) as address, pytest.raises(Unreachable):
        CrowdSkyClient(address, "alice", PASSWORD).list_stacks()


def test_a_file_that_shrinks_is_not_sent_for_ever(large_upload: StackUpload) -> None:
    """The server reads one byte, waits until the file is cut, and takes what still comes."""

    def cut_and_drain(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1)
            os.truncate(large_upload.path, 2880)
            while connection.recv(1_048_576):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=cut_and_drain, args=(listener,))
        thread.start()
        client = CrowdSkyClient(f"http://127.0.0.1:{listener.getsockname()[1]}", "alice", PASSWORD)
        with pytest.raises(StackUnreadable, match="became shorter"):
            client.upload_stack(large_upload)
        thread.join()


def test_a_missing_file_is_named(client: CrowdSkyClient, upload: StackUpload, tmp_path: Path) -> None:
    with pytest.raises(StackUnreadable, match=r"away\.fit cannot be opened: No such file"):
        client.upload_stack(replace(upload, path=tmp_path / "away.fit"))


# What is secret


def test_the_password_is_nowhere_to_be_read(
    server: SimulatedCrowdSky, upload: StackUpload, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = CrowdSkyClient(server.base_url, "alice", SecretStr(PASSWORD))
    server.show("*", Fault(mode="status", status=400, body={"error": f"alice:{PASSWORD} is not welcome"}))

    with pytest.raises(UploadRefused) as caught:
        client.upload_stack(upload)

    chain: BaseException | None = caught.value
    said = [repr(client), str(client), str(vars(client)), caplog.text]
    while chain is not None:
        said += [str(chain), repr(chain), str(chain.__dict__)]
        chain = chain.__cause__ or chain.__context__
    assert "•••" in str(caught.value)
    assert not any(PASSWORD in text for text in said)


def test_an_address_with_a_login_is_refused_without_repeating_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        CrowdSkyClient(f"https://alice:{PASSWORD}@crowdsky.example", "alice", PASSWORD)

    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["", "crowdsky.example", "ftp://crowdsky.example", "https://", "http://[::1", "http://x:y"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"crowdsky\.base_url"):
        CrowdSkyClient(address, "alice", PASSWORD)


def test_a_name_that_basic_cannot_carry_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="colon"):
        CrowdSkyClient("https://crowdsky.example", "al:ice", PASSWORD)
