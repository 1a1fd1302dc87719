"""The functions that people script against: arguments, shapes and errors as documented."""

from __future__ import annotations

import copy
import inspect
import logging
import os
import threading
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from skyrelay.crowdsky import server
from skyrelay.crowdsky.errors import (
    AnswerLost,
    CredentialsRefused,
    CrowdSkyError,
    FileTooLarge,
    ServerBroken,
    ServerBusy,
    SessionUnknown,
    Unreachable,
    UploadRefused,
)
from skyrelay.crowdsky.session import CrowdSkySession, current_session, new_session
from skyrelay.errors import ConfigurationError, SkyrelayError
from skyrelay.service import utc_now
from skyrelay.store.engine import Store
from skyrelay.store.secrets import SecretStore
from skyrelay_simulators.crowdsky import Fault, SimulatedCrowdSky
from support.fits_files import write_fits

PASSWORD = "s3cret-päss"
KEY = "20250327.05_HP033810"
NAME = "CrowdSky_31_M 94_10.0s_IRCUT_20250327.05_HP033810.fit"

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    return write_fits(tmp_path / NAME)


@pytest.mark.parametrize(
    ("function", "signature"),
    [
        (server.set_credentials, "(username, password)"),
        (server.set_base_url, "(url)"),
        (server.list_stacks, "(object_name=None)"),
        (
            server.upload_stack,
            (
                "(fits_path, thumbnail=None, n_frames_input=None, n_frames_aligned=None, "
                "date_obs_start=None, date_obs_end=None, scrub_location=None)"
            ),
        ),
        (
            server.upload_all_stacks,
            (
                "(target=None, local_dir=None, dest='.', skip_existing=True, dry_run=False, *, ips=None, "
                "scrub_location=None)"
            ),
        ),
        (server.download_stack, "(chunk_keys, dest='.')"),
        (server.raw_start_session, "()"),
        (server.raw_upload_file, "(session_token, fits_path, *, scrub_location=None)"),
        (server.raw_finalize, "(session_token, scrub_location=False, overwrite=False)"),
    ],
)
def test_arguments_and_defaults_are_the_documented_ones(
    function: Callable[..., object], signature: str
) -> None:
    plain = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in inspect.signature(function).parameters.values()
    ]
    assert str(inspect.Signature(plain)) == signature


# Stacks


def test_an_uploaded_stack_is_queued_and_listed(stack: Path) -> None:
    receipt = server.upload_stack(
        stack,
        n_frames_input=32,
        n_frames_aligned=31,
        date_obs_start="2025-03-27T01:20:32.955",
        date_obs_end="2025-03-27T01:26:57",
    )
    (row,) = server.list_stacks()

    assert receipt == {"ok": True, "job_id": 1, "chunk_key": KEY, "status": "queued"}
    assert type(row) is dict
    assert row.keys() == {
        "id",
        "chunk_key",
        "object_name",
        "telescope_id",
        "filter_name",
        "date_obs_start",
        "date_obs_end",
        "n_frames_input",
        "n_frames_aligned",
        "total_exptime",
        "ra_deg",
        "dec_deg",
        "file_size_bytes",
        "created_at",
    }
    assert (row["date_obs_start"], row["date_obs_end"]) == ("2025-03-27 01:20:32", "2025-03-27 01:26:57")


def test_the_list_is_what_the_server_sends(server_: SimulatedCrowdSky) -> None:
    body = '[{"chunk_key": null, "n_frames": "12", "something_new": [1]}]'
    server_.show("my_stacks", Fault(mode="status", status=200, body=body))

    assert server.list_stacks() == [{"chunk_key": None, "n_frames": "12", "something_new": [1]}]


def test_only_an_objects_stacks_are_listed_when_it_is_named(stack: Path, tmp_path: Path) -> None:
    server.upload_stack(str(stack))
    server.upload_stack(write_fits(tmp_path / "m81.fit", OBJECT="M 81"))

    assert [row["object_name"] for row in server.list_stacks("M 81")] == ["M 81"]


def test_a_time_with_a_zone_is_told_in_utc_and_without_one_as_it_is(
    server_: SimulatedCrowdSky, stack: Path
) -> None:
    server.upload_stack(stack, date_obs_start="2025-03-27T02:20:32+01:00", date_obs_end="2025-03-27T01:26:57")

    (entry,) = server_.requests("upload_stack")
    assert entry.fields["date_obs_start"] == "2025-03-27T01:20:32"
    assert entry.fields["date_obs_end"] == "2025-03-27T01:26:57"


def test_what_is_no_time_is_refused_before_anything_is_sent(server_: SimulatedCrowdSky, stack: Path) -> None:
    with pytest.raises(ValueError, match="date_obs_end: 'yesterday' is no ISO 8601 time"):
        server.upload_stack(stack, date_obs_end="yesterday")
    assert server_.requests() == []


