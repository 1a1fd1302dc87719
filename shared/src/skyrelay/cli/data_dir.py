"""The data folder's lock: who runs all services in it, or replaces what they work with, is alone there."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skyrelay.errors import ConfigurationError

_LOCK = "up.lock"


@contextmanager
def claim_data_dir(data_dir: Path) -> Iterator[None]:
    """Be the only one in ``data_dir`` for a while.

    Two would fight over the socket, and each do the other's work again.

    Raises
    ------
    ConfigurationError
        If somebody is there, or the folder cannot be used.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / _LOCK).open("w")
    except OSError as error:
        raise ConfigurationError(f"data_dir: {data_dir} cannot be used ({error.strerror})") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(f"`skyrelay up` runs in {data_dir} already: stop that first") from error
        yield
