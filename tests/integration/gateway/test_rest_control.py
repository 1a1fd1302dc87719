"""What a person can want of telescopes, frames and deliveries, and what then lies in the database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import select

from skyrelay.domain.states import BlockState, DeliveryState, FrameState, TelescopeState
from skyrelay.outbox.measurements import enqueue_measurement
from skyrelay.settings import Settings, TelescopeSettings
from skyrelay.store.accounts import settings_in_force
from skyrelay.store.engine import Store
from skyrelay.store.pauses import order_pause
from skyrelay.store.tables import AuditEntry, Delivery, Destination, Discovery, Frame, Pause, Stack, Telescope
from skyrelay.store.telescopes import lay_down_configured
from support.gateway import GatewayClient, running_gateway
from support.node_cloud import payload
from support.recorded_night import RecordedNight
from support.redis_server import RedisServer

EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock
NOW = datetime(2025, 3, 27, 3, tzinfo=UTC)
SETTINGS = Settings(setup="done", telescopes=(TelescopeSettings(name="garden", host="192.0.2.7"),))
STATES = (
    DeliveryState.PENDING,
    DeliveryState.SENDING,
    DeliveryState.ACCEPTED,
    DeliveryState.CONFIRMED,
    DeliveryState.RETRYING,
    DeliveryState.DEAD,
)


@pytest.fixture
def gateway(store: Store, redis_server: RedisServer) -> Iterator[GatewayClient]:
    """Give a gateway with a delivery in each state (ids 1 to 6), held frames, three telescopes."""
    with store.write() as session:
        night = RecordedNight(session)
        garden = night.telescope()
        night.telescope("balcony", host="192.168.1.51", added_at=NOW, key_path="/k", latitude_deg=48.1)
        night.telescope("from frames", serial="sn-frames", host=None)
        for number, state in enumerate(STATES):
            block = night.block(
                garden, "M 81", EVENING + number * timedelta(minutes=15), BlockState.STACKED, frames=2
            )
            waits = {"next_attempt_at": NOW + timedelta(hours=5)}
            night.delivery(night.stack(block), state, **waits)
        for day, name in ((0, garden), (1, garden)):
            at = EVENING + timedelta(days=day, hours=3)
            night.frame(name, "M 81", at, state=FrameState.CLOCK_WRONG, needs_release=True)
        session.add(Destination(name="crowdsky", paused_reason="401: who are you?", paused_at=NOW))
    with running_gateway(store, redis_server.url, SETTINGS, clock=lambda: NOW) as client:
        yield client


def rows(store: Store, table: type[Any]) -> list[Any]:
    with store.read() as session:
        return list(session.scalars(select(table).order_by(table.id)))


def telescope(store: Store, name: str) -> Telescope | None:
    return next((row for row in rows(store, Telescope) if row.name == name), None)


def events(store: Store) -> list[tuple[str, str]]:
    return [(entry.subject_kind, entry.event) for entry in rows(store, AuditEntry)]


def queued(redis_server: RedisServer, queue: str) -> int:
    with Redis.from_url(redis_server.url) as redis:
        return int(redis.llen(f"skyrelay:{queue}"))


def test_a_test_has_the_stacker_look_and_says_how_to_know_that_it_has(
    gateway: GatewayClient, store: Store, redis_server: RedisServer
) -> None:
    answer = gateway.post("/api/v1/telescopes/sn-garden/test", {})
    assert answer.status_code == 202
    assert answer.json()["asked_at"] == "2025-03-27T03:00:00Z"
    assert answer.json()["telescope"]["looked_at"] is None
    assert answer.json()["note"] is None
    row = telescope(store, "garden")
    assert row is not None
    assert row.next_look_at == NOW
    assert queued(redis_server, "stacker") == 1
    assert events(store) == [("telescope", "look asked for")]


def test_what_nobody_hears_is_written_down_all_the_same(
    gateway: GatewayClient, store: Store, redis_server: RedisServer
) -> None:
    redis_server.stop()
    for path, body in (
        ("telescopes/garden/test", {}),
        ("inventory", {"all": True}),
        ("discoveries", {}),
        ("upload", {"all": True}),
        ("frames/release", {"telescope": "garden"}),
    ):
        answer = gateway.post(f"/api/v1/{path}", body)
        assert answer.status_code == 202, path
        assert "once it is back" in answer.json()["note"]
    assert len(rows(store, Discovery)) == 1


@pytest.mark.parametrize("path", ["telescopes/from frames/test", "inventory"])
def test_a_telescope_without_an_address_cannot_be_asked(gateway: GatewayClient, path: str) -> None:
    answer = gateway.post(f"/api/v1/{path}", {"telescope": "from frames"} if path == "inventory" else {})
    assert answer.status_code == 409
    assert "No address is known for from frames" in answer.json()["detail"]


def test_an_inventory_is_asked_for_of_one_or_of_all(gateway: GatewayClient, store: Store) -> None:
    one = gateway.post("/api/v1/inventory", {"telescope": "garden"}).json()
    assert one["telescopes"] == ["garden"]
    assert gateway.post("/api/v1/inventory", {"all": True}).json()["telescopes"] == ["balcony", "garden"]
    assert gateway.read("/api/v1/telescopes/balcony")["inventory_asked_at"] == "2025-03-27T03:00:00Z"
    assert gateway.post("/api/v1/inventory", {}).status_code == 422
    assert gateway.post("/api/v1/inventory", {"telescope": "roof"}).status_code == 404


def test_an_added_telescope_stays_though_no_file_names_it(gateway: GatewayClient, store: Store) -> None:
    answer = gateway.post("/api/v1/telescopes", {"name": "roof", "host": "192.168.1.60", "rpc_port": 14700})
    assert answer.status_code == 201
    assert (answer.json()["state"], answer.json()["rpc_port"]) == ("unknown", 14700)
    in_force = settings_in_force(SETTINGS, store)
    with store.write() as session:
        lay_down_configured(session, in_force.telescopes, NOW)
    row = telescope(store, "roof")
    assert row is not None
    assert (row.host, row.next_look_at) == ("192.168.1.60", NOW)


def test_a_telescope_that_was_known_from_its_frames_gets_its_address(
    gateway: GatewayClient, store: Store
) -> None:
    body = {"name": "roof", "host": "seestar.local", "serial": "sn-frames"}
    assert gateway.post("/api/v1/telescopes", body).json()["id"] == 3
    assert telescope(store, "from frames") is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"name": "garden", "host": "192.168.1.60"}, "called garden"),
        ({"name": "roof", "host": "192.168.1.60", "serial": "sn-garden"}, "sn-garden is here already"),
        ({"name": "roof", "host": "192.168.1.51"}, "At 192.168.1.51:4700 there is balcony"),
        ({"name": "from frames", "host": "192.168.1.60", "serial": "other"}, "called from frames"),
    ],
)
def test_what_is_anothers_cannot_be_added(gateway: GatewayClient, body: dict[str, str], words: str) -> None:
    answer = gateway.post("/api/v1/telescopes", body)
    assert answer.status_code == 409
    assert words in answer.json()["detail"]


@pytest.mark.parametrize(
    "host",
    ["8.8.8.8", "example.org", "224.0.0.1", "0.0.0.0", "2001:4860:4860::8888", "evil.local.example.org", ""],  # noqa: S104
)
def test_no_address_outside_a_home_is_taken(gateway: GatewayClient, host: str) -> None:
    assert gateway.post("/api/v1/telescopes", {"name": "roof", "host": host}).status_code == 422
    assert gateway.post("/api/v1/discoveries", {"addresses": [host]}).status_code == 422


def test_a_forgotten_telescope_loses_its_address_and_key_and_no_frame(
    gateway: GatewayClient, store: Store
) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        balcony = session.get_one(Telescope, 2)
        block = night.block(balcony, "M 31", EVENING, BlockState.STACKING, frames=5)
        order_pause(session, 2, None, by="me", reason="", now=NOW)
    answer = gateway.post("/api/v1/telescopes/balcony/forget", {}).json()
    assert (answer["frames"], answer["blocks"]) == (5, 1)
    row = telescope(store, "balcony")
    assert row is not None
    assert (row.host, row.key_path, row.latitude_deg, row.state) == (None, None, None, TelescopeState.UNKNOWN)
    assert gateway.read("/api/v1/blocks/" + str(block.id))["block"]["state"] == "failed"
    assert rows(store, Pause) == []
    names = [each["name"] for each in gateway.read("/api/v1/telescopes")["items"]]
    assert names == ["garden", "from frames"]
    assert len(gateway.read("/api/v1/telescopes", forgotten=True)["items"]) == 3
    assert [each["name"] for each in gateway.read("/api/v1/status")["telescopes"]] == [
        "from frames",
        "garden",
    ]
    assert len(gateway.read("/api/v1/frames", telescope="balcony")["items"]) == 5


def test_a_forgotten_telescope_of_which_nothing_is_recorded_is_gone_and_can_be_added_again(
    gateway: GatewayClient, store: Store
) -> None:
    assert "its row" in gateway.post("/api/v1/telescopes/balcony/forget", {}).json()["removed"]
    assert telescope(store, "balcony") is None
    again = {"name": "balcony", "host": "192.168.1.51"}
    assert gateway.post("/api/v1/telescopes", again).status_code == 201


def test_a_telescope_of_the_configuration_cannot_be_forgotten(gateway: GatewayClient) -> None:
    answer = gateway.post("/api/v1/telescopes/garden/forget", {})
    assert answer.status_code == 409
    assert "config.yaml" in answer.json()["what_to_do"]


def test_the_network_is_asked_by_the_stacker(
    gateway: GatewayClient, store: Store, redis_server: RedisServer
) -> None:
    body = {"addresses": ["192.168.1.0/24", "seestar.local:14720"]}
    discovery = gateway.post("/api/v1/discoveries", body).json()["discovery"]
    assert discovery["finished_at"] is None
    assert gateway.read(f"/api/v1/discoveries/{discovery['id']}") == discovery
    assert rows(store, Discovery)[0].addresses == body["addresses"]
    assert queued(redis_server, "stacker") == 1


@pytest.mark.parametrize(
    "addresses", [["10.0.0.0/8"], ["192.168.0.0/22", "192.168.4.0/22"], ["a b"], ["h"] * 17]
)
def test_a_network_that_is_none_of_a_home_is_not_asked(gateway: GatewayClient, addresses: list[str]) -> None:
    assert gateway.post("/api/v1/discoveries", {"addresses": addresses}).status_code == 422


def test_held_frames_are_released_for_a_night_and_say_so(gateway: GatewayClient, store: Store) -> None:
    night = {"telescope": "garden", "night": "2025-03-26"}
    dry = gateway.post("/api/v1/frames/release", {**night, "dry_run": True})
    assert (dry.status_code, dry.json()["frames"]) == (200, 1)
    assert gateway.read("/api/v1/frames/13")["is_held"] is True
    answer = gateway.post("/api/v1/frames/release", night)
    assert (answer.status_code, answer.json()["telescopes"]) == (202, {"garden": 1})
    released = gateway.read("/api/v1/frames/13")
    assert (released["is_held"], released["released_at"]) == (False, "2025-03-27T03:00:00Z")
    assert gateway.read("/api/v1/frames/14")["is_held"] is True
    assert events(store) == [("telescope", "released")]
    assert gateway.post("/api/v1/frames/release", night).json()["frames"] == 0


def test_one_frame_is_released_once(gateway: GatewayClient, store: Store) -> None:
    assert gateway.post("/api/v1/frames/release", {"frame_id": 14}).status_code == 202
    again = gateway.post("/api/v1/frames/release", {"frame_id": 14})
    assert (again.status_code, "not held" in again.json()["detail"]) == (409, True)
    assert gateway.post("/api/v1/frames/release", {"frame_id": 1}).status_code == 409
    assert gateway.post("/api/v1/frames/release", {"frame_id": 99}).status_code == 404
    assert gateway.post("/api/v1/frames/release", {"telescope": "roof"}).status_code == 404
    assert gateway.post("/api/v1/frames/release", {}).status_code == 422
    assert rows(store, Frame)[13].needs_release is False


@pytest.mark.parametrize("state", [DeliveryState.PENDING, DeliveryState.RETRYING, DeliveryState.DEAD])
def test_a_delivery_is_given_up_and_nags_nobody_and_can_be_brought_back(
    gateway: GatewayClient, store: Store, state: DeliveryState
) -> None:
    id_ = STATES.index(state) + 1
    answer = gateway.post(f"/api/v1/deliveries/{id_}/give-up", {"reason": "clouds"}).json()
    assert answer["delivery"]["state"] == "dead"
    assert "given up: clouds" in answer["delivery"]["reason"]
    assert answer["history"][-1]["actor"] == gateway.actor
    wanting = [need["what"] for need in gateway.read("/api/v1/status")["needs_you"]]
    assert not any(answer["delivery"]["stack_name"] in what for what in wanting)
    assert gateway.post(f"/api/v1/deliveries/{id_}/give-up", {}).status_code == 409
    back = gateway.post(f"/api/v1/deliveries/{id_}/retry", {}).json()["delivery"]
    assert (back["state"], back["given_up_at"]) == ("pending", None)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (DeliveryState.SENDING, "is being sent"),
        (DeliveryState.ACCEPTED, "was accepted"),
        (DeliveryState.CONFIRMED, "has arrived"),
    ],
)
def test_what_is_on_its_way_or_there_is_not_given_up(
    gateway: GatewayClient, state: DeliveryState, words: str
) -> None:
    answer = gateway.post(f"/api/v1/deliveries/{STATES.index(state) + 1}/give-up", {})
    assert answer.status_code == 409
    assert words in answer.json()["detail"]


def test_with_a_measurement_its_image_is_given_up(gateway: GatewayClient, store: Store) -> None:
    with store.write() as session:
        enqueue_measurement(
            session, payload(), now=NOW, actor="test", first_try=None, image=Path("/night/stack.fit")
        )
    answer = gateway.post("/api/v1/deliveries/7/give-up", {})
    assert answer.status_code == 200
    assert {row.state for row in rows(store, Delivery)[6:]} == {"dead"}
    assert gateway.post("/api/v1/deliveries/99/give-up", {}).status_code == 404


def test_all_that_waits_is_sent_now(gateway: GatewayClient, store: Store, redis_server: RedisServer) -> None:
    dry = gateway.post("/api/v1/upload", {"all": True, "dry_run": True})
    assert (dry.status_code, dry.json()["deliveries"]) == (200, 2)
    assert dry.json()["paused"] == {"crowdsky": "401: who are you?"}
    with store.write() as session:
        session.get_one(Stack, 1).next_fetch_at = NOW + timedelta(hours=2)
    assert gateway.post("/api/v1/upload", {"target": "M 81"}).json()["deliveries"] == 2
    due = [row.id for row in rows(store, Delivery) if row.next_attempt_at == NOW]
    assert due == [1, 5]
    assert rows(store, Stack)[0].next_fetch_at is None
    assert queued(redis_server, "uploader") == 1
    assert gateway.post("/api/v1/upload", {"telescope": "balcony"}).json()["deliveries"] == 0
    assert gateway.post("/api/v1/upload", {"target": "M 82"}).status_code == 404
    assert gateway.post("/api/v1/upload", {}).status_code == 422


@pytest.mark.parametrize(
    "path",
    [
        "telescopes",
        "telescopes/garden/test",
        "telescopes/garden/forget",
        "inventory",
        "discoveries",
        "frames/release",
        "deliveries/1/give-up",
        "upload",
    ],
)
def test_a_form_changes_nothing(gateway: GatewayClient, store: Store, path: str) -> None:
    answer = gateway.send("POST", f"/api/v1/{path}", data={"all": "true"})
    assert answer.status_code == 415
    assert events(store) == []
