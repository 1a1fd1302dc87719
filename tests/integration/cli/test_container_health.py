"""The containers' health check proves that work turns over, not that a process exists."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from skyrelay.health import why_unhealthy
from skyrelay.queue.beats import STALE_AFTER, beat
from skyrelay.queue.connection import connect_redis
from skyrelay.service import utc_now
from skyrelay.settings import GatewaySettings, Settings
from skyrelay.store.engine import Store
from support.gateway import running_gateway
from support.ports import free_port
from support.redis_server import RedisServer


def settings(redis_server: RedisServer, port: int = 8474) -> Settings:
    return Settings(redis_url=SecretStr(redis_server.url), gateway=GatewaySettings(port=port))


def give_sign(redis_server: RedisServer, age: timedelta) -> None:
    with connect_redis(redis_server.url) as redis:
        beat(redis, "stacker", utc_now() - age, state="working")


def test_a_young_beat_is_health(redis_server: RedisServer) -> None:
    give_sign(redis_server, timedelta(0))
    assert why_unhealthy("stacker", settings(redis_server)) is None


def test_an_old_beat_is_none_though_it_is_there(redis_server: RedisServer) -> None:
    give_sign(redis_server, STALE_AFTER + timedelta(seconds=1))
    assert "has been silent since" in (why_unhealthy("stacker", settings(redis_server)) or "")


def test_a_service_that_never_beat_is_not_healthy(redis_server: RedisServer) -> None:
    assert "not given a sign of life" in (why_unhealthy("stacker", settings(redis_server)) or "")


def test_without_redis_nobody_is_healthy(redis_server: RedisServer) -> None:
    redis_server.stop()
    assert "Redis does not answer" in (why_unhealthy("stacker", settings(redis_server)) or "")


def test_the_gateway_is_asked_over_its_own_port(redis_server: RedisServer) -> None:
    problem = why_unhealthy("gateway", settings(redis_server, free_port()))
    assert "the gateway does not answer" in (problem or "")


def test_the_environments_proxy_does_not_come_between(
    store: Store, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Docker hands the proxies of its own configuration to every container.
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with running_gateway(store, redis_server.url) as gateway:
        port = urlsplit(gateway.address).port or 0
        assert why_unhealthy("gateway", settings(redis_server, port)) is None
