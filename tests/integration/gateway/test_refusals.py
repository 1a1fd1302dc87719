"""Each refusal is a problem that says what to do, and never more than it should."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from skyrelay.domain.states import BlockState, TelescopeState
from skyrelay.settings import GatewaySettings, Settings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.tables import Block, Telescope
from support.gateway import GatewayClient, running_gateway
from support.recorded_night import RecordedNight

EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock


NO_REDIS = "unix:///nowhere/redis.sock"  # none of these calls gets as far as to need one


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Give a store with one ready block of M 81; what is refused leaves it as it is."""
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('refusals') / 'skyrelay.db'}")
    migrate(store)
    with store.write() as session:
        night = RecordedNight(session)
        night.block(night.telescope(), "M 81", EVENING, BlockState.READY)
    yield store
    store.close()


@pytest.fixture(scope="module")
def gateway(store: Store) -> Iterator[GatewayClient]:
    """Give a gateway on that store."""
    with running_gateway(store, NO_REDIS) as client:
        yield client


def check_problem(answer: requests.Response, status: int) -> dict[str, Any]:
    problem: dict[str, Any] = answer.json()
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["what_to_do"]
    assert "Traceback" not in answer.text
    assert_strict(answer)
    return problem


def assert_strict(answer: requests.Response) -> None:
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert "server" not in answer.headers


@pytest.mark.parametrize("path", ["/healthz", "/", "/docs", "/api/v1/status", "/static/skyrelay.css"])
def test_browsers_are_told_to_be_strict_everywhere(gateway: GatewayClient, path: str) -> None:
    assert_strict(gateway.get(path))


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/api/v1/frame", "/static/../service.py", "/static/%2e%2e/service.py", "/static/none.js"],
)
def test_what_is_not_there_is_a_problem(gateway: GatewayClient, path: str) -> None:
    check_problem(gateway.get(path), 404)


def test_a_wrong_method_names_the_right_one(gateway: GatewayClient) -> None:
    answer = gateway.send("DELETE", "/api/v1/blocks")
    check_problem(answer, 405)
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/api/v1/blocks?limit=0", "query.limit"),
        ("/api/v1/blocks?limit=501", "query.limit"),
        ("/api/v1/blocks?cursor=-1", "query.cursor"),
        ("/api/v1/blocks?cursor=99999999999999999999", "query.cursor"),
        ("/api/v1/blocks?state=lost", "query.state"),
        ("/api/v1/blocks?night=yesterday", "query.night"),
        ("/api/v1/deliveries?state=stacked", "query.state"),
        ("/api/v1/nights?cursor=9999-12-31", "query.cursor"),
        ("/api/v1/nights/9999-12-31/receipt", "path.night"),
        ("/api/v1/nights/2025-02-30/receipt", "path.night"),
    ],
)
def test_a_wrong_parameter_is_named(gateway: GatewayClient, path: str, where: str) -> None:
    problem = check_problem(gateway.get(path), 422)
    assert [error["where"] for error in problem["errors"]] == [where]


@pytest.mark.parametrize("cursor", ["?", "bm9uZQ==", "WyJNIDgxIiwgInR3byJd", "W10=", "bnVsbA==", "é"])
def test_a_cursor_of_the_targets_that_is_none_is_refused(gateway: GatewayClient, cursor: str) -> None:
    check_problem(gateway.get("/api/v1/targets", cursor=cursor), 422)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"dry_run": True},
        {"all": True, "target": "M 81"},
        {"block_id": 1, "telescope": "garden"},
        {"block_id": 0},
        {"block_id": 2**60},
        {"all": True, "force": True},
        {"target": "M" * 201},
        [],
        "all",
        7,
    ],
)
def test_a_wish_that_is_not_clear_is_refused(gateway: GatewayClient, store: Store, body: object) -> None:
    check_problem(gateway.post("/api/v1/stack", body), 422)
    with store.read() as session:
        assert session.get_one(Block, 1).requested is False


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ({"target": "M81"}, "Did you mean 'M 81'?"),
        ({"telescope": "gardn"}, "Did you mean 'garden'?"),
        ({"telescope": "zebra"}, "GET /api/v1/telescopes lists what there is."),
        ({"block_id": 99}, "GET /api/v1/blocks lists what there is."),
    ],
)
def test_an_unknown_name_leads_to_the_right_one(
    gateway: GatewayClient, body: dict[str, object], hint: str
) -> None:
    assert check_problem(gateway.post("/api/v1/stack", body), 404)["what_to_do"] == hint


def test_an_unknown_name_in_a_filter_leads_to_the_right_one(gateway: GatewayClient) -> None:
    problem = check_problem(gateway.get("/api/v1/blocks", target="m81"), 404)
    assert problem["what_to_do"] == "Did you mean 'M 81'?"
    check_problem(gateway.get("/api/v1/targets", telescope="gardn"), 404)


