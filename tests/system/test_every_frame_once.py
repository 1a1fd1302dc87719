"""Frames that land while Redis is away and the watcher is killed: in the database each is there, once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from skyrelay.queue.connection import connect_redis
from skyrelay.queue.frame_stream import STREAM
from skyrelay.store.engine import Store
from skyrelay.store.tables import Frame
from support.fits_files import fits_bytes
from support.redis_server import RedisServer
from support.service_process import ServiceProcess
from support.waiting import eventually

FRAMES = 5_000
_STARTED_LOCAL = datetime(2025, 3, 26, 21, 20, 32)  # noqa: DTZ001 - local, as in a frame's name
_EXPOSURE = timedelta(seconds=10)
_UTC_OFFSET = timedelta(hours=-4)


class Writer:
    """A telescope that writes frames as fast as the disk takes them, from a thread of its own."""

    def __init__(self, works: Path) -> None:
        self.folder = works / "M 94_sub"
        self.folder.mkdir(parents=True)
        self.written = 0
        self._go_to = 0
        self._more = threading.Condition()
        threading.Thread(target=self._write, daemon=True).start()

    def write_up_to(self, count: int) -> None:
        """Let the next frames come, until there are so many."""
        with self._more:
            self._go_to = count
            self._more.notify()

    def _write(self) -> None:
        while self.written < FRAMES:
            with self._more:
                self._more.wait_for(lambda: self.written < self._go_to)
            write_frame(self.folder, self.written)
            self.written += 1


def write_frame(folder: Path, number: int) -> None:
    """Write a frame as the telescope does, under another name first."""
    saved_local = _STARTED_LOCAL + _EXPOSURE * (number + 1) + timedelta(seconds=3.4)
    started = saved_local - _EXPOSURE - timedelta(seconds=3.4) - _UTC_OFFSET
    part = folder / f".{number}.part"
    part.write_bytes(fits_bytes(DATE_OBS=f"{started:%Y-%m-%dT%H:%M:%S.%f}"))
    part.rename(folder / f"Light_M 94_10.0s_IRCUT_{saved_local:%Y%m%d-%H%M%S}.fit")


@pytest.fixture
def services(tmp_path: Path, store: Store, redis_server: RedisServer) -> Iterator[dict[str, ServiceProcess]]:
    """Give a watcher and an intake that run."""
    works = tmp_path / "MyWorks"
    works.mkdir()
    settings = {
        "setup": "done",
        "redis_url": redis_server.url,
        "database_url": str(store.engine.url),
        "data_dir": str(tmp_path / "data"),
        "image_watcher": {"enabled": True, "watch_path": str(works), "debounce_delay": 0.5},
    }
    services = {
        name: ServiceProcess(name, tmp_path / "services", settings) for name in ("watcher", "scheduler")
    }
    with ExitStack() as running:
        yield {name: running.enter_context(service) for name, service in services.items()}


def recorded(store: Store) -> int:
    """Count the frames in the database."""
    with store.read() as session:
        return session.scalar(select(func.count()).select_from(Frame)) or 0


@pytest.mark.system
def test_five_thousand_frames_past_a_redis_that_stops_and_a_watcher_that_is_killed_twice(
    tmp_path: Path, store: Store, redis_server: RedisServer, services: dict[str, ServiceProcess]
) -> None:
    writer, watcher = Writer(tmp_path / "MyWorks"), services["watcher"]
    writer.write_up_to(2_000)
    eventually(lambda: recorded(store) > 500, within_s=60)
    watcher.kill()  # in the middle of what it publishes
    watcher.start()
    eventually(lambda: writer.written == 2_000)
    redis_server.stop()
    writer.write_up_to(4_000)
    eventually(lambda: writer.written == 4_000, within_s=60)
    eventually(lambda: "kept on disk" in watcher.log())
    watcher.kill()  # with its events on disk only
    writer.write_up_to(4_500)
    eventually(lambda: writer.written == 4_500, within_s=60)  # while it is down
    watcher.start()
    redis_server.start()
    writer.write_up_to(FRAMES)
    eventually(lambda: recorded(store) == FRAMES, within_s=120)
    with connect_redis(redis_server.url) as redis:
        eventually(lambda: redis.xlen(STREAM) == 0, within_s=60)
    assert recorded(store) == FRAMES
    with store.read() as session:
        assert session.scalar(select(func.count(func.distinct(Frame.file_name)))) == FRAMES
        assert set(session.scalars(select(Frame.state).distinct())) == {"ok"}
    assert "Traceback" not in watcher.log() + services["scheduler"].log()
