"""A control call that is made twice under one key is carried out once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from skyrelay.domain.states import BlockState
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.idempotency import KeyInUse, claim_key, forget_old_keys
from skyrelay.store.tables import AuditEntry, IdempotencyKey
from support.gateway import GatewayClient, running_gateway
from support.recorded_night import RecordedNight

EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock
NOW = datetime(2025, 3, 27, 3, tzinfo=UTC)
KEY = {"Idempotency-Key": "one-call"}
# A token is shown once and kept nowhere, so neither is such an answer; settings may be said twice.
UNKEPT = {"access", "settings"}
WITH_TOKEN = "/api/v1/purge"


class Clock:
    """A clock that a test sets."""

    now = NOW

    def __call__(self) -> datetime:
        """Give the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Give a clock of the test's own."""
    return Clock()


@pytest.fixture
def gateway(store: Store, clock: Clock) -> Iterator[GatewayClient]:
    """Give a gateway with a telescope and a block; Redis is away."""
    with store.write() as session:
        night = RecordedNight(session)
        night.block(night.telescope(), "M 81", EVENING, BlockState.READY)
    with running_gateway(store, "unix:///nowhere/redis.sock", Settings(setup="done"), clock=clock) as client:
        yield client


def call(gateway: GatewayClient, path: str, body: Any, headers: dict[str, str]) -> requests.Response:
    return gateway.send("POST", f"/api/v1/{path}", json=body, headers=headers)


def number_of_steps(store: Store) -> int:
    with store.read() as session:
        return session.query(AuditEntry).count()


def test_a_call_that_is_made_again_is_answered_as_before_and_not_carried_out(
    gateway: GatewayClient, store: Store
) -> None:
    first = call(gateway, "pause", {"telescope": "garden"}, KEY)
    steps = number_of_steps(store)
    again = call(gateway, "pause", {"telescope": "garden"}, KEY)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert number_of_steps(store) == steps
    call(gateway, "pause", {"telescope": "garden"}, {"Idempotency-Key": "another"})
    assert number_of_steps(store) == steps + 1


def test_a_key_stands_for_one_call(gateway: GatewayClient) -> None:
    call(gateway, "pause", {"telescope": "garden"}, KEY)
    for path, body in (("pause", {"all": True}), ("resume", {"telescope": "garden"})):
        other = call(gateway, path, body, KEY)
        assert other.status_code == 422
        assert "Idempotency-Key" in other.json()["detail"]


def test_a_refused_call_leaves_its_key_free(gateway: GatewayClient) -> None:
    assert call(gateway, "pause", {"telescope": "roof"}, KEY).status_code == 404
    assert call(gateway, "pause", {"nothing": "known"}, KEY).status_code == 422
    assert call(gateway, "pause", {"telescope": "garden"}, KEY).status_code == 200


def test_a_call_that_is_under_way_is_not_begun_again(
    gateway: GatewayClient, store: Store, clock: Clock
) -> None:
    assert call(gateway, "pause", {"telescope": "garden"}, KEY).status_code == 200
    with store.write() as session:
        session.get_one(IdempotencyKey, "one-call").status = None
    answer = call(gateway, "pause", {"telescope": "garden"}, KEY)
    assert answer.status_code == 409
    assert "right now" in answer.json()["detail"]
    clock.now += timedelta(minutes=3)  # whoever began it is gone
    assert call(gateway, "pause", {"telescope": "garden"}, KEY).status_code == 200


def test_of_many_at_once_one_is_carried_out(gateway: GatewayClient, store: Store) -> None:
    answers: list[int] = []

    def ask() -> None:
        answer = requests.post(
            f"{gateway.address}/api/v1/pause",
            json={"telescope": "garden"},
            headers={**KEY, **gateway.shown},
            timeout=30,
        )
        answers.append(answer.status_code)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 200 in answers
    assert set(answers) <= {200, 409}
    assert number_of_steps(store) == 1


def test_an_answer_is_kept_for_a_day(gateway: GatewayClient, store: Store, clock: Clock) -> None:
    call(gateway, "pause", {"telescope": "garden"}, KEY)
    clock.now += timedelta(hours=23, minutes=59)
    assert "idempotency-replayed" in call(gateway, "pause", {"telescope": "garden"}, KEY).headers
    clock.now += timedelta(minutes=2)
    assert "idempotency-replayed" not in call(gateway, "pause", {"telescope": "garden"}, KEY).headers
    with store.write() as session:
        forget_old_keys(session, clock.now + timedelta(hours=25))
        assert session.query(IdempotencyKey).count() == 0


@pytest.mark.parametrize("key", ["", "a b", "x" * 201, "ü".encode().decode("latin-1")])
def test_a_key_that_is_none_is_refused(gateway: GatewayClient, store: Store, key: str) -> None:
    answer = call(gateway, "pause", {"telescope": "garden"}, {"Idempotency-Key": key})
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["detail"]
    assert number_of_steps(store) == 0


def test_every_call_that_changes_something_but_who_may_enter_takes_a_key(gateway: GatewayClient) -> None:
    document = gateway.read("/openapi.json")
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            if method != "get" and path != WITH_TOKEN and not UNKEPT & set(described["tags"]):
                names = [each["name"] for each in described.get("parameters", ())]
                assert "Idempotency-Key" in names, f"{method} {path}"


def test_a_key_is_claimed_by_one_of_two(store: Store) -> None:
    with store.write() as session:
        assert claim_key(session, "k", "hash", NOW) is None
    with store.write() as session, pytest.raises(KeyInUse):
        claim_key(session, "k", "hash", NOW)
