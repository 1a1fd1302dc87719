"""What can be read over HTTP: status, lists, nights, receipts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from skyrelay.domain.states import BlockState, DeliveryState, FrameState, TelescopeState
from skyrelay.queue.beats import beat
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.events import FrameEvent
from skyrelay.queue.frame_stream import publish
from skyrelay.receipt_text import receipt_lines
from skyrelay.settings import ObservatorySettings, Settings, TelescopeSettings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.receipts import Receipt
from skyrelay.store.tables import Destination, IgnoredFile
from support.gateway import GatewayClient, running_gateway
from support.left_out import left_out
from support.postgres_server import find_postgres, running_postgres
from support.recorded_night import RecordedNight
from support.redis_server import RedisServer

EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock
QUARTER = timedelta(minutes=15)
NOW = datetime(2025, 3, 27, 3, tzinfo=UTC)


def lay_down(store: Store) -> None:
    """Record one night of two telescopes, and a block of the night before."""
    with store.write() as session:
        night = RecordedNight(session)
        garden = night.telescope(key_path="/config/seestar.pem")
        balcony = night.telescope(
            "balcony", state=TelescopeState.KEY_MISSING, state_reason="firmware 8.89 asks for one"
        )
        for number in range(5):
            block = night.block(garden, "M 81", EVENING + number * QUARTER, BlockState.STACKED, frames=30)
            night.delivery(
                night.stack(block),
                DeliveryState.CONFIRMED if number else DeliveryState.DEAD,
                server_chunk_key=f"20250327.{number:02d}_HP033810",
                reason="" if number else "413: too large",
            )
        night.block(balcony, "M 31", EVENING, BlockState.SKIPPED, frames=3, reason="too short")
        night.block(
            balcony,
            "M 31",
            EVENING - timedelta(days=1),
            BlockState.FAILED,
            frames=30,
            needs_you=True,
            reason="too few stars",
        )
        night.frame(
            garden, "M 81", EVENING - QUARTER, state=FrameState.UNREADABLE, start_at=None, seen_at=NOW
        )
        session.add(IgnoredFile(root="/night", path="notes.fit", reason="no light frame", seen_at=NOW))
        session.add(Destination(name="crowdsky", paused_reason="401: who are you?", paused_at=NOW))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def night_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Give a store that holds that night; nothing here changes it."""
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path_factory.mktemp('reading') / 'skyrelay.db'}"
        if request.param == "postgresql":
            programs = find_postgres()
            if programs is None:
                left_out("PostgreSQL is not installed: install the package postgresql")
            url = stack.enter_context(running_postgres(programs)).create_database()
        store = Store(url)
        migrate(store)
        lay_down(store)
        yield store
        store.close()


@pytest.fixture(scope="module")
def gateway(night_store: Store) -> Iterator[GatewayClient]:
    """Give a gateway on that store; Redis is away."""
    with running_gateway(night_store, "unix:///nowhere/redis.sock", clock=lambda: NOW) as client:
        yield client


def walk(gateway: GatewayClient, path: str, limit: int, **filters: Any) -> list[dict[str, Any]]:
    """Read a list to its end, in parts of ``limit``."""
    items: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = gateway.read(path, limit=limit, **filters, **cursor)
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        assert page["items"], "a part that is not the last has items"
        cursor = {"cursor": page["next_cursor"]}


@pytest.mark.parametrize(
    ("path", "number"),
    [("telescopes", 2), ("targets", 2), ("blocks", 7), ("stacks", 5), ("deliveries", 5), ("nights", 2)],
)
def test_a_list_read_in_parts_is_the_list_read_at_once(
    gateway: GatewayClient, path: str, number: int
) -> None:
    whole = walk(gateway, f"/api/v1/{path}", 500)
    assert len(whole) == number
    for limit in (1, 2, number):
        assert walk(gateway, f"/api/v1/{path}", limit) == whole


def test_a_block_says_everything_about_itself(gateway: GatewayClient) -> None:
    block = gateway.read("/api/v1/blocks", target="M 81", limit=500)["items"][-1]
    assert block["telescope"] == "garden"
    assert (block["exposure"], block["filter"], block["frame_count"]) == ("10.0s", "IRCUT", 30)
    assert (block["start_at"], block["end_at"]) == ("2025-03-27T01:15:00Z", "2025-03-27T01:30:00Z")
    assert (block["start_local"], block["utc_offset"]) == ("2025-03-26T21:15:00", "UTC−4")
    assert (block["night"], block["state"], block["needs_you"]) == ("2025-03-26", "stacked", False)
    assert block["chunk_key"] == "20250327.05_HP033810"
    assert block["stack_name"] == "CrowdSky_30_M 81_10.0s_IRCUT_20250327.05_HP033810.fit"


