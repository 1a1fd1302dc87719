"""What can be read over HTTP of frames, single things and the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from skyrelay.domain.states import BlockState, DeliveryState, FrameState
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.tables import Discovery, Run
from skyrelay.store.transitions import audit, move_block
from support.event_stream import watching
from support.gateway import GatewayClient, running_gateway
from support.left_out import left_out
from support.postgres_server import find_postgres, running_postgres
from support.recorded_night import RecordedNight

EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock
NOW = datetime(2025, 3, 27, 3, tzinfo=UTC)


def lay_down(store: Store) -> None:
    """Record a night of two telescopes, a frame of the night before that is held, and a history."""
    with store.write() as session:
        night = RecordedNight(session)
        garden, balcony = night.telescope(), night.telescope("balcony")
        block = night.block(garden, "M 81", EVENING, BlockState.READY, frames=4)
        move_block(session, block, BlockState.STACKING, now=NOW, actor="stacker", reason="its turn")
        move_block(session, block, BlockState.STACKED, now=NOW, actor="stacker", reason="4 of 4 frames")
        stack = night.stack(block)
        night.delivery(stack, DeliveryState.PENDING)
        audit(session, now=NOW, actor="uploader", subject=("stack", stack.id), event="fetched")
        audit(
            session, now=NOW + timedelta(hours=1), actor="person", subject=("delivery", 1), event="asked for"
        )
        night.block(balcony, "M 31", EVENING, BlockState.COLLECTING, frames=3)
        held = {"state": FrameState.CLOCK_WRONG, "needs_release": True}
        night.frame(balcony, "M 31", EVENING - timedelta(days=1), **held)
        session.add(Run(telescope_id=garden.id, night="2025-03-26", began_at=NOW))
        found = {
            "serial": "sn-garden",
            "host": "192.0.2.7",
            "hosts": ["192.0.2.7"],
            "model": "S50",
            "ssid": "x",
        }
        session.add(Discovery(addresses=[], asked_at=NOW, finished_at=NOW, found=[found], problem=""))
        session.add(Discovery(addresses=["192.168.1.0/24"], asked_at=NOW, problem=""))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayClient]:
    """Give a gateway on that store, which nothing here changes; Redis is away."""
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path_factory.mktemp('rest') / 'skyrelay.db'}"
        if request.param == "postgresql":
            programs = find_postgres()
            if programs is None:
                left_out("PostgreSQL is not installed: install the package postgresql")
            url = stack.enter_context(running_postgres(programs)).create_database()
        store = Store(url)
        stack.callback(store.close)
        migrate(store)
        lay_down(store)
        yield stack.enter_context(running_gateway(store, "unix:///nowhere/redis.sock", clock=lambda: NOW))


def ids(gateway: GatewayClient, path: str, **filters: Any) -> list[int]:
    return [item["id"] for item in gateway.read(f"/api/v1/{path}", **filters)["items"]]


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, [8, 7, 6, 5, 4, 3, 2, 1]),
        ({"block": 1}, [4, 3, 2, 1]),
        ({"telescope": "balcony"}, [8, 7, 6, 5]),
        ({"telescope": "sn-balcony", "target": "M 31"}, [8, 7, 6, 5]),
        ({"telescope": "garden", "target": "M 31"}, []),
        ({"target": "M 81"}, [4, 3, 2, 1]),
        ({"night": "2025-03-25"}, [8]),
        ({"night": "2025-03-26", "telescope": "balcony"}, [7, 6, 5]),
        ({"state": "clock wrong"}, [8]),
        ({"state": "ok", "target": "M 31"}, [7, 6, 5]),
        ({"state": "unreadable", "telescope": "garden"}, []),
        ({"block": 2, "state": "ok", "night": "2025-03-26", "target": "M 31"}, [7, 6, 5]),
    ],
)
def test_frames_are_confined_to_what_is_asked_for(
    gateway: GatewayClient, filters: dict[str, Any], wanted: list[int]
) -> None:
    assert ids(gateway, "frames", **filters) == wanted


def test_frames_come_in_parts(gateway: GatewayClient) -> None:
    first = gateway.read("/api/v1/frames", limit=5, telescope="balcony")
    assert first["next_cursor"] is None
    first = gateway.read("/api/v1/frames", limit=3, telescope="balcony")
    assert ids(gateway, "frames", limit=3, telescope="balcony", cursor=first["next_cursor"]) == [5]


def test_a_frame_says_everything_about_itself_but_where_it_was_taken(gateway: GatewayClient) -> None:
    held = gateway.read("/api/v1/frames/8")
    assert held["telescope"] == "balcony"
    assert (held["state"], held["is_held"]) == ("clock wrong", True)
    assert held["saved_local"] == "2025-03-25T21:15:13"
    good = gateway.read("/api/v1/frames/1")
    assert (good["is_held"], good["block_id"], good["stack_id"]) == (False, 1, 1)
    assert {"ra_deg", "dec_deg"} & held.keys() == set()


def test_a_block_tells_its_whole_history_with_each_reason(gateway: GatewayClient) -> None:
    detail = gateway.read("/api/v1/blocks/1")
    assert detail["block"]["state"] == "stacked"
    assert [stack["id"] for stack in detail["stacks"]] == [1]
    assert [delivery["id"] for delivery in detail["deliveries"]] == [1]
    assert [(step["subject_kind"], step["event"], step["reason"]) for step in detail["history"]] == [
        ("block", "step", "its turn"),
        ("block", "step", "4 of 4 frames"),
        ("stack", "fetched", ""),
        ("delivery", "asked for", ""),
    ]
    assert gateway.read("/api/v1/blocks/2")["history"] == []


def test_a_delivery_tells_its_history(gateway: GatewayClient) -> None:
    detail = gateway.read("/api/v1/deliveries/1")
    assert detail["delivery"]["state"] == "pending"
    assert [step["event"] for step in detail["history"]] == ["asked for"]


def test_a_run_and_a_telescope_can_be_read_alone(gateway: GatewayClient) -> None:
    assert gateway.read("/api/v1/runs/1") == gateway.read("/api/v1/runs")["items"][0]
    garden = gateway.read("/api/v1/telescopes")["items"][0]
    assert gateway.read("/api/v1/telescopes/sn-garden") == garden
    assert gateway.read("/api/v1/telescopes/garden") == garden


def test_who_was_found_in_the_network_is_named_as_we_know_it(gateway: GatewayClient) -> None:
    assert ids(gateway, "discoveries") == [2, 1]
    answered = gateway.read("/api/v1/discoveries/1")
    assert answered["found"] == [
        {"serial": "sn-garden", "host": "192.0.2.7", "hosts": ["192.0.2.7"], "model": "S50", "name": "garden"}
    ]
    assert gateway.read("/api/v1/discoveries/2")["finished_at"] is None


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, [4, 3, 2, 1]),
        ({"kind": "block"}, [2, 1]),
        ({"kind": "delivery", "subject": 1}, [4]),
        ({"kind": "delivery", "subject": 2}, []),
        ({"since": "2025-03-27T03:30:00Z"}, [4]),
        ({"until": "2025-03-27T03:30:00+00:00"}, [3, 2, 1]),
        ({"since": "2025-03-27T03:00:00Z", "until": "2025-03-27T04:00:00Z", "kind": "stack"}, [3]),
    ],
)
def test_the_audit_log_is_confined_to_what_is_asked_for(
    gateway: GatewayClient, filters: dict[str, Any], wanted: list[int]
) -> None:
    assert ids(gateway, "audit", **filters) == wanted


def test_the_audit_log_comes_in_parts_though_times_are_equal(gateway: GatewayClient) -> None:
    seen: list[int] = []
    cursor: dict[str, Any] = {}
    while True:
        page = gateway.read("/api/v1/audit", limit=1, **cursor)
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == [4, 3, 2, 1]


@pytest.mark.parametrize(
    "path",
    [
        "frames/99",
        "blocks/99",
        "deliveries/99",
        "runs/99",
        "discoveries/99",
        "telescopes/nobody",
        "stacks/99",
    ],
)
def test_what_is_not_there_is_not_found_and_named(gateway: GatewayClient, path: str) -> None:
    answer = gateway.get(f"/api/v1/{path}")
    assert answer.status_code == 404
    assert path.partition("/")[2] in answer.json()["detail"]
    assert answer.json()["what_to_do"]


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("frames/0", "frame_id"),
        ("frames/x", "frame_id"),
        ("frames?state=lost", "state"),
        ("frames?night=yesterday", "night"),
        ("frames?block=-1", "block"),
        ("audit?since=2025-03-27T03:30:00", "since"),
        ("audit?subject=1", "subject"),
        ("audit?limit=0", "limit"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_by_name(
    gateway: GatewayClient, path: str, where: str
) -> None:
    answer = gateway.get(f"/api/v1/{path}")
    assert answer.status_code == 422
    assert where in answer.json()["detail"]


@pytest.mark.parametrize("filters", [{"telescope": "gardn"}, {"target": "M 82"}])
def test_a_name_that_is_not_there_is_answered_with_the_nearest(
    gateway: GatewayClient, filters: dict[str, str]
) -> None:
    answer = gateway.get("/api/v1/frames", **filters)
    assert answer.status_code == 404
    assert "Did you mean" in answer.json()["what_to_do"]


def test_a_list_that_has_not_changed_is_not_sent_again_by_either_database(gateway: GatewayClient) -> None:
    tag = gateway.get("/api/v1/audit").headers["etag"]
    again = gateway.send("GET", "/api/v1/audit", headers={"If-None-Match": tag})
    assert again.status_code == 304


def test_events_and_figures_come_from_either_database(gateway: GatewayClient) -> None:
    with watching(gateway, **{"Last-Event-ID": "2"}) as source:
        assert [source.until("change").id, source.until("change").id] == [3, 4]
    assert 'skyrelay_frames{state="clock wrong"} 1.0' in gateway.get("/metrics").text
