"""What a person can have done over HTTP, and what then lies in the database and on the queue."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import select, update

from skyrelay.domain.states import BlockState, DeliveryState, TelescopeState
from skyrelay.outbox.measurements import enqueue_measurement
from skyrelay.settings import Settings, StackingSettings
from skyrelay.store.engine import Store
from skyrelay.store.tables import AuditEntry, Block, Delivery, Destination, Frame, Stack
from support.gateway import GatewayClient, running_gateway
from support.node_cloud import payload
from support.recorded_night import RecordedNight
from support.redis_server import RedisServer

EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock
QUARTER = timedelta(minutes=15)
NOW = datetime(2025, 3, 27, 3, tzinfo=UTC)
SETTINGS = Settings(setup="done", stacking=StackingSettings(exclude=("Moon*",)))


@pytest.fixture
def gateway(store: Store, redis_server: RedisServer) -> Iterator[GatewayClient]:
    """Give a gateway with a block in each state; ids are 1 to 8, in the order of `BlockState`."""
    with store.write() as session:
        night = RecordedNight(session)
        garden = night.telescope()
        for number, state in enumerate(BlockState):
            columns: dict[str, Any] = {}
            if state is BlockState.FAILED:
                columns = {"needs_you": True, "next_attempt_at": NOW + timedelta(hours=5), "attempts": 5}
            if state is BlockState.SKIPPED:
                columns = {"reason": "too short", "frames": 3}
            night.block(garden, "M 81", EVENING + number * QUARTER, state, **columns)
    with running_gateway(store, redis_server.url, SETTINGS, clock=lambda: NOW) as client:
        yield client


def block_of(store: Store, state: BlockState) -> Block:
    with store.read() as session:
        block = session.get(Block, list(BlockState).index(state) + 1)
    assert block is not None
    return block


def queued(redis_server: RedisServer, queue: str) -> int:
    with Redis.from_url(redis_server.url) as redis:
        return int(redis.llen(f"skyrelay:{queue}"))


def decisions(answer: Any) -> dict[int, str]:
    return {block["id"]: block["would"] for block in answer.json()["blocks"]}


def test_a_dry_run_says_what_would_happen_and_changes_nothing(
    gateway: GatewayClient, store: Store, redis_server: RedisServer
) -> None:
    answer = gateway.post("/api/v1/stack", {"all": True, "dry_run": True})
    assert answer.status_code == 200
    assert decisions(answer) == {1: "wait", 2: "stack", 3: "nothing", 5: "skip", 7: "stack"}
    assert answer.json()["counts"] == {"wait": 1, "stack": 2, "nothing": 1, "skip": 1}
    assert all(block["reason"] for block in answer.json()["blocks"])
    with store.read() as session:
        assert session.scalars(select(Block).where(Block.requested)).all() == []
        assert session.scalars(select(AuditEntry)).all() == []
    assert queued(redis_server, "stacker") == 0


def test_asking_for_all_marks_what_waits_and_nudges_the_stacker(
    gateway: GatewayClient, store: Store, redis_server: RedisServer
) -> None:
    answer = gateway.post("/api/v1/stack", {"all": True})
    assert answer.status_code == 202
    assert (answer.json()["asked_for"], answer.json()["note"]) == (3, None)
    with store.read() as session:
        asked = session.scalars(select(Block).where(Block.requested).order_by(Block.id)).all()
        entries = session.scalars(select(AuditEntry).order_by(AuditEntry.subject_id)).all()
    assert [block.state for block in asked] == ["collecting", "ready", "ready"]
    assert [(entry.actor, entry.subject_id) for entry in entries] == [
        (gateway.actor, 1),
        (gateway.actor, 2),
        (gateway.actor, 7),
    ]
    assert queued(redis_server, "stacker") == 1


def test_a_failed_block_is_ready_again_without_its_wait(gateway: GatewayClient, store: Store) -> None:
    gateway.post("/api/v1/stack", {"block_id": block_of(store, BlockState.FAILED).id})
    block = block_of(store, BlockState.FAILED)
    assert (block.state, block.requested, block.needs_you) == ("ready", True, False)
    assert block.next_attempt_at is None


def test_a_skipped_block_is_stacked_when_it_is_named(gateway: GatewayClient, store: Store) -> None:
    answer = gateway.post("/api/v1/stack", {"block_id": block_of(store, BlockState.SKIPPED).id})
    assert decisions(answer) == {5: "wait"}
    assert block_of(store, BlockState.SKIPPED).state == "collecting"


@pytest.mark.parametrize("state", [BlockState.STACKED, BlockState.COVERED, BlockState.STACKING])
def test_what_is_done_already_is_left_alone(
    gateway: GatewayClient, store: Store, redis_server: RedisServer, state: BlockState
) -> None:
    answer = gateway.post("/api/v1/stack", {"block_id": block_of(store, state).id})
    assert answer.status_code == 202
    assert list(decisions(answer).values()) == ["nothing"]
    assert block_of(store, state).requested is False
    assert queued(redis_server, "stacker") == 0


def test_all_does_not_override_what_the_settings_leave_out(gateway: GatewayClient, store: Store) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        telescope = night.telescope("balcony", state=TelescopeState.OBSERVING, state_reason="M 31")
        night.block(telescope, "Moon 1", EVENING, BlockState.COLLECTING)
        night.block(telescope, "M 31", EVENING, BlockState.COLLECTING, frames=3)
        night.block(telescope, "M 31", EVENING + QUARTER, BlockState.READY)
    answer = gateway.post("/api/v1/stack", {"telescope": "balcony", "dry_run": True})
    moon, short, ready = answer.json()["blocks"]
    assert (moon["would"], short["would"], ready["would"]) == ("skip", "skip", "wait")
    assert "'Moon*'" in moon["reason"]
    assert "stacking.min_exptime asks for 240 s" in short["reason"]
    assert "observing (M 31)" in ready["reason"]


def test_a_block_that_still_collects_says_until_when(
    store: Store, redis_server: RedisServer, gateway: GatewayClient
) -> None:
    early = datetime(2025, 3, 27, 1, 20, tzinfo=UTC)
    with running_gateway(store, redis_server.url, SETTINGS, clock=lambda: early) as gateway_then:
        answer = gateway_then.post("/api/v1/stack", {"block_id": 1, "dry_run": True})
    assert "01:31:00 UTC" in answer.json()["blocks"][0]["reason"]


def test_asking_twice_is_as_good_as_once(gateway: GatewayClient, store: Store) -> None:
    first, second = (gateway.post("/api/v1/stack", {"target": "M 81"}) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert block_of(store, BlockState.READY).state == "ready"


def test_without_a_broker_the_wish_is_kept_all_the_same(
    gateway: GatewayClient, store: Store, redis_server: RedisServer
) -> None:
    redis_server.stop()
    answer = gateway.post("/api/v1/stack", {"target": "M 81"})
    assert answer.status_code == 202
    assert answer.elapsed < timedelta(seconds=3), "a person waits for this answer"
    assert "Redis does not answer" in answer.json()["note"]
    assert block_of(store, BlockState.READY).requested is True


def make_delivery(store: Store, state: DeliveryState, **columns: Any) -> int:
    with store.write() as session:
        night = RecordedNight(session)
        stack = night.stack(night.block(night.telescope("attic"), "M 94", EVENING, BlockState.STACKED))
        delivery_id: int = night.delivery(stack, state, **columns).id
    return delivery_id


def delivery_of(store: Store, delivery_id: int) -> Delivery:
    with store.read() as session:
        delivery = session.get(Delivery, delivery_id)
    assert delivery is not None
    return delivery


def test_a_dead_delivery_is_pending_again(
    gateway: GatewayClient, store: Store, redis_server: RedisServer
) -> None:
    delivery_id = make_delivery(store, DeliveryState.DEAD, needs_you=True, reason="413")
    answer = gateway.post(f"/api/v1/deliveries/{delivery_id}/retry", {})
    assert answer.status_code == 202
    assert answer.json()["delivery"]["state"] == "pending"
    assert answer.json()["note"] is None
    delivery = delivery_of(store, delivery_id)
    assert (delivery.state, delivery.needs_you) == ("pending", False)
    assert delivery.next_attempt_at == NOW
    with store.read() as session:
        entry = session.scalars(select(AuditEntry)).one()
    assert (entry.actor, entry.from_state, entry.to_state) == (gateway.actor, "dead", "pending")
    assert queued(redis_server, "uploader") == 1


def test_a_waiting_delivery_waits_no_more(gateway: GatewayClient, store: Store) -> None:
    later = NOW + timedelta(hours=3)
    delivery_id = make_delivery(store, DeliveryState.RETRYING, next_attempt_at=later)
    with store.write() as session:
        session.scalars(select(Stack)).one().next_fetch_at = later
    assert gateway.post(f"/api/v1/deliveries/{delivery_id}/retry", {}).status_code == 202
    delivery = delivery_of(store, delivery_id)
    assert (delivery.state, delivery.next_attempt_at) == ("retrying", NOW)
    with store.read() as session:
        assert session.scalars(select(Stack)).one().next_fetch_at is None


def test_a_paused_destination_is_named_to_who_asks(gateway: GatewayClient, store: Store) -> None:
    delivery_id = make_delivery(store, DeliveryState.DEAD)
    with store.write() as session:
        session.add(Destination(name="crowdsky", paused_reason="401: who are you?", paused_at=NOW))
    note = gateway.post(f"/api/v1/deliveries/{delivery_id}/retry", {}).json()["note"]
    assert note == "Deliveries to crowdsky are paused: 401: who are you?"


def test_a_delivery_that_was_accepted_and_never_listed_is_sent_again(
    gateway: GatewayClient, store: Store, redis_server: RedisServer
) -> None:
    columns = {"needs_you": True, "reason": "not listed", "accepted_at": NOW, "server_job": "7"}
    delivery_id = make_delivery(store, DeliveryState.ACCEPTED, **columns, server_chunk_key="key")
    needs = gateway.read("/api/v1/status")["needs_you"]
    (action,) = (need["action"] for need in needs if need["reason"] == "not listed")
    assert gateway.post("/" + action["path"], action["body"]).status_code == 202
    delivery = delivery_of(store, delivery_id)
    assert (delivery.state, delivery.needs_you, delivery.next_attempt_at) == ("pending", False, NOW)
    assert (delivery.accepted_at, delivery.server_job, delivery.server_chunk_key) == (None, None, "key")
    with store.read() as session:
        entries = session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()
    assert [(entry.actor, entry.from_state, entry.to_state) for entry in entries] == [
        (gateway.actor, "accepted", "dead"),
        (gateway.actor, "dead", "pending"),
    ]
    assert entries[0].detail == {"server_job": "7", "server_chunk_key": "key"}
    assert queued(redis_server, "uploader") == 1


@pytest.mark.parametrize("state", [DeliveryState.SENDING, DeliveryState.ACCEPTED, DeliveryState.CONFIRMED])
def test_what_arrived_or_is_on_its_way_is_not_sent_again(
    gateway: GatewayClient, store: Store, state: DeliveryState
) -> None:
    delivery_id = make_delivery(store, state)
    answer = gateway.post(f"/api/v1/deliveries/{delivery_id}/retry", {})
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert delivery_of(store, delivery_id).state == state


def test_a_measurement_that_was_given_up_is_shown_and_can_be_sent_again(
    gateway: GatewayClient, store: Store
) -> None:
    with store.write() as session:
        enqueue_measurement(session, payload(0), now=NOW, actor="cloud-agent", first_try=None)
        enqueue_measurement(session, payload(1), now=NOW, actor="cloud-agent", first_try=None, queue_max=1)
    (need,) = [
        need
        for need in gateway.read("/api/v1/status")["needs_you"]
        if need["what"] == "measurement of T CrB to cloud"
    ]
    assert "cloud.queue_max is 1" in need["reason"]
    assert gateway.read("/api/v1/status")["deliveries"]["dead"] == 1

    assert gateway.post(f"/{need['action']['path']}", {}).status_code == 202

    with store.read() as session:
        states = list(session.scalars(select(Delivery.state).order_by(Delivery.id)))
    assert states == [DeliveryState.PENDING] * 2


def test_a_full_archive_is_said_in_words_of_its_own(gateway: GatewayClient, store: Store) -> None:
    with store.write() as session:
        session.add(Destination(name="archive", paused_reason="the archive's disk is full"))
    needs = {need["what"]: need for need in gateway.read("/api/v1/status")["needs_you"]}
    assert needs["The archive is full"]["what_to_do"].startswith("Free some space")


# -- late frames -----------------------------------------------------------------------------------


@pytest.fixture
def late(gateway: GatewayClient, store: Store) -> int:
    """Give the id of a stacked block that got two more frames."""
    with store.write() as session:
        block = session.get_one(Block, block_of(store, BlockState.STACKED).id)
        RecordedNight(session).stack(block, given=28)
        session.execute(update(Frame).where(Frame.block_id == block.id).values(seen_at=NOW))
        return block.id


def test_late_frames_are_counted_and_a_second_stack_is_offered_with_the_call_that_makes_it(
    gateway: GatewayClient, store: Store, late: int
) -> None:
    (block,) = gateway.read("/api/v1/blocks", state="stacked")["items"]
    assert block["late_frames"] == 2
    offers = [need for need in gateway.read("/api/v1/status")["needs_you"] if "too late" in need["reason"]]
    (offer,) = offers
    assert offer["reason"] == "2 frames came too late for its stack"
    answer = gateway.post(f"/{offer['action']['path']}", offer["action"]["body"])
    assert (answer.status_code, answer.json()["asked_for"]) == (202, 1)
    again = block_of(store, BlockState.STACKED)
    assert (again.id, again.state, again.requested, again.intent) == (late, "collecting", True, None)


def test_without_again_a_stacked_block_is_left_alone_and_told_how_many_came_late(
    gateway: GatewayClient, store: Store, late: int
) -> None:
    answer = gateway.post("/api/v1/stack", {"block_id": late}).json()
    assert (answer["asked_for"], answer["blocks"][0]["would"]) == (0, "nothing")
    assert "2 frames came too late: `again: true`" in answer["blocks"][0]["reason"]


def test_again_without_late_frames_makes_no_second_stack(gateway: GatewayClient, store: Store) -> None:
    block_id = block_of(store, BlockState.STACKED).id
    with store.write() as session:
        RecordedNight(session).stack(session.get_one(Block, block_id))
    answer = gateway.post("/api/v1/stack", {"block_id": block_id, "again": True}).json()
    assert (answer["asked_for"], answer["blocks"][0]["would"]) == (0, "nothing")


def test_a_covered_block_is_stacked_again_only_if_a_person_says_so_and_is_warned(
    gateway: GatewayClient, store: Store
) -> None:
    covered = block_of(store, BlockState.COVERED)
    answer = gateway.post("/api/v1/stack", {"block_id": covered.id}).json()
    assert (answer["asked_for"], answer["blocks"][0]["would"]) == (0, "nothing")
    assert "The server may have that stack already" in answer["blocks"][0]["reason"]

    answer = gateway.post("/api/v1/stack", {"block_id": covered.id, "again": True}).json()

    assert (answer["asked_for"], answer["blocks"][0]["would"]) == (1, "wait")
    assert "The server may have that stack already" in answer["blocks"][0]["reason"]
    block = block_of(store, BlockState.COVERED)
    assert (block.state, block.requested, block.is_wanted_again) == ("collecting", True, True)
    with store.read() as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.subject_id == covered.id)).one()
    assert (entry.actor, entry.from_state, entry.to_state) == (gateway.actor, "covered", "collecting")
    assert "though there is a stack of it" in entry.reason


def test_again_is_said_of_one_block_only(gateway: GatewayClient) -> None:
    assert gateway.post("/api/v1/stack", {"all": True, "again": True}).status_code == 422


# -- pauses ----------------------------------------------------------------------------------------


def test_a_pause_is_shown_with_who_when_and_why_and_written_down(
    gateway: GatewayClient, store: Store
) -> None:
    wish = {"telescope": "garden", "target": "M 81", "reason": "it is a mosaic", "by": "alice"}
    assert gateway.post("/api/v1/pause", wish).status_code == 200
    (pause,) = gateway.read("/api/v1/status")["pauses"]
    assert pause == {
        "what": "M 81 on garden",
        "telescope": "garden",
        "target": "M 81",
        "by": f"{gateway.actor} (alice)",
        "reason": "it is a mosaic",
        "paused_at": "2025-03-27T03:00:00Z",
    }
    with store.read() as session:
        (entry,) = session.scalars(select(AuditEntry))
    assert (entry.actor, entry.event) == (f"{gateway.actor} (alice)", "paused")
    assert entry.reason == "stacking of M 81 on garden was paused: it is a mosaic"


def test_pausing_twice_is_as_good_as_once_and_resuming_is_written_down(
    gateway: GatewayClient, store: Store, redis_server: RedisServer
) -> None:
    for reason in ("guests", "more guests"):
        gateway.post("/api/v1/pause", {"all": True, "reason": reason})
    (pause,) = gateway.read("/api/v1/status")["pauses"]
    assert (pause["what"], pause["reason"]) == ("everything", "more guests")
    answer = gateway.post("/api/v1/resume", {"all": True}).json()
    assert answer == {"pauses": [], "lifted": 1}
    assert queued(redis_server, "stacker") == 1, "the stacker is told at once"
    with store.read() as session:
        assert [entry.event for entry in session.scalars(select(AuditEntry))] == [
            "paused",
            "paused",
            "resumed",
        ]


def test_resuming_a_telescope_leaves_what_a_wider_pause_holds_and_says_so(gateway: GatewayClient) -> None:
    gateway.post("/api/v1/pause", {"all": True})
    gateway.post("/api/v1/pause", {"telescope": "garden", "target": "M 81"})
    answer = gateway.post("/api/v1/resume", {"telescope": "garden"}).json()
    assert (answer["lifted"], [pause["what"] for pause in answer["pauses"]]) == (1, ["everything"])


def test_a_dry_run_says_what_a_pause_holds(gateway: GatewayClient, store: Store) -> None:
    gateway.post("/api/v1/pause", {"target": "M 81", "reason": "guests"})
    answer = gateway.post("/api/v1/stack", {"all": True, "dry_run": True})
    assert decisions(answer)[block_of(store, BlockState.READY).id] == "wait"
    reasons = [block["reason"] for block in answer.json()["blocks"]]
    assert f"paused by {gateway.actor} since 2025-03-27 03:00 UTC: guests" in reasons


@pytest.mark.parametrize(
    ("wish", "status"),
    [
        ({}, 422),
        ({"all": True, "telescope": "garden"}, 422),
        ({"telescope": "gardne"}, 404),
        ({"target": "M 82"}, 404),
        ({"all": True, "until": "noon"}, 422),
    ],
)
def test_a_pause_of_nothing_that_is_there_is_refused(
    gateway: GatewayClient, wish: dict[str, Any], status: int
) -> None:
    assert gateway.post("/api/v1/pause", wish).status_code == status
    assert gateway.read("/api/v1/status")["pauses"] == []
