"""Who has a list already is told so, and hears of every change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from skyrelay.domain.states import BlockState, DeliveryState, TelescopeState
from skyrelay.store.engine import Store
from skyrelay.store.tables import Block, Telescope
from skyrelay_gateway.list_tags import DatabaseState
from support.gateway import GatewayClient, running_gateway
from support.recorded_night import RecordedNight

EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock
LISTS = [
    "telescopes",
    "targets",
    "frames",
    "blocks",
    "runs",
    "stacks",
    "deliveries",
    "nights",
    "audit",
    "interrupts",
    "measurements",
    "discoveries",
]


@pytest.fixture
def gateway(store: Store) -> Iterator[GatewayClient]:
    """Give a gateway with a stacked block; Redis is away."""
    with store.write() as session:
        night = RecordedNight(session)
        block = night.block(night.telescope(), "M 81", EVENING, BlockState.STACKED)
        night.delivery(night.stack(block), DeliveryState.CONFIRMED)
    with running_gateway(store, "unix:///nowhere/redis.sock") as client:
        yield client


def ask(gateway: GatewayClient, path: str, tag: str) -> int:
    return gateway.send("GET", f"/api/v1/{path}", headers={"If-None-Match": tag}).status_code


@pytest.mark.parametrize("path", LISTS)
def test_a_list_that_has_not_changed_is_not_sent_again(gateway: GatewayClient, path: str) -> None:
    first = gateway.get(f"/api/v1/{path}")
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    again = gateway.send("GET", f"/api/v1/{path}", headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert ask(gateway, path, '"another"') == 200
    assert ask(gateway, f"{path}?limit=1", tag) in {200, 304}


def test_a_list_that_has_changed_is_sent_at_once(gateway: GatewayClient, store: Store) -> None:
    tag = gateway.get("/api/v1/blocks").headers["etag"]
    assert ask(gateway, "blocks", tag) == 304
    with store.write() as session:
        session.get_one(Block, 1).frame_count += 1  # no other column says that it changed
    assert ask(gateway, "blocks", tag) == 200


def test_a_change_that_does_not_show_in_a_list_keeps_its_tag(gateway: GatewayClient, store: Store) -> None:
    tag = gateway.get("/api/v1/blocks").headers["etag"]
    with store.write() as session:
        session.get_one(Telescope, 1).state = TelescopeState.OBSERVING
    assert ask(gateway, "blocks", tag) == 304
    assert ask(gateway, "telescopes", tag) == 200


def test_another_filter_has_a_tag_of_its_own(gateway: GatewayClient) -> None:
    tag = gateway.get("/api/v1/blocks").headers["etag"]
    assert ask(gateway, "blocks?state=ready", tag) == 200
    assert ask(gateway, "blocks?target=M 82", tag) == 404


def test_a_tag_holds_over_a_restart(gateway: GatewayClient, store: Store) -> None:
    tag = gateway.get("/api/v1/blocks").headers["etag"]
    with running_gateway(store, "unix:///nowhere/redis.sock") as other:
        assert ask(other, "blocks", tag) == 304


def test_what_is_of_the_moment_has_no_tag(gateway: GatewayClient) -> None:
    for path in ("/api/v1/status", "/healthz", "/readyz"):
        answer = gateway.get(path)
        assert "etag" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"


def test_the_state_of_the_database_changes_with_each_commit_and_only_then(store: Store) -> None:
    database = DatabaseState(store)
    with store.write() as session:
        RecordedNight(session).telescope()
    first = database.read()
    assert first == database.read()
    with store.read() as session:
        session.get_one(Telescope, 1)
    assert first == database.read()
    with store.write() as session:
        session.get_one(Telescope, 1).free_mb = 7
    assert database.read() != first
    database.close()
