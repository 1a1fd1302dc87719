"""Who works in the data folder: each service says so by a lock, whatever started it, in a container too.

The kernel lets go of a lock when its process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from skyrelay.errors import ConfigurationError
from skyrelay.logs import get_logger

_LOCK = "services.lock"
_MODE = 0o644  # another user's services lock it too, and to be locked a file need only be readable

_log = get_logger(__name__)


@contextmanager
def work_in(data_dir: Path) -> Iterator[None]:
    """Work in ``data_dir`` beside others; wait while a backup is put back there.

    A service that cannot lock there is not held up: it says that ``restore`` cannot see it.
    """
    handle = _opened_to_work(data_dir)
    try:
        if handle is not None:
            _say_that_it_works(handle, data_dir)
        yield
    finally:
        if handle is not None:
            os.close(handle)


@contextmanager
def nobody_works_in(data_dir: Path) -> Iterator[None]:
    """Have ``data_dir`` without services; those that start meanwhile wait.

    Raises
    ------
    ConfigurationError
        If a service works there, or the folder cannot be used or locked.
    """
    try:
        handle = _open(data_dir)
    except OSError as error:
        raise ConfigurationError(f"data_dir: {data_dir} cannot be used ({error.strerror})") from error
    try:
        if not _is_nobody_there(handle, data_dir):
            raise ConfigurationError(
                f"services work in {data_dir}: stop them first (in Docker: `docker compose stop`)"
            )
        yield
    finally:
        os.close(handle)


def _opened_to_work(data_dir: Path) -> int | None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        return _open(data_dir)
    except OSError as error:
        _say_that_it_is_not_seen(data_dir, error)
        return None


def _say_that_it_works(handle: int, data_dir: Path) -> None:
    try:
        if not _take(handle, fcntl.LOCK_SH | fcntl.LOCK_NB):
            _log.warning("waiting: a backup is being restored")
            _take(handle, fcntl.LOCK_SH)
    except OSError as error:  # a file system without locks, or whose locks are used up
        _say_that_it_is_not_seen(data_dir, error)


def _say_that_it_is_not_seen(data_dir: Path, error: OSError) -> None:
    _log.warning(
        "the data folder cannot be locked: stop this service before `skyrelay restore`, which cannot see it",
        file=str(data_dir / _LOCK),
        problem=error.strerror,
    )


def _is_nobody_there(handle: int, data_dir: Path) -> bool:
    try:
        return _take(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ConfigurationError(
            f"data_dir: {data_dir / _LOCK} cannot be locked ({error.strerror}), so that nobody can tell "
            "whether services work there: have data_dir on a file system with locks"
        ) from error


def _open(data_dir: Path) -> int:
    """Open the lock, to write if may be: over NFS a lock that excludes others needs that."""
    place, flags = data_dir / _LOCK, os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        handle = os.open(place, flags | os.O_RDWR | os.O_CREAT, _MODE)
    except OSError:
        return os.open(place, flags | os.O_RDONLY)
    with suppress(OSError):  # the umask has a say in the mode, and so had earlier releases
        os.fchmod(handle, _MODE)
    return handle


def _take(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind)
    except BlockingIOError:
        return False
    return True