def test_a_missing_file_or_thumbnail_is_a_file_not_found(stack: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"away\.fit"):
        server.upload_stack(tmp_path / "away.fit")
    with pytest.raises(FileNotFoundError, match=r"away\.jpg"):
        server.upload_stack(stack, thumbnail=tmp_path / "away.jpg")
    with pytest.raises(FileNotFoundError):
        server.raw_upload_file("token", tmp_path / "away.fit")


def test_stacks_come_back_by_their_keys_in_their_order(stack: Path, tmp_path: Path) -> None:
    other = write_fits(tmp_path / "other.fit", DATE_OBS="2025-03-27T02:20:32.955368")
    keys = [server.upload_stack(path)["chunk_key"] for path in (other, stack)]

    paths = server.download_stack(keys, tmp_path / "down")
    alone = server.download_stack(KEY, str(tmp_path / "alone"))

    assert paths == [tmp_path / "down" / "other.fit", tmp_path / "down" / NAME]
    assert alone == [tmp_path / "alone" / NAME]
    assert alone[0].read_bytes() == stack.read_bytes()


def test_what_was_fetched_before_an_unknown_key_is_kept(stack: Path, tmp_path: Path) -> None:
    server.upload_stack(stack)

    with pytest.raises(RuntimeError, match="Stack not found"):
        server.download_stack([KEY, "20200101.00_HP000001"], tmp_path / "down")
    assert [path.name for path in (tmp_path / "down").iterdir()] == [NAME]


# Raw frames


def test_raw_frames_become_a_stack(server_: SimulatedCrowdSky, tmp_path: Path) -> None:
    first = write_fits(tmp_path / "Light_1.fit", TOTALEXP=None)
    second = write_fits(tmp_path / "Light_2.fit", TOTALEXP=None, DATE_OBS="2025-03-27T01:20:44.5")

    token = server.raw_start_session()
    answers = [server.raw_upload_file(token, path) for path in (first, str(second))]
    result = server.raw_finalize(token)

    assert isinstance(token, str)
    assert answers[0] == {
        "ok": True,
        "filename": "Light_1.fit",
        "chunk_key": KEY,
        "date_obs": "2025-03-27T01:20:32.955368",
    }
    assert result == {"ok": True, "jobs": 1, "job_ids": [1], "chunks": [KEY], "skipped": []}
    (entry,) = server_.requests("raw_finalize")
    assert entry.fields == {"session_token": token, "scrub_location": "0"}


def test_a_chunk_that_has_a_stack_is_skipped_unless_it_may_be_overwritten(
    server_: SimulatedCrowdSky, stack: Path, tmp_path: Path
) -> None:
    server.upload_stack(stack)
    frame = write_fits(tmp_path / "Light_1.fit", TOTALEXP=None)

    results = []
    for overwrite in (False, True):
        token = server.raw_start_session()
        server.raw_upload_file(token, frame)
        results.append(server.raw_finalize(token, scrub_location=True, overwrite=overwrite))

    assert (results[0]["jobs"], results[0]["skipped"]) == (0, [KEY])
    assert (results[1]["jobs"], results[1]["chunks"]) == (1, [KEY])
    assert server_.requests("raw_finalize")[1].fields["overwrite"] == "1"
    assert "overwrite" not in server_.requests("raw_finalize")[0].fields


def test_a_frame_without_date_obs_is_refused_in_the_servers_words(tmp_path: Path) -> None:
    frame = write_fits(tmp_path / "Light_1.fit", DATE_OBS=None)
    token = server.raw_start_session()

    with pytest.raises(UploadRefused, match=r"upload of Light_1\.fit: 400 No DATE-OBS in the FITS header"):
        server.raw_upload_file(token, frame)


def test_a_session_that_the_server_does_not_know_has_a_type_of_its_own(stack: Path) -> None:
    with pytest.raises(SessionUnknown, match="session not found or expired"):
        server.raw_upload_file("nonsense", stack)
    with pytest.raises(SessionUnknown):
        server.raw_finalize("nonsense")


def test_an_answer_without_a_token_is_no_session(server_: SimulatedCrowdSky) -> None:
    server_.show("raw_start", Fault(mode="status", status=200, body={"ok": True}))

    with pytest.raises(ServerBroken, match="no session_token"):
        server.raw_start_session()


# What the server says instead: each function, each manner

