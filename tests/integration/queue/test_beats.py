"""A service's last sign of life, and when it has become too old."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from skyrelay.queue.beats import CANARY_EVERY, STALE_AFTER, Beat, beat, read_beats
from skyrelay.queue.connection import connect_redis
from support.redis_server import RedisServer

_NOW = datetime(2025, 3, 27, 1, 21, 0, 123456, tzinfo=UTC)


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    with connect_redis(redis_server.url) as client:
        yield client


def test_where_nobody_has_beaten_there_is_nothing(redis: Redis) -> None:
    assert read_beats(redis) == {}


def test_the_last_beat_of_each_service_is_kept(redis: Redis) -> None:
    beat(redis, "intake", _NOW - timedelta(seconds=5), recorded=1)
    beat(redis, "intake", _NOW, state="working", recorded=2, backlog=0)
    beat(redis, "watcher", _NOW)
    assert read_beats(redis) == {
        "intake": Beat("intake", _NOW, {"state": "working", "recorded": 2, "backlog": 0}),
        "watcher": Beat("watcher", _NOW, {}),
    }


def test_a_beat_grows_stale() -> None:
    last = Beat("intake", _NOW, {})
    assert not last.is_stale(_NOW + STALE_AFTER)
    assert last.is_stale(_NOW + STALE_AFTER + timedelta(microseconds=1))


def test_one_lost_canary_makes_no_service_stale() -> None:
    assert 2 * CANARY_EVERY < STALE_AFTER
