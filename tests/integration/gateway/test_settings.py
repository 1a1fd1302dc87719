"""The settings over HTTP: shown without secrets, changed as a whole, refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import select

from skyrelay.queue.connection import connect_redis
from skyrelay.queue.watcher_pass import HEADER, watcher_pass
from skyrelay.settings import Settings, load_settings
from skyrelay.store.accounts import settings_in_force
from skyrelay.store.engine import Store
from skyrelay.store.tables import AuditEntry
from support.gateway import GatewayClient, running_gateway
from support.redis_server import RedisServer

NOW = datetime(2026, 3, 1, 20, 0, tzinfo=UTC)
PASSWORD = "Orion-42"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "config.yaml"
    sections = {"data_dir": str(tmp_path / "data"), "stacking": {"when": "manual"}}
    file.write_text(yaml.safe_dump(sections), encoding="utf-8")
    environ = {"SKYRELAY_OBSERVATORY__LONGITUDE": "16.37", "SKYRELAY_CLOUD__API_KEY": "hidden-key"}
    return load_settings(file, environ)


@pytest.fixture
def gateway(settings: Settings, store: Store, redis_server: RedisServer) -> Iterator[GatewayClient]:
    with running_gateway(store, redis_server.url, settings, lambda: NOW) as client:
        yield client


def setting(gateway: GatewayClient, key: str) -> Any:
    (found,) = [each for each in gateway.read("/api/v1/settings")["settings"] if each["key"] == key]
    return found


def patch(gateway: GatewayClient, changes: object, **headers: str) -> Any:
    return gateway.send("PATCH", "/api/v1/settings", json=changes, headers=headers)


def test_each_setting_says_where_it_comes_from_and_whether_it_can_be_changed(gateway: GatewayClient) -> None:
    assert patch(gateway, {"stacking.grace_s": 30}).status_code == 200
    expected = {
        "stacking.when": ("manual", "file", False),
        "observatory.longitude": (16.4, "environment", False),
        "stacking.grace_s": (30, "page", True),
        "stacking.idle_s": (120, "default", True),
        "gateway.port": (8474, "default", False),
        "setup": ("ask", "default", True),
    }
    found = {each["key"]: each for each in gateway.read("/api/v1/settings")["settings"]}
    assert {
        key: (found[key]["value"], found[key]["source"], found[key]["writable"]) for key in expected
    } == expected
    assert found["stacking.when"]["why_not"] == "is set in the file, which wins"


def test_secrets_can_be_written_and_never_read(
    gateway: GatewayClient, settings: Settings, store: Store
) -> None:
    assert setting(gateway, "crowdsky.password")["is_set"] is False
    answer = patch(gateway, {"crowdsky.username": "alice", "crowdsky.password": PASSWORD})
    assert answer.status_code == 200
    shown = setting(gateway, "crowdsky.password")
    assert (shown["value"], shown["is_set"], shown["secret"]) == (None, True, True)
    assert settings_in_force(settings, store).crowdsky.password.get_secret_value() == PASSWORD
    with store.read() as session:
        details = [row.detail for row in session.scalars(select(AuditEntry))]
    everything = gateway.get("/api/v1/settings").text + gateway.get("/api/v1/settings/history").text
    assert {"keys": ["crowdsky.password", "crowdsky.username"]} in details
    for secret in (PASSWORD, "hidden-key"):
        assert secret not in answer.text + everything + str(details)


def test_the_home_is_shown_to_a_tenth_of_a_degree(gateway: GatewayClient) -> None:
    changes = {"observatory.latitude": 48.20849, "observatory.elevation": 171.3}
    assert patch(gateway, changes).status_code == 200
    assert setting(gateway, "observatory.latitude")["value"] == 48.2
    assert (
        setting(gateway, "observatory.elevation")["value"],
        setting(gateway, "observatory.elevation")["is_set"],
    ) == (
        None,
        True,
    )
    for path in ("/api/v1/settings", "/api/v1/settings/history"):
        text = gateway.get(path).text
        assert "48.20849" not in text
        assert "171.3" not in text


def test_a_refusal_names_each_key_and_nothing_is_changed(gateway: GatewayClient) -> None:
    changes = {"stacking.when": "dawn", "stacking.grace": 30, "stacking.idle_s": 10}
    answer = patch(gateway, changes)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert {each["where"] for each in answer.json()["errors"]} == {"stacking.when", "stacking.grace"}
    wrong = patch(gateway, {"stacking.idle_s": -1})
    assert (wrong.status_code, wrong.json()["errors"][0]["where"]) == (422, "stacking.idle_s")
    assert setting(gateway, "stacking.idle_s")["source"] == "default"
    assert patch(gateway, ["stacking.idle_s"]).status_code == 422
    form = gateway.send("PATCH", "/api/v1/settings", data={"stacking.idle_s": "1"})
    assert form.status_code == 415


def test_of_two_who_read_the_same_the_second_must_read_again(gateway: GatewayClient) -> None:
    etag = gateway.get("/api/v1/settings").headers["etag"]
    first = patch(gateway, {"stacking.grace_s": 30}, **{"If-Match": etag})
    assert first.status_code == 200
    second = patch(gateway, {"stacking.grace_s": 90}, **{"If-Match": etag})
    assert (second.status_code, setting(gateway, "stacking.grace_s")["value"]) == (412, 30)
    assert patch(gateway, {"stacking.grace_s": 90}, **{"If-Match": first.headers["etag"]}).status_code == 200
    assert patch(gateway, {"stacking.grace_s": 45}, **{"If-Match": '"of another program"'}).status_code == 412


def test_the_history_tells_every_change_in_parts(gateway: GatewayClient) -> None:
    for value in (30, 90, None):
        assert patch(gateway, {"stacking.grace_s": value, "stacking.idle_s": 60}).status_code == 200
    page = gateway.read("/api/v1/settings/history", key="stacking.grace_s", limit=2)
    assert [each["value"] for each in page["items"]] == [None, 90]
    assert page["items"][0]["changed_by"] == gateway.actor
    rest = gateway.read("/api/v1/settings/history", key="stacking.grace_s", cursor=page["next_cursor"])
    assert [each["value"] for each in rest["items"]] == [30]


def test_the_watcher_is_told_its_part_and_nobody_else(
    gateway: GatewayClient, redis_server: RedisServer
) -> None:
    changes = {"image_watcher.watch_path": ["/frames"], "stacking.grace_s": 30, "setup": "done"}
    assert patch(gateway, changes).status_code == 200
    path = "/api/v1/settings/watcher"
    assert gateway.get(path).status_code == 403
    assert gateway.send("GET", path, headers={HEADER: "guess"}).status_code == 403
    with connect_redis(redis_server.url) as redis:
        told = gateway.send("GET", path, headers={HEADER: watcher_pass(redis)})
    assert told.json() == {"image_watcher.watch_path": ["/frames"], "setup": "done"}
