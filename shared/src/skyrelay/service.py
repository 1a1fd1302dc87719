"""How a service's process begins: ``python -m skyrelay.service NAME... [--config FILE]``.

The services are found by entry point (group ``skyrelay.services``): each is a function that takes the
settings, works until it is told to stop, and gives the exit code. Several names give a process each,
which share what they import.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import FrameType

from skyrelay.data_dir_use import work_in
from skyrelay.errors import ConfigurationError
from skyrelay.family import run_family
from skyrelay.light_imports import read_answers_without_guessing
from skyrelay.logs import configure_logs, get_logger
from skyrelay.settings import Settings, load_settings

GROUP = "skyrelay.services"
EXIT_CONFIGURATION = 2

ServiceMain = Callable[[Settings], int]


def installed_services() -> dict[str, EntryPoint]:
    """Give the services that are installed here, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def utc_now() -> datetime:
    """Give the aware UTC time; the clock that services hand to the rules."""
    return datetime.now(UTC)


def stop_on_signals() -> threading.Event:
    """Give an event that SIGTERM and SIGINT set."""
    stop = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop


def main(arguments: list[str] | None = None) -> int:
    """Run a service, or several; exit code 2 says that the configuration is wrong."""
    services = installed_services()
    parser = argparse.ArgumentParser(prog="python -m skyrelay.service")
    parser.add_argument("names", nargs="+", choices=sorted(services), metavar="NAME")
    parser.add_argument("--config", type=Path)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _leave)
    configure_logs("+".join(options.names))
    read_answers_without_guessing()
    try:
        settings = load_settings(options.config)
    except ConfigurationError as error:
        return _say_wrong(error)
    works = {name: partial(_run, name, services[name].load(), settings) for name in options.names}
    return run_family(works) if len(works) > 1 else works[options.names[0]]()


def _leave(_number: int, _frame: FrameType | None) -> None:
    """End before the work has begun: a container's first process is not ended by the kernel."""
    sys.exit(0)


def _run(name: str, work: ServiceMain, settings: Settings) -> int:
    configure_logs(name)
    try:
        with work_in(settings.data_dir):
            return work(settings)
    except ConfigurationError as error:
        return _say_wrong(error)


def _say_wrong(error: ConfigurationError) -> int:
    get_logger(__name__).error("the configuration is wrong", problem=str(error))
    return EXIT_CONFIGURATION


if __name__ == "__main__":
    sys.exit(main())