def test_a_delivery_that_is_not_there_cannot_be_sent_again(gateway: GatewayClient) -> None:
    check_problem(gateway.post("/api/v1/deliveries/99/retry", {}), 404)
    check_problem(gateway.post("/api/v1/deliveries/none/retry", {}), 422)


@pytest.mark.parametrize(
    "media_type",
    ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "", None],
)
@pytest.mark.parametrize("path", ["/api/v1/stack", "/api/v1/deliveries/1/retry"])
def test_a_form_of_another_site_changes_nothing(
    gateway: GatewayClient, store: Store, path: str, media_type: str | None
) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}
    answer = gateway.send("POST", path, data=b'{"all": true}', headers=headers)
    assert "application/json" in check_problem(answer, 415)["what_to_do"]
    with store.read() as session:
        assert session.get_one(Block, 1).requested is False


def test_no_other_site_is_invited(gateway: GatewayClient) -> None:
    headers = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    answer = gateway.send("OPTIONS", "/api/v1/stack", headers=headers)
    assert not answer.ok
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8474", "local.evil.example", "127.0.0.1.evil.example", "a@b", "[::1", ""],
)
@pytest.mark.parametrize("path", ["/", "/api/v1/status", "/healthz"])
def test_a_name_that_somebody_made_lead_here_gets_nothing(
    gateway: GatewayClient, path: str, host: str
) -> None:
    answer = gateway.send("GET", path, headers={"Host": host})
    assert "gateway.hosts" in check_problem(answer, 421)["what_to_do"]


@pytest.mark.parametrize(
    "host",
    [
        "192.168.1.5:8474", "[fe80::1]:8474", "localhost", "LOCALHOST:8474", "gateway:8474", "pi.local",
        "pi.local.", "pi.lan", "pi.home.arpa", "pi.internal", "pi.fritz.box",
    ],
)  # fmt: skip
def test_the_names_of_a_home_are_answered_to(gateway: GatewayClient, host: str) -> None:
    assert gateway.send("GET", "/api/v1/blocks", headers={"Host": host}).status_code == 200


def test_a_name_of_the_settings_is_answered_to(store: Store) -> None:
    settings = Settings(setup="done", gateway=GatewaySettings(hosts=("Sky.example.org",)))
    with running_gateway(store, NO_REDIS, settings) as gateway:
        assert gateway.send("GET", "/healthz", headers={"Host": "sky.example.org"}).status_code == 200
        check_problem(gateway.send("GET", "/healthz", headers={"Host": "example.org"}), 421)


@pytest.mark.parametrize(
    "origin", ["https://elsewhere.example", "null", "http://127.0.0.1:1", "http://pi.local", "http://[", ""]
)
def test_a_page_of_another_site_changes_nothing(gateway: GatewayClient, store: Store, origin: str) -> None:
    answer = gateway.send("POST", "/api/v1/stack", json={"all": True}, headers={"Origin": origin})
    assert "another site" in check_problem(answer, 403)["detail"]
    answer = gateway.send("POST", "/flower/tasks/datatable", headers={"Origin": origin})
    assert "another site" in answer.json()["detail"]
    with store.read() as session:
        assert session.get_one(Block, 1).requested is False


def test_our_own_page_may_ask(gateway: GatewayClient) -> None:
    headers = {"Origin": gateway.address}
    body = {"all": True, "dry_run": True}
    assert gateway.send("POST", "/api/v1/stack", json=body, headers=headers).status_code == 200


def test_what_is_no_json_is_refused_without_being_repeated(gateway: GatewayClient) -> None:
    headers = {"Content-Type": "application/json"}
    answer = gateway.send("POST", "/api/v1/stack", data=b'{"target": "tell nobody"', headers=headers)
    check_problem(answer, 422)
    assert "tell nobody" not in answer.text


def test_a_body_without_end_is_cut_off(gateway: GatewayClient) -> None:
    headers = {"Content-Type": "application/json"}
    big = b'{"target": "' + b"M" * 70_000 + b'"}'
    check_problem(gateway.send("POST", "/api/v1/stack", data=big, headers=headers), 413)
    in_chunks = (big[start : start + 4096] for start in range(0, len(big), 4096))
    check_problem(gateway.send("POST", "/api/v1/stack", data=in_chunks, headers=headers), 413)


def test_a_request_that_is_no_http_does_no_harm(gateway: GatewayClient) -> None:
    address = urlsplit(gateway.address)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        connection.sendall(b"\x00\xff no http at all\r\n\r\n")
        assert b"400" in connection.recv(1000)
    assert gateway.get("/healthz").status_code == 200


def test_a_mistake_of_ours_shows_no_traceback(gateway: GatewayClient, store: Store) -> None:
    with store.write() as session:
        session.get_one(Telescope, 1).state = "in a state that no release knows"
    problem = check_problem(gateway.get("/api/v1/telescopes"), 500)
    with store.write() as session:
        session.get_one(Telescope, 1).state = TelescopeState.READY
    assert "no release knows" not in str(problem)
