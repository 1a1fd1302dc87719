"""Cursors, filters and headers that no client of ours sends: refused or ignored, and the server goes on."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from ipaddress import ip_network
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyrelay.settings import GatewaySettings, Settings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from support.gateway import GatewayClient, running_gateway
from support.owner import NO_REDIS

_LISTS = (
    *("frames", "blocks", "runs", "stacks", "deliveries", "nights", "audit", "interrupts", "targets"),
    *("telescopes", "measurements"),
)
_FORWARDED = (
    *("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Prefix"),
    *("X-Real-IP", "Forwarded"),
)
_JSON = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
_CURSORS = (
    st.text(max_size=30)
    | st.integers().map(str)
    | st.sampled_from(["9" * 18, "9" * 19, "٣", "1_0", " 1", "0", "\x00", "2026-02-30", "0000-01-01"])
    | _JSON.map(lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode())
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayClient]:
    """Give a gateway that believes what a proxy on this machine says; nothing here changes its empty home."""
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('hostile') / 'skyrelay.db'}")
    migrate(store)
    proxies = GatewaySettings.model_validate({"trusted_proxies": (ip_network("127.0.0.0/8"),)})
    with running_gateway(store, NO_REDIS, Settings(setup="done", gateway=proxies)) as running:
        yield running
    store.close()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(_LISTS), st.sampled_from(["cursor", "night", "until", "target", "block"]), _CURSORS)
def test_any_cursor_and_filter_is_taken_or_refused(
    gateway: GatewayClient, path: str, name: str, value: str
) -> None:
    answer = gateway.get(f"/api/v1/{path}", **{name: value.encode("utf-8", "surrogatepass")})
    assert answer.status_code < 500, answer.text


def status_of(gateway: GatewayClient, path: str, name: str, value: bytes) -> int:
    """Send a header as it is; give the answer's status, 0 where the server hung up."""
    place = urlsplit(gateway.address)
    head = f"GET {path} HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: close\r\n{name}: ".encode() + value
    shown = "".join(f"\r\n{key}: {word}" for key, word in gateway.shown.items()).encode()
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=60) as connection:
        connection.sendall(head + shown + b"\r\n\r\n")
        line = connection.makefile("rb").readline()
    return int(line.split()[1]) if line.startswith(b"HTTP/1.1 ") else 0


_ADDRESSES = st.sampled_from(
    [
        *(b"127.0.0.1", b"::1", b"[::1]:80", b"192.0.2.7, 127.0.0.1", b",,,", b"unknown", b"1" * 5000),
        *(b"https, ftp", b"fe80::1%eth0", b"::ffff:127.0.0.1", b"http://[", b"a@b", b"host:99999"),
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(_FORWARDED),
    st.binary(max_size=40).map(lambda value: value.replace(b"\n", b" ")) | _ADDRESSES,
)
def test_whatever_a_proxy_forwards_no_page_fails(gateway: GatewayClient, name: str, value: bytes) -> None:
    assert status_of(gateway, "/api/v1/status", name, value) in {200, 400, 403, 421, 431}


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=20).filter(lambda value: b"\n" not in value and not value.strip().isdigit()))
def test_an_event_id_that_is_none_starts_no_stream(gateway: GatewayClient, value: bytes) -> None:
    assert status_of(gateway, "/api/v1/events", "Last-Event-ID", value) in {400, 422}
