"""Looks for telescopes from the host's network: ``python -m skyrelay_stacker.host_network [--config FILE]``.

A broadcast leaves no bridge network, so in containers (profile ``discovery``) this process, which has the
host's network and no Redis, answers the page's questions. While it lives the stacker leaves them to it.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skyrelay.errors import ConfigurationError, TransientError
from skyrelay.logs import configure_logs, get_logger
from skyrelay.queue.celery_app import build_celery
from skyrelay.service import EXIT_CONFIGURATION, stop_on_signals
from skyrelay.settings import Settings, load_settings
from skyrelay.store.opening import open_store
from skyrelay_stacker.discovering import HOST_NETWORK_LOCK, discover_telescopes, is_left_to_another
from skyrelay_stacker.workshop import Workshop

_LOOK_EVERY_S = 1.0
_log = get_logger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Answer until told to stop; with ``--health`` say by the exit code whether somebody does."""
    parser = argparse.ArgumentParser(prog="python -m skyrelay_stacker.host_network")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--health", action="store_true", help="whether one of these works in the data folder")
    wishes = parser.parse_args(arguments)
    configure_logs("discovery")
    try:
        settings = load_settings(wishes.config)
        if wishes.health:
            return 0 if is_left_to_another(settings.data_dir) else 1
        return run(settings, stop_on_signals())
    except ConfigurationError as error:
        _log.error("the configuration is wrong", problem=str(error))
        return EXIT_CONFIGURATION


def run(settings: Settings, stop: threading.Event) -> int:
    """Answer until ``stop`` is set."""
    store = open_store(settings, stop)
    if store is None:
        return 0
    workshop = Workshop(settings, store, build_celery(settings.redis), stop)
    with _alone(settings.data_dir):
        while not stop.wait(_LOOK_EVERY_S):
            try:
                discover_telescopes(workshop.in_force())
            except TransientError as error:
                _log.warning("the database is away", problem=str(error))
    store.close()
    return 0


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    data_dir.mkdir(parents=True, exist_ok=True)
    handle = os.open(data_dir / HOST_NETWORK_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


if __name__ == "__main__":
    sys.exit(main())
