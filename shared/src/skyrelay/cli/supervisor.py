"""Run all services as processes of their own, in the foreground, without Docker."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from redis.exceptions import RedisError

from skyrelay.backup import upgrade
from skyrelay.cli.data_dir import claim_data_dir
from skyrelay.cli.embedded_redis import redis_arguments
from skyrelay.errors import TransientError
from skyrelay.logs import configure_logs
from skyrelay.queue.connection import connect_redis
from skyrelay.service import EXIT_CONFIGURATION, installed_services, stop_on_signals, utc_now
from skyrelay.settings import PREFIX, Settings
from skyrelay.store.engine import Store

_log = structlog.stdlib.get_logger(__name__)
_STOP_WITHIN_S = 11.0  # Ctrl-C is promised to take 15 s at the most
_REDIS = "redis"
_LOOK_EVERY_S = 0.2
_FIRST_RESTART_S = 1.0
_LONGEST_RESTART_S = 60.0
_SETTLED_S = 60.0  # a process that ran that long begins again with the shortest delay
_PR_SET_PDEATHSIG = 1


@dataclass
class _Child:
    """One process, and when to start it again if it ends."""

    name: str
    arguments: list[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    delay_s: float = field(default=_FIRST_RESTART_S)

    def start(self) -> None:
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603 - our own program with our own arguments
            self.arguments,
            env=dict(self.environment),
            start_new_session=True,  # Ctrl-C reaches us alone: we stop them in order
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - we have no threads when we fork
            stdin=subprocess.DEVNULL,
        )

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the process and all that it has forked."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                return


class Supervisor:
    """Starts the services that are installed, starts those again that end, stops all of them.

    Parameters
    ----------
    settings
        Read already; an empty ``redis_url`` makes it start a Redis of its own.
    config
        The YAML file, handed to each service.
    """

    def __init__(self, settings: Settings, config: Path | None) -> None:
        self._settings = settings
        self._config = config
        self._environment = dict(os.environ)
        self._children: list[_Child] = []

    def run(self) -> int:
        """Run until SIGINT or SIGTERM; give the exit code."""
        configure_logs("up")
        stop = stop_on_signals()
        with claim_data_dir(self._settings.data_dir):
            try:
                return self._run(stop)
            finally:
                self._stop_all()

    def _run(self, stop: threading.Event) -> int:
        self._prepare(stop)
        for name in sorted(installed_services()):
            self._add(name, self._service_arguments(name))
        _log.info("running", services=[child.name for child in self._children], dashboard=self._address())
        return self._watch(stop)

    def _prepare(self, stop: threading.Event) -> None:
        store = Store(self._settings.database)
        upgrade(self._settings, store, now=utc_now())
        store.close()
        if not self._settings.redis_url.get_secret_value():
            self._start_redis(stop)

    def _start_redis(self, stop: threading.Event) -> None:
        socket = self._settings.data_dir.resolve() / "redis.sock"
        socket.unlink(missing_ok=True)
        self._add(_REDIS, redis_arguments(socket))
        url = f"unix://{socket}"
        self._environment[f"{PREFIX}REDIS_URL"] = url
        _wait_for_redis(url, stop)

    def _service_arguments(self, name: str) -> list[str]:
        config = ["--config", str(self._config)] if self._config else []
        return [sys.executable, "-m", "skyrelay.service", name, *config]

    def _add(self, name: str, arguments: list[str]) -> None:
        child = _Child(name, arguments, self._environment)
        self._children.append(child)
        child.start()

    def _watch(self, stop: threading.Event) -> int:
        while not stop.wait(_LOOK_EVERY_S):
            for child in self._children:
                code = child.process.poll() if child.process else None
                if code == EXIT_CONFIGURATION:
                    return EXIT_CONFIGURATION  # it has said what is wrong; the others would say the same
                if code is not None:
                    _schedule_restart(child, code)
                elif child.process is None and time.monotonic() >= child.restart_at:
                    child.start()
        return 0

    def _stop_all(self) -> None:
        """Stop the services at once, then Redis; kill what is left when time is up."""
        deadline = time.monotonic() + _STOP_WITHIN_S
        services = [child for child in self._children if child.name != _REDIS]
        for children in (services, [child for child in self._children if child.name == _REDIS]):
            for child in children:
                if child.process is not None:
                    child.process.terminate()
            for child in children:
                _wait_or_kill(child, deadline)

    def _address(self) -> str:
        gateway = self._settings.gateway
        host = "localhost" if gateway.host in {"0.0.0.0", "::"} else gateway.host  # noqa: S104 - compared, not bound
        return f"http://{host}:{gateway.port}/"


def _schedule_restart(child: _Child, code: int) -> None:
    if time.monotonic() - child.started_at > _SETTLED_S:
        child.delay_s = _FIRST_RESTART_S
    _log.warning(
        "a process has ended; it is started again", process=child.name, exit_code=code, after_s=child.delay_s
    )
    child.signal_group(signal.SIGKILL)  # a dead worker's children must not work on beside the new one's
    child.process = None
    child.restart_at = time.monotonic() + child.delay_s
    child.delay_s = min(2 * child.delay_s, _LONGEST_RESTART_S)


def _wait_or_kill(child: _Child, deadline: float) -> None:
    if child.process is None:
        return
    try:
        child.process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        _log.warning("a process did not stop in time; it is killed", process=child.name)
    child.signal_group(signal.SIGKILL)
    child.process.wait()


def _wait_for_redis(url: str, stop: threading.Event) -> None:
    deadline = time.monotonic() + _STOP_WITHIN_S
    while not stop.is_set():
        try:
            with connect_redis(url) as redis:
                redis.ping()
                return
        except RedisError as error:
            if time.monotonic() > deadline:
                raise TransientError(f"the Redis server does not answer ({error})") from error
            stop.wait(_LOOK_EVERY_S / 4)


def _die_with_parent() -> None:
    """Ask the kernel to stop this child when we die without having stopped it (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
