"""Who works in the data folder: each service says so by a lock, whatever started it, in a container too.

The kernel lets go of a lock when its process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skyrelay.errors import ConfigurationError
from skyrelay.logs import get_logger

_LOCK = "services.lock"


@contextmanager
def work_in(data_dir: Path) -> Iterator[None]:
    """Work in ``data_dir`` beside others; wait while a backup is put back there.

    A service that cannot write there (Flower in a container) changes nothing there, and is not held up.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        handle = _open(data_dir)
    except OSError:
        yield
        return
    try:
        if not _take(handle, fcntl.LOCK_SH | fcntl.LOCK_NB):
            get_logger(__name__).warning("waiting: a backup is being restored")
            _take(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


@contextmanager
def nobody_works_in(data_dir: Path) -> Iterator[None]:
    """Have ``data_dir`` without services; those that start meanwhile wait.

    Raises
    ------
    ConfigurationError
        If a service works there, or the folder cannot be used.
    """
    try:
        handle = _open(data_dir)
    except OSError as error:
        raise ConfigurationError(f"data_dir: {data_dir} cannot be used ({error.strerror})") from error
    try:
        if not _take(handle, fcntl.LOCK_EX | fcntl.LOCK_NB):
            raise ConfigurationError(
                f"services work in {data_dir}: stop them first (in Docker: `docker compose stop`)"
            )
        yield
    finally:
        os.close(handle)


def _open(data_dir: Path) -> int:
    return os.open(data_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _take(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind)
    except BlockingIOError:
        return False
    return True
