"""Frames of port 4700: however the network cuts the bytes, the messages are the same."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay.seestar.codec import Decoder, Event, Garbage, Message, Reply, decode_line, encode_request

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def decoded(chunks: list[bytes]) -> list[Message]:
    """Feed a decoder."""
    decoder = Decoder()
    return [message for chunk in chunks for message in decoder.feed(chunk)]


@given(
    st.lists(st.tuples(st.integers(0, 10**6), _JSON), max_size=8), st.lists(st.integers(0, 400), max_size=20)
)
def test_replies_survive_any_cut(replies: list[tuple[int, object]], cuts: list[int]) -> None:
    stream = b"".join(
        json.dumps({"id": number, "method": "m", "result": result, "code": 0}).encode() + b"\r\n"
        for number, result in replies
    )
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[start:end] for start, end in itertools.pairwise(edges)]
    messages = decoded(chunks)
    assert [(message.id, message.result) for message in messages if isinstance(message, Reply)] == replies
    assert len(messages) == len(replies)


@given(st.binary(max_size=2000))
def test_noise_never_stops_the_decoder(noise: bytes) -> None:
    messages = decoded([noise, b"\r\n", b'{"id":7,"method":"m","result":1,"code":0}\r\n'])
    assert messages[-1] == Reply(7, "m", 1)


@given(st.text(min_size=1), _JSON)
def test_a_request_is_one_line_and_keeps_verify_beside_its_parameters(method: str, params: object) -> None:
    frame = encode_request(3, method.encode("utf-8", "ignore").decode(), params)  # type: ignore[arg-type] # any JSON
    assert frame.endswith(b"\r\n")
    assert frame.count(b"\n") == 1
    request = json.loads(frame)
    assert request["verify"] is True
    assert request.get("params") == params


def test_a_reply_of_a_megabyte_is_read_whole() -> None:
    names = [f"Light_M 81_20.0s_LP_{number:015}.fit" for number in range(30_000)]
    line = json.dumps({"id": 1, "method": "get_albums", "result": names, "code": 0}).encode() + b"\r\n"
    assert len(line) > 2**20
    chunks = [line[start : start + 1460] for start in range(0, len(line), 1460)]
    assert decoded(chunks) == [Reply(1, "get_albums", names)]


def test_a_line_without_end_is_dropped_in_bounded_memory_and_the_next_is_read() -> None:
    decoder = Decoder(max_line_bytes=1000)
    messages = [message for _ in range(100) for message in decoder.feed(b"x" * 400)]
    messages += decoder.feed(b'\r\n{"id":2,"method":"m","result":5,"code":0}\r\n')
    assert [type(message) for message in messages] == [Garbage, Reply]


def test_names_that_are_no_utf8_do_not_hide_the_others() -> None:
    message = decode_line(b'{"id":1,"method":"m","result":["M 81","\xff\xfe"],"code":0}\r\n')
    assert isinstance(message, Reply)
    assert message.result == ["M 81", "\ufffd\ufffd"]


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"[1,2]",
        b"{}",
        b'{"id":"1"}',
        b'{"id":true}',
        b"[" * 100_000,
        b'{"Event":5}',
        b'{"id":1',
        b"\xff",
    ],
)
def test_what_is_no_message_is_garbage(line: bytes) -> None:
    assert isinstance(decode_line(line), Garbage)


@pytest.mark.parametrize("line", [b"", b"\r\n", b" \r\n", b"\0\r"])
def test_an_empty_line_is_nothing(line: bytes) -> None:
    assert decode_line(line) is None


def test_an_event_has_a_name_and_fields() -> None:
    message = decode_line(b'{"Event":"BatchStack","Timestamp":"5.1","state":"working","percent":12.5}')
    assert isinstance(message, Event)
    assert (message.name, message.fields.number("percent")) == ("BatchStack", 12.5)


@pytest.mark.parametrize(
    ("members", "code", "error"),
    [
        ({"error": "method not found", "code": 103}, 103, "method not found"),
        ({"error": "fail"}, -1, "fail"),
        ({"error": {"text": "x"}, "code": 207}, 207, "{'text': 'x'}"),
        ({"result": 0}, 0, ""),
        ({"result": 0, "code": "0"}, 0, ""),
    ],
)
def test_the_code_says_whether_it_went_well(members: dict[str, object], code: int, error: str) -> None:
    message = decode_line(json.dumps({"id": 1, "method": "m", **members}).encode())
    assert isinstance(message, Reply)
    assert (message.code, message.error) == (code, error)


def test_a_reply_does_not_show_what_it_carries() -> None:
    assert "48.2" not in repr(Reply(1, "get_user_location", [16.3, 48.2]))
