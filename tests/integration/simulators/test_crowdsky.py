"""The CrowdSky simulator keeps to the API's paper, asked by plain HTTP."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import requests
from astropy.io import fits

from skyrelay_simulators.crowdsky import Fault, SimulatedCrowdSky
from support.fits_files import fits_bytes
from support.left_out import left_out
from support.waiting import eventually

AUTH = ("alice", "s3cret")
KEY = "20250327.05_HP033810"
REAL_FRAMES = Path(__file__).parents[3] / "../shared/data/seestar-m94"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SimulatedCrowdSky]:
    with SimulatedCrowdSky(tmp_path / "crowdsky", {"alice": "s3cret", "bob": "pw"}) as running:
        yield running


@pytest.fixture
def real_frame() -> bytes:
    """The first of the night's frames of M 94."""
    if not REAL_FRAMES.is_dir():
        left_out("the real sub-frames of M 94 are not beside this checkout")
    return min(REAL_FRAMES.glob("*.fit")).read_bytes()


def get(server: SimulatedCrowdSky, path: str, auth: tuple[str, str] | None = AUTH) -> requests.Response:
    return requests.get(server.base_url + path, auth=auth, timeout=30)


def post(
    server: SimulatedCrowdSky,
    path: str,
    content: bytes | None = None,
    fields: Mapping[str, str] | None = None,
    *,
    name: str = "stack.fit",
    auth: tuple[str, str] | None = AUTH,
) -> requests.Response:
    files = None if content is None else {"file": (name, content)}
    return requests.post(server.base_url + path, data=fields, files=files, auth=auth, timeout=30)


def upload(server: SimulatedCrowdSky, content: bytes | None = None, **fields: str) -> requests.Response:
    return post(server, "/api/upload_stack.php", content or fits_bytes(), fields)


def raw(
    server: SimulatedCrowdSky,
    action: str,
    token: str = "",
    content: bytes | None = None,
    fields: Mapping[str, str] | None = None,
    *,
    name: str = "Light.fit",
    auth: tuple[str, str] = AUTH,
) -> requests.Response:
    form = {**({"session_token": token} if token else {}), **(fields or {})}
    return post(server, f"/api/raw_upload.php?action={action}", content, form, name=name, auth=auth)


# Login


@pytest.mark.parametrize("auth", [None, ("alice", "wrong"), ("carol", ""), ("", ""), ("bob", "s3cret")])
def test_a_wrong_login_is_401(server: SimulatedCrowdSky, auth: tuple[str, str] | None) -> None:
    for answer in (
        get(server, "/api/my_stacks.php", auth),
        get(server, f"/api/download_stack.php?chunk_key={KEY}", auth),
        post(server, "/api/upload_stack.php", fits_bytes(), auth=auth),
        post(server, "/api/raw_upload.php?action=start", auth=auth),
    ):
        assert answer.status_code == 401
        assert "error" in answer.json()
    assert server.uploads == []


def test_users_do_not_see_each_other(server: SimulatedCrowdSky) -> None:
    upload(server)

    assert get(server, "/api/my_stacks.php", ("bob", "pw")).json() == []
    assert get(server, f"/api/download_stack.php?chunk_key={KEY}", ("bob", "pw")).status_code == 404


# Stacks


def test_an_upload_is_queued_and_listed_later(tmp_path: Path) -> None:
    with SimulatedCrowdSky(tmp_path, {"alice": "s3cret"}, processing_delay_s=3600.0) as server:
        answer = upload(
            server,
            n_frames_input="32",
            n_frames_aligned="31",
            date_obs_start="2025-03-27T01:20:32.955",
            date_obs_end="2025-03-26T21:26:57-04:00",
        )

        assert answer.json() == {"ok": True, "job_id": 1, "chunk_key": KEY, "status": "queued"}
        assert get(server, "/api/my_stacks.php").json() == []
        assert get(server, f"/api/download_stack.php?chunk_key={KEY}").status_code == 404
        server.list_all_now()
        (row,) = get(server, "/api/my_stacks.php").json()

    assert row.pop("created_at")
    assert row == {
        "id": 1,
        "chunk_key": KEY,
        "object_name": "M 94",
        "telescope_id": "S50_1d3fe189",
        "filter_name": "IRCUT",
        "date_obs_start": "2025-03-27 01:20:32",
        "date_obs_end": "2025-03-27 01:26:57",
        "n_frames_input": 32,
        "n_frames_aligned": 31,
        "total_exptime": 320.0,
        "ra_deg": 193.04166,
        "dec_deg": 40.970556,
        "file_size_bytes": 5760,
    }


