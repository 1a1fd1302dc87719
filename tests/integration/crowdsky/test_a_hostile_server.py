"""Whatever a CrowdSky answers to what is sent or fetched: a receipt, a whole file, or a typed error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.crowdsky.stacks import RawFrameUpload, StackUpload
from skyrelay.errors import SkyrelayError
from support.fits_files import fits_bytes, write_fits
from support.raw_answers import RawAnswers

_TEXT = st.text(max_size=12) | st.sampled_from(["\ud800", "a\x00b", "../../etc/passwd", "CrowdSky_1_M 1.fit"])
_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**4000) | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=5,
)
_RECEIPT = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("ok", "error", "message", "session_token", "chunk_key", "id", "file", "file_name", "duplicate"),
        _VALUE,
    ),
)
_FITS = fits_bytes()
_BODY = st.one_of(
    (_RECEIPT | _VALUE).map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=200),
    st.integers(0, len(_FITS)).map(lambda end: _FITS[:end]),
    st.just(fits_bytes(NAXIS1=10**9, NAXIS2=10**9)),
)
_HEADERS = (
    b"Location: http://[",
    b"Content-Disposition: attachment; filename=../../../etc/passwd",
    b"Content-Disposition: attachment; filename*=utf-8''%2e%2e%2f%00x",
    b"Content-Disposition: attachment; filename*=no-such''%ff",
    b'Content-Disposition: attachment; filename="' + b"a" * 400 + b'"',
    b"Content-Disposition: \xff\xfe\x01",
    b"Content-Range: bytes 5-9/3",
    b"Content-Range: bytes 99999999999999999999-1/0",
    b"Content-Length: 1",
    b"Content-Length: 99999999999999",
    b"Content-Length: -1",
    b"Content-Encoding: gzip",
    b"Transfer-Encoding: chunked",
    b'ETag: "\x00"',
    b"ETag: \xff",
    b"Last-Modified: a\x0bb",
    b"Retry-After: 99999999999999999999",
    b"no colon",
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Draw an answer: mostly HTTP, with headers and a body that need not fit."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    status = draw(st.sampled_from([200, 200, 200, 206, 302, 401, 404, 413, 416, 422, 500, 503, 504, 999]))
    head = [b"HTTP/1.1 %d X" % status, *draw(st.lists(st.sampled_from(_HEADERS), max_size=2))]
    return b"\r\n".join([*head, b"Connection: close", b"", b""]) + draw(_BODY)


@pytest.fixture(scope="module")
def hostile() -> Iterator[RawAnswers]:
    with RawAnswers() as running:
        yield running


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder in which the only thing is a stack to send; what is fetched goes below ``fetched``."""
    folder = tmp_path_factory.mktemp("place")
    write_fits(folder / "stack.fit")
    return folder


def calls(client: CrowdSkyClient, place: Path) -> Iterator[Callable[[], object]]:
    """Give each call but the list, which has a test of its own beside the cloud's."""
    stack = place / "stack.fit"
    yield client.open_raw_session
    yield lambda: client.upload_stack(StackUpload(stack, stack.name))
    yield lambda: client.send_raw_frame(RawFrameUpload("a token", stack, scrub_location=True))
    yield lambda: client.download_stack("../key", place / "fetched")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers())
def test_each_call_ends_in_a_value_or_a_typed_error(hostile: RawAnswers, place: Path, answer: bytes) -> None:
    hostile.answer = answer
    client = CrowdSkyClient(hostile.url, "alice", "s3cret", connect_timeout_s=30, read_timeout_s=30)
    for call in calls(client, place):
        with suppress(SkyrelayError):
            call()
    assert {each.name for each in place.iterdir()} <= {"stack.fit", "fetched"}
    assert (place / "stack.fit").read_bytes() == _FITS


@pytest.mark.parametrize("header", _HEADERS)
@pytest.mark.parametrize("status", [200, 206, 416, 503])
def test_no_header_leads_a_file_out_of_its_folder(
    hostile: RawAnswers, place: Path, status: int, header: bytes
) -> None:
    hostile.answer = b"HTTP/1.1 %d X\r\n%s\r\nConnection: close\r\n\r\n" % (status, header) + _FITS
    client = CrowdSkyClient(hostile.url, "alice", "s3cret", connect_timeout_s=30, read_timeout_s=30)
    with suppress(SkyrelayError):
        kept = client.download_stack("key", place / "fetched")
        assert kept.parent == place / "fetched"
        assert kept.read_bytes() == _FITS
    assert {each.name for each in place.iterdir()} <= {"stack.fit", "fetched"}
