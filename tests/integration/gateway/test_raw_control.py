"""A person has raw frames sent, or a stack made of them instead: one way, unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from skyrelay.domain.states import BlockState, DeliveryKind, DeliveryState, FrameState
from skyrelay.outbox.raw_route import frames_for_raw, raw_delivery_of, send_raw
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.tables import Block, Delivery, Frame
from support.gateway import GatewayClient, running_gateway
from support.recorded_night import RecordedNight
from support.redis_server import RedisServer

EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock
NOW = datetime(2025, 3, 27, 3, tzinfo=UTC)


@pytest.fixture
def gateway(store: Store, redis_server: RedisServer) -> Iterator[GatewayClient]:
    """Give a gateway with one block, 1, of three frames that a watched folder has, and no telescope."""
    with store.write() as session:
        night = RecordedNight(session)
        skipped = {"reason": "none of its frames is on the telescope", "frame_count": 0}
        block = night.block(
            night.telescope(), "M 81", EVENING, BlockState.SKIPPED, **{"frames": 3, **skipped}
        )
        for frame in session.query(Frame):
            frame.state = FrameState.NOT_ON_TELESCOPE
            frame.seen_root, frame.seen_path = "/frames", f"M 81_sub/{frame.file_name}"
            frame.seen_at = NOW
        assert block.id == 1
    with running_gateway(store, redis_server.url, Settings(setup="done"), clock=lambda: NOW) as client:
        yield client


def block(store: Store) -> Block:
    with store.read() as session:
        return session.get_one(Block, 1)


def delivery(store: Store) -> Delivery | None:
    with store.read() as session:
        return raw_delivery_of(session, 1)


def go_raw(store: Store, **columns: Any) -> None:
    """Take the block to the raw route, and its delivery some way on."""
    with store.write() as session:
        row = session.get_one(Block, 1)
        owed = send_raw(session, row, frames_for_raw(session, row), now=NOW, actor="stacker", reason="raw")
        for column, value in columns.items():
            setattr(owed, column, value)


def needs(gateway: GatewayClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = gateway.get("/api/v1/status").json()["needs_you"]
    return found


def test_frames_that_only_a_watched_folder_has_are_offered_and_sent_when_asked_for(
    gateway: GatewayClient, store: Store, redis_server: RedisServer
) -> None:
    (offer,) = [need for need in needs(gateway) if need["action"]]
    action = offer["action"]
    assert (action["label"], action["path"], action["body"]) == (
        "Send raw frames",
        "api/v1/raw",
        {"block_id": 1},
    )
    assert "a watched folder has them" in offer["reason"]

    answer = gateway.post("/" + offer["action"]["path"], offer["action"]["body"])

    assert answer.status_code == 202
    assert (answer.json()["frames"], block(store).state) == (3, BlockState.RAW)
    owed = delivery(store)
    assert owed is not None
    assert (owed.kind, owed.state) == (DeliveryKind.RAW, DeliveryState.PENDING)
    with Redis.from_url(redis_server.url) as redis:
        assert redis.llen("skyrelay:uploader") == 1
    assert [need for need in needs(gateway) if need["action"]] == []


def test_a_dry_run_only_counts(gateway: GatewayClient, store: Store) -> None:
    answer = gateway.post("/api/v1/raw", {"block_id": 1, "dry_run": True})
    assert (answer.status_code, answer.json()["frames"]) == (200, 3)
    assert (block(store).state, delivery(store)) == (BlockState.SKIPPED, None)


def test_what_cannot_be_sent_says_why(gateway: GatewayClient, store: Store) -> None:
    assert gateway.post("/api/v1/raw", {"block_id": 99}).status_code == 404
    with store.write() as session:
        session.query(Frame).update({"seen_path": None})
    answer = gateway.post("/api/v1/raw", {"block_id": 1})
    assert answer.status_code == 409
    assert "3 of its 3 frames lie neither in a watched folder" in answer.text
    with store.write() as session:
        session.get_one(Block, 1).state = BlockState.STACKED
    assert "Block 1 is stacked" in gateway.post("/api/v1/raw", {"block_id": 1}).text


def test_it_is_listed_with_its_block(gateway: GatewayClient, store: Store) -> None:
    go_raw(store)
    (listed,) = gateway.get("/api/v1/deliveries").json()["items"]
    assert (listed["kind"], listed["block_id"], listed["target"]) == ("raw frames", 1, "M 81")
    (night,) = gateway.get("/api/v1/nights").json()["items"]
    assert night["blocks_raw"] == 1
    page = gateway.get("/").text
    assert "raw frames to be sent" in page, page[page.find("<main") :]
    assert "raw frames of M 81" in page


def test_a_taken_chunk_offers_the_stack_instead_and_frees_the_frames(
    gateway: GatewayClient, store: Store
) -> None:
    go_raw(store, state=DeliveryState.DEAD, needs_you=True, reason="the chunk holds stack 4")
    (need,) = [need for need in needs(gateway) if need["action"]]
    assert need["action"]["label"] == "Stack instead"

    gateway.post("/" + need["action"]["path"], need["action"]["body"])

    assert (block(store).state, block(store).requested) == (BlockState.COLLECTING, True)
    with store.read() as session:
        assert [frame.is_sent_raw for frame in session.query(Frame)] == [False] * 3
    withdrawn = delivery(store)
    assert withdrawn is not None
    assert (withdrawn.state, withdrawn.needs_you) == (DeliveryState.DEAD, False)
    refused = gateway.post(f"/api/v1/deliveries/{withdrawn.id}/retry", {})
    assert refused.status_code == 409
    assert "so its raw frames are not sent" in refused.text


@pytest.mark.parametrize("state", [DeliveryState.PENDING, DeliveryState.RETRYING])
def test_what_waits_is_withdrawn_when_a_stack_is_asked_for(
    gateway: GatewayClient, store: Store, state: DeliveryState
) -> None:
    go_raw(store, state=state)
    gateway.post("/api/v1/stack", {"block_id": 1})
    withdrawn = delivery(store)
    assert withdrawn is not None
    assert (block(store).state, withdrawn.state) == (BlockState.COLLECTING, DeliveryState.DEAD)


@pytest.mark.parametrize(
    "columns",
    [
        {"lease_until": NOW + timedelta(minutes=1)},
        {"state": DeliveryState.SENDING, "lease_until": NOW + timedelta(minutes=1)},
        {"state": DeliveryState.RETRYING, "ask_first": True},
        {"state": DeliveryState.ACCEPTED},
        {"state": DeliveryState.CONFIRMED},
    ],
)
def test_what_the_server_may_have_is_not_stacked_as_well(
    gateway: GatewayClient, store: Store, columns: dict[str, Any]
) -> None:
    go_raw(store, **columns)
    answer = gateway.post("/api/v1/stack", {"block_id": 1}).json()
    assert [each["would"] for each in answer["blocks"]] == ["nothing"]
    assert block(store).state == BlockState.RAW


def test_a_person_may_have_both(gateway: GatewayClient, store: Store) -> None:
    go_raw(store, state=DeliveryState.CONFIRMED)
    gateway.post("/api/v1/stack", {"block_id": 1, "again": True})
    kept = delivery(store)
    assert kept is not None
    assert (block(store).state, kept.state) == (BlockState.COLLECTING, DeliveryState.CONFIRMED)


@pytest.mark.parametrize("state", [DeliveryState.ACCEPTED, DeliveryState.CONFIRMED])
def test_late_frames_do_not_count_as_sent_where_the_server_has_the_block_already(
    gateway: GatewayClient, store: Store, state: DeliveryState
) -> None:
    go_raw(store, state=state)
    gateway.post("/api/v1/stack", {"block_id": 1, "again": True})
    with store.write() as session:
        session.get_one(Block, 1).state = BlockState.FAILED

    answer = gateway.post("/api/v1/raw", {"block_id": 1})

    assert answer.status_code == 409
    assert "are at the server already (delivery 1), which stacks no others beside them" in answer.text
    assert block(store).state == BlockState.FAILED
    with store.read() as session:
        assert [frame.is_sent_raw for frame in session.query(Frame)] == [False] * 3


def test_what_was_withdrawn_before_it_arrived_is_owed_anew_with_all_frames(
    gateway: GatewayClient, store: Store
) -> None:
    go_raw(store, raw_frames={"telescope": "", "filter": "", "frames": []})
    gateway.post("/api/v1/stack", {"block_id": 1})
    assert gateway.post("/api/v1/raw", {"block_id": 1}).status_code == 202
    owed = delivery(store)
    assert owed is not None
    assert (owed.state, owed.raw_frames) == (DeliveryState.PENDING, None)
