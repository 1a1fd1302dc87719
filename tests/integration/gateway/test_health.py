"""Alive is not ready: what is not ready is named, with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skyrelay.queue.beats import BEATS, beat
from skyrelay.queue.connection import connect_redis
from skyrelay.service import utc_now
from skyrelay.settings import ArchiveSettings, GatewaySettings, Settings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay_gateway.readiness import SERVICES
from support.gateway import GatewayClient, running_gateway
from support.redis_server import RedisServer


def beat_all(redis_server: RedisServer) -> None:
    with connect_redis(redis_server.url) as redis:
        for service in SERVICES:
            beat(redis, service, utc_now(), state="working")


def parts_of(gateway: GatewayClient, status: int) -> dict[str, dict[str, Any]]:
    answer = gateway.get("/readyz")
    assert answer.status_code == status, answer.text
    assert answer.json()["ready"] is (status == 200)
    return {part["part"]: part for part in answer.json()["parts"]}


def test_ready_when_the_database_redis_and_all_services_are(store: Store, redis_server: RedisServer) -> None:
    beat_all(redis_server)
    with running_gateway(store, redis_server.url) as gateway:
        assert gateway.read("/healthz")["status"] == "ok"
        parts = parts_of(gateway, 200)
    assert set(parts) == {"database", "archive", "redis", *SERVICES}
    assert all(part["what_to_do"] is None for part in parts.values())


def test_an_archive_that_is_no_folder_is_named(
    store: Store, redis_server: RedisServer, tmp_path: Path
) -> None:
    beat_all(redis_server)
    (tmp_path / "archive").write_text("a file in its place")
    settings = Settings(setup="done", archive=ArchiveSettings(path=tmp_path / "archive"))
    with running_gateway(store, redis_server.url, settings) as gateway:
        parts = parts_of(gateway, 503)
    assert [name for name, part in parts.items() if not part["ready"]] == ["archive"]
    assert "archive.path" in parts["archive"]["what_to_do"]


def test_a_silent_service_is_named(store: Store, redis_server: RedisServer) -> None:
    beat_all(redis_server)
    with connect_redis(redis_server.url) as redis:
        redis.hdel(BEATS, "uploader")
    with running_gateway(store, redis_server.url) as gateway:
        parts = parts_of(gateway, 503)
    assert [name for name, part in parts.items() if not part["ready"]] == ["uploader"]
    assert parts["uploader"]["state"] == "never seen"
    assert "uploader" in parts["uploader"]["what_to_do"]


def test_without_redis_nothing_is_said_about_the_services(store: Store, redis_server: RedisServer) -> None:
    with running_gateway(store, redis_server.url) as gateway:
        redis_server.stop()
        parts = parts_of(gateway, 503)
        assert gateway.get("/healthz").status_code == 200
        status = gateway.read("/api/v1/status")
        assert gateway.get("/").status_code == 200
        redis_server.start()
        beat_all(redis_server)
        parts_of(gateway, 200)
    assert "redis_url" in parts["redis"]["what_to_do"]
    assert parts["stacker"]["state"] == "cannot know"
    assert status["stream_backlog"] is None
    assert [need["what"] for need in status["needs_you"]] == ["Redis does not answer"]


def test_beats_that_are_none_of_ours_break_nothing(store: Store, redis_server: RedisServer) -> None:
    with connect_redis(redis_server.url) as redis:
        redis.hset(BEATS, "watcher", "not json")
    with running_gateway(store, redis_server.url) as gateway:
        assert parts_of(gateway, 503)["redis"]["ready"] is False


def test_before_the_migration_it_is_alive_and_says_what_it_waits_for(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    beat_all(redis_server)
    store = Store(f"sqlite:///{tmp_path / 'new.db'}")
    # Before it no login and no token can be known.
    settings = Settings(setup="done", gateway=GatewaySettings(auth="none"))
    with running_gateway(store, redis_server.url, settings) as gateway:
        assert gateway.get("/healthz").status_code == 200
        assert "skyrelay migrate" in parts_of(gateway, 503)["database"]["state"]
        lists = gateway.get("/api/v1/blocks")
        page = gateway.get("/")
        migrate(store)
        parts_of(gateway, 200)
        assert gateway.read("/api/v1/blocks")["items"] == []
    store.close()
    assert (lists.status_code, lists.headers["content-type"]) == (503, "application/problem+json")
    assert (page.status_code, "Skyrelay is starting" in page.text) == (503, True)
