"""The gateway as the process it is: up, down when it is told to, quiet about secrets."""

from __future__ import annotations

import json
import re
import signal
import socket
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from skyrelay.access.local_token import read_local_token
from skyrelay.store.engine import Store
from support.gateway import GatewayClient
from support.redis_server import RedisServer
from support.service_process import ServiceProcess
from support.waiting import eventually


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


PASSWORD = "the owner's own words"


def settings_for(store: Store, redis_server: RedisServer, port: int, data_dir: Path) -> dict[str, object]:
    return {
        "setup": "done",
        "data_dir": str(data_dir),
        "gateway": {"host": "127.0.0.1", "port": port, "password": PASSWORD},
        "redis_url": redis_server.url,
        "database_url": store.engine.url.render_as_string(hide_password=False),
        "crowdsky": {"username": "somebody", "password": "correct horse"},
    }


def answers(gateway: GatewayClient) -> bool:
    try:
        return gateway.get("/healthz").ok
    except requests.ConnectionError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_and_stops_when_it_is_told_to_though_a_connection_stays_open(
    store: Store, redis_server: RedisServer, tmp_path: Path, number: signal.Signals
) -> None:
    port = free_port()
    settings = settings_for(store, redis_server, port, tmp_path)
    with ServiceProcess("gateway", tmp_path, settings) as process:
        token = eventually(lambda: read_local_token(tmp_path), within_s=60)
        gateway = GatewayClient(f"http://127.0.0.1:{port}", token)
        eventually(lambda: answers(gateway))
        assert gateway.post("/api/v1/stack", {"all": True}).status_code == 202
        idle = socket.create_connection((urlsplit(gateway.address).hostname or "", port))
        process.tell(number)
        assert process.wait(20) == 0, "what Docker waits for before it kills"
        idle.close()
        log = process.log()
    gateway.close()
    records = [json.loads(line) for line in log.splitlines()]
    assert {record["service"] for record in records} == {"gateway"}
    assert any(record["event"] == "stacks were asked for" for record in records)
    assert "correct horse" not in log
    assert PASSWORD not in log
    assert token not in log


def test_a_port_that_is_taken_ends_it_with_a_clear_line(
    store: Store, redis_server: RedisServer, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with ServiceProcess(
            "gateway", tmp_path, settings_for(store, redis_server, port, tmp_path)
        ) as process:
            assert process.wait(60) != 0
            assert "address already in use" in process.log()


def test_without_a_redis_url_the_configuration_is_wrong(tmp_path: Path) -> None:
    with ServiceProcess("gateway", tmp_path, {"data_dir": str(tmp_path)}) as process:
        assert process.wait(60) == 2
        assert "redis_url is empty" in process.log()


def test_until_somebody_claims_it_each_start_shows_a_new_code_and_keeps_its_token(
    store: Store, redis_server: RedisServer, tmp_path: Path
) -> None:
    settings = settings_for(store, redis_server, free_port(), tmp_path)
    settings["gateway"] = {"host": "127.0.0.1", "port": free_port()}
    process = ServiceProcess("gateway", tmp_path, settings)
    codes, tokens = set(), set()
    for _ in range(2):
        with process:
            codes.add(eventually(lambda: newest_code(process, codes), within_s=90))
            tokens.add(read_local_token(tmp_path))
            process.tell(signal.SIGTERM)
            assert process.wait(60) == 0
    assert len(tokens) == 1
    assert stat.S_IMODE((tmp_path / "gateway.token").stat().st_mode) == 0o600
    assert process.log().count("/welcome") == 2


def newest_code(process: ServiceProcess, known: set[str]) -> str | None:
    return next((code for code in re.findall(r"Code +(\S+)", process.log()) if code not in known), None)
