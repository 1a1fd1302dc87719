"""The page on frame events is true: its fields are the model's, and its script does what it says."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis import Redis

from skyrelay.queue.connection import connect_redis
from skyrelay.queue.events import FrameEvent
from skyrelay.queue.frame_stream import STREAM, Intake, publish
from support.redis_server import RedisServer
from support.waiting import eventually

PAGE = (Path(__file__).parents[3] / "docs" / "events.md").read_text(encoding="utf-8")
_NOW = datetime(2025, 3, 27, 1, 21, tzinfo=UTC)


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    with connect_redis(redis_server.url) as client:
        yield client


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Give the page's script, which takes a reader for dead after half a second."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert "CLAIM_AFTER_MS = 60_000" in code
    file = tmp_path / "frames.py"
    file.write_text(code.replace("60_000", "500"), encoding="utf-8")
    return file


@contextmanager
def running(script: Path, redis_server: RedisServer, consumer: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the script beside its database."""
    command = [sys.executable, script.name, redis_server.url, consumer]
    process = subprocess.Popen(command, cwd=script.parent)
    try:
        yield process
        assert process.poll() is None, "the script ended by itself"
    finally:
        process.kill()
        process.wait(10)


def events(*names: str, problem: str | None = None) -> list[FrameEvent]:
    header: dict[str, str | int | float | bool] = {"DATE-OBS": "2025-03-27T01:20:32", "EXPTIME": 10.0}
    return [
        FrameEvent(
            root="/photos", path=name, size_bytes=1, modified_at=_NOW, seen_at=_NOW, problem=problem,
            header={} if problem else header,
        )
        for name in names
    ]  # fmt: skip


def written(script: Path) -> list[str]:
    """Give the paths in the script's database."""
    with closing(sqlite3.connect(script.parent / "frames.db")) as database:
        try:
            return [path for (path,) in database.execute("SELECT path FROM frame ORDER BY path")]
        except sqlite3.OperationalError:  # it has not begun
            return []


def test_the_fields_are_the_models() -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert named == list(FrameEvent.model_fields)


def test_the_script_keeps_each_good_frame_once_beside_the_intake(
    redis: Redis, redis_server: RedisServer, script: Path
) -> None:
    intake = Intake(redis, "skyrelay")
    intake.open()
    publish(redis, [*events("a.fit"), *events("bad.fit", problem="cut short"), *events("b.fit", "a.fit")])
    with running(script, redis_server, "one"):
        eventually(lambda: written(script) == ["a.fit", "b.fit"])
        intake.acknowledge(intake.receive(10, 100))
        publish(redis, events("c.fit"))
        eventually(lambda: written(script) == ["a.fit", "b.fit", "c.fit"])
        redis.flushall()
        publish(redis, events("d.fit"))
        eventually(lambda: "d.fit" in written(script))


def test_what_a_dead_reader_held_is_taken_over(redis: Redis, redis_server: RedisServer, script: Path) -> None:
    redis.xgroup_create(STREAM, "photometry", id="0", mkstream=True)
    publish(redis, events("a.fit"))
    assert redis.xreadgroup("photometry", "dead", {STREAM: ">"})
    with running(script, redis_server, "heir"):
        eventually(lambda: written(script) == ["a.fit"])
        eventually(lambda: redis.xpending(STREAM, "photometry")["pending"] == 0)
