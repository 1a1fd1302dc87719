"""A real Redis server of the test's own, on a Unix socket."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from skyrelay.cli.embedded_redis import find_redis_server
from skyrelay.errors import ConfigurationError
from support.left_out import left_out
from support.waiting import eventually


class RedisServer:
    """A Redis server that can be stopped, killed and started again.

    Each time its memory is empty, but for what a test had it save (the command ``SAVE``).
    """

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no"]
        options += ["--dir", str(self.socket.parent)]
        self._process = subprocess.Popen([_program(), *options], stdout=subprocess.DEVNULL)
        eventually(self.answers)

    def answers(self) -> bool:
        """Tell whether it answers a ping."""
        try:
            with Redis.from_url(self.url) as client:
                return bool(client.ping())
        except RedisConnectionError:
            return False

    def stop(self) -> None:
        """Stop it; what it held and did not save is gone."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


def _program() -> str:
    try:
        return find_redis_server()
    except ConfigurationError as error:
        left_out(str(error))


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """Give a running Redis server of this test's own."""
    with tempfile.TemporaryDirectory(
        prefix="skyrelay-redis-"
    ) as folder:  # short: socket paths end at 108 bytes
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.stop()