@pytest.mark.parametrize(
    ("path", "filters", "number"),
    [
        ("blocks", {"state": "skipped"}, 1),
        ("blocks", {"telescope": "garden"}, 5),
        ("blocks", {"telescope": "sn-balcony"}, 2),
        ("blocks", {"night": "2025-03-25"}, 1),
        ("blocks", {"night": "2025-03-26", "target": "M 31"}, 1),
        ("stacks", {"target": "M 31"}, 0),
        ("stacks", {"night": "2025-03-26"}, 5),
        ("deliveries", {"state": "dead"}, 1),
        ("deliveries", {"telescope": "balcony"}, 0),
        ("targets", {"telescope": "balcony"}, 1),
    ],
)
def test_a_filter_confines_a_list(
    gateway: GatewayClient, path: str, filters: dict[str, str], number: int
) -> None:
    assert len(walk(gateway, f"/api/v1/{path}", 2, **filters)) == number


def test_a_delivery_shows_the_servers_key_beside_ours(gateway: GatewayClient) -> None:
    delivery = gateway.read("/api/v1/deliveries")["items"][-1]
    assert (delivery["server_chunk_key"], delivery["chunk_key"]) == (
        "20250327.00_HP033810",
        "20250327.05_HP033810",
    )
    assert (delivery["state"], delivery["reason"]) == ("dead", "413: too large")


def test_a_target_adds_its_blocks_up(gateway: GatewayClient) -> None:
    by_target = {target["target"]: target for target in gateway.read("/api/v1/targets")["items"]}
    assert by_target["M 81"]["frames"] == 150
    assert by_target["M 81"]["exposure_total_s"] == 1500.0
    assert (by_target["M 31"]["first_night"], by_target["M 31"]["last_night"]) == ("2025-03-25", "2025-03-26")


def test_nights_count_frames_that_are_in_no_block_too(gateway: GatewayClient) -> None:
    newest, before = gateway.read("/api/v1/nights")["items"]
    assert newest == {
        "night": "2025-03-26",
        "frames": 154,
        "blocks": 6,
        "blocks_stacked": 5,
        "blocks_raw": 0,
        "blocks_skipped": 1,
        "blocks_covered": 0,
        "blocks_failed": 0,
        "blocks_waiting": 0,
        "delivered": 4,
        "frames_without_block": 1,
    }
    assert (before["night"], before["blocks_failed"]) == ("2025-03-25", 1)


def test_the_receipt_accounts_for_the_night(gateway: GatewayClient) -> None:
    answer = gateway.read("/api/v1/nights/2025-03-26/receipt")
    assert answer["totals"]["frames"] == 154
    assert answer["totals"]["frames_missing"] == 0
    assert answer["totals"]["frames_held"] == 1
    assert (answer["totals"]["delivered"], answer["totals"]["deliveries_dead"]) == (4, 1)
    assert answer["complete"] is True
    assert any("20250327.01_HP033810" in line for line in receipt_lines(Receipt.model_validate(answer)))


def test_status_and_page_are_there_without_redis(gateway: GatewayClient) -> None:
    assert gateway.read("/api/v1/status")["blocks"]["stacked"] == 5
    assert "Wednesday 26 March 2025" in gateway.get("/").text


def test_the_receipt_of_a_night_without_frames_is_empty(gateway: GatewayClient) -> None:
    answer = gateway.read("/api/v1/nights/2001-12-31/receipt")
    assert (answer["groups"], answer["complete"]) == ([], True)


def test_the_status_says_what_needs_a_person_and_what_to_do(store: Store, redis_server: RedisServer) -> None:
    lay_down(store)
    with connect_redis(redis_server.url) as redis:
        beat(redis, "watcher", NOW - timedelta(seconds=4), state="watching", files=3)
        beat(redis, "stacker", NOW - timedelta(minutes=3))
        publish(redis, [FrameEvent(root="/night", path="a.fit", size_bytes=1, modified_at=NOW, seen_at=NOW)])
    started = iter([NOW - timedelta(hours=1)])
    with running_gateway(store, redis_server.url, clock=lambda: next(started, NOW)) as gateway:
        status = gateway.read("/api/v1/status")
    assert status["frames"] == {"ok": 183, "unreadable": 1, "clock wrong": 0, "not on telescope": 0}
    assert (status["blocks"]["stacked"], status["blocks"]["failed"]) == (5, 1)
    assert status["stacks"] == {"total": 5, "archived": 5, "not_renamed": 0, "offered": 0}
    assert (status["deliveries"]["confirmed"], status["deliveries"]["dead"]) == (4, 1)
    assert status["destinations"][0]["paused_reason"] == "401: who are you?"
    assert status["ignored_files"]["latest"][0]["path"] == "notes.fit"
    assert status["stream_backlog"] == 1
    services = {service["service"]: service for service in status["services"]}
    assert (services["watcher"]["state"], services["watcher"]["age_s"]) == ("working", 4.0)
    assert services["watcher"]["detail"] == {"state": "watching", "files": 3}
    assert (services["stacker"]["state"], services["uploader"]["state"]) == ("silent", "never seen")
    needs = {need["what"]: need for need in status["needs_you"]}
    assert set(needs) == {
        *(
            f"The {name} does not work"
            for name in ("intake", "stacker", "scheduler", "uploader", "cloud-agent")
        ),
        "balcony: wants a key that we do not have",
        "Deliveries to crowdsky wait",
        "M 31 on balcony, 21:15 in the night of 2025-03-25",
        "CrowdSky_30_M 81_10.0s_IRCUT_20250327.05_HP033810.fit to crowdsky",
        "1 frame of garden: unreadable",
    }
    assert all(need["what_to_do"] for need in status["needs_you"])


