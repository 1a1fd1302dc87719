"""The observation network over the API: plan, interrupts, measurements."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from sqlalchemy import select

from skyrelay.settings import CloudSettings, ObservatorySettings, Settings
from skyrelay.store.engine import Store
from skyrelay.store.tables import AuditEntry, CloudInterrupt, CloudPlanRow, Delivery, Measurement
from support.gateway import GatewayClient, running_gateway
from support.redis_server import RedisServer

NOW = datetime(2026, 11, 25, 18, tzinfo=UTC)
SETTINGS = Settings(
    setup="done",
    observatory=ObservatorySettings(latitude=48.2345, longitude=16.3456, timezone="Europe/Vienna"),
    cloud=CloudSettings(enabled=True, url="http://127.0.0.1:9"),
)
ITEM = {"target": "M 31", "ra": 0.7123, "dec": 41.27, "expDur": 10, "expCount": 60, "startTime": "23:16"}
GOOD: dict[str, Any] = {"target_name": "T CrB", "bjd": 2460761.512345678, "magnitude": 9.8, "filter": "TG"}


@pytest.fixture
def gateway(store: Store, redis_server: RedisServer) -> Iterator[GatewayClient]:
    with running_gateway(store, redis_server.url, SETTINGS, clock=lambda: NOW) as client:
        yield client


def put_plan(store: Store, *items: Any, **columns: Any) -> None:
    """Write a plan down as the agent does."""
    usual: dict[str, Any] = {"plan_id": "tonight", "version": 1, "night": "2026-11-25", "generated_at": ""}
    rest: dict[str, Any] = {"received_at": NOW, "run_state": "", "run_reason": "", "telescope": ""}
    with store.write() as session:
        session.add(CloudPlanRow(items=list(items), replace_running=False, **{**usual, **rest, **columns}))


def test_before_the_first_plan_there_is_none(gateway: GatewayClient) -> None:
    assert gateway.read("/api/v1/plan") == {"plan": None}


def test_a_plan_is_shown_in_the_order_of_time_as_it_is_seen_from_the_site(
    gateway: GatewayClient, store: Store
) -> None:
    put_plan(store, {**ITEM, "startTime": "02:01"}, ITEM, {**ITEM, "dec": -70}, {"target": "M 1"})
    plan = gateway.read("/api/v1/plan")["plan"]
    assert (plan["plan_id"], plan["timezone"], plan["run_state"]) == ("tonight", "Europe/Vienna", "")
    shown = [(item["start_local"], item["reason"].split(" then")[0]) for item in plan["items"]]
    assert shown == [
        ("2026-11-25 23:16", ""),
        ("2026-11-25 23:16", "it is below the horizon"),
        ("2026-11-26 02:01", ""),
        (None, "ra must be a number"),
    ]
    first = plan["items"][0]
    assert first["start_at"] == "2026-11-25T22:16:00Z"
    assert 20 < first["altitude_start_deg"] < 90
    assert first["rise_at"] < first["start_at"] < first["set_at"]
    assert "48.23" not in str(plan)


def test_running_a_plan_is_written_down_for_the_agent(gateway: GatewayClient, store: Store) -> None:
    put_plan(store, ITEM)
    answer = gateway.post("/api/v1/plan/run", {"plan_id": "tonight", "replace_running": True})
    assert (answer.status_code, answer.json()["run_state"]) == (202, "waiting")
    with store.read() as session:
        row = session.scalars(select(CloudPlanRow)).one()
    assert (row.run_asked_at, row.replace_running) == (NOW, True)


@pytest.mark.parametrize(
    ("columns", "plan_id", "status"),
    [
        ({}, "another", 404),
        ({"withdrawn_at": NOW}, "tonight", 409),
        ({"night": "2026-11-20"}, "tonight", 409),
    ],
)
def test_a_plan_that_cannot_be_run(
    gateway: GatewayClient, store: Store, columns: dict[str, Any], plan_id: str, status: int
) -> None:
    put_plan(store, ITEM, **columns)
    assert gateway.post("/api/v1/plan/run", {"plan_id": plan_id}).status_code == status


def test_interrupts_are_listed_with_their_state(gateway: GatewayClient, store: Store) -> None:
    later, before = NOW + timedelta(hours=1), NOW - timedelta(hours=1)
    states: dict[str, dict[str, Any]] = {
        "new": {},
        "failing": {"problem": "the roof is shut", "attempts": 3},
        "expired": {"expires_at": before},
        "handled": {"handled_at": NOW},
        "acknowledged": {"handled_at": NOW, "acked_at": NOW},
    }
    with store.write() as session:
        for number, columns in enumerate(states.values()):
            usual = {"expires_at": later, "attempts": 0, "problem": "", "received_at": NOW}
            payload = {"id": number, "reason": "afterglow", "ra_deg": 999, "dec_deg": "x"}
            session.add(
                CloudInterrupt(
                    cloud_url="u", number=str(number), name="GRB", payload=payload, **{**usual, **columns}
                )
            )
    listed = gateway.read("/api/v1/interrupts")["items"]
    assert [each["state"] for each in listed] == list(states)[::-1]
    assert (listed[0]["reason"], listed[0]["ra_deg"], listed[0]["dec_deg"]) == ("afterglow", 999.0, None)
    page = gateway.read("/api/v1/interrupts", limit=2)
    assert len(gateway.read("/api/v1/interrupts", limit=9, cursor=page["next_cursor"])["items"]) == 3


def put_interrupt(store: Store, **columns: Any) -> int:
    """Write an interrupt down as the agent does; give its id."""
    payload = {
        "id": 7,
        "name": "GRB",
        "reason": "<b>afterglow</b>",
        "ra_deg": 10.0,
        "dec_deg": 41.0,
        "mag": 14,
    }
    usual: dict[str, Any] = {"name": "GRB", "payload": payload, "received_at": NOW, "attempts": 0}
    with store.write() as session:
        row = CloudInterrupt(cloud_url="u", number="7", problem="", **{**usual, **columns})
        session.add(row)
        session.flush()
        return row.id


def test_observing_an_interrupt_is_written_down_for_the_agent(gateway: GatewayClient, store: Store) -> None:
    number = put_interrupt(store, can_replace=True, run_state="refused", run_reason="another plan")
    answer = gateway.post(f"/api/v1/interrupts/{number}/run", {"replace_running": True})
    assert (answer.status_code, answer.json()["run_state"]) == (202, "waiting")
    with store.read() as session:
        row = session.scalars(select(CloudInterrupt)).one()
    assert (row.run_asked_at, row.replace_running, row.run_reason) == (NOW, True, "")
    with store.read() as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.subject_kind == "interrupt")).one()
    assert (entry.event, entry.actor, entry.subject_id) == ("run asked for", gateway.actor, number)


def test_an_interrupt_that_cannot_be_observed(gateway: GatewayClient, store: Store) -> None:
    assert gateway.post("/api/v1/interrupts/99/run", {}).status_code == 404
    number = put_interrupt(store, expires_at=NOW)
    assert gateway.post(f"/api/v1/interrupts/{number}/run", {}).status_code == 409
    assert gateway.post(f"/api/v1/interrupts/{number}/run", {"replace": True}).status_code == 422


def buttons(html: str) -> list[tuple[str, Any, str]]:
    """Give the buttons of a page: where they post, what, and what they say."""
    found = re.findall(r'data-post="([^"]+)" data-body="([^"]*)">([^<]+)<', html)
    return [(path, json.loads(unescape(body)), words) for path, body, words in found]


def test_the_page_shows_an_interrupt_and_the_plan_with_a_button_for_each(
    gateway: GatewayClient, store: Store
) -> None:
    put_plan(store, ITEM, {**ITEM, "target": "LMC", "dec": -70})
    number = put_interrupt(store, handled_at=NOW, acked_at=NOW, expires_at=NOW + timedelta(hours=1))
    html = gateway.get("/").text
    assert "Look at GRB" in html
    assert "&lt;b&gt;afterglow&lt;/b&gt;" in html
    assert "magnitude 14.0, until 19:00 UTC" in html
    assert "1 of 2 targets can be observed" in html
    assert "it is below the horizon" in html
    assert buttons(html) == [
        (f"api/v1/interrupts/{number}/run", {}, "Observe it now"),
        ("api/v1/plan/run", {"plan_id": "tonight", "replace_running": False}, "Run it"),
    ]
    for path, body, _ in buttons(html):
        assert gateway.post(f"/{path}", body).status_code == 202
    html = gateway.get("/").text
    assert html.count("It waits for the telescope") == 2
    assert buttons(html) == []


def test_what_was_refused_for_a_running_plan_is_offered_in_its_place(
    gateway: GatewayClient, store: Store
) -> None:
    refused = {
        "run_state": "refused",
        "run_reason": "garden works on another plan (mine)",
        "can_replace": True,
    }
    put_plan(store, ITEM, **refused)
    number = put_interrupt(store, **refused)
    html = gateway.get("/").text
    assert html.count("garden works on another plan (mine)") == 2
    assert buttons(html) == [
        (f"api/v1/interrupts/{number}/run", {"replace_running": True}, "Observe it instead of what runs"),
        ("api/v1/plan/run", {"plan_id": "tonight", "replace_running": True}, "Run it instead of what runs"),
    ]


@pytest.mark.parametrize(
    "columns",
    [
        {"expires_at": NOW - timedelta(minutes=1)},
        {"run_state": "handed over"},
        {"received_at": NOW - timedelta(hours=25)},
    ],
)
def test_the_page_is_silent_on_what_is_over(
    gateway: GatewayClient, store: Store, columns: dict[str, Any]
) -> None:
    put_interrupt(store, **columns)
    put_plan(store, {**ITEM, "startTime": "18:00"})
    html = gateway.get("/").text
    assert "Look at" not in html
    assert "Plan of the network" not in html


def test_with_the_network_switched_off_no_button_is_shown(store: Store, redis_server: RedisServer) -> None:
    put_plan(store, ITEM)
    number = put_interrupt(store)
    with running_gateway(store, redis_server.url, Settings(setup="done"), clock=lambda: NOW) as gateway:
        html = gateway.get("/").text
        assert "Look at GRB" in html
        assert buttons(html) == []
        assert gateway.post(f"/api/v1/interrupts/{number}/run", {}).status_code == 409


def test_a_measurement_is_queued_once_bit_for_bit(gateway: GatewayClient, store: Store) -> None:
    body = {"measurement": GOOD, "conditions": {"clouds": 0.1}}
    first, second = (gateway.post("/api/v1/measurements", body) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["measurement"]["state"] == "pending"
    assert (first.json()["is_new"], second.json()["is_new"]) == (True, False)
    with store.read() as session:
        (row,) = session.scalars(select(Measurement))
        assert session.scalars(select(Delivery)).one().destination == "cloud"
    assert '"bjd": 2460761.512345678' in row.payload
    listed = gateway.read("/api/v1/measurements")["items"]
    assert [(each["target"], each["bjd"]) for each in listed] == [("T CrB", "2460761.512345678")]
    assert gateway.read("/api/v1/measurements", state="dead")["items"] == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"target_name": " "}, "target_name"),
        ({"bjd": 2399999.0}, "bjd"),
        ({"bjd": 2500000}, "bjd"),
        ({"bjd": "2460761.5"}, "bjd"),
        ({"magnitude": 30}, "magnitude"),
        ({"magnitude": None}, "magnitude"),
        ({"magnitude": True}, "magnitude"),
        ({"uncertainty": 5}, "uncertainty"),
        ({"uncertainty": -0.1}, "uncertainty"),
        ({"quality_flag": "great"}, "quality_flag"),
        ({"snr": "12"}, "snr"),
        ({"filter": 7}, "filter"),
    ],
)
def test_a_measurement_out_of_bounds_is_refused_by_field(
    gateway: GatewayClient, store: Store, change: dict[str, Any], field: str
) -> None:
    answer = gateway.post("/api/v1/measurements", {"measurement": {**GOOD, **change}})
    assert answer.status_code == 422
    assert [each["where"] for each in answer.json()["errors"]] == [f"body.measurement.{field}"]
    with store.read() as session:
        assert session.scalars(select(Measurement)).all() == []


def test_each_wrong_field_is_named(gateway: GatewayClient) -> None:
    answer = gateway.post("/api/v1/measurements", {"measurement": {"target_name": "", "snr": "x"}})
    named = {each["where"].rpartition(".")[2] for each in answer.json()["errors"]}
    assert named == {"target_name", "bjd", "magnitude", "snr"}


@pytest.mark.parametrize(
    "text", ['{"measurement": {"target_name": "a", "bjd": NaN, "magnitude": 1}}', "{", "[]"]
)
def test_what_is_no_measurement_at_all_is_refused(gateway: GatewayClient, text: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = gateway.send("POST", "/api/v1/measurements", data=text, headers=headers)
    assert answer.status_code == 422


def test_not_a_number_in_the_conditions_is_refused(gateway: GatewayClient) -> None:
    text = '{"measurement": {"target_name": "a", "bjd": 2460000.5, "magnitude": 1}, "conditions": {"c": NaN}}'
    headers = {"Content-Type": "application/json"}
    answer = gateway.send("POST", "/api/v1/measurements", data=text, headers=headers)
    assert answer.status_code == 422


def test_with_the_cloud_switched_off_nothing_is_taken(store: Store, redis_server: RedisServer) -> None:
    put_plan(store, ITEM)
    with running_gateway(store, redis_server.url) as gateway:
        assert gateway.post("/api/v1/measurements", {"measurement": GOOD}).status_code == 409
        assert gateway.post("/api/v1/plan/run", {"plan_id": "tonight"}).status_code == 409
        assert gateway.read("/api/v1/plan")["plan"]["plan_id"] == "tonight"


def test_what_changes_something_takes_json_only(gateway: GatewayClient) -> None:
    for path in ("/api/v1/measurements", "/api/v1/plan/run", "/api/v1/interrupts/1/run"):
        assert (
            gateway.send("POST", path, data="{}", headers={"Content-Type": "text/plain"}).status_code == 415
        )