def test_it_is_listed_when_its_time_has_come(tmp_path: Path) -> None:
    with SimulatedCrowdSky(tmp_path, {"alice": "s3cret"}, processing_delay_s=0.2) as server:
        upload(server)

        eventually(lambda: get(server, "/api/my_stacks.php").json(), within_s=10.0)


def test_the_key_comes_from_the_header_and_not_from_the_name(server: SimulatedCrowdSky) -> None:
    name = "CrowdSky_31_M 94_10.0s_IRCUT_20250327.06_HP000001.fit"

    answer = post(
        server, "/api/upload_stack.php", fits_bytes(), {"date_obs_start": "2025-03-27T01:31:00"}, name=name
    )

    assert answer.json()["chunk_key"] == KEY


def test_an_unknown_position_is_pixel_zero(server: SimulatedCrowdSky) -> None:
    assert upload(server, fits_bytes(RA=None)).json()["chunk_key"] == "20250327.05_HP000000"


def test_a_real_frame_gets_its_key(server: SimulatedCrowdSky, real_frame: bytes) -> None:
    assert upload(server, real_frame).json()["chunk_key"] == KEY
    assert server.uploads[0].sha256 == hashlib.sha256(real_frame).hexdigest()


@pytest.mark.parametrize(
    ("content", "name", "fields"),
    [
        (b"no FITS at all", "stack.fit", {}),
        (fits_bytes()[:1000], "stack.fit", {}),
        (fits_bytes(DATE_OBS=None), "stack.fit", {}),
        (fits_bytes(DATE_OBS="yesterday"), "stack.fit", {}),
        (fits_bytes(DEC=99.0), "stack.fit", {}),
        (fits_bytes(), "stack.jpg", {}),
        (fits_bytes(), "stack.fit", {"n_frames_input": "many"}),
        (fits_bytes(), "stack.fit", {"date_obs_end": "later"}),
        (None, "", {"n_frames_input": "3"}),
    ],
    ids=["not-fits", "no-end", "no-date", "bad-date", "no-place-on-sky", "name", "count", "time", "no-file"],
)
def test_what_it_cannot_use_is_400_and_not_kept(
    server: SimulatedCrowdSky, tmp_path: Path, content: bytes | None, name: str, fields: dict[str, str]
) -> None:
    answer = post(server, "/api/upload_stack.php", content, fields, name=name)

    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)
    assert server.uploads == []
    assert list((tmp_path / "crowdsky" / "files").iterdir()) == []


def test_two_stacks_may_share_a_key(server: SimulatedCrowdSky) -> None:
    upload(server)
    upload(server, fits_bytes(FILTER="LP"))

    rows = get(server, "/api/my_stacks.php").json()
    assert [(row["chunk_key"], row["filter_name"]) for row in rows] == [(KEY, "IRCUT"), (KEY, "LP")]


def test_one_object_can_be_asked_for(server: SimulatedCrowdSky) -> None:
    upload(server)
    upload(server, fits_bytes(OBJECT="M 81"))

    assert [row["object_name"] for row in get(server, "/api/my_stacks.php?object=M%2081").json()] == ["M 81"]


def test_a_stack_comes_back_with_its_name(server: SimulatedCrowdSky) -> None:
    post(server, "/api/upload_stack.php", fits_bytes(), name='../evil "M 94" ☾.fit')

    answer = get(server, f"/api/download_stack.php?chunk_key={KEY}")

    assert answer.content == fits_bytes()
    assert answer.headers["Content-Disposition"] == 'attachment; filename="evil %22M 94%22 _.fit"'


def test_it_scrubs_when_it_is_asked_to(server: SimulatedCrowdSky) -> None:
    upload(server, scrub_location="1")
    upload(server)

    scrubbed, as_sent = (server.stored_bytes(stack) for stack in server.uploads)
    assert b"SITELAT" not in scrubbed
    assert b"SITELONG" not in scrubbed
    assert scrubbed[2880:] == as_sent[2880:]
    assert as_sent == fits_bytes()


