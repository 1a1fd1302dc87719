"""Whatever the gateway writes down says who it was: the owner, a token by its name, anybody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from skyrelay.access.tokens import Scope, create_token
from skyrelay.settings import GatewaySettings, Settings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.tables import AuditEntry, SettingChange
from support.gateway import GatewayClient, running_gateway
from support.owner import NO_REDIS, PASSWORD, START, Browser, give_owner


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'skyrelay.db'}")
    migrate(store)
    give_owner(store)
    yield store
    store.close()


@pytest.fixture
def gateway(store: Store, tmp_path: Path) -> Iterator[GatewayClient]:
    with running_gateway(store, NO_REDIS, Settings(setup="done", data_dir=tmp_path)) as client:
        yield client


def named(gateway: GatewayClient, store: Store, name: str) -> GatewayClient:
    """Give a client with a token of this name."""
    with store.write() as session:
        _, token = create_token(session, name, Scope.ADMIN, now=START, actor="test")
    return GatewayClient(gateway.address, token)


def actors(store: Store, event: str) -> list[str]:
    """Give who did it, each time that it was done."""
    with store.read() as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.event == event).order_by(AuditEntry.id))
        return [row.actor for row in rows]


def changers(store: Store) -> list[tuple[str, str]]:
    """Give who changed which setting."""
    with store.read() as session:
        rows = session.scalars(select(SettingChange).order_by(SettingChange.id))
        return [(row.key, row.changed_by) for row in rows]


def test_a_change_by_a_token_names_the_token(gateway: GatewayClient, store: Store) -> None:
    program = named(gateway, store, "Home Assistant")
    program.send("PATCH", "/api/v1/settings", json={"stacking.when": "dawn"})
    made = program.post("/api/v1/tokens", {"name": "phone", "scope": "read"}).json()
    program.send("DELETE", f"/api/v1/tokens/{made['id']}")
    program.send("DELETE", "/api/v1/sessions")
    history = program.read("/api/v1/settings/history")["items"]
    assert [each["changed_by"] for each in history] == ["token Home Assistant"]
    for event in ("changed", "token revoked", "logged out everywhere"):
        assert (event, actors(store, event)) == (event, ["token Home Assistant"])
    assert actors(store, "token made") == ["test", "token Home Assistant"]


def test_what_the_owner_does_on_a_page_is_the_owners(gateway: GatewayClient, store: Store) -> None:
    browser = Browser(gateway.address)
    assert browser.log_in("not the password").status_code == 403
    browser.log_in(PASSWORD)
    assert browser.submit("/settings", key="stacking.when", value="dawn").status_code == 303
    assert browser.submit("/setup/site", observer="Alice").status_code == 303
    browser.submit("/logout")
    assert changers(store) == [("stacking.when", "owner"), ("observatory.observer", "owner")]
    assert actors(store, "login refused") == ["unknown"]
    assert actors(store, "logged in") == actors(store, "logged out") == ["owner"]


def test_without_a_login_it_was_anybody(store: Store, tmp_path: Path) -> None:
    settings = Settings(setup="done", data_dir=tmp_path, gateway=GatewaySettings(auth="none"))
    with running_gateway(store, NO_REDIS, settings) as gateway:
        anybody = GatewayClient(gateway.address)
        anybody.send("PATCH", "/api/v1/settings", json={"stacking.when": "dawn"})
    assert changers(store) == [("stacking.when", "anybody")]


def test_for_whom_a_program_says_that_it_asks_stands_beside_its_own_name(
    gateway: GatewayClient, store: Store
) -> None:
    program = named(gateway, store, "cron")
    program.post("/api/v1/pause", {"all": True, "by": "owner"})
    program.post("/api/v1/resume", {"all": True})
    assert actors(store, "paused") == ["token cron (owner)"]
    assert actors(store, "resumed") == ["token cron"]
