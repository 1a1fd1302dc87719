"""Every route says what scope it takes, and nobody gets past it with less."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount

from skyrelay.access.tokens import Scope, list_tokens
from skyrelay.queue.celery_app import build_celery
from skyrelay.queue.connection import connect_redis
from skyrelay.settings import GatewaySettings, Settings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.tables import AuditEntry
from skyrelay_gateway import guard
from skyrelay_gateway.app import create_app
from skyrelay_gateway.visits import METRICS, Requirement
from support.gateway import GatewayClient, make_token, running_gateway
from support.owner import NO_REDIS, Clock

WATCHERS = "/api/v1/settings/watcher"  # it asks for a word of its own, see test_settings.py
PUBLIC = {"/healthz", "/readyz", "/login", "/welcome", "/logout", WATCHERS}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('guard') / 'skyrelay.db'}")
    migrate(store)
    yield store
    store.close()


@pytest.fixture(scope="module")
def gateway(store: Store) -> Iterator[GatewayClient]:
    with running_gateway(store, NO_REDIS) as client:
        yield client


def holder(gateway: GatewayClient, store: Store, scope: Scope) -> GatewayClient:
    return GatewayClient(gateway.address, make_token(store, scope))


def all_routes(app: FastAPI) -> dict[tuple[str, str], list[Any]]:
    """Give the dependencies of each call, those of its router first."""
    found: dict[tuple[str, str], list[Any]] = {}

    def walk(routes: list[Any], outer: list[Any]) -> None:
        for route in routes:
            if hasattr(route, "effective_candidates"):  # what `include_router` leaves
                walk(route.effective_candidates(), outer)
                continue
            original = getattr(route, "original_route", route)
            dependencies = getattr(getattr(route, "dependant", None), "dependencies", [])
            for method in getattr(original, "methods", None) or {"*"}:
                path = getattr(route, "path", None) or original.path
                found[method, path] = [each.call for each in dependencies]

    walk(list(app.routes), [])
    return found


@pytest.fixture(scope="module")
def routes(store: Store) -> dict[tuple[str, str], list[Any]]:
    with connect_redis(NO_REDIS) as redis:
        app = create_app(Settings(setup="done"), store, redis, build_celery(NO_REDIS))
    return all_routes(app)


def scopes_of(dependencies: list[Any]) -> list[Scope | None]:
    return [each.scope for each in dependencies if isinstance(each, Requirement)]


def test_the_walk_finds_the_routes_that_there_are(routes: dict[tuple[str, str], list[Any]]) -> None:
    some = {("GET", "/api/v1/status"), ("POST", "/api/v1/stack"), ("GET", "/"), ("GET", "/openapi.json")}
    assert some <= routes.keys()
    assert len(routes) > 25


def test_each_route_says_which_scope_it_takes(routes: dict[tuple[str, str], list[Any]]) -> None:
    silent = [
        call
        for call, dependencies in routes.items()
        if not scopes_of(dependencies) and METRICS.dependency not in dependencies and call[1] != "/static"
    ]
    assert silent == []


def test_only_the_public_ones_take_none(routes: dict[tuple[str, str], list[Any]]) -> None:
    public = {path for (_, path), dependencies in routes.items() if scopes_of(dependencies) == [None]}
    assert public == PUBLIC
    assert public == guard.OPEN | guard.OPEN_PAGES


def test_what_changes_something_takes_more_than_reading(routes: dict[tuple[str, str], list[Any]]) -> None:
    weak = [
        path
        for (method, path), dependencies in routes.items()
        if method not in {"GET", "HEAD", "*"}
        and not {Scope.CONTROL, Scope.ADMIN, None} & set(scopes_of(dependencies))
    ]
    assert weak == ["/flower/{path:path}"], "which looks tasks up by POST, and changes nothing"


def test_nobody_gets_an_answer_from_any_of_them(
    gateway: GatewayClient, routes: dict[tuple[str, str], list[Any]]
) -> None:
    stranger = GatewayClient(gateway.address)
    closed = [(method, path) for method, path in routes if path not in PUBLIC | {"/static"}]
    answers = {}
    for method, path in closed:
        filled = path.replace("{path:path}", "workers").replace("{night}", "2026-03-01")
        filled = filled.partition("{")[0] + "1" + filled.partition("}")[2] if "{" in filled else filled
        answers[method, path] = stranger.send(method, filled, json={}).status_code
    assert set(answers.values()) == {401}, answers


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/v1/nothing", "/api/../login", "//", "/healthz/", "/staticx"]
)
def test_what_is_not_named_as_open_is_closed(gateway: GatewayClient, path: str) -> None:
    request = requests.Request("GET", gateway.address).prepare()
    request.url = gateway.address + path  # as it stands, not tidied up
    with requests.Session() as session:
        session.trust_env = False
        assert session.send(request, timeout=20, allow_redirects=False).status_code == 401


@pytest.mark.parametrize("shown", ["", "Bearer", "Bearer ", "Bearer skyrelay_none", "bearer x", "Basic YTpi"])
def test_what_is_no_token_is_nobody(gateway: GatewayClient, shown: str) -> None:
    answer = GatewayClient(gateway.address).send("GET", "/api/v1/status", headers={"Authorization": shown})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "skyrelay token create" in answer.json()["what_to_do"]


def test_no_body_is_read_for_nobody(gateway: GatewayClient) -> None:
    answer = GatewayClient(gateway.address).send(
        "POST", "/api/v1/stack", data=b"{", headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 401, "what is no JSON would be a 422"


def test_a_token_that_may_read_changes_nothing(gateway: GatewayClient, store: Store) -> None:
    reader = holder(gateway, store, Scope.READ)
    assert reader.get("/api/v1/blocks").status_code == 200
    for path, body in (("/api/v1/stack", {"all": True}), ("/api/v1/pause", {"all": True})):
        answer = reader.post(path, body)
        assert answer.status_code == 403
        assert "--scope control" in answer.json()["what_to_do"]
        assert 'scope="control"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("scope", [Scope.READ, Scope.CONTROL])
def test_no_token_makes_itself_a_stronger_one(gateway: GatewayClient, store: Store, scope: Scope) -> None:
    weak = holder(gateway, store, scope)
    before = GatewayClient(gateway.address, make_token(store)).read("/api/v1/tokens")
    assert weak.post("/api/v1/tokens", {"name": "up", "scope": "admin"}).status_code == 403
    assert weak.get("/api/v1/tokens").status_code == 403
    assert weak.get("/api/v1/sessions").status_code == 403
    assert weak.send("DELETE", "/api/v1/tokens/1").status_code == 403
    assert weak.post("/api/v1/password", {"current": "x", "new": "0123456789"}).status_code == 403
    with store.read() as session:
        assert len(list_tokens(session)) == len(before)


def test_a_token_for_control_says_neither_what_is_set_nor_where_frames_come_from(
    gateway: GatewayClient, store: Store
) -> None:
    weak = holder(gateway, store, Scope.CONTROL)
    for method, path, body in (
        ("PATCH", "/api/v1/settings", {"stacking.when": "dawn"}),
        ("POST", "/api/v1/telescopes", {"name": "roof", "host": "192.168.1.60"}),
        ("POST", "/api/v1/telescopes/garden/forget", {}),
        ("POST", "/setup/telescopes/remove", {}),
        ("POST", "/settings", {}),
    ):
        answer = weak.send(method, path, json=body)
        assert (path, answer.status_code) == (path, 403)
        assert "--scope admin" in answer.text
    assert weak.read("/api/v1/telescopes")["items"] == []


def test_a_token_is_shown_once_and_worth_nothing_once_revoked(gateway: GatewayClient, store: Store) -> None:
    made = gateway.post("/api/v1/tokens", {"name": "Home Assistant", "scope": "control"})
    assert made.status_code == 201
    token = made.json()["token"]
    assert token not in gateway.get("/api/v1/tokens").text
    assert gateway.post("/api/v1/tokens", {"name": "Home Assistant", "scope": "read"}).status_code == 409
    program = GatewayClient(gateway.address, token)
    assert program.read("/api/v1/access") == {"kind": "program", "name": "Home Assistant", "scope": "control"}
    assert gateway.send("DELETE", f"/api/v1/tokens/{made.json()['id']}").status_code == 200
    assert program.get("/api/v1/access").status_code == 401
    assert gateway.send("DELETE", f"/api/v1/tokens/{made.json()['id']}").status_code == 404
    with store.read() as session:
        written = [entry.event for entry in session.query(AuditEntry).all()]
        assert token not in str([entry.detail for entry in session.query(AuditEntry).all()])
    assert [event for event in written if event.startswith("token")] == ["token made", "token revoked"]


@pytest.mark.parametrize(
    "name", ["", " ", "a\nb", "a\x1b[31m", "\u202eabc", "x" * 65, "<script>", 'a"b'],
)  # fmt: skip
def test_a_name_that_would_not_stay_in_its_line_is_refused(gateway: GatewayClient, name: str) -> None:
    answer = gateway.post("/api/v1/tokens", {"name": name, "scope": "read"})
    assert answer.status_code == 422
    assert "\x1b" not in answer.text


def test_the_database_holds_no_token(store: Store, gateway: GatewayClient) -> None:
    token = make_token(store) or ""
    gateway.read("/api/v1/tokens")
    with store.read() as session:
        dump = "\n".join(session.connection().connection.iterdump())  # type: ignore[attr-defined] # SQLite's own
    assert "api_tokens" in dump
    assert token not in dump


def test_the_use_of_a_token_is_written_down_but_not_each_time(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'skyrelay.db'}")
    migrate(store)
    clock = Clock()
    with running_gateway(store, NO_REDIS, clock=clock) as gateway:
        first = gateway.read("/api/v1/tokens")[0]["last_used_at"]
        clock.advance(seconds=10)
        second = gateway.read("/api/v1/tokens")[0]["last_used_at"]
        clock.advance(seconds=60)
        third = gateway.read("/api/v1/tokens")[0]["last_used_at"]
    store.close()
    assert first == second == "2026-03-01T20:00:00Z"
    assert third == "2026-03-01T20:01:10Z"


def test_without_a_login_anybody_may_do_everything_and_the_page_says_so(store: Store) -> None:
    settings = Settings(setup="done", gateway=GatewaySettings(auth="none"))
    with running_gateway(store, NO_REDIS, settings) as gateway:
        anybody = GatewayClient(gateway.address)
        assert anybody.read("/api/v1/access")["kind"] == "anybody"
        assert anybody.read("/api/v1/status")["auth"] == "none"
        assert anybody.post("/api/v1/tokens", {"name": "from anybody", "scope": "read"}).status_code == 201
        assert "There is no login" in anybody.get("/").text
        elsewhere = {"Origin": "https://elsewhere.example"}
        assert anybody.send("POST", "/api/v1/stack", json={"all": True}, headers=elsewhere).status_code == 403
    with running_gateway(store, NO_REDIS) as gateway:
        assert "There is no login" not in gateway.get("/").text


def test_figures_are_open_where_the_settings_say_so_and_nothing_else_is(store: Store) -> None:
    settings = Settings(setup="done", gateway=GatewaySettings(open_metrics=True))
    for each, status in ((settings, 200), (None, 401)):
        with running_gateway(store, NO_REDIS, each) as gateway:
            stranger = GatewayClient(gateway.address)
            assert stranger.get("/metrics").status_code == status
            assert stranger.get("/api/v1/status").status_code == 401
            assert gateway.get("/metrics").status_code == 200


def test_the_walk_would_notice_a_route_that_says_nothing() -> None:
    app = FastAPI()
    app.get("/forgotten")(lambda: None)
    routes = all_routes(app)
    assert scopes_of(routes["GET", "/forgotten"]) == []
    assert all(isinstance(route, BaseRoute | APIRoute | Mount) for route in app.routes)
