"""The scheduler's process can be stopped at any moment, also while Redis is away."""

from __future__ import annotations

import signal
from pathlib import Path

from skyrelay.queue.beats import read_beats
from skyrelay.queue.connection import connect_redis
from support.redis_server import RedisServer
from support.service_process import ServiceProcess
from support.waiting import eventually


def test_it_stops_while_redis_is_away(redis_server: RedisServer, tmp_path: Path) -> None:
    process = ServiceProcess("scheduler", tmp_path, {"redis_url": redis_server.url})
    with process:
        with connect_redis(redis_server.url) as redis:
            eventually(lambda: "scheduler" in read_beats(redis), within_s=30)
        redis_server.stop()
        eventually(lambda: "Connection" in process.log() or "away" in process.log(), within_s=60)
        process.tell(signal.SIGTERM)
        assert process.wait(60) == 0