def test_what_it_holds_outlives_it(tmp_path: Path) -> None:
    with SimulatedCrowdSky(tmp_path, {"alice": "s3cret"}) as first:
        upload(first)
    with SimulatedCrowdSky(tmp_path, {"alice": "s3cret"}) as second:
        assert get(second, f"/api/download_stack.php?chunk_key={KEY}").content == fits_bytes()


def test_it_comes_back_at_its_old_address(server: SimulatedCrowdSky) -> None:
    before = server.base_url
    server.stop()
    with pytest.raises(requests.ConnectionError):
        get(server, "/api/my_stacks.php")
    server.start()

    assert server.base_url == before
    assert get(server, "/api/my_stacks.php").json() == []


# Raw frames


def light(value: int, **changes: object) -> bytes:
    """Give a raw frame whose pixels all have one value."""
    pixels = np.full(32, value - 32768, dtype=">i2").tobytes()
    return fits_bytes(pixels, TOTALEXP=10.0, **changes)


def test_raw_frames_are_stacked_by_key_and_telescope(server: SimulatedCrowdSky, tmp_path: Path) -> None:
    token = raw(server, "start").json()["session_token"]
    later = "2025-03-27T01:31:00"
    for name, frame in {
        "a.fit": light(100),
        "b.fit": light(300, DATE_OBS="2025-03-27T01:21:00"),
        "c.fit": light(500, DATE_OBS=later),
        "d.fit": light(500, DATE_OBS=later, TELESCOP="S50_2e4fe189"),
    }.items():
        answer = raw(server, "file", token, frame, name=name).json()
        assert (answer["ok"], answer["filename"]) == (True, name)
    result = raw(server, "finalize", token, fields={"scrub_location": "1"}).json()

    assert answer["chunk_key"] == "20250327.06_HP033810"
    assert answer["date_obs"] == later
    assert result["jobs"] == 3
    assert result["chunks"] == [KEY, "20250327.06_HP033810", "20250327.06_HP033810"]
    assert result["skipped"] == []
    first = get(server, "/api/my_stacks.php").json()[0]
    assert first["id"] == result["job_ids"][0]
    assert (first["n_frames_input"], first["total_exptime"]) == (2, 20.0)
    assert (first["date_obs_start"], first["date_obs_end"]) == ("2025-03-27 01:20:32", "2025-03-27 01:21:00")
    stacked = tmp_path / "stacked.fits"
    stacked.write_bytes(get(server, f"/api/download_stack.php?chunk_key={KEY}").content)
    with fits.open(stacked) as hdus:
        assert "SITELAT" not in hdus[0].header
        assert np.unique(hdus[0].data).tolist() == [200]


def test_a_key_that_has_a_stack_is_skipped_unless_overwritten(server: SimulatedCrowdSky) -> None:
    upload(server)

    def send(fields: Mapping[str, str] | None = None) -> dict[str, object]:
        token = raw(server, "start").json()["session_token"]
        raw(server, "file", token, light(100))
        answer: dict[str, object] = raw(server, "finalize", token, fields=fields).json()
        return answer

    assert send() == {"ok": True, "jobs": 0, "job_ids": [], "chunks": [], "skipped": [KEY]}
    assert [stack.file_name for stack in server.uploads] == ["stack.fit"]
    assert send({"overwrite": "1"}) == {"ok": True, "jobs": 1, "job_ids": [2], "chunks": [KEY], "skipped": []}
    assert [stack.file_name for stack in server.uploads] == [f"{KEY}.fits"]


def test_a_raw_frame_without_date_is_400(server: SimulatedCrowdSky) -> None:
    token = raw(server, "start").json()["session_token"]

    answer = raw(server, "file", token, light(100, DATE_OBS=None))

    assert (answer.status_code, answer.json()) == (400, {"error": "No DATE-OBS in the FITS header."})


def test_a_session_belongs_to_one_user_and_ends(server: SimulatedCrowdSky) -> None:
    token = raw(server, "start").json()["session_token"]

    assert raw(server, "file", token, light(1), auth=("bob", "pw")).status_code == 404
    assert raw(server, "file", content=light(1)).status_code == 400
    assert raw(server, "finalize", token).json()["jobs"] == 0
    assert raw(server, "file", token, light(1)).status_code == 404
    assert raw(server, "dance", token).status_code == 400


# Journal and faults