def test_services_that_start_with_the_gateway_have_time_to_show_themselves(
    store: Store, redis_server: RedisServer
) -> None:
    with running_gateway(store, redis_server.url) as gateway:
        status = gateway.read("/api/v1/status")
    assert {service["state"] for service in status["services"]} == {"never seen"}
    assert status["needs_you"] == []


def actions_in(gateway: GatewayClient) -> list[dict[str, Any]]:
    return [need["action"] for need in gateway.read("/api/v1/status")["needs_you"] if need["action"]]


def test_what_needs_a_person_can_be_done_with_the_call_that_stands_beside_it(
    store: Store, redis_server: RedisServer
) -> None:
    lay_down(store)
    with running_gateway(store, redis_server.url, clock=lambda: NOW) as gateway:
        actions = actions_in(gateway)
        assert len(actions) == 2
        for action in actions:
            assert gateway.post("/" + action["path"], action["body"]).status_code == 202
        assert actions_in(gateway) == []


def test_blocks_of_a_telescope_without_an_address_do_not_wait_without_a_word(
    store: Store, redis_server: RedisServer
) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        gone = night.telescope(
            "attic",
            host=None,
            state=TelescopeState.UNKNOWN,
            state_reason="it is no longer in the configuration",
        )
        for number, state in enumerate(BlockState):
            needs_you = state is BlockState.FAILED
            night.block(gone, "M 81", EVENING + number * QUARTER, state, frames=1, needs_you=needs_you)
        done = night.telescope("cellar", host=None)
        night.block(done, "M 81", EVENING, BlockState.STACKED, frames=1)
        night.block(night.telescope(), "M 81", EVENING, BlockState.READY, frames=1)
    with running_gateway(store, redis_server.url, clock=lambda: NOW) as gateway:
        (need,) = gateway.read("/api/v1/status")["needs_you"]
    assert need["what"] == "4 blocks of attic cannot be stacked"
    assert "no longer in the configuration" in need["reason"]
    assert "config.yaml" in need["what_to_do"]
    assert need["action"] is None


def test_a_configured_telescope_that_never_answered_may_be_the_one_whose_frames_are_seen(
    store: Store, redis_server: RedisServer
) -> None:
    with store.write() as session:
        night = RecordedNight(session)
        night.telescope(serial=None)
        unknown = night.telescope("Seestar 1d3fe189", host=None)
        night.block(unknown, "M 81", EVENING, frames=1)
    seen_at = night.utc(EVENING)
    for waited, needs in ((timedelta(minutes=59), 0), (timedelta(minutes=61), 1)):
        with running_gateway(store, redis_server.url, clock=lambda: seen_at + waited) as gateway:  # noqa: B023 - served within this turn
            found = gateway.read("/api/v1/status")["needs_you"]
        assert len(found) == needs
    assert "garden" in found[0]["what_to_do"]


def test_no_answer_tells_where_the_house_stands_or_where_the_key_lies(
    store: Store, redis_server: RedisServer
) -> None:
    with store.write() as session:
        RecordedNight(session).telescope(key_path="/secret/place/of-the-key.pem")
    settings = Settings(
        setup="ask",
        observatory=ObservatorySettings(latitude=48.123456, longitude=16.654321),
        telescopes=(TelescopeSettings(name="garden", host="192.0.2.7"),),
    )
    with running_gateway(store, redis_server.url, settings) as gateway:
        paths = ("status", "telescopes", "targets", "blocks", "stacks", "deliveries", "nights")
        said = "".join(gateway.get(f"/api/v1/{path}").text for path in paths) + gateway.get("/").text
        setup = gateway.read("/api/v1/status")["setup"]
    assert "48.123" not in said
    assert "16.654" not in said
    assert "of-the-key" not in said
    assert setup["state"] == "ask"
    assert "setup: done" in setup["what_to_do"]
