"""Flower is shown behind the gateway's port: to look at, and from the configured address only."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from skyrelay.health import why_unhealthy
from skyrelay.settings import FlowerSettings, Settings
from skyrelay.store.engine import Store
from support.gateway import GatewayClient, running_gateway
from support.ports import free_port
from support.redis_server import RedisServer
from support.service_process import ServiceProcess
from support.waiting import eventually


class Asked(BaseHTTPRequestHandler):
    """Answers everything and writes down what it was asked."""

    requests: list[tuple[str, str, bytes]]

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.requests.append((self.command, self.path, body))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Set-Cookie", "stray=1")
        self.end_headers()
        self.wfile.write(b"a page of Flower")

    do_POST = do_GET  # noqa: N815 - the base's name

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@contextmanager
def stand_in() -> Iterator[tuple[str, list[tuple[str, str, bytes]]]]:
    requests: list[tuple[str, str, bytes]] = []
    handler = type("Handler", (Asked,), {"requests": requests})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def gateway_with(store: Store, redis_server: RedisServer, url: str) -> Iterator[GatewayClient]:
    settings = Settings(setup="done", flower=FlowerSettings(url=url))
    with running_gateway(store, redis_server.url, settings) as gateway:
        yield gateway


def test_a_page_is_passed_on_with_its_query(store: Store, redis_server: RedisServer) -> None:
    with stand_in() as (url, requests), gateway_with(store, redis_server, url) as gateway:
        answer = gateway.get("/flower/tasks", state="FAILURE")
    assert (answer.status_code, answer.text) == (200, "a page of Flower")
    assert requests == [("GET", "/flower/tasks?state=FAILURE", b"")]
    assert "Set-Cookie" not in answer.headers
    assert "script-src 'self';" in answer.headers["Content-Security-Policy"]


def test_the_table_of_tasks_may_be_asked_for(store: Store, redis_server: RedisServer) -> None:
    with stand_in() as (url, requests), gateway_with(store, redis_server, url) as gateway:
        assert gateway.send("POST", "/flower/tasks/datatable", data={"draw": "1"}).status_code == 200
    assert requests == [("POST", "/flower/tasks/datatable", b"draw=1")]


@pytest.mark.parametrize("path", ["api/worker/shutdown/stacker@home", "api/task/apply/stacker.stack_block"])
def test_what_would_change_something_is_refused(store: Store, redis_server: RedisServer, path: str) -> None:
    with stand_in() as (url, requests), gateway_with(store, redis_server, url) as gateway:
        assert gateway.post(f"/flower/{path}", {}).status_code == 403
    assert requests == []


@pytest.mark.parametrize("path", ["//192.0.2.1/", "http://192.0.2.1/", "..%2f..%2fsecret", "@192.0.2.1/"])
def test_no_path_leads_to_another_host(store: Store, redis_server: RedisServer, path: str) -> None:
    with stand_in() as (url, requests), gateway_with(store, redis_server, url) as gateway:
        gateway.get(f"/flower/{path}")
    assert all(asked.startswith("/flower/") for _method, asked, _body in requests)


def test_without_flower_the_answer_says_so(store: Store, redis_server: RedisServer) -> None:
    with gateway_with(store, redis_server, f"http://127.0.0.1:{free_port()}") as gateway:
        answer = gateway.get("/flower/")
    assert answer.status_code == 503
    assert "Flower does not answer" in answer.text


def test_no_proxy_of_the_environment_stands_between(
    store: Store, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with stand_in() as (proxy, asked_proxy), stand_in() as (url, requests):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        with gateway_with(store, redis_server, url) as gateway:
            assert gateway.get("/flower/tasks").status_code == 200
    assert (asked_proxy, len(requests)) == ([], 1)


@pytest.mark.parametrize("root_path", ["", "/sky"])
def test_the_real_one_shows_its_pages(
    store: Store, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory, root_path: str
) -> None:
    port = free_port()
    flower = {"port": port, "url": f"http://127.0.0.1:{port}"}
    raw = {"redis_url": redis_server.url, "flower": flower, "gateway": {"root_path": root_path}}
    settings = Settings.model_validate({"setup": "done", **raw})
    process = ServiceProcess("flower", tmp_path_factory.mktemp("flower"), raw)
    with process, running_gateway(store, redis_server.url, settings) as gateway:
        eventually(lambda: gateway.get(f"{root_path}/flower/workers").ok, within_s=60)
        page = gateway.get(f"{root_path}/flower/workers").text
        # What a task is about, in words, is shown in the list.
        assert ">args<" in gateway.get(f"{root_path}/flower/tasks").text
        assert "Flower" in page
        assert f'"{root_path}/flower/static/' in page, "what it needs is asked for where it is"
        assert redis_server.url not in page
        assert why_unhealthy("flower", settings) is None
    assert "Flower does not answer" in (why_unhealthy("flower", settings) or "")
