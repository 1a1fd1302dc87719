"""A watcher as a process, on a folder and a Redis of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from skyrelay.queue.beats import read_beats
from skyrelay.queue.connection import connect_redis
from skyrelay.queue.events import FrameEvent
from skyrelay.queue.frame_stream import STREAM
from support.redis_server import RedisServer
from support.service_process import ServiceProcess


class Home:
    """A folder of sub-frames, a Redis, and the watcher between them."""

    def __init__(self, folder: Path, server: RedisServer) -> None:
        self.folder = folder
        self.photos = folder / "photos"
        self.photos.mkdir()
        self.server = server
        self.redis: Redis = connect_redis(server.url)

    def watcher(self, **changes: Any) -> ServiceProcess:
        """Give a watcher of this home; ``changes`` are settings of ``image_watcher``."""
        section = {"enabled": True, "watch_path": [str(self.photos)], "debounce_delay": 0.3, **changes}
        return ServiceProcess(
            "watcher",
            self.folder,
            {
                "setup": "done",
                "redis_url": self.server.url,
                "data_dir": str(self.folder / "data"),
                "image_watcher": section,
            },
        )

    def events(self) -> list[FrameEvent]:
        """Give all that is in the stream."""
        try:
            entries = self.redis.xrange(STREAM)
        except RedisError:
            return []
        return [FrameEvent.model_validate(json.loads(fields["event"])) for _entry_id, fields in entries]

    def paths(self) -> list[str]:
        """Give the paths of all events, in the stream's order."""
        return [event.path for event in self.events()]

    def detail(self) -> Any:
        """Give what the watcher's last beat says of it; empty while there is none."""
        beat = read_beats(self.redis).get("watcher")
        return beat.detail if beat else {}

    def root(self, number: int = 0) -> Any:
        """Give what the watcher's last beat says of one root; empty while there is none."""
        roots = self.detail().get("roots", [])
        return roots[number] if len(roots) > number else {}

    def watches(self) -> bool:
        """Tell whether the watcher has said that it watches."""
        return bool(self.detail().get("state") == "watching")


@pytest.fixture
def home(tmp_path: Path, redis_server: RedisServer) -> Iterator[Home]:
    """Give a home with an empty folder."""
    home = Home(tmp_path, redis_server)
    yield home
    home.redis.close()
