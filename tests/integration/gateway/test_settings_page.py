"""The page with all settings: what comes from where, and what a person may change there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from skyrelay.access.tokens import Scope
from skyrelay.store.engine import Store
from skyrelay.store.secrets import SecretStore
from support.first_run import configured
from support.gateway import GatewayClient, make_token, running_gateway
from support.redis_server import RedisServer

_TOKEN = re.compile(r'name="csrf_token" value="([^"]*)"')


@pytest.fixture
def gateway(tmp_path: Path, store: Store, redis_server: RedisServer) -> Iterator[GatewayClient]:
    settings = configured(tmp_path, redis_url=redis_server.url, stacking={"when": "dawn"})
    with running_gateway(store, redis_server.url, settings) as client:
        yield client


def see(gateway: GatewayClient) -> str:
    answer = gateway.get("/settings")
    assert answer.status_code == 200, answer.text
    return unescape(answer.text)


def line_of(html: str, key: str) -> str:
    """Give the row of a setting."""
    [row] = [each for each in html.split("<tr>") if f"<code>{key}</code>" in each]
    return row


def send(gateway: GatewayClient, **fields: str) -> tuple[int, str]:
    token = _TOKEN.search(gateway.get("/settings").text)
    answer = gateway.send(
        "POST",
        "/settings",
        data={**fields, "csrf_token": token[1] if token else ""},
        headers={"Origin": gateway.address},
    )
    return answer.status_code, unescape(answer.text)


def test_each_setting_says_where_it_comes_from(gateway: GatewayClient) -> None:
    html = see(gateway)
    assert "config.yaml" in line_of(html, "stacking.when")
    assert "<form" not in line_of(html, "stacking.when"), "the file has said it"
    assert ">default<" in line_of(html, "stacking.min_exptime")


def test_a_setting_is_changed_and_given_back(gateway: GatewayClient) -> None:
    status, html = send(gateway, key="stacking.min_exptime", value="120")
    assert status == 200
    assert "<code>120.0</code>" in line_of(html, "stacking.min_exptime")
    assert "this page" in line_of(html, "stacking.min_exptime")
    _, html = send(gateway, key="stacking.min_exptime", unset="yes", value="120")
    assert ">default<" in line_of(html, "stacking.min_exptime")


def test_a_wrong_value_is_named_beside_its_field_and_not_lost(gateway: GatewayClient) -> None:
    status, html = send(gateway, key="stacking.min_exptime", value="long")
    assert status == 422
    row = line_of(html, "stacking.min_exptime")
    assert 'role="alert"' in row
    assert 'value="long"' in row


@pytest.mark.parametrize("key", ["stacking.when", "database_url", "no.such_setting"])
def test_what_a_page_cannot_change_is_refused(gateway: GatewayClient, key: str) -> None:
    status, html = send(gateway, key=key, value="idle")
    assert status == 422
    assert re.search(rf'role="alert"><li><code>{re.escape(key)}</code>: ', html)
    assert "config.yaml" in line_of(see(gateway), "stacking.when")


def test_a_secret_goes_in_as_it_is_and_does_not_come_back(
    gateway: GatewayClient, store: Store, tmp_path: Path
) -> None:
    assert send(gateway, key="crowdsky.password", value="open: #sesame")[0] == 200
    html = see(gateway)
    assert "sesame" not in html
    kept = SecretStore(store, tmp_path / "data" / "secret.key").read()
    assert kept["crowdsky.password"].get_secret_value() == "open: #sesame"
    assert "set, not shown" in line_of(html, "crowdsky.password")


def test_who_may_only_read_gets_no_fields(gateway: GatewayClient, store: Store) -> None:
    reader = GatewayClient(gateway.address, make_token(store, Scope.READ))
    html = see(reader)
    assert "<code>stacking.when</code>" in html
    assert 'action="settings"' not in html
    assert send(reader, key="stacking.min_exptime", value="1")[0] == 403
    reader.close()
