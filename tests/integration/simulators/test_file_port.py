"""The file port: the eMMC over HTTP with Range, and nothing but the eMMC."""

from __future__ import annotations

import http.client
import socket
from urllib.parse import quote

import pytest
import requests

from skyrelay_simulators.telescope import SimulatedTelescope
from support.waiting import eventually

from .conftest import MakeTelescope

CONTENT = bytes(range(256)) * 4000  # about a megabyte: more than one write


@pytest.fixture
def telescope(make_telescope: MakeTelescope) -> SimulatedTelescope:
    """A telescope with a file of known bytes under a name that needs quoting."""
    telescope = make_telescope()
    (telescope.emmc.target_folder("M 81") / "x é+%.fit").write_bytes(CONTENT)
    (telescope.spec.root.parent / "secret.txt").write_text("nobody's business")
    return telescope


def _url(telescope: SimulatedTelescope, path: str = "MyWorks/M 81/x é+%.fit") -> str:
    return f"http://{telescope.endpoint.host}:{telescope.endpoint.http_port}/{quote(path)}"


def test_a_file_comes_whole_without_a_login(telescope: SimulatedTelescope) -> None:
    answer = requests.get(_url(telescope), timeout=10)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Length"] == str(len(CONTENT))


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-9", slice(0, 10)),
        ("bytes=1000000-", slice(1_000_000, None)),
        ("bytes=-100", slice(-100, None)),
        ("bytes=10-99999999", slice(10, None)),
    ],
)
def test_a_part_comes_as_206(telescope: SimulatedTelescope, asked: str, part: slice) -> None:
    answer = requests.get(_url(telescope), headers={"Range": asked}, timeout=10)
    first, last, _ = part.indices(len(CONTENT))
    assert (answer.status_code, answer.content) == (206, CONTENT[part])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last - 1}/{len(CONTENT)}"


def test_a_range_behind_the_end_is_416(telescope: SimulatedTelescope) -> None:
    answer = requests.get(_url(telescope), headers={"Range": f"bytes={len(CONTENT)}-"}, timeout=10)
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{len(CONTENT)}")


def test_head_gives_the_size_alone(telescope: SimulatedTelescope) -> None:
    answer = requests.head(_url(telescope), timeout=10)
    assert (answer.status_code, answer.headers["Content-Length"], answer.content) == (
        200,
        str(len(CONTENT)),
        b"",
    )


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("MyWorks/nothing.fit", 404),
        ("MyWorks/M 81", 403),
        ("../secret.txt", 404),
        ("MyWorks/../../secret.txt", 404),
    ],
)
def test_what_is_no_file_of_ours_is_refused(telescope: SimulatedTelescope, path: str, status: int) -> None:
    connection = http.client.HTTPConnection(telescope.endpoint.host, telescope.endpoint.http_port, timeout=10)
    connection.request("GET", f"/{quote(path)}")
    assert connection.getresponse().status == status
    connection.close()


def test_a_link_out_of_the_emmc_is_refused(telescope: SimulatedTelescope) -> None:
    (telescope.spec.root / "MyWorks" / "link").symlink_to(telescope.spec.root.parent / "secret.txt")
    assert requests.get(_url(telescope, "MyWorks/link"), timeout=10).status_code == 404


def test_writing_is_not_allowed(telescope: SimulatedTelescope) -> None:
    assert requests.delete(_url(telescope), timeout=10).status_code == 405


def test_one_connection_serves_many_requests(telescope: SimulatedTelescope) -> None:
    with requests.Session() as session:
        answers = [session.get(_url(telescope), headers={"Range": "bytes=0-0"}, timeout=10) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [206, 206, 206]
    # The last is written down when its answer is on its way.
    eventually(lambda: [entry.code for entry in telescope.journal.entries(channel="http")] == [206, 206, 206])
    assert len({entry.connection for entry in telescope.journal.entries(channel="http")}) == 1


def test_nonsense_ends_the_connection_and_nothing_else(telescope: SimulatedTelescope) -> None:
    with socket.create_connection((telescope.endpoint.host, telescope.endpoint.http_port), 10) as raw:
        raw.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert raw.recv(100) == b""
    assert requests.get(_url(telescope), timeout=10).status_code == 200
