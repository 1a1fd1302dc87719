"""Requests that never end, and crowds of them, on real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest
import uvicorn
from fastapi import FastAPI, Request

from skyrelay.store.engine import Store
from skyrelay_gateway.bounded_protocol import Limits
from skyrelay_gateway.security import BodyLimit
from skyrelay_gateway.service import server_config
from support.gateway import GatewayClient, make_token, running_gateway
from support.owner import NO_REDIS
from support.waiting import eventually

QUICK = Limits(headers_s=0.3, body_s=0.6, waiting=3)


@contextmanager
def echo(limits: Limits, body_within_s: float = 60.0) -> Iterator[tuple[str, int]]:
    """Serve what gives a body back, as the gateway serves its application."""
    app = FastAPI()
    app.add_middleware(BodyLimit, within_s=body_within_s)

    @app.post("/")
    async def give_back(request: Request) -> int:
        return len(await request.body())

    server = uvicorn.Server(server_config(app, "127.0.0.1", 0, limits))
    thread = threading.Thread(target=server.run)
    thread.start()
    eventually(lambda: server.started)
    try:
        yield server.servers[0].sockets[0].getsockname()
    finally:
        server.should_exit = True
        thread.join(10)


def read_all(connection: socket.socket) -> bytes:
    """Read until the other side closes."""
    answer = b""
    try:
        while part := connection.recv(4096):
            answer += part
    except ConnectionResetError:
        pass  # closed with bytes of ours unread, which is what closing early looks like
    return answer


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b"408"),
        (b"\r\n\r\n", b"400"),
        (b"POST / HT", b"408"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", b"408"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\nPOST / HT", b"200"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nslow", b""),
    ],
)
def test_what_does_not_arrive_is_not_waited_for(sent: bytes, answer: bytes) -> None:
    with echo(QUICK) as address, socket.create_connection(address, timeout=30) as connection:
        connection.sendall(sent)
        assert answer in read_all(connection)[:20], "and the connection was closed, or this would time out"


def test_bytes_that_drip_in_buy_no_time() -> None:
    with echo(QUICK) as address, socket.create_connection(address, timeout=30) as connection:
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.05):
                try:
                    connection.sendall(b"X")
                except OSError:
                    return

        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        thread = threading.Thread(target=drip)
        thread.start()
        read_all(connection)
        stop.set()
        thread.join()


def test_a_body_that_drips_in_is_answered_with_a_408() -> None:
    generous = Limits(headers_s=30, body_s=30)
    with echo(generous, body_within_s=0.3) as address, socket.create_connection(address, timeout=30) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nslow")
        assert b"408" in slow.recv(1000)


def test_one_address_does_not_keep_all_connections_waiting() -> None:
    patient = Limits(headers_s=30, body_s=30, waiting=3)
    with echo(patient) as address, ExitStack() as crowd:
        held = [crowd.enter_context(socket.create_connection(address, timeout=30)) for _ in range(3)]
        for each in held:
            each.sendall(b"POST / HT")
        with socket.create_connection(address, timeout=30) as one_more:
            assert read_all(one_more) == b"", "it is closed at once"
        request = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        source = ("127.0.0.9", 0)
        with socket.create_connection(address, timeout=30, source_address=source) as another_address:
            another_address.sendall(request)
            assert b"200" in read_all(another_address)
        held[0].close()
        eventually(lambda: _is_answered(address, request))


def _is_answered(address: tuple[str, int], request: bytes) -> bool:
    with socket.create_connection(address, timeout=30) as connection:
        try:
            connection.sendall(request)
        except OSError:
            return False
        return b"200" in read_all(connection)


@pytest.fixture
def gateway(store: Store) -> Iterator[GatewayClient]:
    with running_gateway(store, NO_REDIS) as client:
        yield client


def raw(gateway: GatewayClient, request: bytes) -> bytes:
    address = urlsplit(gateway.address)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as connection:
        connection.sendall(request)
        return read_all(connection)


def test_a_person_with_too_many_cookies_sees_what_to_do(gateway: GatewayClient) -> None:
    start = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nConnection: close\r\n"
    page = raw(gateway, start + b"a: b\r\n" * 100 + b"\r\n")
    assert page.startswith(b"HTTP/1.1 431")
    assert b"text/html" in page
    assert b"cookies" in page


def test_more_headers_than_any_browser_sends_are_refused(gateway: GatewayClient, store: Store) -> None:
    token = make_token(store) or ""
    start = f"GET /api/v1/access HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n".encode()
    end = b"Connection: close\r\n\r\n"
    assert raw(gateway, start + end).startswith(b"HTTP/1.1 200")
    assert raw(gateway, start + b"a: b\r\n" * 100 + end).startswith(b"HTTP/1.1 431")
    page = raw(gateway, start + b"Accept: text/html\r\n" + b"a: b\r\n" * 100 + end)
    assert page.startswith(b"HTTP/1.1 431")
    assert b"application/problem+json" in page, "under /api/ everybody is a program"
    assert raw(gateway, start + b"a: " + b"b" * 70_000 + b"\r\n" + end).startswith(b"HTTP/1.1 431")
    many = b"".join(f"a{number}: b\r\n".encode() for number in range(30_000))
    assert raw(gateway, start + many + end).startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))


@pytest.mark.parametrize(
    "smuggled",
    [
        b"Content-Length: 4\r\nContent-Length: 40\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 4 4\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"X-Folded: a\r\n b\x00c\r\n",
        b"X Space: a\r\n",
    ],
)
def test_what_two_servers_would_read_in_two_ways_is_refused(gateway: GatewayClient, smuggled: bytes) -> None:
    head = b"POST /login HTTP/1.1\r\nHost: localhost\r\n" + smuggled + b"Connection: close\r\n\r\nabcd"
    assert raw(gateway, head).startswith((b"HTTP/1.1 400", b"HTTP/1.1 501"))


def test_no_line_end_gets_from_a_request_into_the_answers_headers(gateway: GatewayClient) -> None:
    for path in (
        "/%0d%0aX-Injected:%20yes",
        "/login?next=/%0d%0aX-Injected:%20yes",
        "/flower%0d%0aX-Injected:a",
    ):
        answer = GatewayClient(gateway.address).send(
            "GET", path, headers={"Accept": "text/html"}, allow_redirects=False
        )
        assert "x-injected" not in answer.headers
        assert "\r" not in answer.headers.get("location", "")