def test_every_request_is_in_the_journal(server: SimulatedCrowdSky) -> None:
    get(server, "/api/my_stacks.php?object=M%2081", ("alice", "wrong"))
    upload(server, n_frames_input="32")

    asked, sent = server.requests()
    assert (asked.method, asked.endpoint, asked.query, asked.status, asked.user) == (
        "GET",
        "my_stacks",
        "object=M%2081",
        401,
        None,
    )
    assert (sent.endpoint, sent.status, sent.user, sent.fields) == (
        "upload_stack",
        200,
        "alice",
        {"n_frames_input": "32"},
    )
    assert sent.bytes_received > len(fits_bytes())
    assert [(file.size, file.sha256) for file in sent.files] == [
        (len(fits_bytes()), hashlib.sha256(fits_bytes()).hexdigest())
    ]


def test_the_controls_say_the_same_over_http(server: SimulatedCrowdSky) -> None:
    upload(server)

    (entry,) = get(server, "/_sim/journal?endpoint=upload_stack", None).json()
    (stack,) = get(server, "/_sim/uploads", None).json()
    assert entry["files"][0]["sha256"] == stack["sha256"] == hashlib.sha256(fits_bytes()).hexdigest()
    assert stack["listed"] is True
    assert "s3cret" not in json.dumps([entry, stack])


def test_faults_are_switched_over_http(server: SimulatedCrowdSky) -> None:
    def order(faults: object) -> requests.Response:
        return requests.post(server.base_url + "/_sim/faults", json=faults, timeout=30)

    order(
        {
            "my_stacks": [
                {"mode": "status", "status": 503, "retry_after": 5, "times": 2},
                {"mode": "html-200", "times": 1},
            ]
        }
    )
    answers = [get(server, "/api/my_stacks.php") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [503, 503, 200, 200]
    assert answers[0].headers["Retry-After"] == "5"
    assert answers[0].json() == {"error": "Simulated failure 503."}
    assert answers[2].text.startswith("<!DOCTYPE html>")
    assert answers[3].json() == []
    assert [entry.fault for entry in server.requests()] == ["status", "status", "html-200", None]
    order({"*": {"mode": "error-200"}})
    assert get(server, "/api/my_stacks.php").json() == {"error": "Something went wrong."}
    order({"*": None})
    assert get(server, "/api/my_stacks.php").json() == []


@pytest.mark.parametrize(
    "order",
    [
        {"my_stax": {"mode": "html-200"}},
        {"my_stacks": {"mode": "sulk"}},
        {"my_stacks": {"mode": "status", "x": 1}},
    ],
)
def test_a_fault_that_is_none_is_refused(server: SimulatedCrowdSky, order: object) -> None:
    assert requests.post(server.base_url + "/_sim/faults", json=order, timeout=30).status_code == 422


def test_it_can_store_and_hang_up(server: SimulatedCrowdSky) -> None:
    server.show("upload_stack", Fault(mode="drop-after-store", times=1))

    with pytest.raises(requests.ConnectionError):
        upload(server)
    assert [stack.chunk_key for stack in server.uploads] == [KEY]
    assert [(entry.status, entry.fault) for entry in server.requests()] == [(None, "drop-after-store")]


def test_it_can_reset_without_storing(server: SimulatedCrowdSky) -> None:
    server.show("*", Fault(mode="reset"))

    with pytest.raises(requests.ConnectionError):
        upload(server)
    assert server.uploads == []
    assert get(server, "/_sim/uploads", None).json() == []


def test_an_unknown_page_is_an_error_in_json(server: SimulatedCrowdSky) -> None:
    assert get(server, "/api/thumbnail.php").json() == {"error": "Not Found"}
    assert get(server, "/api/upload_stack.php").status_code == 405


# As a program


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_as_a_program_it_says_where_it_is_and_ends_when_told(tmp_path: Path, ending: signal.Signals) -> None:
    ready = tmp_path / "ready.json"
    code = (
        "import sys; from pathlib import Path; from skyrelay_simulators.crowdsky import serve;"
        "serve('127.0.0.1', 0, Path(sys.argv[1]), 'alice', 's3cret', Path(sys.argv[2]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "data", ready], stderr=subprocess.PIPE
    ) as program:
        try:
            eventually(ready.exists)
            base_url = json.loads(ready.read_text())["base_url"]
            assert requests.get(base_url + "/api/my_stacks.php", auth=AUTH, timeout=30).json() == []
        finally:
            os.kill(program.pid, ending)
        _, said = program.communicate(timeout=15)
    assert (program.returncode, said) == (0, b"")
