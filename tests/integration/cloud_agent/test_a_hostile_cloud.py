"""Whatever a cloud answers, each call ends in a value or a typed error, and the books take the value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from skyrelay.cloud.client import CloudClient, NodeCard
from skyrelay.cloud.credentials import NodeCredentials
from skyrelay.cloud.errors import CloudAway, CloudRefused
from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.errors import SkyrelayError
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay_cloud_agent.plan_books import record_interrupt, record_plan
from support.raw_answers import RawAnswers

NOW = datetime(2026, 3, 1, 20, tzinfo=UTC)
CARD = NodeCard("", "Ada", 48.2, 16.4, None, "S50", "TG", 1.0)
NODE = NodeCredentials("node-1", SecretStr("key-of-node-1"))

_TEXT = st.text(max_size=20) | st.sampled_from(
    ["\ud800", "a\x00b", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "../../etc", "node-1"]
)
_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**4000) | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_INTERRUPT = st.fixed_dictionaries(
    {"id": _VALUE}, optional={"name": _VALUE, "expires_at": _VALUE, "acked": _VALUE}
)
_PLAN = st.fixed_dictionaries(
    {"plan_id": _TEXT},
    optional={"night": _VALUE, "generated_at": _VALUE, "items": st.lists(_VALUE, max_size=3)},
)
_KNOWN = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("ok", "error", "detail", "node_id", "api_key", "activation_warning", "id"), _VALUE),
        "plan": _PLAN | _VALUE,
        "interrupts": st.lists(_INTERRUPT, max_size=3) | _VALUE,
    },
)
_BODY = (_KNOWN | _VALUE).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200)
_HEADERS = (
    b"Location: http://[",
    b"Location: \xff\xfe",
    b"Location: //\x00",
    b"Location: http://a:b:c/",
    b"Retry-After: 999999999999999999999999",
    b"Retry-After: Mon, 01 Jan 0001 00:00:00 +2359",
    b"Date: Fri, 31 Dec 9999 23:59:59 -2359",
    b"Date: soon",
    b"Content-Encoding: gzip",
    b"Content-Encoding: deflate, br, gzip",
    b"Content-Length: 5",
    b"Content-Length: -1",
    b"Content-Length: x",
    b"Transfer-Encoding: chunked",
    b"Content-Type: text/html; charset=no-such",
    b"Set-Cookie: \xff=\x01; expires=never",
    b"no colon",
    b": no name",
    b" folded",
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Draw an answer: mostly HTTP, with a status, headers and a body that need not fit."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    status = draw(st.sampled_from([200, 200, 200, 204, 302, 307, 401, 409, 422, 429, 500, 503, 999]))
    head = [b"HTTP/1.1 %d X" % status, *draw(st.lists(st.sampled_from(_HEADERS), max_size=2))]
    return b"\r\n".join([*head, b"Connection: close", b"", b""]) + draw(_BODY)


@pytest.fixture(scope="module")
def server() -> Iterator[RawAnswers]:
    with RawAnswers() as running:
        yield running


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('books') / 'skyrelay.db'}")
    migrate(store)
    yield store
    store.close()


def ask_for_all(client: CloudClient) -> Iterator[Callable[[], Any]]:
    """Give each call that the agent makes."""
    yield lambda: client.register(CARD)
    yield lambda: client.heartbeat(NODE, {"cloud_cover": 3})
    yield lambda: client.plan(NODE)
    yield lambda: client.interrupts(NODE)
    yield lambda: client.acknowledge(NODE, "7/../8")
    yield lambda: client.send_measurement(NODE, "{}")


@pytest.mark.parametrize("status", [200, 302, 503])
@pytest.mark.parametrize("header", _HEADERS)
def test_no_header_makes_more_of_an_answer_than_a_typed_error(
    server: RawAnswers, status: int, header: bytes
) -> None:
    server.answer = b"HTTP/1.1 %d X\r\n%s\r\nConnection: close\r\n\r\n{}" % (status, header)
    with CloudClient(server.url) as client, suppress(SkyrelayError):
        client.plan(NODE)
    with suppress(SkyrelayError):
        CrowdSkyClient(server.url, "alice", "s3cret").list_stacks()


@pytest.mark.parametrize(
    "strange",
    ["\ud800", "a\x00b", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", 10**4000, float("nan")],
)
def test_the_books_take_what_is_strange_or_the_client_refuses_it(
    server: RawAnswers, store: Store, strange: object
) -> None:
    interrupt = {"id": strange, "name": strange, "expires_at": strange}
    plan = {"plan_id": strange, "night": strange, "generated_at": strange, "items": [strange]}
    keep(server, store, {"interrupts": [interrupt], "plan": plan})


def keep(server: RawAnswers, store: Store, content: object) -> None:
    """Have the agent's books take in what a cloud says of plans and interrupts."""
    body = json.dumps(content).encode()
    server.answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body
    with CloudClient(server.url) as client, suppress(CloudAway, CloudRefused):
        with store.write() as session:
            for each in client.interrupts(NODE):
                record_interrupt(session, server.url, each, NOW)
        with store.write() as session:
            record_plan(session, client.plan(NODE), NOW)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers())
def test_each_call_ends_in_a_value_or_a_typed_error(server: RawAnswers, answer: bytes) -> None:
    server.answer = answer
    with CloudClient(server.url) as client:
        for call in ask_for_all(client):
            with suppress(SkyrelayError):
                call()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_KNOWN)
def test_what_the_client_gives_the_books_take(server: RawAnswers, store: Store, content: Any) -> None:
    keep(server, store, content)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers())
def test_each_call_to_crowdsky_ends_in_a_value_or_a_typed_error(server: RawAnswers, answer: bytes) -> None:
    server.answer = answer
    client = CrowdSkyClient(server.url, "alice", "s3cret")
    with suppress(SkyrelayError):
        client.list_stacks()


def test_a_redirection_is_not_read_to_its_endless_end(server: RawAnswers) -> None:
    server.answer = b"HTTP/1.1 302 X\r\nLocation: /elsewhere\r\nConnection: close\r\n\r\n" + bytes(
        3 * 1024 * 1024
    )
    with CloudClient(server.url) as client, pytest.raises(CloudAway, match="too long"):
        client.plan(NODE)