CALLS: dict[str, Callable[[Path], object]] = {
    "my_stacks": lambda _: server.list_stacks(),
    "upload_stack": server.upload_stack,
    "download_stack": lambda path: server.download_stack(KEY, path.parent / "down"),
    "raw_start": lambda _: server.raw_start_session(),
    "raw_file": lambda path: server.raw_upload_file("token", path),
    "raw_finalize": lambda _: server.raw_finalize("token"),
}
MANNERS: dict[str, tuple[Fault, type[CrowdSkyError], type[CrowdSkyError], str]] = {
    "error-200": (Fault(mode="error-200"), ServerBroken, UploadRefused, "Something went wrong"),
    "html-200": (
        Fault(mode="html-200"),
        ServerBroken,
        ServerBroken,
        'a page that says "Down for maintenance"',
    ),
    "401": (Fault(mode="status", status=401), CredentialsRefused, CredentialsRefused, "401"),
    "413": (Fault(mode="status", status=413, body="<h1>Too Large</h1>"), ServerBroken, FileTooLarge, "413"),
    "429": (Fault(mode="status", status=429, retry_after=7), ServerBusy, ServerBusy, "429"),
    "503": (Fault(mode="status", status=503, retry_after=7), ServerBusy, ServerBusy, "503"),
    "502": (Fault(mode="status", status=502, body="<h1>Bad Gateway</h1>"), ServerBroken, ServerBroken, "502"),
    "reset": (Fault(mode="reset"), Unreachable, CrowdSkyError, ""),
    "lost": (Fault(mode="drop-after-store"), Unreachable, AnswerLost, ""),
}


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("endpoint", CALLS)
def test_each_manner_of_the_server_has_a_type_and_words(
    server_: SimulatedCrowdSky, stack: Path, endpoint: str, manner: str
) -> None:
    fault, asking, sending, words = MANNERS[manner]
    server_.show(endpoint, fault)

    with pytest.raises(CrowdSkyError) as caught:
        CALLS[endpoint](stack)

    kind = sending if endpoint in {"upload_stack", "raw_file", "raw_finalize"} else asking
    assert isinstance(caught.value, kind)
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value, SkyrelayError)
    assert words in str(caught.value)
    if isinstance(caught.value, ServerBusy):
        assert caught.value.retry_after == timedelta(seconds=7)


def test_nobody_there_is_a_runtime_error_too(server_: SimulatedCrowdSky, stack: Path) -> None:
    server_.stop()

    for call in CALLS.values():
        with pytest.raises(RuntimeError, match="out of reach"):
            call(stack)


# Who is logged in where


def test_without_a_login_nothing_is_sent_and_it_is_said_what_to_do(
    server_: SimulatedCrowdSky, stack: Path
) -> None:
    with new_session() as session:
        session.set_base_url(server_.base_url)
        for call in CALLS.values():
            with pytest.raises(RuntimeError, match="user name and password are not set"):
                call(stack)
    assert server_.requests() == []


def test_the_environment_logs_in_and_set_credentials_goes_before_it(
    server_: SimulatedCrowdSky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROWDSKY_USERNAME", "alice")
    monkeypatch.setenv("CROWDSKY_PASSWORD", PASSWORD)
    monkeypatch.setenv("SKYRELAY_CROWDSKY__BASE_URL", server_.base_url)
    with new_session():
        assert server.list_stacks() == []
        server.set_credentials("alice", "wrong")
        with pytest.raises(CredentialsRefused):
            server.list_stacks()


def test_what_a_person_entered_logs_in_last_of_all(
    server_: SimulatedCrowdSky, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKYRELAY_DATABASE_URL", f"sqlite:///{tmp_path / 'skyrelay.db'}")
    secrets = SecretStore(store, tmp_path / "data" / "secret.key")
    secrets.put("crowdsky.username", SecretStr("alice"), now=utc_now(), actor="person")
    secrets.put("crowdsky.password", SecretStr(PASSWORD), now=utc_now(), actor="person")
    with new_session() as session:
        session.set_base_url(server_.base_url)
        assert server.list_stacks() == []
        assert len(server.raw_start_session()) > 0
        monkeypatch.setenv("CROWDSKY_USERNAME", "alice")
        monkeypatch.setenv("CROWDSKY_PASSWORD", "wrong")
        with pytest.raises(CredentialsRefused):
            server.list_stacks()
        server.set_credentials("alice", PASSWORD)
        assert server.list_stacks() == []


def test_the_configuration_logs_in(
    server_: SimulatedCrowdSky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"crowdsky: {{base_url: '{server_.base_url}', username: alice, password: '{PASSWORD}'}}", "utf-8"
    )
    monkeypatch.setenv("SKYRELAY_CONFIG", str(config))
    with new_session():
        assert server.list_stacks() == []
        monkeypatch.setenv("CROWDSKY_PASSWORD", "wrong")
        with pytest.raises(CredentialsRefused):
            server.list_stacks()


def test_what_is_no_address_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="no web address"):
        server.set_base_url("crowdsky.example")


def test_a_trailing_slash_of_the_address_does_no_harm(server_: SimulatedCrowdSky) -> None:
    server.set_base_url(server_.base_url + "/")

    assert server.list_stacks() == []


def test_threads_share_the_login_of_the_process() -> None:
    seen: list[CrowdSkySession] = []

    def look() -> None:
        seen.append(current_session())

    for _ in range(2):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    assert seen[0] is seen[1]


def test_a_session_of_its_own_leaves_no_trace(session: CrowdSkySession) -> None:
    with new_session() as other:
        server.set_credentials("bob", "other")
        assert current_session() is other
    assert current_session() is session
    assert server.list_stacks() == []


@pytest.mark.parametrize("endpoint", CALLS)
def test_the_password_is_nowhere_to_be_read(
    server_: SimulatedCrowdSky,
    session: CrowdSkySession,
    stack: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    endpoint: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    server_.show("*", Fault(mode="status", status=400, body={"error": f"alice:{PASSWORD} is not welcome"}))

    with pytest.raises(RuntimeError) as caught:
        CALLS[endpoint](stack)

    said = ["".join(traceback.format_exception(caught.value)), repr(caught.value), caplog.text]
    said += [repr(session), str(vars(session)), repr(session.client()), repr(session.settings())]
    said += [*capsys.readouterr(), repr(copy.copy(session))]
    assert not any(PASSWORD in text for text in said)


# The home's coordinates


@pytest.mark.parametrize(
    ("asked", "configured", "leaves"),
    [
        (None, "", True),
        (0, "", True),
        (1, "", False),
        (None, "true", False),
        (0, "true", True),
        (1, "false", False),
    ],
)
def test_the_site_leaves_only_where_it_may(
    server_: SimulatedCrowdSky,
    stack: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: int | None,
    configured: str,
    *,
    leaves: bool,
) -> None:
    """The server of these tests scrubs nothing: what it holds is what was sent."""
    monkeypatch.setenv("SKYRELAY_CROWDSKY__SCRUB_LOCATION", configured)

    server.upload_stack(stack, scrub_location=asked)

    (sent,) = server_.uploads
    assert (b"33.654321" in server_.stored_bytes(sent)) is leaves
    assert (server_.requests("upload_stack")[0].fields.get("scrub_location") == "1") is not leaves


@pytest.mark.parametrize(
    ("asked", "configured", "leaves"),
    [(None, "", True), (True, "", False), (None, "true", False), (False, "true", True)],
)
def test_the_site_of_a_raw_frame_leaves_only_where_it_may(
    tmp_path: Path,
    server_: SimulatedCrowdSky,
    stack: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: bool | None,
    configured: str,
    *,
    leaves: bool,
) -> None:
    monkeypatch.setenv("SKYRELAY_CROWDSKY__SCRUB_LOCATION", configured)
    token = server.raw_start_session()

    server.raw_upload_file(token, stack, scrub_location=asked)

    (kept,) = (tmp_path / "crowdsky" / "files").iterdir()
    assert (b"33.654321" in kept.read_bytes()) is leaves
    assert kept.stat().st_size == stack.stat().st_size


@pytest.mark.parametrize(
    ("asked", "configured", "told"), [(False, "", "0"), (True, "", "1"), (False, "true", "1")]
)
def test_the_server_is_asked_to_leave_the_site_out_of_a_stack_of_raw_frames(
    server_: SimulatedCrowdSky,
    stack: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: bool,
    configured: str,
    told: str,
) -> None:
    monkeypatch.setenv("SKYRELAY_CROWDSKY__SCRUB_LOCATION", configured)
    token = server.raw_start_session()
    server.raw_upload_file(token, stack)

    server.raw_finalize(token, scrub_location=asked)

    assert server_.requests("raw_finalize")[0].fields["scrub_location"] == told


def test_what_cannot_be_called_clean_does_not_leave(server_: SimulatedCrowdSky, tmp_path: Path) -> None:
    path = tmp_path / "Light_1.fit"
    path.write_bytes(b"SITELAT = 33.654321, and no FITS")

    with pytest.raises(SkyrelayError, match="no FITS header"):
        server.raw_upload_file("token", path, scrub_location=True)
    assert server_.requests() == []


def test_handles_are_closed(server_: SimulatedCrowdSky, stack: Path) -> None:
    server.upload_stack(stack, thumbnail=stack)
    server.raw_upload_file(server.raw_start_session(), stack)
    server_.show("upload_stack", Fault(mode="reset"))
    with pytest.raises(RuntimeError):
        server.upload_stack(stack, thumbnail=stack)

    handles = Path("/proc/self/fd").iterdir()
    assert str(stack) not in {os.readlink(handle) for handle in handles if handle.is_symlink()}  # noqa: PTH115
